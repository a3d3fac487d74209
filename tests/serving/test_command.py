"""The command: which models it serves under which names, what it refuses before it listens, and its figures."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from served import as_json, images, served, small_artifact

from artifact_examples import evaluator_artifact, small_graph
from intarsia.errors import RunError
from intarsia.serving.metrics import Metrics
from intarsia.serving.model import Options
from intarsia.serving.repository import Repository

QUICK = Options(workers=1, most_rows=1)


def names(*paths: object) -> list[str]:
    repository = Repository([str(path) for path in paths], QUICK, Metrics())
    try:
        repository.open()
        return list(repository.names)
    finally:
        assert repository.close(10)


def test_models_are_called_as_their_files_are_or_as_one_says(tmp_path: Path) -> None:
    file = small_artifact(tmp_path)
    evaluator_artifact(small_graph()).save(tmp_path / "other.intarsia")
    (tmp_path / "notes.txt").write_text("no artifact")
    assert names(file) == ["small"]
    assert names(f"a={file}", f"b.2={file}") == ["a", "b.2"]
    assert names(tmp_path) == ["other", "small"]
    assert names(tmp_path, f"third={file}") == ["other", "small", "third"]


def test_an_artifact_that_is_a_folder_is_one_model(tmp_path: Path) -> None:
    evaluator_artifact(small_graph()).save(f"{tmp_path}/unpacked/")
    assert names(tmp_path / "unpacked") == ["unpacked"]


def test_names_are_one_each_and_fit_addresses(tmp_path: Path) -> None:
    file = small_artifact(tmp_path)
    with pytest.raises(RunError, match="is called 'small' too"):
        names(file, file)
    odd = tmp_path / "a model.intarsia"
    file.rename(odd)
    with pytest.raises(RunError, match="cannot be a model's name"):
        names(odd)
    with pytest.raises(RunError, match="cannot be a model's name"):
        names(f"../up={odd}")
    assert names(f"fine={odd}") == ["fine"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="no file in it ends with"):
        names(tmp_path / "empty")


def test_a_model_that_answers_wrongly_here_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from intarsia.runtime.session import Session

    run = Session.run
    monkeypatch.setattr(Session, "run", lambda self, *arrays, **named: [1 - array for array in run(self, *arrays)])
    with pytest.raises(RunError, match="is not what was recorded"):
        names(small_artifact(tmp_path))


def command(*arguments: str, program: str = "") -> subprocess.CompletedProcess[str]:
    text = f"{program}\nfrom intarsia.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", text, "serve", *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
def test_a_taken_port_is_told(tmp_path: Path, option: str) -> None:
    other = "--grpc-port" if option == "--port" else "--port"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command(str(small_artifact(tmp_path)), option, port, other, "0")
    assert done.returncode == 2 and done.stdout == ""
    assert "cannot be listened on" in done.stderr and "help: " in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("nothing.intarsia",), ("{file}", "--host", "no such host"), ("{file}", "--device", "none"), ("{text}",)],
)
def test_what_cannot_be_served_is_told_in_words(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "text.intarsia").write_text("no artifact")
    file, text = str(small_artifact(tmp_path)), str(tmp_path / "text.intarsia")
    done = command(*(part.format(file=file, text=text) for part in arguments), "--port", "0", "--grpc-port", "0")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "help: " in done.stderr and "Traceback" not in done.stderr


def test_a_missing_package_is_told(tmp_path: Path) -> None:
    done = command(str(small_artifact(tmp_path)), program="import sys; sys.modules['uvicorn'] = None")
    assert done.returncode == 2 and "the package uvicorn" in done.stderr and "intarsia[serve]" in done.stderr


def test_figures_are_in_base_units_and_fine_enough(tmp_path: Path) -> None:
    with served(str(small_artifact(tmp_path)), "--no-grpc") as server:
        assert server.grpc_port is None
        assert server.infer({"inputs": [as_json("image", images())]}).status == 200
        assert server.infer(b"{").status == 400
        assert server.infer(b"{}", model="made-up").status == 404
        reply = server.ask("/metrics")
        assert reply.headers["content-type"].startswith("text/plain")
        text = reply.body.decode()
    assert 'intarsia_request_seconds_bucket{le="0.0001",model="small",protocol="http",version="1"}' in text
    counted = 'intarsia_requests_total{model="%s",outcome="%s",protocol="http",version="%s"} 1.0'
    assert counted % ("small", "ok", "1") in text and counted % ("small", "invalid", "1") in text
    assert counted % ("", "unknown", "") in text and "made-up" not in text
    assert 'intarsia_batch_rows_count{model="small",version="1"} 1.0' in text
    assert "intarsia_ready 1.0" in text and "process_cpu_seconds_total" in text


def test_help_imports_no_server() -> None:
    check = (
        "import sys; sys.argv = ['intarsia', 'serve', '--help']\nfrom intarsia.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'uvicorn', 'grpc', 'uvloop', 'google', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr
