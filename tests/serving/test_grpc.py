"""The protocol over gRPC and HTTP as tritonclient speaks it, and what clients get wrong over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, images, served, small_artifact, wait_for

import intarsia
from intarsia.dtypes import Array

grpc = pytest.importorskip("grpc", reason="needs the extra serve")
tritonhttp = pytest.importorskip("tritonclient.http", reason="needs tritonclient")
tritongrpc = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> intarsia.Session:
    return intarsia.load(small_artifact(tmp_path_factory.mktemp("grpc")))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(str(small_artifact(tmp_path_factory.mktemp("served"))), "--max-body", "100000") as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def triton(request: pytest.FixtureRequest, server: Served) -> Any:
    """The module of tritonclient, and a client."""
    module, port = (tritonhttp, server.port) if request.param == "http" else (tritongrpc, server.grpc_port)
    client = module.InferenceServerClient(f"127.0.0.1:{port}")
    yield module, client
    client.close()


def given(module: Any, array: Array, **options: Any) -> Any:
    made = module.InferInput("image", list(array.shape), "FP32")
    made.set_data_from_numpy(array, **options)
    return made


# ---- by tritonclient, both ways


def test_health_and_descriptions(triton: Any) -> None:
    _, client = triton
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("small") and client.is_model_ready("small", "1")
    told = client.get_server_metadata()
    assert (told["name"] if isinstance(told, dict) else told.name) == "intarsia"


def test_metadata_over_grpc(server: Served) -> None:
    client = tritongrpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
    told = client.get_model_metadata("small", "1")
    assert (told.name, list(told.versions), told.platform) == ("small", ["1"], "intarsia")
    assert [(item.name, item.datatype, list(item.shape)) for item in (*told.inputs, *told.outputs)] == [
        ("image", "FP32", [-1, 2, 5, 5]),
        ("scores", "FP32", [-1, 3, 5, 5]),
    ]
    assert client.get_server_metadata().version == intarsia.__version__


@pytest.mark.parametrize("rows", [1, 5])
def test_answers_are_those_of_the_session(triton: Any, session: intarsia.Session, rows: int) -> None:
    module, client = triton
    x = images(rows, seed=rows)
    for outputs in (None, [module.InferRequestedOutput("scores")]):
        result = client.infer(
            "small", [given(module, x)], model_version="1", outputs=outputs, request_id="a b", priority=1, timeout=10**7
        )
        assert result.as_numpy("scores").tobytes() == session.run(x)[0].tobytes()
        told = result.get_response()
        assert (told["id"] if isinstance(told, dict) else told.id) == "a b"


def test_json_alone_by_tritonclient(server: Served, session: intarsia.Session) -> None:
    client = tritonhttp.InferenceServerClient(f"127.0.0.1:{server.port}")
    x = images(2)
    wanted = [tritonhttp.InferRequestedOutput("scores", binary_data=False)]
    result = client.infer("small", [given(tritonhttp, x, binary_data=False)], outputs=wanted)
    assert result.as_numpy("scores").tobytes() == session.run(x)[0].tobytes()
    assert client.get_model_config("small")["name"] == "small"


def test_letters_reach_the_client(triton: Any) -> None:
    module, client = triton
    wrong = module.InferInput("picture", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, np.float32))
    with pytest.raises(Exception) as told:
        client.infer("small", [wrong])
    assert "the model has no input 'picture': image" in str(told.value)
    with pytest.raises(Exception, match="no model is called 'large'"):
        client.infer("large", [given(module, images())])
    with pytest.raises(Exception, match="no version '2'"):
        client.infer("small", [given(module, images())], model_version="2")


# ---- over gRPC, message by message


def request(**fields: Any) -> Any:
    x = images()
    message = tritongrpc.service_pb2.ModelInferRequest(model_name="small", raw_input_contents=[x.tobytes()])
    message.inputs.add(name="image", datatype="FP32", shape=x.shape)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def call(server: Served, message: Any, name: str = "ModelInfer", **options: Any) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        answer = getattr(tritongrpc.service_pb2, f"{name}Response")
        method = channel.unary_unary(
            f"/inference.GRPCInferenceService/{name}",
            request_serializer=lambda sent: sent if isinstance(sent, bytes) else sent.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return method(message, timeout=options.get("timeout", 20))


def refused(server: Served, message: Any, name: str = "ModelInfer", **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as told:
        call(server, message, name, **options)
    return told.value.code().name, told.value.details()


def test_raw_contents(server: Served, session: intarsia.Session) -> None:
    answer = call(server, request(id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == ("small", "1", "seven")
    assert answer.raw_output_contents[0] == session.run(images())[0].tobytes()


def test_contents_by_element(server: Served, session: intarsia.Session) -> None:
    message = request()
    del message.raw_input_contents[:]
    message.inputs[0].contents.fp32_contents.extend(images().ravel().tolist())
    assert call(server, message).raw_output_contents[0] == session.run(images())[0].tobytes()


def changed(change: Any) -> Any:
    message = request()
    change(message)
    return message


def doubled(message: Any) -> None:
    message.inputs.add().CopyFrom(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


BAD = {
    "no inputs": lambda message: message.inputs.pop(),
    "an input twice": doubled,
    "another type": lambda message: setattr(message.inputs[0], "datatype", "FP64"),
    "another shape": lambda message: message.inputs[0].shape.append(1),
    "a negative size": lambda message: message.inputs[0].shape.__setitem__(0, -1),
    "a size beyond all memory": lambda message: message.inputs[0].shape.__setitem__(0, 1 << 62),
    "fewer bytes": lambda message: message.raw_input_contents.__setitem__(0, b"1234"),
    "bytes of another input": lambda message: message.raw_input_contents.append(b"1234"),
    "raw and by element": lambda message: message.inputs[0].contents.fp32_contents.append(1),
    "elements of another type": lambda message: (
        message.raw_input_contents.pop(),
        message.inputs[0].contents.int_contents.extend([1] * 50),
    ),
    "an unknown output": lambda message: message.outputs.add(name="labels"),
    "an output twice": lambda message: [message.outputs.add(name="scores") for _ in range(2)],
    "shared memory": lambda message: setattr(message.inputs[0].parameters["shared_memory_region"], "string_param", "x"),
    "a time that is no number": lambda message: setattr(message.parameters["timeout"], "string_param", "soon"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_requests_are_refused_in_words(server: Served, what: str) -> None:
    code, details = refused(server, changed(BAD[what]))
    assert code == "INVALID_ARGUMENT" and 0 < len(details) < 500


def test_other_refusals_have_their_codes(server: Served) -> None:
    assert refused(server, request(model_name="large"))[0] == "NOT_FOUND"
    assert refused(server, request(model_version="2"))[0] == "NOT_FOUND"
    asked = tritongrpc.service_pb2.ModelMetadataRequest(name="large")
    assert refused(server, asked, "ModelMetadata")[0] == "NOT_FOUND"
    assert refused(server, bytes(200_000))[0] in (
        "RESOURCE_EXHAUSTED",
        "INTERNAL",
    )
    assert refused(server, b"\xff\xff")[0] == "INVALID_ARGUMENT"  # no message


def test_a_deadline_over_grpc_is_one_of_the_batcher(tmp_path: Path) -> None:
    with served(str(small_artifact(tmp_path)), "--workers", "1", "--no-verify", run_seconds=0.2) as server:
        message = changed(lambda message: setattr(message.parameters["timeout"], "int64_param", 50_000))
        code, details = refused(server, message)
        assert code == "DEADLINE_EXCEEDED" and "its deadline is" in details
        assert refused(server, request(), timeout=0.05)[0] == "DEADLINE_EXCEEDED"
        assert call(server, request()).model_name == "small"


def test_a_call_that_is_given_up_is_not_run(tmp_path: Path) -> None:
    counted = 'intarsia_requests_total{model="small",outcome="cancelled",protocol="grpc",version="1"}'
    runs = 'intarsia_compute_seconds_count{model="small",version="1"}'
    arguments = [str(small_artifact(tmp_path)), "--workers", "1", "--no-verify"]
    with (
        served(*arguments, run_seconds=0.3) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [method.future(request().SerializeToString()) for _ in range(3)]
        wait_for(lambda: server.figure('intarsia_queued_requests{model="small",version="1"}') == 2)
        for given_up in calls:
            given_up.cancel()
        wait_for(lambda: server.figure(counted) == 3)
        call(server, request())
        assert server.figure(runs) == 2  # the one that ran when they were given up, and the last


def test_the_end_answers_the_calls_that_were_taken(tmp_path: Path) -> None:
    arguments = [str(small_artifact(tmp_path)), "--workers", "1", "--rows", "1", "--no-verify", "--linger", "0.5"]
    with (
        served(*arguments, run_seconds=0.2) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        calls = [method.future(request().SerializeToString()) for _ in range(3)]
        wait_for(lambda: server.figure('intarsia_queued_requests{model="small",version="1"}') == 2)
        server.process.terminate()
        wait_for(lambda: not call(server, tritongrpc.service_pb2.ServerReadyRequest(), "ServerReady").ready)
        assert refused(server, request())[0] == "UNAVAILABLE"
        assert all(taken.result(10) for taken in calls)
        assert server.process.wait(20) == 0
