"""Models whose activations are quantized anew in every run, as onnxruntime's quantize_dynamic writes them."""

from __future__ import annotations

from intarsia.ir.graph import Graph


def dynamic_note(graph: Graph) -> tuple[str, str] | None:
    """A note on dynamic quantization, as (name of a node, text); None where there is none."""
    found = [node for node in graph.nodes if node.op == "DynamicQuantizeLinear" and node.domain == ""]
    if not found:
        return None
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return found[0].name, (
        f"dynamic quantization{more}: scales of activations are found anew in every run, as by onnxruntime's "
        "quantize_dynamic, and what is between products stays float, so that accelerators of integers cannot take it. "
        "For int8 throughout, compile the float model with calibration data, or quantize it with quantize_static"
    )
