"""What people complain of in other servers, as tests of this one: models that change, clients that go, what is lost.

| complaint | where |
| --- | --- |
| a reload means downtime (triton#2076, #5757) | `test_repository`: reloads under load |
| a reload leaks (triton#4528) | `test_repository`: two hundred reloads |
| one client unloads the model of another (triton#3583) | `test_repository`: clients by name |
| anybody may load and unload (triton#5445) | `test_repository`: --control |
| a failed update gives 503 though the old one lives (ray#66252) | `test_repository`: what cannot be loaded |
| the first requests of each size take seconds (triton#7776) | here |
| one client gets all the answers (MLServer#1306) | here |
| batching drops requested outputs and parameters (MLServer#514, #1541) | here |
| rows are not counted (BentoML#3710, #3859) | here |
| where do requests wait (triton#8094) | here |
| requests run though the client has gone (triton#7077, #6920) | `test_http`, `test_grpc`; streams: `test_repository` |
| a server that ends says that it does not know the model (triton#6230, #6939) | here |
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, as_json, from_json, images, served, small_artifact, wait_for

import intarsia


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifact(tmp_path_factory.mktemp("complaints"))


@pytest.fixture(scope="module")
def server(artifact: Path) -> Iterator[Served]:
    with served(str(artifact), "--workers", "1", "--rows", "8", "--queue", "1000", run_seconds=0.01) as running:
        yield running


def at_once(server: Served, count: int) -> list[Any]:
    """So many clients at a time, each with rows, an id and parameters of its own."""
    replies: list[Any] = [None] * count

    def ask(index: int) -> None:
        request = {
            "id": f"client {index}",
            "inputs": [as_json("image", images(1 + index % 3, seed=index))],
            "outputs": [{"name": "scores"}],
            "parameters": {"camera": index, "note": f"of {index}"},
        }
        replies[index] = server.infer(request)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def test_each_client_gets_its_own_answer_id_outputs_and_parameters(server: Served, artifact: Path) -> None:
    session = intarsia.load(artifact)
    for index, reply in enumerate(at_once(server, 40)):
        told = reply.data
        assert (told["id"], told["parameters"]) == (f"client {index}", {"camera": index, "note": f"of {index}"})
        (scores,) = told["outputs"]
        wanted = session.run(images(1 + index % 3, seed=index))[0]
        assert scores["name"] == "scores" and from_json(scores).tobytes() == wanted.tobytes()


def test_rows_are_counted_not_requests(server: Served) -> None:
    rows = 'intarsia_batch_rows_bucket{le="%s",model="small",version="1"}'
    at_once(server, 40)
    assert server.figure(rows % "8.0") == server.figure(rows % "+Inf") > server.figure(rows % "2.0")


def test_figures_say_where_requests_wait(server: Served) -> None:
    before = server.ask("/v2/models/small/stats").data["model_stats"][0]["inference_stats"]
    at_once(server, 40)
    after = server.ask("/v2/models/small/stats").data["model_stats"][0]["inference_stats"]
    waited, computed = ((after[name]["ns"] - before[name]["ns"]) / 40 for name in ("queue", "compute_infer"))
    assert waited > computed > 0  # one thread, forty clients: most of the time is the queue's
    assert after["queue"]["count"] - before["queue"]["count"] == 40


def test_parameters_that_json_cannot_say_are_not_repeated(server: Served) -> None:
    text = b'{"inputs":[%b],"parameters":{"a":1e999,"b":{"c":1},"d":[1],"e":null,"f":"\\ud800","priority":1}}'
    item = str(as_json("image", images())).replace("'", '"').encode()
    assert server.infer(text % item).data["parameters"] == {"f": "\ud800"}


def test_sizes_were_run_before_the_first_request(artifact: Path) -> None:
    """Runs at load are told in no figure, but there they are: the pace of 1 row and of more was measured."""
    from intarsia.runtime.session import Session
    from intarsia.serving.metrics import Metrics
    from intarsia.serving.model import Options
    from intarsia.serving.repository import Repository

    seen: list[int] = []
    run = Session.run

    def watched(self: Session, *arrays: Any, **named: Any) -> Any:
        seen.append(len(arrays[0]))
        return run(self, *arrays, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "run", watched)
        (artifact.parent / "small.settings.json").write_text('{"warmup": 2}')
        repository = Repository([str(artifact)], Options(workers=1, most_rows=6), Metrics())
        repository.open()
    assert repository.close(10)
    (artifact.parent / "small.settings.json").unlink()
    assert seen.count(6) == 2 and seen.count(1) >= 3


def test_a_server_that_ends_knows_its_models_to_the_last(artifact: Path) -> None:
    with served(str(artifact), "--linger", "0.5") as server:
        idle = server.connect()
        idle.connect()
        server.process.terminate()
        wait_for(lambda: server.ask("/v2/health/ready").status == 503)
        assert server.ask("/v2/models/small").data["name"] == "small"
        assert server.ask("/v2/models/small/ready").data == {"name": "small", "ready": False}
        reply = server.infer({"inputs": [as_json("image", images())]})
        assert reply.status == 503 and reply.error == "the server is shutting down"
        assert server.process.wait(20) == 0
        idle.close()
