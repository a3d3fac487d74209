"""Damaged copies of a valid model either import or are refused; nothing else ever comes out."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from intarsia.errors import CompileError
from intarsia.importer import import_model

TEXT = """<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
tiny (float[N,3,8,8] x, bool flag, int64 count) => (float[N,4] y, float[2] z, float[2] last, seq(float[2]) pair)
{
  c = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (x, w)
  r = local.act (c)
  s = Shape (r)
  zero = Constant <value_int = 0> ()
  n = Gather (s, zero)
  zeros = Constant <value = int64[1] {0}> ()
  n1 = Unsqueeze (n, zeros)
  rest = Constant <value_ints = [-1]> ()
  shape = Concat <axis = 0> (n1, rest)
  f = Reshape (r, shape)
  y = MatMul (f, m)
  z = If (flag) <then_branch = g1 () => (float[2] a) { a = Add (k, k) },
                 else_branch = g2 () => (float[2] b) { b = Mul (k, k) }>
  last, all = Loop (count, flag, z) <body = round (int64 i, bool on, float[2] v) => (bool o, float[2] v2, float[2] t)
    { o = Identity (on)  v2 = Add (v, k)  t = Neg (v) }>
  pair = SequenceConstruct (z, last)
}
<domain: "local", opset_import: ["" : 17]>
act (q) => (p) { p = Relu (q) }
"""


def sound() -> bytes:
    """The model that is damaged; weights are small, so that most damage hits its structure."""
    model = parser.parse_model(TEXT)
    for name, data in (("w", np.zeros((4, 3, 1, 1))), ("m", np.zeros((64, 4))), ("k", np.ones(2))):
        model.graph.initializer.append(numpy_helper.from_array(data.astype(np.float32), name))
    del model.graph.initializer[1]
    values = helper.make_tensor("m", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("where", onnx.TensorProto.INT64, [2], [0, 9])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [64, 4]))
    return bytes(model.SerializeToString())


def damaged(data: bytes, chance: random.Random) -> bytes:
    """One to eight flipped bits, changed, lost or added bytes, or a lost end."""
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(max(len(spoilt), 1))
        match chance.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                spoilt[place : place + 1] = bytes(byte ^ 1 << chance.randrange(8) for byte in spoilt[place : place + 1])
            case 5 | 6:
                spoilt[place : place + 1] = chance.randbytes(1)
            case 7:
                del spoilt[place : place + chance.randrange(1, 9)]
            case 8:
                spoilt[place:place] = chance.randbytes(chance.randrange(1, 5))
            case _:
                del spoilt[max(place, 1) :]
    return bytes(spoilt)


def test_the_sound_model_imports() -> None:
    types = [str(value.type) for value in import_model(sound()).outputs]
    assert types == ["float32[1,4]", "float32[2]", "float32[2]", "sequence(float32)[...]"]


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_or_harmless(seed: int) -> None:
    chance, data = random.Random(seed), sound()
    refused = 0
    for _ in range(150):
        try:
            import_model(damaged(data, chance))
        except CompileError:
            refused += 1
    assert 50 < refused < 150


def test_every_truncation_is_refused() -> None:
    data = sound()
    for length in range(0, len(data), 17):
        with pytest.raises(CompileError):
            import_model(data[:length])
