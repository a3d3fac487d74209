"""`intarsia sign`: vouch for an artifact with a key."""

from __future__ import annotations

import click

from intarsia.cli.choices import NamedPath
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import force_option, json_option, note, write_json


@click.command("sign")
@click.argument("artifact", type=NamedPath(), required=False)
@click.option("--key", required=True, type=NamedPath(), metavar="FILE", help="The private key, a PEM file.")
@click.option("--new-key", "new", is_flag=True, help="Make FILE first, and FILE.pub, the public key, beside it.")
@click.option("-o", "--output", type=NamedPath(), help="Where the signed artifact goes; by default into its place.")
@force_option
@quiet_option
@json_option
def command(artifact: str | None, key: str, new: bool, output: str | None, force: bool, as_json: bool) -> None:
    """Sign ARTIFACT in place, so that machines that trust the key run it.

    The signature covers every byte. `intarsia verify --trusted-keys FILE.pub`, `intarsia run` likewise, and
    intarsia.load(path, trusted_keys="FILE.pub") refuse what was changed since, before any of its code is used. Keys are
    Ed25519, as `openssl genpkey -algorithm ed25519` makes them too; keep the private one secret.

    \b
      intarsia sign --new-key --key release.key model.intarsia
      intarsia run model.intarsia --trusted-keys release.key.pub --input x.npy
    """
    from intarsia.artifact import Artifact
    from intarsia.artifact.signatures import key_name, new_key
    from intarsia.artifact.storage import check_place

    if artifact is None and not new:
        raise click.UsageError("give an ARTIFACT to sign, or --new-key")
    opened = None if artifact is None else Artifact.read(artifact)
    place = output or artifact
    if output is not None:
        if artifact is None:
            raise click.UsageError("-o goes with an ARTIFACT to sign")
        check_place(output, inputs=[key], overwrite=force)
    public = str(new_key(key)) if new else None
    if public is not None:
        note(f"made {key}, to be kept secret, and {public}, to be given to who shall trust it")
    if opened is None or place is None:
        if as_json:
            write_json({"public_key": public})
        return
    signature = opened.sign(key)
    opened.save(place, overwrite=force)
    if as_json:
        write_json({"artifact": place, "key": key_name(signature.key), "public_key": public})
    else:
        click.echo(f"signed by {key_name(signature.key)}")
