"""C text of a region's entry for several images, which `images.c` calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intarsia.ir.graph import Graph
from intarsia_backends.cpu.link import ENTRY, call_source, check_numbers
from intarsia_backends.cpu.several_images import SeveralImages
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.program import Operand, Part, Program

_HEAD = "int region_images(void *const *inputs, void *const *outputs, uint8_t *weights, uint8_t *arena, int32_t images)"


def images_source(
    graph: Graph, program: Program, several: SeveralImages, symbols: Mapping[Kernel, str], shares: bool
) -> str:
    """What `images.c` wants to know of a region, and the entry for some images at a time.

    shares  whether threads better take an image each than share the work of one
    """
    lines = [
        _table("region_input_bytes", [value.type.size_bytes for value in graph.inputs]),
        _table("region_output_bytes", [value.type.size_bytes for value in graph.outputs]),
        f"const int32_t region_inputs = {len(graph.inputs)}, region_outputs = {len(graph.outputs)};",
        f"const int32_t region_images_at_once = {several.images}, region_shares_images = {int(shares)};",
    ]
    lines += _together(program, several, symbols) if several.kernels else _one_by_one()
    return "\n".join([*lines, ""])


def _table(name: str, numbers: Sequence[int]) -> str:
    return f"const int64_t {name}[] = {{{', '.join(map(str, numbers)) or '0'}}};"


def _one_by_one() -> list[str]:
    """`images.c` gives one image at a time."""
    return [f"{_HEAD} {{", "  (void)images;", f"  return {ENTRY}(inputs, outputs, weights, arena);", "}"]


def _together(program: Program, several: SeveralImages, symbols: Mapping[Kernel, str]) -> list[str]:
    def address(operand: Operand) -> str:
        if isinstance(operand, Part):
            return f"(uint8_t *){address(operand.buffer)} + {operand.start}"
        if operand.kind in ("input", "output"):
            start = f"(uint8_t *){operand.kind}s[{operand.index}]"
        elif operand.kind == "weight":
            start = f"weights + {operand.offset}"
        else:
            start = f"arena + {several.places[operand]}"
        step = several.steps.get(operand)
        return start if step is None else f"({start} + image * {step})"

    lines = [
        f"int {symbols[kernel]}({', '.join(['void *'] * (1 + len(program.calls[index].operands)))});"
        for index, kernel in several.kernels.items()
    ]
    lines += [f"{_HEAD} {{", "  int status;"]
    checks = check_numbers(program)
    for group in several.groups:
        calls = [call_source(program.calls[index], symbols, address, checks.get(index, 0)) for index in group]
        loop = ["  for (int64_t image = 0; image < images; ++image) {", *(f"    {text}" for text in calls), "  }"]
        kernel = several.kernels.get(group.start)
        if kernel is None:
            lines += loop
            continue
        operands = ", ".join(["&images", *map(address, program.calls[group.start].operands)])
        lines += [f"  if (images >= {kernel.least}) {{", "    const int64_t image = 0;"]
        lines += [f"    if ((status = {symbols[kernel]}({operands})) != 0) return status;", "  } else {"]
        lines += [*(f"  {text}" for text in loop), "  }"]
    return [*lines, "  return 0;", "}"]
