"""The protocol over HTTP by raw requests: every path, both forms of tensors, and what clients get wrong."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import (
    Reply,
    Served,
    as_binary,
    as_json,
    ask_on,
    from_binary,
    from_json,
    images,
    served,
    small_artifact,
    wait_for,
)

import intarsia
from intarsia.dtypes import Array


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    small_artifact(place)
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with served(str(folder), "--max-body", "100000", "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def session(folder: Path) -> intarsia.Session:
    return intarsia.load(folder / "small.intarsia")


def scores(session: intarsia.Session, array: Array) -> Array:
    (outputs,) = session.run(array)
    return outputs


# ---- what is there


def test_health_and_server(server: Served) -> None:
    assert server.ask("/v2/health/live").status == 200
    assert server.ask("/v2/health/ready").status == 200
    told = server.ask("/v2").data
    assert told["name"] == "intarsia" and told["version"] == intarsia.__version__
    assert "binary_tensor_data" in told["extensions"]


@pytest.mark.parametrize("path", ["/v2/models/small", "/v2/models/small/versions/1"])
def test_models_are_described(server: Served, path: str) -> None:
    assert server.ask(path).data == {
        "name": "small",
        "versions": ["1"],
        "platform": "intarsia",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 5, 5]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3, 5, 5]}],
    }
    assert server.ask(f"{path}/ready").status == 200
    assert server.ask(f"{path}/config").data["input"] == [
        {"name": "image", "data_type": "TYPE_FP32", "dims": [-1, 2, 5, 5]}
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/nothing",
        "/v2/models",
        "/v2/models/large",
        "/v2/models/large/ready",
        "/v2/models/small/versions/2",
        "/v2/models/small/versions/2/ready",
        "/v2/models/small/versions",
        "/v2/models/%2e%2e/small",
        "/v2/models/small%00",
    ],
)
def test_what_is_not_there_is_not_found(server: Served, path: str) -> None:
    reply = server.ask(path)
    assert reply.status == 404 and reply.error


def test_other_methods_are_told_which(server: Served) -> None:
    reply = server.ask("/v2/models/small/infer")
    assert reply.status == 405 and reply.headers["allow"] == "POST"
    reply = server.ask("/v2/models/small", b"{}")
    assert reply.status == 405 and reply.headers["allow"] == "GET, HEAD"
    head = server.ask("/v2/health/ready", method="HEAD")
    assert head.status == 200 and head.body == b""


# ---- answers


@pytest.mark.parametrize("path", ["/v2/models/small/infer", "/v2/models/small/versions/1/infer"])
@pytest.mark.parametrize("rows", [1, 3])
def test_json_in_and_out(server: Served, session: intarsia.Session, path: str, rows: int) -> None:
    x = images(rows)
    reply = server.ask(path, json.dumps({"id": "seven", "inputs": [as_json("image", x)]}).encode())
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert {key: reply.data[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "small",
        "model_version": "1",
        "id": "seven",
    }
    (output,) = reply.data["outputs"]
    assert (output["name"], output["datatype"]) == ("scores", "FP32")
    assert from_json(output).tobytes() == scores(session, x).tobytes()


def test_nested_data_is_the_same(server: Served, session: intarsia.Session) -> None:
    x = images(2)
    reply = server.infer({"inputs": [{**as_json("image", x), "data": x.tolist()}]})
    assert from_json(reply.data["outputs"][0]).tobytes() == scores(session, x).tobytes()


def test_binary_in_and_out(server: Served, session: intarsia.Session) -> None:
    x = images(3)
    request = {"inputs": [as_binary("image", x)], "parameters": {"binary_data_output": True}}
    reply = server.infer(request, x.tobytes())
    assert reply.status == 200 and reply.headers["content-type"] == "application/octet-stream"
    assert from_binary(reply)["scores"].tobytes() == scores(session, x).tobytes()
    assert "id" not in reply.data


@pytest.mark.parametrize("binary", [True, False])
def test_outputs_are_as_each_was_asked_for(server: Served, session: intarsia.Session, binary: bool) -> None:
    x = images()
    request = {
        "inputs": [as_json("image", x)],
        "outputs": [{"name": "scores", "parameters": {"binary_data": binary}}],
        "parameters": {"binary_data_output": not binary},
    }
    reply = server.infer(request)
    found = from_binary(reply)["scores"] if binary else from_json(reply.data["outputs"][0])
    assert found.tobytes() == scores(session, x).tobytes()


def test_one_connection_serves_one_request_after_another(server: Served, session: intarsia.Session) -> None:
    connection = server.connect()
    for seed in range(20):
        x = images(seed=seed)
        body = json.dumps({"id": str(seed), "inputs": [as_json("image", x)]}).encode()
        reply = ask_on(connection, "/v2/models/small/infer", body)
        assert reply.data["id"] == str(seed)
        assert from_json(reply.data["outputs"][0]).tobytes() == scores(session, x).tobytes()
        if seed % 5 == 0:  # what one got wrong is not the next one's
            assert ask_on(connection, "/v2/models/small/infer", b"{").status == 400
            connection.close()
    connection.close()


def test_a_body_in_pieces_is_one_body(server: Served, session: intarsia.Session) -> None:
    x = images()
    body = json.dumps({"inputs": [as_json("image", x)]}).encode()
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    head = b"POST /v2/models/small/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    answer = exchange(server, head + pieces + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    found = json.loads(answer.partition(b"\r\n\r\n")[2])["outputs"][0]
    assert from_json(found).tobytes() == scores(session, x).tobytes()


# ---- what clients get wrong


def item(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**as_json("image", images()), **changes}.items() if value is not ...}


BAD: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"id": "\xff"}',
    "no object": [],
    "a number of thousands of digits": b'{"inputs": ' + b"9" * 9000 + b"}",
    "nested too deeply": b'{"inputs": ' + b"[" * 40000,
    "no inputs": {},
    "inputs that are no list": {"inputs": {}},
    "an input that is no object": {"inputs": [7]},
    "no input at all": {"inputs": []},
    "an input twice": {"inputs": [item(), item()]},
    "an unknown input": {"inputs": [item(), item(name="picture")]},
    "a name that is no text": {"inputs": [item(name=[1])]},
    "no name": {"inputs": [item(name=...)]},
    "another type": {"inputs": [item(datatype="FP64")]},
    "a type that there is not": {"inputs": [item(datatype="FP31")]},
    "a type that is no text": {"inputs": [item(datatype={})]},
    "no type": {"inputs": [item(datatype=...)]},
    "no shape": {"inputs": [item(shape=...)]},
    "a shape that is no list": {"inputs": [item(shape=50)]},
    "another shape": {"inputs": [item(shape=[1, 2, 5, 4])]},
    "another rank": {"inputs": [item(shape=[50])]},
    "a shape of texts": {"inputs": [item(shape=["1", 2, 5, 5])]},
    "a shape of truths": {"inputs": [item(shape=[True, 2, 5, 5])]},
    "a negative size": {"inputs": [item(shape=[-1, 2, 5, 5])]},
    "a size beyond all memory": {"inputs": [item(shape=[1 << 62, 2, 5, 5])]},
    "no rows": {"inputs": [item(shape=[0, 2, 5, 5], data=[])]},
    "no data": {"inputs": [item(data=...)]},
    "data that is no list": {"inputs": [item(data="0" * 50)]},
    "too few elements": {"inputs": [item(data=[0.0] * 49)]},
    "rows that differ": {"inputs": [item(data=[[0.0] * 25, [0.0] * 24])]},
    "texts": {"inputs": [item(data=["0.0"] * 50)]},
    "truths": {"inputs": [item(data=[True] * 50)]},
    "null": {"inputs": [item(data=[None] * 50)]},
    "objects": {"inputs": [item(data=[{}] * 50)]},
    "NaN": b'{"inputs": [NaN]}',
    "more than the type holds": {"inputs": [item(data=[1e300] * 50)]},
    "an id that is no text": {"id": 7, "inputs": [item()]},
    "an unknown output": {"inputs": [item()], "outputs": [{"name": "labels"}]},
    "an output twice": {"inputs": [item()], "outputs": [{"name": "scores"}, {"name": "scores"}]},
    "outputs that are no list": {"inputs": [item()], "outputs": "scores"},
    "parameters that are no object": {"inputs": [item()], "parameters": [1]},
    "a flag that is no truth": {"inputs": [item()], "parameters": {"binary_data_output": 1}},
    "a priority that there is not": {"inputs": [item()], "parameters": {"priority": 9}},
    "a priority that is no number": {"inputs": [item()], "parameters": {"priority": "high"}},
    "a negative time": {"inputs": [item()], "parameters": {"timeout": -1}},
    "a time that is no number": {"inputs": [item()], "parameters": {"timeout": "soon"}},
    "shared memory": {"inputs": [item(parameters={"shared_memory_region": "x"})]},
    "classification": {"inputs": [item()], "outputs": [{"name": "scores", "parameters": {"classification": "two"}}]},
}


@pytest.mark.parametrize("what", BAD)
def test_bad_requests_are_refused_in_words(server: Served, what: str) -> None:
    reply = server.infer(BAD[what])
    assert reply.status == 400, reply.body
    assert 0 < len(reply.error) < 500 and "Traceback" not in reply.error


BINARY: dict[str, tuple[Any, int]] = {
    "bytes that are missing": (200, 199),
    "bytes that nobody wants": (200, 201),
    "fewer than the shape has": (196, 196),
    "more than the shape has": (204, 204),
    "a negative size": (-1, 200),
    "a size that is no number": ("200", 200),
    "a truth": (True, 1),
    "a size beyond all memory": (1 << 70, 200),
}


@pytest.mark.parametrize("what", BINARY)
def test_bad_binary_tensors_are_refused_in_words(server: Served, what: str) -> None:
    size, given = BINARY[what]
    entry = {**as_binary("image", images()), "parameters": {"binary_data_size": size}}
    reply = server.infer({"inputs": [entry]}, bytes(given))
    assert reply.status == 400 and reply.error


@pytest.mark.parametrize("length", ["-1", "many", "100000000", "9" * 30, ""])
def test_a_wrong_length_of_the_json_is_refused(server: Served, length: str) -> None:
    reply = server.ask("/v2/models/small/infer", b"{}", inference_header_content_length=length)
    assert reply.status == 400 and reply.error


def test_unknown_models_are_refused_whatever_the_body(server: Served) -> None:
    for body in (b"{", b"x" * 50_000):
        reply = server.ask("/v2/models/large/infer", body)
        assert reply.status == 404 and "'large'" in reply.error


def test_compressed_bodies_are_taken_as_gzip_and_deflate(server: Served) -> None:
    body = json.dumps({"inputs": [as_json("image", images())]}).encode()
    packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}
    path = "/v2/models/small/infer"
    for encoding, data in packed.items():
        assert server.ask(path, data, content_encoding=encoding).data["outputs"]
        assert "does not end where" in server.ask(path, data[:-1], content_encoding=encoding).error
        assert "does not end where" in server.ask(path, data + data, content_encoding=encoding).error
        assert server.ask(path, b"{}", content_encoding=encoding).error == f"the body is no {encoding}"
    bomb = server.ask(path, gzip.compress(bytes(50_000_000)), content_encoding="gzip")
    assert bomb.status == 413 and bomb.error == "what the body holds is larger than 100000 bytes"
    assert server.ask(path, b"{}", content_encoding="br").status == 415
    assert server.ask(path, b"{}", content_encoding="gzip, gzip").status == 415


def test_answers_are_compressed_for_who_asks(server: Served) -> None:
    body = json.dumps({"inputs": [as_json("image", images(4))]}).encode()
    path = "/v2/models/small/infer"
    plain = server.ask(path, body)
    assert "content-encoding" not in plain.headers
    packed = server.ask(path, body, accept_encoding="br, gzip;q=0.5, deflate")
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == plain.body
    packed = server.ask(path, body, accept_encoding="gzip;q=0, deflate")
    assert packed.headers["content-encoding"] == "deflate" and zlib.decompress(packed.body) == plain.body
    assert "content-encoding" not in server.ask(path, body, accept_encoding="gzip; q=0.0").headers


def test_identity_is_no_compression(server: Served) -> None:
    assert server.ask("/v2/models/small/infer", b"{}", content_encoding="identity").status == 400


# ---- limits


def exchange(server: Served, sent: bytes, seconds: float = 10) -> bytes:
    """All that comes back for these bytes, until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        connection.sendall(sent)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def test_a_large_body_is_refused_before_it_is_read(server: Served) -> None:
    head = b"POST /v2/models/small/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n"
    assert exchange(server, head).startswith(b"HTTP/1.1 413")
    assert server.ask("/v2/models/small/infer", b"x" * 3_000_000).status == 413


def test_a_large_body_in_pieces_is_refused(server: Served) -> None:
    head = b"POST /v2/models/small/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = exchange(server, head + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 8)
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("head", [b"x: " + b"y" * 200_000, b"x: y\r\n" * 40_000])
def test_headers_without_an_end_are_refused(server: Served, head: bytes) -> None:
    try:
        answer = exchange(server, b"GET /v2 HTTP/1.1\r\n" + head)
    except ConnectionError:  # closed while this was still sent
        return
    assert answer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\r\n\0"])
def test_what_is_no_http_is_closed(server: Served, sent: bytes) -> None:
    answer = exchange(server, sent + b"\r\n" * 4)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_the_server_is_as_before(server: Served, session: intarsia.Session) -> None:
    x = images()
    assert (
        from_json(server.infer({"inputs": [as_json("image", x)]}).data["outputs"][0]).tobytes()
        == scores(session, x).tobytes()
    )
    assert server.ask("/v2/health/ready").status == 200


# ---- models of other forms


def test_a_model_compiled_for_a_batch_takes_that_batch(tmp_path: Path) -> None:
    path = small_artifact(tmp_path, batch=4)
    x = images(4)
    with served(f"four={path}") as server:
        assert server.ask("/v2/models/four").data["inputs"][0]["shape"] == [4, 2, 5, 5]
        reply = server.infer({"inputs": [as_json("image", x)]}, model="four")
        assert from_json(reply.data["outputs"][0]).tobytes() == scores(intarsia.load(path), x).tobytes()
        short = server.infer({"inputs": [as_json("image", x[:2])]}, model="four")
        assert short.status == 400 and "[4, 2, 5, 5]" in short.error


