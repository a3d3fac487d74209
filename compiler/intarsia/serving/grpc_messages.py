"""Messages of the Open Inference Protocol v2 over gRPC, and what is between them and arrays.

The classes are made at run time from `grpc_table`: generated code would tie us to the protobuf that generated it.
They stand in a pool of their own, beside those of a client's package in the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from intarsia.dtypes import Array
from intarsia.serving.classification import classes_of
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.grpc_table import MESSAGES
from intarsia.serving.refusal import Outcome, Refusal, invalid
from intarsia.serving.rest_messages import echoed, in_order, known_tensor
from intarsia.serving.tensors import ServedTensor, from_bytes, from_list, to_bytes

PACKAGE = "inference"
SERVICE = "inference.GRPCInferenceService"

_CONTENTS = {
    "bool": "bool_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
    "string": "bytes_contents",
}
"""Where elements of each type stand that are not sent raw."""

_Field = descriptor_pb2.FieldDescriptorProto


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="intarsia/open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        for field, (number, kind) in fields.items():
            _add_field(made[name], name, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


def _add_field(message: Any, owner: str, name: str, number: int, kind: str) -> None:
    added = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.startswith("{"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, owner, "key", 1, "string")
        _add_field(entry, owner, "value", 2, kind[1:-1])
        kind = f"{owner}.{entry.name}*"
    elif kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        added.oneof_index = 0
    if kind.endswith("*"):
        added.label = _Field.LABEL_REPEATED
    kind = kind.rstrip("*?")
    if kind[0].islower():
        added.type = getattr(_Field, f"TYPE_{kind.upper()}")
    else:
        added.type, added.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


CLASSES = _classes()
"""The message classes by name."""


def reader(name: str) -> Callable[[bytes], Any]:
    """What makes a message of that class of its bytes; a Refusal where they are none."""
    read: Callable[[bytes], Any] = CLASSES[name].FromString

    def read_or_refuse(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            raise invalid(f"the bytes of the message are no {name}") from None

    return read_or_refuse


def parse_request(model: Endpoint, message: Any) -> tuple[list[Array], list[bool], dict[str, int]]:
    """Arrays of a ModelInferRequest, in the order of the model's inputs, for each output whether it is wanted, and by
    output how many classes are wanted in its place."""
    known = {tensor.name: tensor for tensor in model.inputs}
    raw: Sequence[bytes] = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise invalid(f"{len(raw)} raw_input_contents are given for {len(message.inputs)} inputs")
    arrays: dict[str, Array] = {}
    for index, item in enumerate(message.inputs):
        tensor = known_tensor(known, item.name, "input")
        if tensor.name in arrays:
            raise invalid(f"input '{tensor.name}' is given twice")
        _refuse_shared_memory(item)
        sizes = tensor.check(item.datatype, item.shape)
        if raw:
            if item.HasField("contents"):
                raise invalid(f"input '{tensor.name}' is given twice, as contents and raw")
            arrays[tensor.name] = from_bytes(tensor, sizes, raw[index])
            continue
        field = _CONTENTS.get(tensor.dtype)
        if field is None:
            raise invalid(f"input '{tensor.name}': {tensor.datatype} is sent by raw_input_contents alone")
        for other, _ in item.contents.ListFields():
            if other.name != field:
                raise invalid(f"input '{tensor.name}': {tensor.datatype} stands in {field}, not in {other.name}")
        arrays[tensor.name] = from_list(tensor, sizes, list(getattr(item.contents, field)), infinite=True)
    return in_order(model.inputs, arrays), *_wanted(model, message)


def _wanted(model: Endpoint, message: Any) -> tuple[list[bool], dict[str, int]]:
    known = {tensor.name: tensor for tensor in model.outputs}
    asked: set[str] = set()
    classes: dict[str, int] = {}
    for item in message.outputs:
        tensor = known_tensor(known, item.name, "output")
        if tensor.name in asked:
            raise invalid(f"output '{tensor.name}' is asked for twice")
        _refuse_shared_memory(item)
        count = classes_of(tensor, parameters(item).get("classification"))
        if count:
            classes[tensor.name] = count
        asked.add(tensor.name)
    return [not asked or tensor.name in asked for tensor in model.outputs], classes


def answer(
    model: Endpoint, message: Any, tensors: Sequence[ServedTensor], wanted: Sequence[bool], outputs: Sequence[Array]
) -> Any:
    """The ModelInferResponse to a request; outputs are raw."""
    made = CLASSES["ModelInferResponse"](model_name=model.name, model_version=model.version, id=message.id)
    if message.parameters:
        for name in echoed(parameters(message)):
            made.parameters[name].CopyFrom(message.parameters[name])
    for tensor, array, asked in zip(tensors, outputs, wanted):
        if asked:
            made.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
            made.raw_output_contents.append(bytes(to_bytes(array)))
    return made


def parameters(message: Any) -> dict[str, Any]:
    """The parameters of a message as Python's values."""
    given: Mapping[str, Any] = message.parameters
    if not given:
        return {}
    chosen = ((name, item, item.WhichOneof("parameter_choice")) for name, item in given.items())
    return {name: getattr(item, choice) for name, item, choice in chosen if choice is not None}


def _refuse_shared_memory(item: Any) -> None:
    if "shared_memory_region" in item.parameters:
        raise Refusal(Outcome.INVALID, f"'{item.name}': shared memory is no extension of this server")
