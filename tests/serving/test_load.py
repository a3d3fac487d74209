"""Under load: every request has one answer, the session's own bytes or a clean refusal, whatever ran beside it."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from served import Served, as_binary, ask_on, images, served, small_artifact, wait_for

import intarsia


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifact(tmp_path_factory.mktemp("served"))


class Load:
    """Requests of 1 to 4 rows on several connections, each answer held against the session's."""

    def __init__(self, artifact: Path, parameters: dict[str, int] | None = None) -> None:
        session = intarsia.load(artifact)
        self.outcomes: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._requests: list[tuple[bytes, int, bytes]] = []
        for rows in (1, 2, 3, 4):
            x = images(rows, seed=rows)
            request = {
                "inputs": [as_binary("image", x)],
                "parameters": {"binary_data_output": True, **(parameters or {})},
            }
            head = json.dumps(request).encode()
            self._requests.append((head + x.tobytes(), len(head), session.run(x)[0].tobytes()))

    def run(self, server: Served, connections: int, requests: int) -> None:
        threads = [
            threading.Thread(target=self._ask, args=(server, index, requests // connections))
            for index in range(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, server: Served, index: int, requests: int) -> None:
        connection = server.connect()
        for number in range(requests):
            body, head, wanted = self._requests[(number + index) % len(self._requests)]
            try:
                reply = ask_on(connection, "/v2/models/small/infer", body, inference_header_content_length=str(head))
            except Exception as error:
                with self._lock:
                    if not self.stopping.is_set():
                        self.wrong.append(repr(error))
                return
            with self._lock:
                self.outcomes[reply.status] += 1
                if reply.status == 200:
                    at = int(reply.headers["inference-header-content-length"])
                    if reply.body[at:] != wanted:
                        self.wrong.append(f"other bytes for {number}")
                elif reply.status not in (429, 503) or int(reply.headers["retry-after"]) < 1 or not reply.error:
                    self.wrong.append(f"{reply.status}: {reply.body!r}")
        connection.close()


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_answers_are_the_same_bytes_in_any_company(artifact: Path, rows: int) -> None:
    with served(str(artifact), "--rows", str(rows), "--workers", "2") as server:
        load = Load(artifact)
        load.run(server, 8, 400)
        assert load.wrong == [] and load.outcomes == {200: 400}
        together = server.figure('intarsia_batch_rows_count{model="small",version="1"}')
        alone = server.figure('intarsia_batch_rows_bucket{le="4.0",model="small",version="1"}')
        assert (together > alone) == (rows == 16)  # some did ride together, where they may


def test_twice_the_capacity_is_refused_cleanly(artifact: Path) -> None:
    """One thread and a queue of 4, beside 12 clients that never rest: of their requests at most 5 fit at a time."""
    with served(str(artifact), "--rows", "1", "--workers", "1", "--queue", "4", run_seconds=0.001) as server:
        load = Load(artifact)
        load.run(server, 12, 3000)
        assert load.wrong == [] and sum(load.outcomes.values()) == 3000
        assert set(load.outcomes) == {200, 429} and min(load.outcomes.values()) > 100
        counted = 'intarsia_requests_total{model="small",outcome="%s",protocol="http",version="1"}'
        assert server.figure(counted % "ok") == load.outcomes[200]
        assert server.figure(counted % "full") == load.outcomes[429]
        assert server.figure('intarsia_queued_requests{model="small",version="1"}') == 0


def test_deadlines_keep_the_queue_short(artifact: Path) -> None:
    with served(str(artifact), "--rows", "1", "--workers", "1", run_seconds=0.01) as server:
        load = Load(artifact, {"timeout": 60_000})
        load.run(server, 12, 360)
        assert load.wrong == [] and set(load.outcomes) == {200, 503}
        waited = server.figure('intarsia_queue_seconds_bucket{le="0.075",model="small",version="1"}')
        assert waited == server.figure('intarsia_queue_seconds_count{model="small",version="1"}') > 0


# ---- the end


def post(body: bytes) -> bytes:
    return b"POST /v2/models/small/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def request() -> bytes:
    x = images()
    return json.dumps({"inputs": [{**as_binary("image", x), "parameters": {}, "data": x.ravel().tolist()}]}).encode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_waits_for_what_was_taken(artifact: Path, number: signal.Signals) -> None:
    arguments = [str(artifact), "--workers", "1", "--rows", "1", "--no-verify", "--linger", "0.3"]
    with served(*arguments, run_seconds=0.2) as server:
        taken = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(4)]
        for connection in taken:
            connection.sendall(post(request()))
        idle = server.connect()
        assert ask_on(idle, "/v2/health/ready").status == 200
        wait_for(lambda: server.figure('intarsia_queued_requests{model="small",version="1"}') == 3)
        server.process.send_signal(number)
        wait_for(lambda: server.ask("/v2/health/ready").status == 503)
        assert server.ask("/v2/health/live").status == 200
        assert server.ask("/v2/models/small/ready").status == 503
        reply = ask_on(idle, "/v2/models/small/infer", request())
        assert reply.status == 503 and reply.headers["retry-after"] == "1" and reply.headers["connection"] == "close"
        for connection in taken:
            answer = b""
            while part := connection.recv(65536):
                answer += part
            assert answer.startswith(b"HTTP/1.1 200")
        _, errors = server.process.communicate(timeout=20)
        assert (server.process.returncode, errors) == (0, "")


def test_grace_that_is_too_short_is_told(artifact: Path) -> None:
    with served(str(artifact), "--workers", "1", "--no-verify", "--grace", "0.1", run_seconds=1.0) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(post(request()))
            time.sleep(0.3)
            code, errors = server.stop()
            assert connection.recv(65536).startswith(b"HTTP/1.1 503")
        assert (code, errors) == (1, "")


def test_a_second_signal_does_not_wait(artifact: Path) -> None:
    with served(str(artifact), "--workers", "1", "--no-verify", run_seconds=1.0) as server:
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            connection.sendall(post(request()))
            time.sleep(0.3)
            server.process.terminate()
            wait_for(lambda: server.ask("/v2/health/ready").status == 503)
            code, errors = server.stop()
            assert connection.recv(65536).startswith(b"HTTP/1.1 503")
        assert (code, errors) == (1, "")


def test_one_of_two_servers_ends_under_load(artifact: Path) -> None:
    with served(str(artifact), "--linger", "0.2") as server:
        load = Load(artifact)
        thread = threading.Thread(target=load.run, args=(server, 8, 100_000))
        thread.start()
        time.sleep(0.5)
        server.process.terminate()
        time.sleep(0.1)
        load.stopping.set()  # from here on connections may be refused, but nothing may be answered wrongly
        code = server.process.wait(20)
        thread.join()
        assert code == 0 and load.wrong == [] and load.outcomes[200] > 0
        assert np.all([status in (200, 503) for status in load.outcomes])
