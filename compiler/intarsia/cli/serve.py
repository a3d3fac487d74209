"""`intarsia serve`: artifacts behind the Open Inference Protocol."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from intarsia.cli.choices import NamedPath, Number, device_option
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, write, write_json
from intarsia.cli.trust import native_option, trusted_keys_option
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.serving.server import Listening

_PACKAGES = ("uvicorn", "httptools", "uvloop", "grpc", "google", "prometheus_client")


@click.command("serve")
@click.argument("artifacts", nargs=-1, required=True, type=NamedPath(), metavar="[NAME=]ARTIFACT...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Of HTTP; 0 for any free.")
@click.option(
    "--grpc-port", type=click.IntRange(0, 65535), default=8001, show_default=True, help="Of gRPC; 0 for any free."
)
@click.option("--grpc/--no-grpc", default=True, help="Whether gRPC is served beside HTTP.")
@click.option("--tls-cert", type=NamedPath(), metavar="FILE", help="Certificate, PEM; goes with --tls-key.")
@click.option("--tls-key", type=NamedPath(), metavar="FILE", help="Its key, PEM, without a password.")
@click.option("--tokens", type=NamedPath(), metavar="FILE", help="Serve who brings one of these: see `intarsia token`.")
@click.option("--allow-anonymous", is_flag=True, help="Serve other machines, by --host, without tokens.")
@click.option("--audit-log", type=NamedPath(), metavar="FILE", help="Add a line of JSON for each request to FILE.")
@device_option
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N", help="Runs at a time; by default one a processor."
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Of the CPU, for each run."
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    help="Rows of requests that run together at most; by default as many as measurements say that pay.",
)
@click.option(
    "--queue", type=click.IntRange(1), default=256, show_default=True, metavar="N", help="Requests that may wait."
)
@click.option("--timeout", type=Number(min=0.001), metavar="SECONDS", help="For requests that do not name their own.")
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=64 << 20,
    show_default=True,
    metavar="BYTES",
    help="Of one request.",
)
@click.option(
    "--connections", type=click.IntRange(1), default=1024, show_default=True, metavar="N", help="Over HTTP, at a time."
)
@click.option(
    "--grace",
    type=Number(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="For requests under way when the server is told to end.",
)
@click.option(
    "--linger",
    type=Number(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="For which it then still answers that it is not ready.",
)
@click.option("--verify/--no-verify", default=True, help="Whether test vectors are run before an artifact is served.")
@click.option(
    "--control",
    type=click.Choice(["none", "poll", "api"]),
    default="none",
    show_default=True,
    help="Who loads and unloads models later: nobody, the folders as they change, or clients.",
)
@click.option(
    "--poll",
    type=Number(min=0.01),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks into the folders, with --control poll.",
)
@click.option(
    "--cache",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="BYTES",
    help="Of answers that are kept and given again; 0 for none.",
)
@quiet_option
@native_option
@trusted_keys_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    artifacts: tuple[str, ...],
    host: str,
    port: int,
    grpc_port: int,
    grpc: bool,
    tls_cert: str | None,
    tls_key: str | None,
    tokens: str | None,
    allow_anonymous: bool,
    audit_log: str | None,
    device: str | None,
    workers: int | None,
    threads: int,
    rows: int | None,
    queue: int,
    timeout: float | None,
    max_body: int,
    connections: int,
    grace: float,
    linger: float,
    verify: bool,
    control: str,
    poll: float,
    cache: int,
    native: bool,
    trusted_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Serve ARTIFACTs, or folders of *.intarsia, by the Open Inference Protocol v2 over HTTP and gRPC; metrics for
    Prometheus are at /metrics.

    A model is called as its file is, or NAME. What is written once requests are taken is where. SIGTERM and ctrl-C end
    the server when all that it has taken is answered; exit code 1 where --grace was too short for that.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it writes to stderr of what strangers send; read at its import
    try:
        from intarsia.serving.bodies import Limits
        from intarsia.serving.connection import ConnectionLimits
        from intarsia.serving.control import Control
        from intarsia.serving.model import Options
        from intarsia.serving.server import Settings, serve
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _PACKAGES:
            raise
        raise RunError(
            where="intarsia serve",
            what=f"it needs the package {package}, which is not installed here",
            help="pip install 'intarsia[serve]'",
        ) from error

    def told(where: Listening) -> None:
        if as_json:
            write_json(asdict(where))
            return
        shown = f"[{where.host}]" if ":" in where.host else where.host
        scheme = "https" if where.tls else "http"
        rpc = "" if where.grpc_port is None else f", gRPC at {shown}:{where.grpc_port}"
        write(f"serving {', '.join(where.models)} at {scheme}://{shown}:{where.port}{rpc}")

    settings = Settings(
        host=host,
        port=port,
        grpc_port=grpc_port if grpc else None,
        tls=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        tokens=tokens,
        anonymous=allow_anonymous,
        audit_log=audit_log,
        grace_seconds=grace,
        linger_seconds=linger,
        control=Control(control),
        poll_seconds=poll,
        cache_bytes=cache,
        limits=Limits(body_bytes=max_body, seconds=timeout),
        connections=ConnectionLimits(connections=connections),
        models=Options(
            device=device,
            native=native,
            trusted_keys=trusted_keys or None,
            threads=threads,
            workers=workers,
            most_rows=rows,
            most_queued=queue,
            verify=verify,
        ),
    )
    ctx.exit(0 if serve(artifacts, settings, told) else 1)
