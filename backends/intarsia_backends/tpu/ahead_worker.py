"""The process that compiles one module for a TPU that is not here: `python -m ...ahead_worker GENERATION MEMORY_BYTES`.

The module comes as bytes on stdin; what was found out goes as JSON to stdout, all that libtpu says to stderr. It has a
limit of memory of its own, which libtpu cannot pass: what does ends this process alone.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import sys
from typing import Any

TOPOLOGIES = {
    "v2": "v2:2x2",
    "v3": "v3:2x2",
    "v4": "v4:2x2x1",
    "v5e": "v5e:1x1",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:1x1",
    "tpu7x": "tpu7x:2x2x1",
}
"""By generation, the smallest system of it that libtpu knows."""

_LINE = re.compile(r"^\s*(?:ROOT )?(%[\w.\-]+) = (\w+)\[.*?\s(convolution|fusion|bitcast|copy|parameter)?\(([^)]*)\)")


def device_of(generation: str) -> Any:
    """A TPU that is not there, as XLA describes it. RuntimeError where libtpu cannot be used."""
    from jax.experimental import topologies

    return topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[generation]).devices[0]


def compile_for(device: Any, data: bytes) -> dict[str, Any]:
    """Figures of a module that is compiled for a device. RuntimeError where XLA refuses it."""
    from jaxlib import xla_client

    from intarsia_backends.tpu.portable import to_module

    devices = xla_client.DeviceList((device,))
    compiled = device.client.compile(to_module(data), devices, xla_client.CompileOptions())
    memory, costs = compiled.get_compiled_memory_stats(), compiled.cost_analysis()
    costs = costs[0] if isinstance(costs, list) else costs
    text = "\n".join(module.to_string() for module in compiled.hlo_modules())
    seconds, unknown = whole_estimate(float(costs.get("optimal_seconds", 0.0)))
    return {
        "code_bytes": int(memory.generated_code_size_in_bytes),
        "argument_bytes": int(memory.argument_size_in_bytes),
        "output_bytes": int(memory.output_size_in_bytes),
        "temporary_bytes": int(memory.temp_size_in_bytes),
        "peak_memory_bytes": int(memory.peak_memory_in_bytes),
        "operations": int(costs.get("flops", 0)),
        "accessed_bytes": int(costs.get("bytes accessed", 0)),
        "estimated_seconds": seconds,
        "ops_without_estimate": unknown,
        "estimated_cycles": estimated_cycles(text),
        "convolutions": convolutions(text),
    }


def whole_estimate(seconds: float) -> tuple[float, int]:
    """XLA's sum of seconds, in which an op without an estimate counts -1: the sum of the others, and how many do so."""
    unknown = max(0, math.ceil(-seconds))
    return seconds + unknown, unknown


def estimated_cycles(text: str) -> int:
    """The sum of what the compiler estimates for each fusion of the entry, where it says so.

    text  optimized HLO
    """
    _, _, entry = text.partition("\nENTRY ")
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', entry)))


def convolutions(text: str) -> dict[str, int]:
    """How many convolutions, which matrix products are too, an optimized module has, by types such as "s8 to s32".

    text  HLO, whose lines say the type of what they make
    """
    kinds: dict[str, str] = {}
    counts: dict[str, int] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        name, kind, op, operands = found.groups()
        kinds[name] = kind
        if op == "convolution":
            first = kinds.get(operands.split(",")[0].split()[-1], "?")
            told = f"{first} to {kind}"
            counts[told] = counts.get(told, 0) + 1
    return dict(sorted(counts.items()))


def main() -> None:
    """See the module."""
    generation, memory_bytes = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    answers = os.dup(1)
    os.dup2(2, 1)
    data = sys.stdin.buffer.read()
    answer: dict[str, Any]
    try:
        device = device_of(generation)
    except RuntimeError as error:
        answer = {"unable": str(error)}
    else:
        try:
            answer = compile_for(device, data)
        except RuntimeError as error:
            answer = {"refused": str(error)}
    with os.fdopen(answers, "w") as out:
        json.dump(answer, out)


if __name__ == "__main__":
    main()
