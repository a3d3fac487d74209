"""The group of all commands, and what every command has in common: how errors become letters and exit codes."""

from __future__ import annotations

from typing import Any

import click

from intarsia.cli.compile import compile_command
from intarsia.cli.demo import demo
from intarsia.cli.dump import dump
from intarsia.cli.explain import explain
from intarsia.cli.output import write_error
from intarsia.cli.report import report
from intarsia.cli.run import run
from intarsia.cli.targets import targets
from intarsia.cli.verify import verify
from intarsia.errors import IntarsiaError, RunError


class Letters(click.Group):
    """A group that turns what users can mend into a short letter on stderr and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IntarsiaError as error:
            write_error(error)
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if package not in ("numpy", "onnx", "networkx", "rich", "PIL", "ml_dtypes"):
                raise
            write_error(
                RunError(
                    where=f"intarsia {ctx.invoked_subcommand or ''}".strip(),
                    what=f"it needs the package {package}, which is not installed here",
                    help="install intarsia with its dependencies; a board runs artifacts without them: intarsia.load",
                )
            )
        ctx.exit(2)


@click.group(cls=Letters, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="intarsia")
def intarsia() -> None:
    """Compile ONNX models for small FPGA boards and accelerators, and run what comes out.

    \b
      intarsia compile model.onnx --target pynq-z2 --calibration images.npz -o model.intarsia
      intarsia run model.intarsia --input batch.npz

    Exit codes: 0; 1 where a verification failed; 2 where something was refused, with what to do about it.

    \b
    Completion, for bash (zsh_source and fish_source likewise):
      eval "$(_INTARSIA_COMPLETE=bash_source intarsia)"
    """


for command in (compile_command, explain, run, report, verify, dump, targets, demo):
    intarsia.add_command(command)
