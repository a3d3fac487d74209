"""Bodies of inference requests and answers over HTTP: JSON, and the binary tensors that may follow it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from intarsia.dtypes import Array
from intarsia.serving.classification import classes_of
from intarsia.serving.refusal import Outcome, Refusal, invalid, quoted
from intarsia.serving.tensors import Data, ServedTensor, from_bytes, from_list, to_bytes, to_list


@dataclass(frozen=True)
class Wish:
    """What an inference request wants beside its inputs.

    identity    the client's own name of the request, None for none
    outputs     for each output, in order: left out (None), as JSON (False) or in binary (True)
    parameters  of the request as a whole
    classes     by output, how many classes are wanted in its place
    """

    identity: str | None
    outputs: tuple[bool | None, ...]
    parameters: Mapping[str, Any]
    classes: Mapping[str, int]


def parse_request(
    inputs: Sequence[ServedTensor],
    outputs: Sequence[ServedTensor],
    body: bytes,
    header_bytes: int | None,
    most_json_bytes: int,
) -> tuple[list[Array], Wish]:
    """Arrays, in the order of the model's inputs, and what else is wanted.

    header_bytes     length of the JSON, where binary tensors follow; None for a body of JSON alone
    most_json_bytes  a longer JSON is refused before it is read: nothing else is served meanwhile
    """
    end = len(body) if header_bytes is None else header_bytes
    if not 0 <= end <= len(body):
        raise invalid(f"Inference-Header-Content-Length is {end}, the body has {len(body)} bytes")
    if end > most_json_bytes:
        raise Refusal(Outcome.TOO_LARGE, f"{end} bytes of JSON, {most_json_bytes} are taken; send binary tensors")
    head = _object(_json(body[:end] if end < len(body) else body), "the request")
    binary = memoryview(body)[end:]
    known = {tensor.name: tensor for tensor in inputs}
    arrays: dict[str, Array] = {}
    at = 0
    for item in _objects(head, "inputs"):
        tensor = known_tensor(known, item.get("name"), "input")
        if tensor.name in arrays:
            raise invalid(f"input '{tensor.name}' is given twice")
        shape = item.get("shape")
        if not isinstance(shape, list):
            raise invalid(f"input '{tensor.name}': its shape is no list")
        sizes = tensor.check(item.get("datatype"), shape)
        size = _parameters(item, f"input '{tensor.name}'").get("binary_data_size")
        if size is None:
            arrays[tensor.name] = from_list(tensor, sizes, item.get("data"))
            continue
        if "data" in item or not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - at:
            raise invalid(
                f"input '{tensor.name}': binary_data_size is {quoted(size)}, {len(binary) - at} bytes are left in the "
                "body; of data and binary_data_size one is given"
            )
        arrays[tensor.name] = from_bytes(tensor, sizes, binary[at : at + size])
        at += size
    if at != len(binary):
        raise invalid(f"{len(binary) - at} bytes of the body belong to no input")
    return in_order(inputs, arrays), _wish(outputs, head)


def _wish(outputs: Sequence[ServedTensor], head: Mapping[str, Any]) -> Wish:
    identity = head.get("id")
    if identity is not None and not isinstance(identity, str):
        raise invalid("the request's id is no text")
    parameters = _parameters(head, "the request")
    default = _flag(parameters.get("binary_data_output"), False, "binary_data_output")
    if head.get("outputs") is None or head["outputs"] == []:
        return Wish(identity, (default,) * len(outputs), parameters, {})
    known = {tensor.name: tensor for tensor in outputs}
    asked: dict[str, bool] = {}
    classes: dict[str, int] = {}
    for item in _objects(head, "outputs"):
        tensor = known_tensor(known, item.get("name"), "output")
        if tensor.name in asked:
            raise invalid(f"output '{tensor.name}' is asked for twice")
        more = _parameters(item, f"output '{tensor.name}'")
        count = classes_of(tensor, more.get("classification"))
        if count:
            classes[tensor.name] = count
        asked[tensor.name] = _flag(more.get("binary_data"), default, "binary_data")
    return Wish(identity, tuple(asked.get(tensor.name) for tensor in outputs), parameters, classes)


def answer_parts(
    model: str, version: str, tensors: Sequence[ServedTensor], wish: Wish, outputs: Sequence[Array]
) -> tuple[bytes, list[Data]]:
    """The JSON of an answer, and the binary tensors that follow it."""
    described: list[dict[str, Any]] = []
    binary: list[Data] = []
    for tensor, array, wanted in zip(tensors, outputs, wish.outputs):
        if wanted is None:
            continue
        item: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(array.shape)}
        if wanted:
            raw = to_bytes(array)
            item["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            item["data"] = to_list(tensor, array)
        described.append(item)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if wish.identity is not None:
        answer["id"] = wish.identity
    echo = echoed(wish.parameters)
    if echo:
        answer["parameters"] = echo
    return to_json(answer), binary


def echoed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a request that its answer repeats: those that say nothing of how it is to be served."""
    return {
        name: value
        for name, value in parameters.items()
        if name not in _OURS and isinstance(value, (str, int, float)) and value not in _NO_JSON and value == value
    }


_OURS = ("binary_data_output", "priority", "timeout")
_NO_JSON = (math.inf, -math.inf)


def to_json(data: Any) -> bytes:
    """JSON without spaces, as ASCII."""
    return _ENCODER.encode(data).encode("ascii")


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def known_tensor(known: Mapping[str, ServedTensor], name: object, what: str) -> ServedTensor:
    """The tensor that a client names; a Refusal that lists those that there are."""
    tensor = known.get(name) if isinstance(name, str) else None
    if tensor is None:
        raise invalid(f"the model has no {what} {quoted(name)}: {', '.join(known) or 'it has none'}")
    return tensor


def in_order(inputs: Sequence[ServedTensor], arrays: Mapping[str, Array]) -> list[Array]:
    """The arrays in the order of the inputs; a Refusal where one is missing."""
    missing = [tensor.name for tensor in inputs if tensor.name not in arrays]
    if missing:
        raise invalid(f"inputs are missing: {', '.join(missing)}")
    return [arrays[tensor.name] for tensor in inputs]


def _json(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_constant=_no_number)
    except RecursionError:
        raise invalid("the body is no JSON that is taken: it is nested too deeply") from None
    except ValueError as error:  # of the decoder, of UTF-8, of numbers with thousands of digits
        raise invalid(f"the body is no JSON: {str(error)[:200]}") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _object(data: object, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise invalid(f"{what} is no JSON object")
    return data


def _objects(head: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    listed = head.get(name)
    if not isinstance(listed, list):
        raise invalid(f"the request has no list '{name}'")
    return [_object(item, f"an entry of '{name}'") for item in listed]


def _parameters(item: Mapping[str, Any], what: str) -> dict[str, Any]:
    given = item.get("parameters")
    parameters = {} if given is None else _object(given, f"'parameters' of {what}")
    if "shared_memory_region" in parameters:
        raise invalid(f"{what}: shared memory is no extension of this server")
    return parameters


def _flag(value: object, default: bool, name: str) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(f"the parameter {name} is neither true nor false")
    return value
