"""The group of all commands, and what every command has in common: how errors become letters and exit codes.

A command's module is imported when that command is asked for, and what errors need when there is one, so that `--help`
and completion stay quick.
"""

from __future__ import annotations

import signal
from importlib import import_module
from typing import Any

import click

from intarsia.cli.logs import is_verbose, quiet_option, verbose_option
from intarsia.cli.streams import OutputLost
from intarsia.cli.warned import as_remarks
from intarsia.errors import IntarsiaError, InternalError, RunError, on_command_line, printable
from intarsia.version import __version__

COMMANDS = {
    "compile": ("intarsia.cli.compile", "Compile an ONNX model to an artifact."),
    "explain": ("intarsia.cli.explain", "Place and reason of every op of a model."),
    "run": ("intarsia.cli.run", "Run an artifact on what is here: a board, else the simulator."),
    "batch": ("intarsia.cli.batch", "Run an artifact on every file of a folder, on many processors or machines."),
    "serve": ("intarsia.cli.serve", "Serve artifacts over HTTP and gRPC."),
    "token": ("intarsia.cli.token", "Make a token for who may ask a server."),
    "report": ("intarsia.cli.report", "Cost of every layer of an artifact."),
    "verify": ("intarsia.cli.verify", "Run an artifact's test vectors; compare with the float model."),
    "sign": ("intarsia.cli.sign", "Vouch for an artifact with a key."),
    "dump": ("intarsia.cli.dump", "What is inside an artifact: graph, regions, programs."),
    "targets": ("intarsia.cli.targets", "Installed targets, their options, and devices."),
    "devices": ("intarsia.cli.devices", "Installed devices, and whether they can be used here."),
    "demo": ("intarsia.cli.demo", "The whole journey, on a model that comes with intarsia."),
}
"""By name: the module, whose `command` it is, and the line in the list of commands."""

_DESKTOP = ("numpy", "onnx", "networkx", "rich", "PIL", "ml_dtypes")


class Commands(click.Group):
    """Commands by name; what users can mend becomes a short letter on stderr and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = str(args[0])
        if name not in COMMANDS and not ctx.resilient_parsing and not name.startswith("-"):
            from intarsia.arguments import near

            ctx.fail(f"there is no command {name!r}{near(name, COMMANDS, cutoff=0.6)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        with on_command_line(), as_remarks():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IntarsiaError as error:
            _write(error, ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, OutputLost):
            raise
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if package not in _DESKTOP:
                raise
            _write(
                RunError(
                    where=_called(ctx),
                    what=f"it needs the package {package}, which is not installed here",
                    help="install intarsia with its dependencies; a board runs artifacts without them: intarsia.load",
                ),
                ctx,
            )
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(128 + signal.SIGINT)  # as shells have it; click would make 1 of it
        except Exception as error:
            from intarsia.faults import letter_of

            _write(letter_of(error, _called(ctx)), ctx, error)
        ctx.exit(2)


def _called(ctx: click.Context) -> str:
    return f"intarsia {ctx.invoked_subcommand or ''}".strip()


def _write(error: IntarsiaError, ctx: click.Context, cause: BaseException | None = None) -> None:
    cause = cause or error.__cause__
    if isinstance(error, InternalError) and cause is not None and is_verbose(ctx):
        import traceback

        lines = "".join(traceback.format_exception(cause))
        click.echo(printable(lines, lines=True), err=True)
    click.echo(f"{click.style('error', fg='red')}: {error}", err=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
@verbose_option
@quiet_option
def intarsia() -> None:
    """Compile ONNX models for small FPGA boards and accelerators, and run what comes out.

    \b
      intarsia compile model.onnx --target pynq-z2 --calibration images.npz -o model.intarsia
      intarsia run model.intarsia --input batch.npz

    Exit codes: 0; 1 where a verification failed; 2 where something was refused, with what to do about it; 141 where
    who reads the output ended first.

    \b
    Completion, for bash (zsh_source and fish_source likewise):
      eval "$(_INTARSIA_COMPLETE=bash_source intarsia)"
    """
