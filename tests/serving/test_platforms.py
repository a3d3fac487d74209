"""An artifact behind Ray Serve and behind KServe's own server, each in an environment of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from served import images, small_artifact

from intarsia.runtime.session import load

tritonhttp = pytest.importorskip("tritonclient.http", reason="needs tritonclient")

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.slow


def environment(extra: str, folder: Path) -> Path:
    """A Python that has the extra: the one that INTARSIA_PYTHON_RAY (_KSERVE) names, else one made from the index."""
    told = os.environ.get(f"INTARSIA_PYTHON_{extra.upper()}")
    if told:
        return Path(told)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    made = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", f"{ROOT}[{extra}]"], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"the extra {extra} does not install here: {made.stderr[-300:]}")
    return python


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running(line: list[str], port: int, log: Path) -> Iterator[None]:
    """A server that says it is ready, ended with SIGTERM."""
    home = dict(os.environ, HOME=str(log.parent))  # Ray keeps a token there
    with open(log, "wb") as stream:
        process = subprocess.Popen(line, stdout=stream, stderr=stream, env=home)
    try:
        client = tritonhttp.InferenceServerClient(f"127.0.0.1:{port}")
        end = time.monotonic() + 180
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            with suppress(Exception):  # whatever it says as long as nobody listens
                if client.is_server_ready() and client.is_model_ready("small"):
                    break
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def check(port: int, artifact: Path) -> None:
    """Metadata, JSON and binary answers with the bytes of Session.run, and refusals as errors of the client."""
    client = tritonhttp.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.get_model_metadata("small")["inputs"][0]["name"] == "image"
    with load(artifact) as session:
        for seed in range(20):
            image = images(1, seed)
            given = tritonhttp.InferInput("image", [1, 2, 5, 5], "FP32")
            given.set_data_from_numpy(image, binary_data=bool(seed % 2))
            wanted = [tritonhttp.InferRequestedOutput("scores", binary_data=bool(seed % 3))]
            # KServe asks for it where no binary tensor follows; the others do not care.
            headers = {} if seed % 2 else {"Content-Type": "application/json"}
            answer = client.infer("small", [given], outputs=wanted, request_id=str(seed), headers=headers)
            assert answer.get_response()["id"] == str(seed)
            made = answer.as_numpy("scores")
            assert np.asarray(made, np.float32).tobytes() == session.run(image)[0].tobytes()
    wrong = tritonhttp.InferInput("image", [1, 2, 5, 6], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 2, 5, 6), np.float32))
    with pytest.raises(tritonhttp.InferenceServerException) as refused:
        client.infer("small", [wrong])
    assert "400" in str(refused.value.status())
    with pytest.raises(tritonhttp.InferenceServerException) as refused:
        client.get_model_metadata("other")
    assert "404" in str(refused.value.status())


def test_ray_serve_answers_as_the_server_does(tmp_path: Path) -> None:
    python, artifact, port = environment("ray", tmp_path), small_artifact(tmp_path), free_port()
    program = (
        "import sys, time, ray\n"
        "from ray import serve\n"
        "from intarsia.serving.ray import deployment\n"
        "ray.init(num_cpus=2, include_dashboard=False)\n"
        f"serve.start(http_options={{'host': '127.0.0.1', 'port': {port}}})\n"
        f"serve.run(deployment({{'artifacts': {str(artifact)!r}}}))\n"
        "time.sleep(600)\n"
    )
    with running([str(python), "-c", program], port, tmp_path / "log"):
        check(port, artifact)


def test_kserve_answers_as_the_server_does(tmp_path: Path) -> None:
    python, artifact, port, rpc = environment("kserve", tmp_path), small_artifact(tmp_path), free_port(), free_port()
    line = [str(python), "-m", "intarsia.serving.kserve", "--model_name=small", f"--model_dir={artifact}"]
    with running([*line, f"--http_port={port}", f"--grpc_port={rpc}"], port, tmp_path / "log"):
        check(port, artifact)
