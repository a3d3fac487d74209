"""Who may ask what: tokens and their roles, TLS, addresses that other machines reach, pages of other sites, the log."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, as_json, images, served, small_artifact, wait_for

import intarsia
from intarsia.errors import RunError
from intarsia.serving.access import Access, needed_by_call, needed_by_path
from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.tls import read_tls
from intarsia.serving.tokens import Role, add_token, digest_of, read_tokens

grpc = pytest.importorskip("grpc", reason="needs the extra serve")
tritongrpc = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")
tritonhttp = pytest.importorskip("tritonclient.http", reason="needs tritonclient")


# ---- tokens and roles


def test_a_token_is_in_its_file_as_a_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    made = add_token(str(path), "alice", {Role.OBSERVE, Role.INFER})
    other = add_token(str(path), "bob", {Role.CONTROL})
    assert path.read_text() == (
        f"alice infer,observe sha256:{digest_of(made).hex()}\nbob control sha256:{digest_of(other).hex()}\n"
    )
    assert made not in path.read_text() and len(made) >= 43 and made != other
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_tokens(str(path))[digest_of(made)].roles == {Role.INFER, Role.OBSERVE}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "there is none in it"),
        ("# nobody\n", "there is none in it"),
        ("alice infer secret\n", "line 1: it is not NAME ROLE"),
        ("# x\nalice root sha256:" + "0" * 64, "line 2: it is not NAME ROLE"),
        ("alice infer sha256:" + "0" * 63, "it is not NAME ROLE"),
        ("alice sha256:" + "0" * 64, "it is not NAME ROLE"),
        (f"a infer sha256:{'0' * 64}\na infer sha256:{'1' * 64}", "line 2: it is there twice"),
        (f"a infer sha256:{'0' * 64}\nb infer sha256:{'0' * 64}", "line 2: it is there twice"),
    ],
)
def test_files_of_tokens_that_are_none(tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "tokens").write_text(content)
    with pytest.raises(RunError, match=what):
        read_tokens(str(tmp_path / "tokens"))


def test_other_files_of_tokens_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read: No such file"):
        read_tokens(str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="it is no text"):
        read_tokens(str(tmp_path / "binary"))
    add_token(str(tmp_path / "tokens"), "alice", {Role.INFER})
    with pytest.raises(RunError, match="'alice' has one"):
        add_token(str(tmp_path / "tokens"), "alice", {Role.INFER})
    with pytest.raises(RunError, match="that is no name"):
        add_token(str(tmp_path / "tokens"), "a b", {Role.INFER})
    with pytest.raises(RunError, match="cannot be written"):
        add_token(str(tmp_path / "no" / "tokens"), "a", {Role.INFER})


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("GET", "/v2/health/live", set()),
        ("GET", "/v2/health/ready", set()),
        ("GET", "/v2/openapi.json", set()),
        ("GET", "/v2", set(Role)),
        ("GET", "/v2/models/m", set(Role)),
        ("GET", "/metrics", {Role.OBSERVE}),
        ("GET", "/metrics/", {Role.OBSERVE}),
        ("GET", "/v2/models/m/stats", {Role.OBSERVE}),
        ("GET", "/v2/models/m/versions/1/stats", {Role.OBSERVE}),
        ("POST", "/v2/models/m/infer", {Role.INFER}),
        ("POST", "/v2/models/m/versions/1/infer", {Role.INFER}),
        ("POST", "/v2/repository/index", {Role.OBSERVE, Role.CONTROL}),
        ("POST", "/v2/repository/models/m/load", {Role.CONTROL}),
        ("POST", "/v2/health/live", {Role.CONTROL}),
        ("DELETE", "/what/comes/one/day", {Role.CONTROL}),
    ],
)
def test_what_a_path_needs(method: str, path: str, roles: set[Role]) -> None:
    assert needed_by_path(method, path) == roles


def test_what_a_call_needs() -> None:
    assert needed_by_call("ServerLive") == set() and needed_by_call("ModelInfer") == {Role.INFER}
    assert needed_by_call("RepositoryModelUnload") == needed_by_call("WhatComesOneDay") == {Role.CONTROL}


def test_a_token_ends_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.serving.access._LOOK_SECONDS", 0.0)
    path = tmp_path / "tokens"
    first, second = (add_token(str(path), name, {Role.INFER}) for name in ("first", "second"))
    access = Access(str(path), loopback=True)
    needed = frozenset({Role.INFER})
    assert [access.check(f"Bearer {token}", needed).name for token in (first, second)] == ["first", "second"]  # type: ignore[union-attr]
    path.write_text(path.read_text().splitlines()[1])
    with pytest.raises(Refusal) as refused:
        access.check(f"Bearer {first}", needed)
    assert refused.value.outcome is Outcome.UNAUTHENTICATED
    path.write_text("damaged")
    with pytest.warns(intarsia.IntarsiaWarning, match="the tokens that there were are still good"):
        assert access.check(f"bearer {second}", needed) is not None


@pytest.mark.parametrize(
    ("origin", "host", "loopback", "passes"),
    [
        (None, "localhost:8000", True, True),
        ("http://localhost:8000", "localhost:8000", True, True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", True, True),
        ("http://[::1]:8000", "[::1]:8000", True, True),
        ("http://evil.example", "localhost:8000", True, False),
        ("http://evil.example:8000", "evil.example:8000", True, False),  # a name that was bound anew to 127.0.0.1
        ("http://localhost:9", "localhost:8000", True, False),
        ("null", "localhost:8000", True, False),
        ("http://[", "localhost:8000", True, False),
        ("http://[x", "[x", False, False),
        ("https://models.example", "models.example", False, True),
    ],
)
def test_pages_of_other_sites(origin: str | None, host: str, loopback: bool, passes: bool) -> None:
    access = Access(None, loopback=loopback)
    if passes:
        access.check_origin(origin, host)
        return
    with pytest.raises(Refusal, match="pages of other sites"):
        access.check_origin(origin, host)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("secure")
    small_artifact(made)
    return made


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    return {role.value: add_token(str(folder / "tokens"), role.value, {role}) for role in Role}


@pytest.fixture(scope="module")
def server(folder: Path, tokens: dict[str, str]) -> Iterator[Served]:
    arguments = [str(folder / "small.intarsia"), "--tokens", str(folder / "tokens"), "--max-body", "100000"]
    with served(*arguments, "--audit-log", str(folder / "audit")) as running:
        yield running


def request() -> bytes:
    return json.dumps({"inputs": [as_json("image", images())]}).encode()


def test_over_http_each_path_asks_for_its_role(server: Served, tokens: dict[str, str]) -> None:
    infer = "/v2/models/small/infer"
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/openapi.json"):
        assert server.ask(path).status == 200
    for path, body in ((infer, request()), ("/metrics", None), ("/v2", None), ("/v2/models/small", None)):
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}, {"authorization": ""}):
            reply = server.ask(path, body, **given)
            assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer", (path, given)
            assert "bearer token is needed" in reply.error
    for role, path, body, status in (
        ("infer", infer, request(), 200),
        ("observe", infer, request(), 403),
        ("control", infer, request(), 403),
        ("infer", "/metrics", None, 403),
        ("observe", "/metrics", None, 200),
        ("control", "/v2/models/small", None, 200),
        ("infer", "/v2/repository/models/small/unload", b"{}", 403),
    ):
        reply = server.ask(path, body, authorization=f"Bearer {tokens[role]}")
        assert reply.status == status, (role, path, reply)
        if status == 403:
            assert f"the token of {role} is not good for this" in reply.error


def test_a_header_twice_is_no_token(server: Served, tokens: dict[str, str]) -> None:
    head = f"GET /v2 HTTP/1.1\r\nhost: x\r\n{'authorization: Bearer ' + tokens['infer']}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(f"{head}authorization: Bearer other\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_no_body_is_read_without_a_token(server: Served) -> None:
    """The refusal comes though the body never does."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(b"POST /v2/models/small/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")


