"""A small encoder of text, as exporters spell one: embeddings, heads by Reshape and Transpose, a mask made of whole
numbers, attention in small ops, LayerNormalization, Gelu."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper, parser

from intarsia.dtypes import Array

WORDS = 1000
_LAYER = """
  q{i} = MatMul ({x}, wq{i})     qb{i} = Add (q{i}, bq{i})     qh{i} = Reshape (qb{i}, heads)
  k{i} = MatMul ({x}, wk{i})     kb{i} = Add (k{i}, bk{i})     kh{i} = Reshape (kb{i}, heads)
  v{i} = MatMul ({x}, wv{i})     vb{i} = Add (v{i}, bv{i})     vh{i} = Reshape (vb{i}, heads)
  qt{i} = Transpose <perm = [0,2,1,3]> (qh{i})
  kt{i} = Transpose <perm = [0,2,3,1]> (kh{i})
  vt{i} = Transpose <perm = [0,2,1,3]> (vh{i})
  s{i} = MatMul (qt{i}, kt{i})   sd{i} = Div (s{i}, root)      sm{i} = Add (sd{i}, hidden)
  p{i} = Softmax <axis = -1> (sm{i})
  o{i} = MatMul (p{i}, vt{i})
  ot{i} = Transpose <perm = [0,2,1,3]> (o{i})
  or{i} = Reshape (ot{i}, rows)  ow{i} = MatMul (or{i}, wo{i}) oa{i} = Add (ow{i}, {x})
  n{i} = LayerNormalization <axis = -1> (oa{i}, one, zero)
  f{i} = MatMul (n{i}, w1{i})    g{i} = Gelu (f{i})            h{i} = MatMul (g{i}, w2{i})
  ha{i} = Add (h{i}, n{i})
  y{i} = LayerNormalization <axis = -1> (ha{i}, one, zero)"""


def encoder(layers: int = 2, length: int = 40, width: int = 48, heads: int = 3) -> Any:
    """An ONNX model with random weights: ids and mask, int64 [1, length], to float32 [1, length, width]."""
    random = np.random.default_rng(0)

    def weights(*shape: int) -> Array:
        return np.asarray(random.standard_normal(shape) / np.sqrt(shape[0]), np.float32)

    constants: dict[str, Any] = {
        "table": weights(WORDS, width) * 30,
        "one": np.ones(width, np.float32),
        "zero": np.zeros(width, np.float32),
        "all": np.array(1, np.float32),
        "low": np.array(-10000, np.float32),
        "root": np.array(np.sqrt(width // heads), np.float32),
        "axes": np.array([1, 2]),
        "heads": np.array([1, length, heads, width // heads]),
        "rows": np.array([1, length, width]),
    }
    lines, x = [], "words"
    for index in range(layers):
        lines.append(_LAYER.format(i=index, x=x))
        x = f"y{index}"
        for name in "qkv":
            constants[f"w{name}{index}"], constants[f"b{name}{index}"] = weights(width, width), weights(width)
        constants[f"wo{index}"] = weights(width, width)
        constants[f"w1{index}"], constants[f"w2{index}"] = weights(width, 2 * width), weights(2 * width, width)
    model = parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        net (int64[1,{length}] ids, int64[1,{length}] mask) => (float[1,{length},{width}] y) {{
          words = Gather <axis = 0> (table, ids)
          seen = Cast <to = 1> (mask)
          wide = Unsqueeze (seen, axes)
          unseen = Sub (all, wide)
          hidden = Mul (unseen, low)"""
        + "".join(lines)
        + f"\n  y = Identity ({x})\n}}"
    )
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return model
