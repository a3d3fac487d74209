"""Small ONNX models, damaged or changed in ways that keep their structure: a seed names a mutant, for ever the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
    parser,
)
from onnx.backend.test.loader import load_model_tests
from onnx.checker import ValidationError

MOST_BYTES = 20_000

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64, 255, 1000, -1, -2, 1 << 31, (1 << 31) - 1, (1 << 62) + 1, (1 << 63) - 1)
FLOATS = (0.0, -1.0, 1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"), -0.0)
TEXTS = ("", "linear", "nearest", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "reflect", "edge", "\xff", "N", "tanh")
DTYPES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 21, 22, 99)

_HEAD = '<ir_version: 9, opset_import: ["" : {opset}]>\n'
NETWORKS = (
    """g (float[1,3,8,8] x) => (float[1,4,4,4] y) {
      c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w_4_3_3_3)  b = BatchNormalization (c, p_4, p_4, p_4, q_4)
      r = Relu (b)  y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r) }""",
    """g (float[1,3,8,8] x) => (float[1,4,8,8] y) {
      q = QuantizeLinear (x, s_, z_)  d = DequantizeLinear (q, s_, z_)
      c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (d, w_4_3_3_3)
      e = QuantizeLinear (c, s_, z_)  y = DequantizeLinear (e, s_, z_) }""",
    """g (float[2,6] x) => (float[2,5] y) { a = Gemm (x, w_6_5, w_5)  t = Tanh (a)  y = Softmax <axis = 1> (t) }""",
    """g (float[1,5,8] x) => (float[1,5,8] y) {
      q = MatMul (x, w_8_8)  k = MatMul (x, w_8_8)  t = Transpose <perm = [0,2,1]> (k)  s = MatMul (q, t)
      p = Softmax <axis = 2> (s)  v = MatMul (p, x)
      a = Add (v, x)  y = LayerNormalization <axis = 2> (a, p_8, w_8) }""",
    """g (float[3,2,4] x) => (float[1,2,4] h) { none, h, c = LSTM <hidden_size = 4> (x, w_1_16_4, w_1_16_4) }""",
    """g (float[1,4,6] x) => (float[1,8] y) {
      a, b = Split <axis = 1> (x)  c = Concat <axis = 2> (a, b)  r = ReduceMean <axes = [1]> (c)
      s = Squeeze (r, i_1_one)  u = Unsqueeze (s, i_1_one)
      f = Flatten (u)  y = Slice (f, i_1_zero, i_1_eight, i_1_one) }""",
    """g (float[1,2,4,4] x) => (float[1,2,8,8] y) { r = Resize (x, , scales_)  s = Sigmoid (r)  y = Mul (r, s) }""",
    """g (float[4] x, bool c) => (float[4] y) {
      y = If (c) <then_branch = t () => (float[4] a) { a = Exp (x) }, 
        else_branch = e () => (float[4] b) { b = Neg (x) }> }""",
    """g (float[2] x, int64 n) => (float[2] y, float[k,2] all) {
      y, all = Loop (n, , x) <body = b (int64 i, bool on, float[2] v) => (bool o, float[2] w, float[2] s) {
        o = Identity (on)  w = Add (v, v)  s = Identity (v) }> }""",
    """g (float[3,4] x, int64[2] i) => (float[2,4] y) { g = Gather (x, i)  w = Where (m_4, g, w_4)
      y = Clip (w, lo_, hi_) }""",
    """g (int8[1,8] x) => (int32[1,4] y) { y = MatMulInteger (x, b_8_4) }""",
    """g (float[1,4,8] x) => (float[1,4,8] y) {
      q = DynamicQuantizeLinear (x)  e = Erf (x)  a = Add (x, e)  y = PRelu (a, w_1) }""",
)


def mutant(seed: int) -> ModelProto | bytes:
    """The mutant of a seed: a model, or bytes that were changed after a model was written."""
    rng = random.Random(seed)
    model = _base(rng)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        try:
            rng.choice(MUTATIONS)(model, rng)
        except (ValueError, TypeError, LookupError, OverflowError, RuntimeError, ValidationError):
            continue  # protobuf cannot hold it, or there is nothing of the kind
    if rng.random() < 0.05:
        data = bytearray(model.SerializeToString())
        for _ in range(rng.choice((1, 3))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    return model


# ---- what mutants start from


@cache
def _node_cases() -> tuple[bytes, ...]:
    """The models of onnx's own node cases, as bytes, in the order of their names."""
    cases = sorted(load_model_tests(kind="node"), key=lambda case: str(case.name))
    models = (case.model.SerializeToString() for case in cases if case.model is not None)
    return tuple(data for data in models if len(data) <= MOST_BYTES)


