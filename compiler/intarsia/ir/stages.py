"""The stages that a graph goes through, in order. Standard library only: the command line reads it too."""

from __future__ import annotations

STAGES = ("imported", "simplified", "fused", "quantized", "decomposed", "partitioned", "compiled")
"""What may stand in a graph at each of them, `ir.verify` checks; "compiled" is an artifact, and no graph any more."""

FUSED_STAGES = STAGES[STAGES.index("fused") :]
"""Those from which on ops may carry activations, and `dense` may stand in a graph."""

INTEGER_STAGES = STAGES[STAGES.index("quantized") :]
"""Those from which on integer ops may stand in a graph."""
