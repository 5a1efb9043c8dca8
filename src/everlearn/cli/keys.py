"""`keys new`, `keys show`: with which key this place signs, and whose signatures it believes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli.output import Json, answer, table, tell
from everlearn.registry import signing

if TYPE_CHECKING:
    from everlearn.cli.context import Place

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def keys() -> None:
    """Draw a key to sign versions with, and see which ones count.

    Whoever publishes has a private key; whoever reads has the public ones that he trusts. To change keys: draw a new
    one, name both public keys in `signing.trusted` of every reader, then let `signing.key_file` be the new one. What
    the old one has signed counts as long as it is trusted, so leave it there.

        everlearn keys new .everlearn/signing.pem
        everlearn keys show
    """


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key is to lie; must not exist.")],
    *,
    json: Json = False,
) -> None:
    """Draw an Ed25519 key and print its public half, for `signing.trusted` of those who read.

    The file is readable by its owner only, and nothing is ever overwritten. Never commit it; keep a copy where only
    you can read it: without it nothing can be published on this line under this name.

        everlearn keys new .everlearn/signing.pem
    """
    made = signing.create_key(file, must_be_new=True)
    answer({"file": str(file), "public": made.key}, as_json=json, shown=made.key)
    tell(
        f"{file} holds the private key: name it in signing.key_file, or put its content into {signing.VARIABLE}; "
        "add the public one above to signing.trusted wherever versions are read"
    )


@app.command()
def show(context: typer.Context, *, json: Json = False) -> None:
    """Show which key signs here, and which public keys are trusted.

    No private key is needed for that, nor a server.

        everlearn keys show
        everlearn keys show --json | jq -r .signs
    """
    place: Place = context.obj
    settings = place.settings()
    chosen = settings.signing
    signer, verifier = signing.signer_and_verifier(
        key_file=settings.key_file, trusted=chosen.trusted, unsigned=chosen.unsigned
    )
    trusted = verifier.keys if isinstance(verifier, signing.Ed25519Verifier) else ()
    source = (signing.VARIABLE if os.environ.get(signing.VARIABLE) else str(chosen.key_file)) if signer else None
    facts = {"signs": signer and signer.key, "from": source, "trusted": list(trusted), "unsigned": chosen.unsigned}
    rows = [(key, "signs here" if signer and key == signer.key else "trusted") for key in trusted]
    nobody = "nothing is signed, and nothing verified: signing.unsigned is set"
    answer(facts, as_json=json, shown=table("public key", "", rows=rows) if rows else nobody)
    if signer is None and trusted:
        tell("no private key here: versions can be read, not published; `everlearn keys new` draws one")