def _base(rng: random.Random) -> ModelProto:
    if rng.random() < 0.6:
        return ModelProto.FromString(rng.choice(_node_cases()))
    model = parser.parse_model(_HEAD.format(opset=rng.choice((13, 15, 17))) + rng.choice(NETWORKS))
    weights = np.random.default_rng(rng.randrange(1 << 30))
    read = {name for graph in _graphs(model.graph) for node in graph.node for name in node.input}
    made = {name for graph in _graphs(model.graph) for node in graph.node for name in node.output}
    known = read - made - {value.name for graph in _graphs(model.graph) for value in graph.input}
    for name in sorted(known - {""}):
        model.graph.initializer.append(numpy_helper.from_array(_constant(name, weights), name))
    for node in model.graph.node:
        for index, name in enumerate(node.output):
            if name == "none":
                node.output[index] = ""
    return model


def _constant(name: str, rng: np.random.Generator) -> np.ndarray:
    """Elements by the name: w weights, p positive, i whole numbers that the name spells, then sizes."""
    if name == "z_":
        return np.asarray(np.int8(3))
    if name == "scales_":
        return np.array([1, 1, 2, 2], np.float32)
    if name in ("s_", "lo_", "hi_"):
        return np.asarray({"s_": 0.05, "lo_": -1.0, "hi_": 2.0}[name], np.float32)
    kind, *sizes = name.split("_")
    if kind == "i":
        return np.array([{"zero": 0, "one": 1, "eight": 8}[sizes[-1]]])
    shape = tuple(map(int, sizes))
    if kind == "b":
        return rng.integers(-128, 128, shape).astype(np.int8)
    if kind == "m":
        return rng.integers(0, 2, shape).astype(bool)
    data = rng.standard_normal(shape).astype(np.float32) / 2
    return np.abs(data) + np.float32(0.1) if kind in "pq" else data


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


# ---- places


def _graph(model: ModelProto, rng: random.Random) -> GraphProto:
    return rng.choice(list(_graphs(model.graph)))


def _node(model: ModelProto, rng: random.Random) -> NodeProto:
    return rng.choice(_graph(model, rng).node)


def _value(model: ModelProto, rng: random.Random) -> ValueInfoProto:
    graph = _graph(model, rng)
    return rng.choice([*graph.input, *graph.output, *graph.value_info])


def _tensor(model: ModelProto, rng: random.Random) -> TensorProto:
    attributes = [item.t for graph in _graphs(model.graph) for node in graph.node for item in node.attribute]
    return rng.choice([*model.graph.initializer, *(item for item in attributes if item.data_type)])


def _attribute(model: ModelProto, rng: random.Random) -> AttributeProto:
    return rng.choice(_node(model, rng).attribute)


def _names(graph: GraphProto) -> list[str]:
    values = [value.name for value in (*graph.input, *graph.initializer)]
    return [*values, *(name for node in graph.node for name in node.output)]


# ---- mutations


def change_dim(model: ModelProto, rng: random.Random) -> None:
    shape = _value(model, rng).type.tensor_type.shape
    if rng.random() < 0.2 or not shape.dim:
        if rng.random() < 0.5:
            shape.dim.add().dim_value = rng.choice(SIZES)
        else:
            del shape.dim[-1:]
        return
    dim = rng.choice(shape.dim)
    if rng.random() < 0.2:
        dim.dim_param = rng.choice(("N", "M", "", "batch"))
    else:
        dim.dim_value = rng.choice((*SIZES, dim.dim_value + 1, dim.dim_value - 1, dim.dim_value * 2))


