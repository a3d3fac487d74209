"""What targets for GPUs have in common, whatever the language of their kernels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from intarsia.ir.graph import Node
from intarsia.targets import Support, Target
from intarsia_backends.gpu.compiler import GpuCode
from intarsia_backends.gpu.launches import INTERFACE
from intarsia_backends.gpu.lower import supports
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.region import LAUNCHES, STORED, WEIGHTS_FILE, with_mark


class GpuTarget(Target):
    """A GPU, and the CPU beside it.

    language  of its kernels, as reports call it
    machine   what they are made for
    """

    host = "cpu"
    precisions = ("float32", "float16", "int8")
    language: str
    machine: GpuMachine

    def for_precision(self, precision: str) -> GpuTarget:
        made = copy.copy(self)
        made.products = "float16" if precision == "float16" else "float32"
        made.machine = replace(made.machine, halves=precision == "float16")
        return made

    def supports(self, node: Node) -> Support:
        return supports(node, self.machine)

    def metadata_of(self, code: GpuCode) -> dict[str, Any]:
        """What an artifact says of a compiled region."""
        launches = code.launches
        stored = {STORED: "float16"} if self.machine.halves else {}
        return {
            **stored,
            "interface": INTERFACE,
            "language": self.language,
            "kernels": len(launches.kernels),
            "steps": len(launches.steps),
            "arena_bytes": launches.arena_bytes,
            "weights_bytes": launches.weights_bytes,
        }

    def facts(self) -> Mapping[str, Any]:
        return {"language": self.language, "block_threads": self.machine.block, "float64": self.machine.floats_64}


def files_of(code: GpuCode, source: str) -> dict[str, bytes]:
    """The files of a compiled region, of which `source` is the text of its kernels."""
    launches = code.launches.to_json()
    return {source: with_mark(code.text, launches).encode(), LAUNCHES: launches, WEIGHTS_FILE: code.weights}
