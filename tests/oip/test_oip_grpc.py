"""What no client library sends over gRPC: damaged messages, contents in the wrong place, calls that are given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from oip_server import NUMPY, Answers, Target

grpc = pytest.importorskip("grpc", reason="needs grpcio")
messages = pytest.importorskip("tritonclient.grpc.service_pb2", reason="needs tritonclient")

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}

_CLIENTS_FAULT = ("INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "OUT_OF_RANGE", "FAILED_PRECONDITION")


class Channel:
    """Calls of ModelInfer by whole messages, or by bytes."""

    def __init__(self, target: Target) -> None:
        assert target.grpc is not None
        self._channel = grpc.insecure_channel(target.grpc)
        self._target = target

    def infer(self, message: Any, seconds: float = 30) -> Any:
        if isinstance(message, bytes):
            call = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        else:
            call = self._channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=messages.ModelInferRequest.SerializeToString,
                response_deserializer=messages.ModelInferResponse.FromString,
            )
        return call(message, timeout=seconds, metadata=tuple(self._target.headers.items()))

    def future(self, message: Any) -> Any:
        call = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        return call.future(message, timeout=30, metadata=tuple(self._target.headers.items()))

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(scope="module")
def channel(target: Target) -> Iterator[Channel]:
    if target.grpc is None:
        pytest.skip("--oip-grpc is not given")
    made = Channel(target)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def still_right(target: Target, channel: Channel, answers: Answers) -> Iterator[None]:
    """Whatever was sent, the next request has the right answer."""
    yield
    answers.check(outputs(channel.infer(raw(target, answers, 7))), 7)


def raw(target: Target, answers: Answers, seed: int = 0) -> Any:
    made = messages.ModelInferRequest(model_name=target.model)
    for tensor in target.inputs:
        array = answers.inputs(seed)[tensor.name]
        made.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    return made


def outputs(answer: Any) -> dict[str, Any]:
    """Of an answer that is raw, or has its elements in place."""
    found: dict[str, Any] = {}
    for index, item in enumerate(answer.outputs):
        dtype: Any = NUMPY[item.datatype]
        if answer.raw_output_contents:
            array: Any = np.frombuffer(answer.raw_output_contents[index], dtype)
        else:
            array = np.array(getattr(item.contents, _CONTENTS[item.datatype]), dtype)
        found[item.name] = array.reshape(tuple(item.shape))
    return found


def test_elements_in_place_are_the_same_tensors(target: Target, channel: Channel, answers: Answers) -> None:
    made = raw(target, answers)
    del made.raw_input_contents[:]
    for item in made.inputs:
        if item.datatype not in _CONTENTS:
            pytest.skip(f"{item.datatype} is sent raw alone")
        getattr(item.contents, _CONTENTS[item.datatype]).extend(answers.inputs()[item.name].ravel().tolist())
    answers.check(outputs(channel.infer(made)))


def _no_inputs(made: Any) -> None:
    del made.inputs[:], made.raw_input_contents[:]


def _truncated(made: Any) -> None:
    made.raw_input_contents[0] = made.raw_input_contents[0][:-1]


def _longer(made: Any) -> None:
    made.raw_input_contents[0] += b"\x00"


def _fewer(made: Any) -> None:
    made.raw_input_contents.append(b"")


def _negative(made: Any) -> None:
    made.inputs[0].shape[0] = -1


def _huge(made: Any) -> None:
    made.inputs[0].shape[:] = [1 << 62, 1 << 62]


def _wraps(made: Any) -> None:
    made.inputs[0].shape.extend([1 << 32, 1 << 32])


def _twice(made: Any) -> None:
    made.inputs.add().CopyFrom(made.inputs[0])
    made.raw_input_contents.append(made.raw_input_contents[0])


def _both(made: Any) -> None:
    made.inputs[0].contents.bytes_contents.append(b"x")


def _no_type(made: Any) -> None:
    made.inputs[0].datatype = ""


def _name(made: Any) -> None:
    made.inputs[0].name = "no such input"


def _output(made: Any) -> None:
    made.outputs.add(name="no such output")


def _model(made: Any) -> None:
    made.model_name = "no-such-model"


def _no_model(made: Any) -> None:
    made.model_name = ""


def _version(made: Any) -> None:
    made.model_version = "4711"


def _nothing(made: Any) -> None:
    del made.raw_input_contents[:]


WRONG = {
    change.__name__.strip("_"): change
    for change in (
        _no_inputs, _truncated, _longer, _fewer, _negative, _huge, _wraps, _twice, _both, _no_type, _name, _output,
        _model, _no_model, _version, _nothing,
    )
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request_is_refused(target: Target, channel: Channel, answers: Answers, wrong: str) -> None:
    made = raw(target, answers)
    WRONG[wrong](made)
    with pytest.raises(grpc.RpcError) as refused:
        channel.infer(made)
    assert refused.value.code().name in _CLIENTS_FAULT and refused.value.details()
    assert "Traceback" not in refused.value.details()


@pytest.mark.parametrize("data", [b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x00"])
def test_bytes_that_are_no_message(channel: Channel, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.infer(data)
    assert refused.value.code().name != "OK"


def test_calls_that_are_given_up(target: Target, channel: Channel, answers: Answers) -> None:
    for _ in range(50):
        channel.future(raw(target, answers)).cancel()


def test_deadlines_that_are_too_near(target: Target, channel: Channel, answers: Answers) -> None:
    """Each has the right answer, or is refused as what it is."""
    for number in range(40):
        try:
            found = channel.infer(raw(target, answers), seconds=number * 0.00005)
        except grpc.RpcError as error:
            assert error.code().name == "DEADLINE_EXCEEDED"
        else:
            answers.check(outputs(found))


def test_a_method_that_is_not_there(target: Target, channel: Channel) -> None:
    call = channel._channel.unary_unary("/inference.GRPCInferenceService/NoSuchMethod")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"", timeout=30, metadata=tuple(target.headers.items()))
    assert refused.value.code().name == "UNIMPLEMENTED"