def drop_shape(model: ModelProto, rng: random.Random) -> None:
    _value(model, rng).type.tensor_type.ClearField("shape")


def change_dtype(model: ModelProto, rng: random.Random) -> None:
    _value(model, rng).type.tensor_type.elem_type = rng.choice(DTYPES)


def change_tensor_dtype(model: ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    if rng.random() < 0.5:
        tensor.data_type = rng.choice(DTYPES)
        return
    data = numpy_helper.to_array(tensor)
    dtype = rng.choice((np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_))
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(data.astype(dtype), tensor.name))


def change_tensor_dims(model: ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    if rng.random() < 0.5 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)
        return
    data = numpy_helper.to_array(tensor)
    shape = rng.choice(
        ((), (1,), (data.size,), (data.size, 1), (1, *data.shape), data.shape[::-1], (0,), data.shape[1:])
    )
    tensor.CopyFrom(numpy_helper.from_array(np.resize(data, shape), tensor.name))


def change_tensor_data(model: ModelProto, rng: random.Random) -> None:
    tensor = _tensor(model, rng)
    if rng.random() < 0.3:
        raw = bytearray(tensor.raw_data)
        tensor.raw_data = bytes(raw[: rng.randrange(len(raw) + 1)] if raw else b"\x01\x02\x03")
        return
    data = numpy_helper.to_array(tensor).copy()
    place = rng.randrange(data.size) if data.size else 0
    if data.dtype.kind == "f":
        data.reshape(-1)[place] = rng.choice(FLOATS)
    elif data.dtype.kind in "iu":
        limits = np.iinfo(data.dtype)
        data.reshape(-1)[place] = min(max(rng.choice(SIZES), limits.min), limits.max)
    tensor.CopyFrom(numpy_helper.from_array(data, tensor.name))


def change_attribute(model: ModelProto, rng: random.Random) -> None:
    item = _attribute(model, rng)
    if item.type == AttributeProto.INT:
        item.i = rng.choice((*SIZES, item.i + 1, item.i - 1))
    elif item.type == AttributeProto.FLOAT:
        item.f = rng.choice(FLOATS)
    elif item.type == AttributeProto.STRING:
        item.s = rng.choice(TEXTS).encode("latin-1")
    elif item.type == AttributeProto.INTS:
        if rng.random() < 0.3 or not item.ints:
            item.ints.append(rng.choice(SIZES)) if rng.random() < 0.5 else item.ints.pop()
        else:
            item.ints[rng.randrange(len(item.ints))] = rng.choice(SIZES)
    elif item.type == AttributeProto.FLOATS:
        item.floats[rng.randrange(len(item.floats))] = rng.choice(FLOATS)


def drop_attribute(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    del node.attribute[rng.randrange(len(node.attribute))]


def add_attribute(model: ModelProto, rng: random.Random) -> None:
    name = rng.choice(
        ("axis", "axes", "keepdims", "alpha", "group", "pads", "mode", "to", "auto_pad", "ceil_mode", "perm")
    )
    value = rng.choice((rng.choice(SIZES), rng.choice(FLOATS), rng.choice(TEXTS), [rng.choice(SIZES[:8])] * 2))
    _node(model, rng).attribute.append(helper.make_attribute(name, value))


def retype_attribute(model: ModelProto, rng: random.Random) -> None:
    _attribute(model, rng).type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 99))


_OPS = (
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "CumSum", "Div",
    "DequantizeLinear", "Einsum", "Elu", "Expand", "Flatten", "GRU", "Gather", "GatherElements", "GatherND", "Gemm",
    "GlobalAveragePool", "HardSigmoid", "Identity", "InstanceNormalization", "LSTM", "LayerNormalization", "LeakyRelu",
    "MatMul", "MaxPool", "Mod", "Mul", "NonMaxSuppression", "OneHot", "PRelu", "Pad", "Pow", "QLinearConv",
    "QLinearMatMul", "QuantizeLinear", "Range", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize",
    "ReverseSequence", "RNN", "ScatterElements", "ScatterND", "Sigmoid", "Slice", "Softmax", "SpaceToDepth", "Split",
    "Squeeze", "Sub", "Sum", "Swish", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where", "Nothing",
)  # fmt: skip


