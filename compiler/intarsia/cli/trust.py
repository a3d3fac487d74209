"""What commands that open artifacts may be told of trust."""

from __future__ import annotations

import click

from intarsia.cli.choices import NamedPath

trusted_keys_option = click.option(
    "--trusted-keys",
    multiple=True,
    type=NamedPath(),
    metavar="PATH",
    help="Refuse ARTIFACT unless a key of this file, or of a folder of files (.pub, .pem), has signed it; "
    "may be given again.",
)

native_option = click.option(
    "--native/--no-native",
    default=True,
    help="Whether machine code of ARTIFACT may run; without, NumPy computes what it would: slow and safe.",
)
"""For artifacts of others: see SECURITY.md."""
