"""The process that compiles one text by NVRTC: `python -m ...nvrtc_worker`.

It reads JSON from stdin, {"text", "options", "result"}, writes PTX (where an option names compute_NN) or machine code
to the file `result`, and JSON to stdout, {"made", "log"}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """See the module."""
    from cuda.bindings import nvrtc

    asked = json.load(sys.stdin)

    def called(answer: tuple[Any, ...]) -> Any:
        if answer[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise SystemExit(f"NVRTC answers {answer[0].name}")
        return answer[1] if len(answer) > 1 else None

    program = called(nvrtc.nvrtcCreateProgram(asked["text"].encode(), b"kernels.cu", 0, [], []))

    def read(size: Callable[[Any], Any], get: Callable[[Any, bytes], Any]) -> bytes:
        data = bytes(called(size(program)))
        called(get(program, data))
        return data

    options = [option.encode() for option in asked["options"]]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).rstrip(b"\0").decode("utf-8", "replace")
    made = status == nvrtc.nvrtcResult.NVRTC_SUCCESS
    if made:
        if any(option.startswith("-arch=compute") for option in asked["options"]):
            data = read(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX).rstrip(b"\0")
        else:
            data = read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        Path(asked["result"]).write_bytes(data)
    json.dump({"made": made, "log": log or status.name}, sys.stdout)


if __name__ == "__main__":
    main()
