"""`domain certify`: attack the verifier of a domain, and keep what was found as a signed certificate."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 (Typer reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from everlearn.cli.output import Json, log_to_stderr, print_note, print_result, table
from everlearn.errors import BadInputError, IntegrityError, SettingsError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from everlearn.cli.context import Installation
    from everlearn.domains.certification.certificate import Certificate
    from everlearn.registry.certificates import CertificateStore

PAUSE_S = 5.0
"""Seconds between two lines of progress."""


def certify(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the entry point, as in settings and rows.")],
    *,
    problems: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Rows with an answer each that is right; without, the domain generates problems."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, help="Wall-clock seconds for everything.")] = 300.0,
    learning: Annotated[
        float, typer.Option(min=0, help="CPU seconds for which a small model is trained against the verifier.")
    ] = 60.0,
    answers: Annotated[int, typer.Option(min=1, help="Wrong answers after which the attack ends.")] = 10_000,
    again: Annotated[bool, typer.Option("--again", help="Attack it again, though its code has a certificate.")] = False,
    json: Json = False,
) -> None:
    """Attack the verifier of a domain, and say whether a night may train on its rewards.

    Constants, the question itself, right answers with text glued on, near misses, look-alikes, huge input, right
    answers in other notation, and a small model that learns what is rewarded. The certificate is for the present code
    of the domain. It is signed and stored in the line's registry, where that can be reached, and found there again.
    Exit code 1: it allows no training.

        everlearn domain certify integration
        everlearn domain certify capitals --problems capitals/problems.jsonl
    """
    from everlearn.domains.certification.certificate import PROCEDURE, Certificate
    from everlearn.domains.certification.code_version import code_version
    from everlearn.domains.contract import load_domain
    from everlearn.domains.contract_laws import read_samples
    from everlearn.training.certification_run import certify as attack  # imports torch

    installation: Installation = context.obj
    domain, limits = load_domain(name), installation.settings().certification
    if len(domain.parts) > 1:
        raise BadInputError(
            f"{name} is a line of several domains, and each needs a certificate of its own: name one of "
            f"{', '.join(domain.parts)}"
        )
    samples = read_samples(domain, problems) if problems else []
    if problems and not samples:
        raise BadInputError(f"{problems} holds no row: write one problem with a right answer a line")
    kept = _certificates(installation)
    found = None if kept is None or again else kept.find(name, code=code_version(domain), procedure=PROCEDURE)
    if found is None:
        log_to_stderr()
        certificate = attack(
            domain, samples, seconds=seconds, learning_s=learning, enough=answers, limits=limits, progress=_progress()
        )
        is_stored = kept is not None and _store(kept, certificate)
    else:
        certificate, is_stored = Certificate.from_content(found), True
    reasons = certificate.refusals(limits)
    facts = certificate.to_content() | {"allowed": not reasons, "reasons": reasons, "stored": is_stored}
    print_result(facts, as_json=json, text=_shown(certificate, reasons))
    if reasons:
        raise typer.Exit(1)


def _store(kept: CertificateStore, certificate: Certificate) -> bool:
    """Store a certificate. Return whether that was possible; the reason why not is said."""
    try:
        kept.put(certificate.to_content())
    except IntegrityError as error:
        print_note(f"the certificate is not stored: {error}")
        return False
    return True


def _certificates(installation: Installation) -> CertificateStore | None:
    """Return the line's certificates; None, with a note, where its registry cannot be reached."""
    from everlearn.registry.connect import open_certificates

    try:
        installation.connect()
        kept = open_certificates(installation.settings())
        kept.require_store()
    except (StoreError, SettingsError) as error:
        print_note(f"the certificate will not be stored: {error}")
        return None
    return kept


def _progress() -> Callable[[int, int], None]:
    """Return a function that prints how many wrong answers were judged, every few seconds."""
    shown = [time.monotonic()]

    def show(done: int, of: int) -> None:
        if time.monotonic() - shown[0] > PAUSE_S:
            shown[0] = time.monotonic()
            print_note(f"{done:,} of {of:,} wrong answers judged")

    return show


def _shown(certificate: Certificate, reasons: tuple[str, ...]) -> RenderableType:
    from rich.console import Group

    rows: list[tuple[Any, ...]] = [
        (kind, counts["tried"], counts["accepted"]) for kind, counts in certificate.attacks.items()
    ]
    learned = certificate.learned
    if learned is not None:
        contradicted = "not judged again" if learned.contradicted is None else learned.contradicted
        rows.append(("rewards that a model learned to get, contradicted", learned.rewarded, contradicted))
    rows.append(("right answers, refused", certificate.right_answers, f"{certificate.refused:.1%}"))
    verdict = (
        Text("may be trained on", style="green") if not reasons else Text("may not be trained on", style="bold red")
    )
    lines: list[RenderableType] = [
        Text.assemble(f"{certificate.domain}: ", verdict, f" ({certificate.summary()})"),
        *(Text(f"  - {reason}") for reason in reasons),
        table("attack", "tried", "accepted", rows=rows),
        *(Text(f"  {kind}: {answer!r} to {statement!r}") for kind, statement, answer in certificate.examples),
    ]
    return Group(*lines)