def test_over_grpc_each_call_asks_for_its_role(server: Served, tokens: dict[str, str]) -> None:
    client = tritongrpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
    assert client.is_server_live() and client.is_server_ready()
    given = tritongrpc.InferInput("image", [1, 2, 5, 5], "FP32")
    given.set_data_from_numpy(images())
    for role, code in ((None, "UNAUTHENTICATED"), ("observe", "PERMISSION_DENIED"), ("control", "PERMISSION_DENIED")):
        headers = {} if role is None else {"authorization": f"Bearer {tokens[role]}"}
        with pytest.raises(Exception, match="token") as refused:
            client.infer("small", [given], headers=headers)
        assert code in str(refused.value)
    answered = client.infer("small", [given], headers={"authorization": f"Bearer {tokens['infer']}"})
    assert answered.as_numpy("scores").shape == (1, 3, 5, 5)
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        client.get_server_metadata()
    assert client.get_server_metadata(headers={"authorization": f"Bearer {tokens['observe']}"}).name == "intarsia"
    client.close()


def test_the_log_says_who_asked_for_what(server: Served, folder: Path, tokens: dict[str, str]) -> None:
    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / "audit").read_text().splitlines()]

    before = len(lines())
    server.ask("/v2/models/small/infer", request(), authorization=f"Bearer {tokens['infer']}")
    server.ask("/v2/models/small/infer", request(), authorization="Bearer guessed-secret")
    server.ask("/v2/health/live")
    server.ask("/metrics%0A%7B" + "x" * 1000, authorization=f"Bearer {tokens['infer']}")
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError):
        call(b"")
    with pytest.raises(grpc.RpcError):
        call(b"", metadata=(("authorization", f"Bearer {tokens['infer']}"),))
    channel.close()
    wait_for(lambda: len(lines()) >= before + 5)
    first = lines()[0]
    assert first["what"] == "start" and first["port"] == server.port
    found = lines()[before:]
    assert [(line["protocol"], line["token"], line["result"]) for line in found] == [
        ("http", "infer", 200),
        ("http", None, 401),
        ("http", "infer", 404),
        ("grpc", None, "UNAUTHENTICATED"),
        ("grpc", "infer", "NOT_FOUND"),
    ]
    assert found[0]["what"] == "POST /v2/models/small/infer" and found[4]["what"] == "ModelInfer"
    assert found[0]["client"].startswith("127.0.0.1:") and found[0]["time"].endswith("+00:00")
    assert len(found[2]["what"]) == 303 and "\n{" in found[2]["what"]
    assert "guessed-secret" not in (folder / "audit").read_text()
    assert stat.S_IMODE((folder / "audit").stat().st_mode) == 0o600


def test_a_page_of_another_site_is_refused(folder: Path) -> None:
    with served(str(folder / "small.intarsia"), "--no-grpc") as running:
        path = "/v2/models/small/infer"
        reply = running.ask(path, request(), origin="http://evil.example", content_type="text/plain")
        assert reply.status == 403 and reply.error == "pages of other sites may not ask this server"
        own = f"127.0.0.1:{running.port}"
        assert running.ask(path, request(), origin=f"http://{own}", host=own).status == 200
        assert running.figure('intarsia_requests_total{model="",outcome="forbidden",protocol="http",version=""}') == 1


# ---- addresses and TLS


@pytest.fixture(scope="module")
def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that vouches for itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="needs cryptography")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    places = folder / "server.pem", folder / "server.key"
    places[0].write_bytes(made.public_bytes(pem))
    places[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    other = ec.generate_private_key(ec.SECP256R1())
    (folder / "other.key").write_bytes(other.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    locked = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
    (folder / "locked.key").write_bytes(locked)
    return places


def test_both_ports_speak_tls(folder: Path, certificate: tuple[Path, Path]) -> None:
    public, key = certificate
    with served(str(folder / "small.intarsia"), "--tls-cert", str(public), "--tls-key", str(key)) as running:
        with intarsia.load(folder / "small.intarsia") as session:
            wanted = session.run(images())[0]
        context = ssl.create_default_context(cafile=str(public))
        connection = http.client.HTTPSConnection("localhost", running.port, timeout=30, context=context)
        connection.request("POST", "/v2/models/small/infer", request())
        told = json.loads(connection.getresponse().read())
        assert np.array_equal(np.array(told["outputs"][0]["data"], np.float32), wanted.ravel())
        connection.close()
        client = tritongrpc.InferenceServerClient(
            f"localhost:{running.grpc_port}", ssl=True, root_certificates=str(public)
        )
        given = tritongrpc.InferInput("image", [1, 2, 5, 5], "FP32")
        given.set_data_from_numpy(images())
        assert client.infer("small", [given]).as_numpy("scores").tobytes() == wanted.tobytes()
        client.close()
        # Neither port speaks to who does not, nor by what is too old.
        with pytest.raises((http.client.HTTPException, OSError)):
            running.ask("/v2/health/live")
        plain = grpc.insecure_channel(f"localhost:{running.grpc_port}")
        with pytest.raises(grpc.RpcError):
            plain.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=5)
        plain.close()
        old = ssl.create_default_context(cafile=str(public))
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("localhost", running.port), 20) as bare, pytest.raises(OSError):
            old.wrap_socket(bare, server_hostname="localhost")
        code, errors = running.stop()
        assert (code, errors) == (0, "")


