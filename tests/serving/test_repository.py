"""Models that come and go while the server runs: over its API by tritonclient, and as their folder changes."""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, as_json, from_json, images, served, small_artifact, wait_for

import intarsia
from artifact_examples import evaluator_artifact, small_graph

tritonhttp = pytest.importorskip("tritonclient.http", reason="needs tritonclient")
tritongrpc = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")


def other_artifact(path: Path) -> Path:
    """Like the small one, with half of its outputs: the bytes of an answer tell which one gave it."""
    graph = small_graph()
    graph.nodes[-1].attributes["scale"] = 0.05
    evaluator_artifact(graph).save(path)
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two artifacts of the same inputs and outputs."""
    folder = tmp_path_factory.mktemp("two")
    return small_artifact(folder), other_artifact(folder / "other.intarsia")


@pytest.fixture(scope="module")
def answers(two: tuple[Path, Path]) -> tuple[bytes, bytes]:
    found = [intarsia.load(path).run(images())[0].tobytes() for path in two]
    assert found[0] != found[1]
    return found[0], found[1]


@pytest.fixture(params=["http", "grpc"])
def triton(request: pytest.FixtureRequest, two: tuple[Path, Path], tmp_path: Path) -> Iterator[Any]:
    """The module of tritonclient, a client of a server with --control api, and the folder of its models."""
    shutil.copy(two[0], tmp_path / "small.intarsia")
    with served(str(tmp_path), "--control", "api") as server:
        module, port = (tritonhttp, server.port) if request.param == "http" else (tritongrpc, server.grpc_port)
        client = module.InferenceServerClient(f"127.0.0.1:{port}")
        yield module, client, tmp_path
        client.close()


def infer(module: Any, client: Any, model: str = "small", version: str = "", **options: Any) -> bytes:
    made = module.InferInput("image", [1, 2, 5, 5], "FP32")
    made.set_data_from_numpy(images())
    found: bytes = client.infer(model, [made], version, **options).as_numpy("scores").tobytes()
    return found


def index(client: Any) -> dict[str, tuple[str, str]]:
    told = client.get_model_repository_index()
    items = (
        told
        if isinstance(told, list)
        else [{"name": m.name, "state": m.state, "reason": m.reason} for m in told.models]
    )
    return {item["name"]: (item["state"], item["reason"]) for item in items}


def put(source: Path, place: Path) -> None:
    """Replace a file as one should: by another that is whole."""
    shutil.copy(source, place.with_suffix(".part"))
    place.with_suffix(".part").rename(place)


def test_load_unload_and_what_the_index_says(triton: Any, two: Any, answers: tuple[bytes, bytes]) -> None:
    module, client, folder = triton
    assert index(client) == {"small": ("READY", "")} and infer(module, client) == answers[0]
    put(two[1], folder / "small.intarsia")
    assert infer(module, client) == answers[0]
    client.load_model("small")
    assert infer(module, client) == answers[1]
    client.unload_model("small")
    assert index(client) == {"small": ("UNAVAILABLE", "unloaded")}
    assert not client.is_model_ready("small") and client.is_server_ready()
    with pytest.raises(Exception, match="model 'small' is not loaded"):
        infer(module, client)
    client.unload_model("small")  # as often as one likes
    client.load_model("small")
    assert client.is_model_ready("small") and infer(module, client) == answers[1]


def test_what_cannot_be_loaded_leaves_what_there_was(triton: Any, two: Any, answers: tuple[bytes, bytes]) -> None:
    module, client, folder = triton
    whole = two[1].read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", bytes([*whole[:600], whole[600] ^ 1, *whole[601:]])):
        (folder / "part").write_bytes(damaged)
        (folder / "part").rename(folder / "small.intarsia")
        with pytest.raises(Exception, match="model 'small' could not be loaded"):
            client.load_model("small")
        state, reason = index(client)["small"]
        assert state == "READY" and reason.startswith("it could not be loaded: ")
        assert infer(module, client) == answers[0]
    put(two[1], folder / "small.intarsia")
    client.load_model("small")
    assert index(client) == {"small": ("READY", "")} and infer(module, client) == answers[1]


def test_mistakes_are_told(triton: Any) -> None:
    _, client, _ = triton
    for name in ("large", "../small", "a/b"):
        with pytest.raises(Exception, match=r"repository has no model|nothing is at"):
            client.load_model(name)
    with pytest.raises(Exception, match="parameter 'config' is not taken"):
        client.load_model("small", config="{}")
    with pytest.raises(Exception, match="intarsia-client is"):
        client.load_model("small", headers={"intarsia-client": "ensemble x"})


def test_statistics_and_configuration(triton: Any) -> None:
    module, client, _ = triton
    for _ in range(3):
        infer(module, client)
    with pytest.raises(Exception, match="no input"):
        made = module.InferInput("picture", [1], "FP32")
        made.set_data_from_numpy(np.zeros(1, np.float32))
        client.infer("small", [made])
    as_it_is = {} if module is tritonhttp else {"as_json": True}
    (told,) = client.get_inference_statistics("small", "1", **as_it_is)["model_stats"]
    counts = {name: int(item["count"]) for name, item in told["inference_stats"].items() if item and "count" in item}
    assert (told["name"], told["version"], int(told["inference_count"])) == ("small", "1", 3)
    assert (counts["success"], counts["fail"], counts["queue"], counts["compute_infer"]) == (3, 1, 3, 3)
    assert int(told["last_inference"]) > 0 and int(told["batch_stats"][0]["compute_infer"]["ns"]) > 0
    assert len(client.get_inference_statistics(**as_it_is)["model_stats"]) == 1
    config = client.get_model_config("small", **as_it_is)
    config = config.get("config", config)
    assert config["name"] == "small" and [int(size) for size in config["input"][0]["dims"]] == [-1, 2, 5, 5]
    assert config["input"][0]["data_type"] == "TYPE_FP32"


def test_one_client_cannot_unload_what_another_uses(triton: Any, answers: tuple[bytes, bytes]) -> None:
    module, client, _ = triton
    anna, bert = ({"intarsia-client": name} for name in ("anna", "bert"))
    client.load_model("small", headers=anna)
    client.unload_model("small")  # who has no name
    assert index(client)["small"] == ("READY", "held by 'anna'")
    with pytest.raises(Exception, match="model 'small' is held by 'anna'"):
        client.unload_model("small", headers=bert)
    assert infer(module, client) == answers[0]
    client.unload_model("small", headers=anna)
    assert not client.is_model_ready("small")


def test_classification_and_parameters(triton: Any, answers: tuple[bytes, bytes]) -> None:
    module, client, _ = triton
    made = module.InferInput("image", [1, 2, 5, 5], "FP32")
    made.set_data_from_numpy(images())
    wanted = [module.InferRequestedOutput("scores", class_count=3)]
    result = client.infer("small", [made], outputs=wanted, request_id="7", parameters={"camera": "left", "n": 5})
    flat = np.frombuffer(answers[0], np.float32)
    best = np.argsort(-flat, kind="stable")[:3]
    found = [bytes(item).decode() if isinstance(item, bytes) else item for item in result.as_numpy("scores")[0]]
    assert found == [f"{flat[place]:f}:{place}" for place in best]
    told = result.get_response(**({} if module is tritonhttp else {"as_json": True}))
    camera, number = told["parameters"]["camera"], told["parameters"]["n"]
    assert (camera, number) in (("left", 5), ({"string_param": "left"}, {"int64_param": "5"}))


def test_compression_by_tritonclient(triton: Any, answers: tuple[bytes, bytes]) -> None:
    module, client, _ = triton
    for name in ("gzip", "deflate"):
        options = {"compression_algorithm": name}
        if module is tritonhttp:
            options = {"request_compression_algorithm": name, "response_compression_algorithm": name}
        assert infer(module, client, **options) == answers[0]


def test_a_bomb_over_grpc_is_not_unpacked(two: tuple[Path, Path]) -> None:
    import grpc

    with (
        served(str(two[0]), "--max-body", "100000") as server,
        grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as told:
            method(bytes(50_000_000), compression=grpc.Compression.Gzip, timeout=20)
        assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.figure("process_resident_memory_bytes") < 300e6


def test_clients_may_not_control_unless_told(two: tuple[Path, Path]) -> None:
    with served(str(two[0])) as server:
        for path in ("load", "unload"):
            reply = server.ask(f"/v2/repository/models/small/{path}", b"")
            assert reply.status == 403 and "no --control api" in reply.error
        client = tritongrpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
        with pytest.raises(Exception, match="no --control api"):
            client.unload_model("small")
        assert server.ask("/v2/repository/index", b"").data[0]["state"] == "READY"
        assert server.ask("/v2/repository/index").status == 405


# ---- streams


def test_a_stream_is_in_order_and_outlives_mistakes(two: tuple[Path, Path], answers: tuple[bytes, bytes]) -> None:
    with served(str(two[0])) as server:
        client = tritongrpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
        came: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(lambda result, error: came.put((result, error)))
        made = tritongrpc.InferInput("image", [1, 2, 5, 5], "FP32")
        made.set_data_from_numpy(images())
        for number in range(60):
            client.async_stream_infer("small" if number % 3 else "large", [made], request_id=str(number))
        for number in range(60):
            result, error = came.get(timeout=20)
            if number % 3:
                assert error is None and result.get_response().id == str(number)
                assert result.as_numpy("scores").tobytes() == answers[0]
            else:
                assert "no model is called 'large'" in str(error)
        client.stop_stream()
        client.close()
        assert server.stop() == (0, "")


def test_a_stream_that_is_cut_lets_go_of_its_requests(two: tuple[Path, Path]) -> None:
    runs = 'intarsia_compute_seconds_count{model="small",version="1"}'
    with served(str(two[0]), "--workers", "1", "--no-verify", run_seconds=0.2) as server:
        client = tritongrpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
        client.start_stream(lambda result, error: None)
        made = tritongrpc.InferInput("image", [1, 2, 5, 5], "FP32")
        made.set_data_from_numpy(images())
        for _ in range(20):
            client.async_stream_infer("small", [made])
        wait_for(lambda: server.figure('intarsia_queued_requests{model="small",version="1"}') > 10)
        client.stop_stream(cancel_requests=True)
        wait_for(lambda: server.figure('intarsia_queued_requests{model="small",version="1"}') == 0)
        assert server.figure(runs) < 10
        assert server.stop() == (0, "")


def test_asyncio_clients(two: tuple[Path, Path], answers: tuple[bytes, bytes]) -> None:
    import tritonclient.grpc.aio as grpcaio
    import tritonclient.http.aio as httpaio

    async def one_by_one(items: list[Any]) -> Any:
        for item in items:
            yield item

    async def check(server: Served) -> None:
        for module, port in ((httpaio, server.port), (grpcaio, server.grpc_port)):
            client = module.InferenceServerClient(f"127.0.0.1:{port}")
            made = module.InferInput("image", [1, 2, 5, 5], "FP32")
            made.set_data_from_numpy(images())
            results = await asyncio.gather(*(client.infer("small", [made]) for _ in range(8)))
            assert {result.as_numpy("scores").tobytes() for result in results} == {answers[0]}
            assert await client.is_model_ready("small") and await client.get_model_repository_index()
            await client.unload_model("small")
            await client.load_model("small")
            if module is grpcaio:
                sent = [{"model_name": "small", "inputs": [made], "request_id": str(number)} for number in range(5)]
                found = [result async for result, error in client.stream_infer(one_by_one(sent))]
                assert [result.get_response().id for result in found] == ["0", "1", "2", "3", "4"]
            await client.close()

    with served(str(two[0]), "--control", "api") as server:
        asyncio.run(check(server))


# ---- versions, and folders that are watched


def versions(server: Served) -> list[str]:
    reply = server.ask("/v2/models/small")
    return reply.data.get("versions", []) if reply.status == 200 else []


def scores(server: Served, path: str = "small") -> bytes:
    reply = server.infer({"inputs": [as_json("image", images())]}, model=path)
    assert reply.status == 200, reply.body
    return from_json(reply.data["outputs"][0]).tobytes()


def test_versions_aliases_and_labels(two: Any, answers: tuple[bytes, bytes], tmp_path: Path) -> None:
    for version, source in (("1", two[0]), ("10", two[1])):
        (tmp_path / "small" / version).mkdir(parents=True)
        shutil.copy(source, tmp_path / "small" / version / "model.intarsia")
    settings = {"versions": "latest", "aliases": {"stable": 1}, "labels": {"team": "vision"}, "warmup": 2}
    (tmp_path / "small" / "settings.json").write_text(json.dumps(settings))
    with served(str(tmp_path)) as server:
        assert versions(server) == ["1", "10"]
        assert scores(server) == scores(server, "small/versions/10") == answers[1]
        assert scores(server, "small/versions/stable") == scores(server, "small/versions/1") == answers[0]
        assert server.ask("/v2/models/small/config").data["parameters"] == {"team": {"string_value": "vision"}}
        reply = server.infer({"inputs": []}, model="small/versions/2")
        assert reply.status == 404 and reply.error == "model 'small' has no version '2', it has 1, 10, stable"


def test_a_folder_that_is_watched(two: Any, answers: tuple[bytes, bytes], tmp_path: Path) -> None:
    with served(str(tmp_path), "--control", "poll", "--poll", "0.05") as server:
        assert server.ask("/v2/repository/index", b"").data == []
        place = tmp_path / "small" / "1"
        place.mkdir(parents=True)
        whole = two[0].read_bytes()
        with open(place / "model.intarsia", "wb") as file:  # in place, and slowly
            file.write(whole[:1000])
            file.flush()
            wait_for(lambda: "could not be loaded" in str(server.ask("/v2/repository/index", b"").data))
            file.write(whole[1000:])
        wait_for(lambda: versions(server) == ["1"])
        assert scores(server) == answers[0]
        (tmp_path / "small" / "2").mkdir()
        put(two[1], tmp_path / "small" / "2" / "model.intarsia")
        wait_for(lambda: versions(server) == ["2"])
        assert scores(server) == answers[1]
        put(two[0], tmp_path / "small" / "2" / "model.intarsia")
        wait_for(lambda: scores(server) == answers[0])
        (tmp_path / "small" / "2" / "model.intarsia").write_bytes(b"no artifact")
        wait_for(lambda: "could not be loaded" in server.ask("/v2/repository/index", b"").data[0]["reason"])
        assert scores(server) == answers[0]
        shutil.rmtree(tmp_path / "small")
        wait_for(lambda: server.ask("/v2/repository/index", b"").data == [])
        assert server.ask("/v2/models/small").status == 404


# ---- under load


def reloaded(two: tuple[Path, Path], answers: tuple[bytes, bytes], tmp_path: Path, times: int) -> list[float]:
    """Load a model anew so often, under load; resident bytes after each tenth time. No request may be lost."""
    shutil.copy(two[0], tmp_path / "small.intarsia")
    body = json.dumps({"inputs": [as_json("image", images())]}).encode()
    wrong: list[str] = []
    counted = [0]
    resident: list[float] = []
    with served(str(tmp_path), "--control", "api") as server:
        stopping = threading.Event()

        def ask() -> None:
            while not stopping.is_set():
                reply = server.ask("/v2/models/small/infer", body)
                counted[0] += 1
                if reply.status != 200 or from_json(reply.data["outputs"][0]).tobytes() not in answers:
                    wrong.append(f"{reply.status}: {reply.body!r}")

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for number in range(times):
                put(two[number % 2], tmp_path / "small.intarsia")
                assert server.ask("/v2/repository/models/small/load", b"").status == 200
                if number % 10 == 9:
                    resident.append(server.figure("process_resident_memory_bytes"))
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        assert wrong == [] and counted[0] > times
        assert server.figure('intarsia_loads_total{model="small",result="ok"}') == times + 1
        assert server.stop() == (0, "")
    return resident


def test_reloads_lose_no_request(two: Any, answers: tuple[bytes, bytes], tmp_path: Path) -> None:
    reloaded(two, answers, tmp_path, 20)


@pytest.mark.slow
def test_two_hundred_reloads_give_memory_back(two: Any, answers: tuple[bytes, bytes], tmp_path: Path) -> None:
    resident = reloaded(two, answers, tmp_path, 200)
    print([round(size / 1e6, 1) for size in resident])
    assert max(resident[10:]) < resident[4] + 4e6


# ---- answers that are kept


def test_kept_answers_are_the_same_bytes(two: Any, answers: tuple[bytes, bytes], tmp_path: Path) -> None:
    shutil.copy(two[0], tmp_path / "small.intarsia")
    shutil.copy(two[0], tmp_path / "never.intarsia")
    (tmp_path / "never.settings.json").write_text('{"cache": false}')
    hits = 'intarsia_cache_lookups_total{model="%s",result="%s",version="1"}'
    with served(str(tmp_path), "--control", "api", "--cache", "100000") as server:
        for _ in range(3):
            assert scores(server) == scores(server, "never") == answers[0]
        assert (server.figure(hits % ("small", "hit")), server.figure(hits % ("small", "miss"))) == (2, 1)
        assert server.figure(hits % ("never", "miss")) == 0 < server.figure("intarsia_cache_bytes")
        for seed in range(500):
            assert server.infer({"inputs": [as_json("image", images(seed=seed))]}).status == 200
        assert server.figure("intarsia_cache_bytes") <= 100_000
        put(two[1], tmp_path / "small.intarsia")
        assert server.ask("/v2/repository/models/small/load", b"").status == 200
        assert scores(server) == answers[1]
