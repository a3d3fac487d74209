"""CUDA C++ by NVRTC, which needs neither a C++ compiler nor a driver, in a process of its own for each file."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from intarsia_backends.cuda.toolchain.compiler import FLAGS, Compiler, Made, refused, workplace

_WORKER = "intarsia_backends.cuda.toolchain.nvrtc_worker"
_DISTRIBUTIONS = ("nvidia-cuda-nvrtc", "cuda-bindings")
MINIMUM = (13, 0)
"""The oldest release that makes code for all GPUs that there is a name for here."""


def absent() -> str:
    """Why NVRTC cannot be used here; "" where it can."""
    missing = [name for name in _DISTRIBUTIONS if _version(name) is None]
    if missing:
        return f"NVRTC needs the Python packages {' and '.join(missing)}"
    found = _version(_DISTRIBUTIONS[0]) or "0"
    if tuple(int(part) for part in found.split(".")[:2]) < MINIMUM:
        return f"nvidia-cuda-nvrtc is {found}, older than {'.'.join(map(str, MINIMUM))}"
    if importlib.util.find_spec("cuda") is None:
        return "the Python package cuda-bindings is there, and cannot be imported"
    return ""


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


class Nvrtc(Compiler):
    """The NVRTC of the Python package nvidia-cuda-nvrtc, through cuda-bindings: there unless `absent` says why not."""

    def __init__(self) -> None:
        self.version = f"nvrtc {_version(_DISTRIBUTIONS[0])}"

    def cubin(self, text: str, capability: int) -> Made:
        # What is called PTX there is assembled within, so the front end runs for each GPU anew.
        return self._made(text, f"sm_{capability}", ("-Xptxas", "-v"))

    def ptx(self, text: str, capability: int) -> Made:
        return Made(self._made(text, f"compute_{capability}", ()).data, "")

    def _made(self, text: str, name: str, more: Sequence[str]) -> Made:
        with workplace() as place:
            result = place / "result"
            asked = {"text": text, "options": [f"-arch={name}", "-w", *FLAGS, *more], "result": str(result)}
            done = subprocess.run(
                [sys.executable, "-m", _WORKER], input=json.dumps(asked), capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                last = done.stderr.strip().splitlines()[-1:] or [f"it ends with status {done.returncode}"]
                raise refused(self.version, name, last[0])
            answer = json.loads(done.stdout)
            if not answer["made"]:
                raise refused(self.version, name, answer["log"])
            return Made(result.read_bytes(), answer["log"])