@pytest.mark.parametrize(
    ("public", "key", "what"),
    [
        ("server.pem", "other.key", "the key is another certificate's"),
        ("server.pem", "server.pem", "they are no PEM of both"),
        ("server.key", "server.key", "they are no PEM of both"),
        ("server.pem", "locked.key", "they are no PEM of both, without a password"),
        ("none.pem", "server.key", "they cannot be read: No such file"),
    ],
)
def test_certificates_that_are_none(
    folder: Path, certificate: tuple[Path, Path], public: str, key: str, what: str
) -> None:
    with pytest.raises(RunError, match=what):
        read_tls(str(folder / public), str(folder / key))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from intarsia.cli.main import main; main()"]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=60)


def test_other_machines_are_not_served_by_accident(folder: Path) -> None:
    ports = ("--port", "0", "--grpc-port", "0")
    done = command("serve", str(folder / "small.intarsia"), "--host", "0.0.0.0", *ports)
    assert done.returncode == 2 and done.stdout == ""
    assert "everyone there could ask, as no tokens are given" in done.stderr and "--allow-anonymous" in done.stderr
    with served(str(folder / "small.intarsia"), "--host", "0.0.0.0", "--allow-anonymous") as running:
        assert running.ask("/v2/models/small/infer", request()).status == 200
        assert running.stop() == (0, "")


def test_tokens_that_others_could_read_are_warned_of(folder: Path, tokens: dict[str, str]) -> None:
    given = ("--host", "0.0.0.0", "--tokens", str(folder / "tokens"), "--no-grpc")
    with served(str(folder / "small.intarsia"), *given) as running:
        assert running.ask("/v2").status == 401
        code, errors = running.stop()
    assert code == 0 and "tokens are sent to 0.0.0.0 readably" in errors


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--tokens", "{folder}/none"), "cannot be read: No such file"),
        (("--tls-cert", "{folder}/none", "--tls-key", "{folder}/none"), "cannot be read: No such file"),
        (("--tls-cert", "{folder}/none"), "--tls-cert and --tls-key go together"),
        (("--audit-log", "{folder}/no/log"), "it cannot be written: No such file"),
    ],
)
def test_what_cannot_be_used_is_told_in_words(folder: Path, arguments: tuple[str, ...], what: str) -> None:
    given = [part.format(folder=folder) for part in arguments]
    done = command("serve", str(folder / "small.intarsia"), "--port", "0", "--grpc-port", "0", *given)
    assert done.returncode == 2 and what in done.stderr and "Traceback" not in done.stderr


def test_the_command_makes_tokens(tmp_path: Path) -> None:
    path = str(tmp_path / "tokens")
    done = command("token", "alice", "--role", "infer", "--role", "observe", "--tokens", path)
    assert done.returncode == 0 and "alice's token, which is shown this once" in done.stderr
    assert read_tokens(path)[digest_of(done.stdout.strip())].name == "alice"
    done = command("token", "bob", "--role", "control", "--tokens", path, "--json")
    told = json.loads(done.stdout)
    assert told["roles"] == ["control"] and read_tokens(path)[digest_of(told["token"])].name == "bob"
    done = command("token", "bob", "--role", "control", "--tokens", path)
    assert done.returncode == 2 and "'bob' has one" in done.stderr
    assert os.path.getsize(path) < 1000


def test_only_what_a_trusted_key_signed_is_served(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="needs cryptography")
    from intarsia.artifact import Artifact
    from intarsia.artifact.signatures import new_key

    file = small_artifact(tmp_path)
    trusted = new_key(str(tmp_path / "a.key"))
    new_key(str(tmp_path / "b.key"))
    given = ("--trusted-keys", str(trusted), "--port", "0", "--grpc-port", "0")
    done = command("serve", str(file), *given)
    assert done.returncode == 2 and "it is not signed, and only signed artifacts are trusted here" in done.stderr
    for key, served_by in (("b.key", False), ("a.key", True)):
        opened = Artifact.read(str(file))
        opened.sign(str(tmp_path / key))
        opened.save(str(tmp_path / f"{key}.intarsia"))
        if served_by:
            with served(str(tmp_path / f"{key}.intarsia"), "--trusted-keys", str(trusted)) as running:
                assert running.ask("/v2/health/ready").status == 200
            continue
        done = command("serve", str(tmp_path / f"{key}.intarsia"), *given)
        assert done.returncode == 2 and "which is none of the 1 trusted keys" in done.stderr
