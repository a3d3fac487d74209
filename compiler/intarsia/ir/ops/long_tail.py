"""Facts of ops whose shape rule and meaning are onnx's own."""

from __future__ import annotations

from intarsia.ir.op import Op, always

_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")

OPS = (
    *(Op(name, None, None, random=always) for name in _RANDOM),
    Op("CausalConvWithState", None, None, {"activation": "none"}),  # its own attribute, not one that was fused
)