def change_op(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice(_OPS)


def change_domain(model: ModelProto, rng: random.Random) -> None:
    _node(model, rng).domain = rng.choice(("ai.onnx", "com.microsoft", "ai.onnx.ml", "x"))


def rewire(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    node = rng.choice(graph.node)
    name = rng.choice([*_names(graph), "", "nowhere"])
    if rng.random() < 0.2 or not node.input:
        node.input.append(name)
    elif rng.random() < 0.2:
        del node.input[-1]
    else:
        node.input[rng.randrange(len(node.input))] = name


def rename_output(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    node = rng.choice(graph.node)
    if rng.random() < 0.3:
        node.output.append("another")
    else:
        node.output[rng.randrange(len(node.output))] = rng.choice([*_names(graph), "", "new", "\x1b[2K\n", "[bold]"])


def drop_node(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    del graph.node[rng.randrange(len(graph.node))]


def repeat_node(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    node = graph.node.add()
    node.CopyFrom(rng.choice(graph.node))
    for index, name in enumerate(node.output):
        node.output[index] = f"{name}_again"
    if node.output and rng.random() < 0.7:
        graph.output.add().name = node.output[0]


def append_node(model: ModelProto, rng: random.Random) -> None:
    """Another op behind the output: a cheap one, or one with few needs."""
    graph = model.graph
    old = rng.choice(graph.output)
    op = rng.choice(
        ("Relu", "Sigmoid", "Neg", "Identity", "Shape", "Softmax", "Transpose", "Flatten", "ReduceMax", "Cast")
    )
    given = {"to": rng.choice(DTYPES)} if op == "Cast" else {}
    graph.node.append(helper.make_node(op, [old.name], [f"{old.name}_{op}"], **given))
    graph.output.add().name = f"{old.name}_{op}"


def drop_output(model: ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    del graph.output[rng.randrange(len(graph.output))]


def fix_input(model: ModelProto, rng: random.Random) -> None:
    """An input becomes a constant."""
    graph = model.graph
    place = rng.randrange(len(graph.input))
    value = graph.input[place]
    tensor = value.type.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [dim.dim_value for dim in tensor.shape.dim]
    if any(size < 0 or size > 1000 for size in shape) or np.prod(shape) > 100_000:
        return
    data = np.random.default_rng(rng.randrange(1 << 30)).standard_normal(shape) * rng.choice((0, 1, 10))
    if dtype.kind == "O":
        return
    del graph.input[place]
    graph.initializer.append(numpy_helper.from_array(np.asarray(data).astype(dtype), value.name))


def free_constant(model: ModelProto, rng: random.Random) -> None:
    """A constant becomes an input."""
    graph = model.graph
    place = rng.randrange(len(graph.initializer))
    tensor = graph.initializer[place]
    value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    del graph.initializer[place]
    graph.input.append(value)


def change_opset(model: ModelProto, rng: random.Random) -> None:
    rng.choice(model.opset_import).version = rng.choice(
        (0, 1, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 19, 20, 21, 22, 23, 99)
    )


def quantize_edge(model: ModelProto, rng: random.Random) -> None:
    """A QuantizeLinear and a DequantizeLinear in front of an input of a node."""
    graph = model.graph
    place = rng.randrange(len(graph.node))
    node = graph.node[place]
    index = rng.randrange(len(node.input))
    name, number = node.input[index], rng.randrange(1000)
    scale, zero = f"scale{number}", f"zero{number}"
    kind = rng.choice((np.int8, np.uint8))
    shape = rng.choice(((), (), (1,), (4,)))
    graph.initializer.append(
        numpy_helper.from_array(np.full(shape, rng.choice((0.1, 0.01, 1.0, 0.0)), np.float32), scale)
    )
    graph.initializer.append(numpy_helper.from_array(np.full(shape, rng.choice((0, 3, 100)), kind), zero))
    quantize = helper.make_node("QuantizeLinear", [name, scale, zero], [f"q{number}"])
    dequantize = helper.make_node("DequantizeLinear", [f"q{number}", scale, zero], [f"d{number}"])
    node.input[index] = f"d{number}"
    graph.node.insert(place, quantize)
    graph.node.insert(place + 1, dequantize)


def nest(model: ModelProto, rng: random.Random) -> None:
    """A node goes into both branches of an If, or into the body of a Loop."""
    graph = model.graph
    place = rng.randrange(len(graph.node))
    node = NodeProto()
    node.CopyFrom(graph.node[place])
    outputs = [ValueInfoProto(name=f"{name}_inner") for name in node.output if name]
    inner = NodeProto()
    inner.CopyFrom(node)
    for index, name in enumerate(inner.output):
        inner.output[index] = f"{name}_inner" if name else ""
    branch = helper.make_graph([inner], "branch", [], outputs)
    names = [name for name in node.output if name]
    if rng.random() < 0.5:
        condition = rng.choice(("condition", "condition_given"))
        if condition == "condition":
            graph.initializer.append(numpy_helper.from_array(np.array(rng.random() < 0.5), condition))
        else:
            graph.input.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
        made = helper.make_node("If", [condition], names, then_branch=branch, else_branch=branch)
    else:
        graph.initializer.append(numpy_helper.from_array(np.array(rng.choice((0, 1, 3))), "rounds"))
        body = helper.make_graph(
            [helper.make_node("Identity", ["on"], ["on_still"]), inner],
            "body",
            [
                helper.make_tensor_value_info("number", TensorProto.INT64, []),
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            ],
            [helper.make_tensor_value_info("on_still", TensorProto.BOOL, []), *outputs],
        )
        made = helper.make_node("Loop", ["rounds", ""], names, body=body)
    graph.node[place].CopyFrom(made)


def as_function(model: ModelProto, rng: random.Random) -> None:
    """A node becomes a call of a function of the model's own."""
    node = rng.choice(model.graph.node)
    inner = NodeProto()
    inner.CopyFrom(node)
    inputs, outputs = [name for name in node.input if name], [name for name in node.output if name]
    opsets = [helper.make_opsetid(item.domain, item.version) for item in model.opset_import]
    model.functions.append(helper.make_function("own", "Own", list(dict.fromkeys(inputs)), outputs, [inner], opsets))
    node.CopyFrom(helper.make_node("Own", list(dict.fromkeys(inputs)), outputs, domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    if rng.random() < 0.1:
        inner_call = model.functions[-1].node.add()
        inner_call.CopyFrom(node)


def outside(model: ModelProto, rng: random.Random) -> None:
    """A constant says that its elements are in another file."""
    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    for key, texts in (
        ("location", ("weights.bin", "../weights.bin", "/etc/hostname", "", ".", "a\0b", "x" * 5000)),
        ("offset", ("0", "-1", "1e3", "9" * 30, "")),
        ("length", ("4", "-4", "9" * 30, "x")),
    ):
        if rng.random() < 0.7:
            item = tensor.external_data.add()
            item.key, item.value = key, rng.choice(texts)


Mutation = Callable[[ModelProto, random.Random], None]

MUTATIONS: Sequence[Mutation] = (
    *(change_dim,) * 3,
    drop_shape,
    *(change_dtype,) * 2,
    change_tensor_dtype,
    change_tensor_dims,
    *(change_tensor_data,) * 2,
    *(change_attribute,) * 5,
    drop_attribute,
    add_attribute,
    retype_attribute,
    *(change_op,) * 3,
    change_domain,
    *(rewire,) * 3,
    rename_output,
    drop_node,
    repeat_node,
    *(append_node,) * 2,
    drop_output,
    *(fix_input,) * 3,
    free_constant,
    *(change_opset,) * 2,
    *(quantize_edge,) * 3,
    *(nest,) * 2,
    as_function,
    outside,
)
