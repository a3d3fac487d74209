"""What `Session.run` takes beside the kernels: microseconds of CPU time, for a model of one small kernel.

python tests/benchmarks/session_overhead.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

import intarsia

ROUNDS, CALLS = 30, 2000


def least_microseconds(call: Callable[[], Any]) -> float:
    least = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(CALLS):
            call()
        least = min(least, (time.process_time_ns() - start) / CALLS / 1000)
    return least


def main() -> None:
    text = '<ir_version: 9, opset_import: ["" : 18]> relu (float[1,16] x) => (float[1,16] y) { y = Relu (x) }'
    session = intarsia.load(intarsia.compile_model(onnx.parser.parse_model(text), target="cpu"), threads=1)
    x = np.zeros((1, 16), np.float32)
    print(f"Session.run: {least_microseconds(lambda: session.run(x)):.2f} us")
    print(f"an empty call: {least_microseconds(lambda: None):.2f} us")


if __name__ == "__main__":
    main()
