"""`intarsia token`: a token for who may ask a server."""

from __future__ import annotations

import click

from intarsia.cli.choices import NamedPath
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, note, write, write_json


@click.command("token")
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(["infer", "observe", "control"]),
    help="What it is good for: inference; metrics and statistics; loading and unloading. May be given again.",
)
@click.option("--tokens", required=True, type=NamedPath(), metavar="FILE", help="Gets its line; made where it is not.")
@quiet_option
@json_option
def command(name: str, roles: tuple[str, ...], tokens: str, as_json: bool) -> None:
    """Make a token for NAME, write it to standard output, and its SHA-256 to FILE.

    `intarsia serve --tokens FILE` then serves who brings it as `Authorization: Bearer TOKEN`. Nobody can read it from
    FILE, so that it is shown this once; a token ends when its line is taken away, while the server runs too.

    \b
      intarsia token alice --role infer --tokens tokens.txt
      intarsia serve model.intarsia --tokens tokens.txt
    """
    from intarsia.serving.tokens import Role, add_token

    made = add_token(tokens, name, {Role(role) for role in roles})
    if as_json:
        write_json({"name": name, "roles": sorted(set(roles)), "token": made})
        return
    note(f"{name}'s token, which is shown this once:")
    write(made)
