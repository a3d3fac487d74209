"""Which server the kit is pointed at: any, by --oip-url, --oip-grpc and --oip-model; else one of ours, started here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from oip_server import Answers, Target, of_session


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("oip", "the Open Inference Protocol")
    group.addoption("--oip-url", help="http://HOST:PORT of the server to test; by default one is started")
    group.addoption("--oip-grpc", help="HOST:PORT of its gRPC; left out, gRPC is not tested")
    group.addoption("--oip-model", help="a model of it whose inputs may hold any small numbers")
    group.addoption("--oip-token", help="bearer token that each request carries")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test."""
    # Where the kit is part of a longer run of pytest, its options are not known.
    url, rpc, model, token = (
        request.config.getoption(f"--oip-{name}", default=None) for name in ("url", "grpc", "model", "token")
    )
    if url is not None:
        if model is None:
            pytest.exit("--oip-url needs --oip-model", returncode=4)
        yield Target(url, rpc, model, token)
        return
    pytest.importorskip("grpc", reason="needs the extra serve")
    import neighbours  # noqa: F401
    import served

    path = served.small_artifact(tmp_path_factory.mktemp("oip"))
    with served.served(str(path), "--max-body", "200000", "--workers", "2") as running:
        yield Target(f"http://127.0.0.1:{running.port}", f"127.0.0.1:{running.grpc_port}", "small", None, path)


@pytest.fixture(scope="session")
def answers(target: Target) -> Answers:
    """Inputs of the model and what belongs to them: by the artifact where it is known, else by the first answer."""
    return Answers(target) if target.artifact is None else of_session(target)
