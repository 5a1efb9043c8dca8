"""`keys new`, `keys show`: the key that signs versions, and the keys that are trusted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.output import Json, print_note, print_result, table
from everlearn.registry import signing

if TYPE_CHECKING:
    from everlearn.cli.context import Installation

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def keys() -> None:
    """Create a key that signs versions, and show which keys are trusted.

    A publisher has a private key; a reader trusts public keys. To change keys: create a new one, add both public keys
    to `signing.trusted` of every reader, then set `signing.key_file` to the new one. Versions that the old key signed
    are valid as long as it is trusted, so keep it in the list.

        everlearn keys new .everlearn/signing.pem
        everlearn keys show
    """


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File for the private key; must not exist.")],
    *,
    json: Json = False,
) -> None:
    """Create an Ed25519 key and print its public key, for `signing.trusted` of readers.

    The file is readable by its owner only; an existing file is not overwritten. Never commit it, and keep a copy in a
    safe place: without it nothing can be published with this key.

        everlearn keys new .everlearn/signing.pem
    """
    signer = signing.create_key(file, must_be_new=True)
    print_result({"file": str(file), "public": signer.key}, as_json=json, text=signer.key)
    print_note(
        f"{file} holds the private key: set signing.key_file to it, or {signing.VARIABLE} to its content; "
        "add the public one above to signing.trusted wherever versions are read"
    )


@app.command()
def show(context: typer.Context, *, json: Json = False) -> None:
    """Show the public key that signs here, and the trusted ones.

    Needs neither a private key
    nor a server.

        everlearn keys show
        everlearn keys show --json | jq -r .signs
    """
    installation: Installation = context.obj
    settings = installation.settings()
    chosen = settings.signing
    signer, verifier = signing.signer_and_verifier(
        key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned
    )
    trusted = verifier.keys if isinstance(verifier, signing.Ed25519Verifier) else ()
    source = (signing.VARIABLE if os.environ.get(signing.VARIABLE) else str(chosen.key_file)) if signer else None
    facts = {"signs": signer and signer.key, "from": source, "trusted": list(trusted), "unsigned": chosen.unsigned}
    rows = [(key, "signs here" if signer and key == signer.key else "trusted") for key in trusted]
    unsigned = "nothing is signed, and nothing verified: signing.unsigned is set"
    print_result(facts, as_json=json, text=table("public key", "", rows=rows) if rows else unsigned)
    if signer is None and trusted:
        print_note("no private key here: versions can be read, not published; `everlearn keys new` creates one")
