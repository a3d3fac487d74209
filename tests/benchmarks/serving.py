"""What the server takes beside the model: milliseconds of processor time a request, over HTTP (binary) and gRPC.

python tests/benchmarks/serving.py [artifact] [seconds]

Without an artifact it is a small CNN for handwritten digits, int8, compiled for the CPU of this machine. Requests are
of one row, from 16 connections of another process; processor time is that of the whole server, which holds on a busy
machine.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import intarsia
from intarsia.serving.grpc_messages import CLASSES, SERVICE
from intarsia.serving.tensors import DATATYPES

CONNECTIONS = 16
MODELS = Path(__file__).parent.parent / "models"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def digits(folder: Path) -> Path:
    images = np.load(MODELS / "digits_test_450.npz")["x"]
    made = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu", precision="int8", calibration=images[:100])
    made.save(folder / "m.intarsia")
    return folder / "m.intarsia"


def model_seconds(session: intarsia.Session, arrays: list[Any]) -> float:
    least = float("inf")
    for _ in range(10):
        start = time.process_time()
        for _ in range(1000):
            session.run(*arrays)
        least = min(least, (time.process_time() - start) / 1000)
    return least


def over_http(port: int, request: bytes, seconds: float) -> int:
    counts = [0] * CONNECTIONS
    end = time.monotonic() + seconds

    def ask(index: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            while time.monotonic() < end:
                connection.sendall(request)
                answer = connection.recv(1 << 20)
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), answer
                lines = [line.partition(b": ") for line in head.lower().split(b"\r\n")]
                (wanted,) = (int(value) for name, _, value in lines if name == b"content-length")
                while len(body) < wanted:
                    body += connection.recv(1 << 20)
                counts[index] += 1

    _together(ask)
    return sum(counts)


def over_grpc(port: int, request: bytes, seconds: float) -> int:
    import grpc

    counts = [0] * CONNECTIONS
    end = time.monotonic() + seconds

    def ask(index: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            while time.monotonic() < end:
                method(request)
                counts[index] += 1

    _together(ask)
    return sum(counts)


def _together(ask: Any) -> None:
    threads = [threading.Thread(target=ask, args=(index,)) for index in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(sys.argv[1]) if len(sys.argv) > 1 else digits(Path(folder))
        session = intarsia.load(artifact, threads=1)
        arrays = [np.zeros(info.dims, info.dtype) for info in session.inputs]
        inputs = [
            {"name": info.name, "datatype": DATATYPES[info.dtype], "shape": list(array.shape)}
            for info, array in zip(session.inputs, arrays)
        ]
        sized = [{**item, "parameters": {"binary_data_size": array.nbytes}} for item, array in zip(inputs, arrays)]
        head = json.dumps({"inputs": sized, "parameters": {"binary_data_output": True}}).encode()
        body = head + b"".join(array.tobytes() for array in arrays)
        lengths = f"content-length: {len(body)}\r\ninference-header-content-length: {len(head)}\r\n\r\n"
        posted = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\n{lengths}".encode() + body
        message = CLASSES["ModelInferRequest"](model_name="m", raw_input_contents=[array.tobytes() for array in arrays])
        for item in inputs:
            message.inputs.add(**item)
        own = model_seconds(session, arrays)
        print(f"the model: {own * 1e3:.3f} ms")
        command = [sys.executable, "-m", "intarsia", "serve", f"m={artifact}", "--json", "--linger", "0"]
        server = subprocess.Popen([*command, "--port", "0", "--grpc-port", "0"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        where = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")
        for name, ask, port, request in (
            ("HTTP", over_http, where["port"], posted),
            ("gRPC", over_grpc, where["grpc_port"], message.SerializeToString()),
        ):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(ask, (port, request, 0.5))
                before, start = cpu_seconds(server.pid), time.monotonic()
                count = pool.apply(ask, (port, request, seconds))
                took = time.monotonic() - start
                each = (cpu_seconds(server.pid) - before) / count
            print(f"{name}: {each * 1e3:.3f} ms, {(each - own) * 1e3:.3f} over the model; {count / took:.0f} a second")
        server.terminate()
        print(f"exit code {server.wait(30)}")


if __name__ == "__main__":
    main()