def test_a_client_that_goes_takes_its_request_along(folder: Path) -> None:
    outcome = 'intarsia_requests_total{model="small",outcome="%s",protocol="http",version="1"}'
    body = json.dumps({"inputs": [as_json("image", images())]}).encode()
    head = b"POST /v2/models/small/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with served(str(folder), "--workers", "1", "--no-verify", run_seconds=0.15) as server:
        before = server.figure('intarsia_compute_seconds_count{model="small",version="1"}')
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
        for connection in connections:
            connection.sendall(head + body)
        wait_for(lambda: server.figure('intarsia_queued_requests{model="small",version="1"}') == 5)
        for connection in connections:
            connection.close()
        wait_for(lambda: server.figure(outcome % "cancelled") == 6)
        assert server.figure('intarsia_queued_requests{model="small",version="1"}') == 0
        assert server.infer({"inputs": [as_json("image", images())]}).status == 200
        # The one that ran when they went, and the last: the others were never run.
        assert server.figure('intarsia_compute_seconds_count{model="small",version="1"}') - before == 2


def test_slow_clients_are_closed() -> None:
    """The limits in time are seconds long as they are set for users: here they are shorter, in the same process."""
    import asyncio

    import uvicorn

    from intarsia.serving.connection import ConnectionLimits, protocol

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        size = 50_000_000 if scope["path"] == "/large" else 0
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    async def check() -> None:
        limits = ConnectionLimits(connections=2, receive_seconds=0.2, send_seconds=0.2)
        config = uvicorn.Config(application, port=0, http=protocol(limits), lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def talk(sent: bytes, read: bool = True) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(sent)
            if not read:
                await asyncio.sleep(1)
            try:
                return await reader.read(-1)
            except ConnectionError:
                return b"reset"
            finally:
                writer.close()

        assert await talk(b"") == b""
        assert (await talk(b"GET / HTTP/1.1\r\nx: ")).startswith(b"HTTP/1.1 408")
        assert (await talk(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1")).startswith(b"HTTP/1.1 408")
        whole = await talk(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert whole.startswith(b"HTTP/1.1 200")
        cut = await talk(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", read=False)
        assert cut == b"reset" or len(cut) < 50_000_000
        many = await asyncio.gather(*(talk(b"GET / HTTP/1.1\r\nx: ") for _ in range(3)))
        assert sorted(reply[:12] for reply in many) == [b"HTTP/1.1 408", b"HTTP/1.1 408", b"HTTP/1.1 503"]
        server.should_exit = True
        await task

    asyncio.run(check())


def test_replies_quote_no_more_than_a_little(server: Served) -> None:
    reply: Reply = server.infer({"inputs": [item(name="x" * 10_000)]})
    assert reply.status == 400 and len(reply.body) < 400
    assert np.isfinite(len(server.ask("/v2/models/" + "y" * 5_000).body)) and server.ask("/v2/models/z").status == 404
