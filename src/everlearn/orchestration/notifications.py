"""Where notifications go: each target is a block of Prefect's, which keeps the secret, and is known by what it is for.

chosen = choose(client, [target_of("https://hooks.slack.com/services/…")])   # or sendgrid://KEY:from/to, or a webhook
chosen.changes                                        # what would be kept, replaced or forgotten
chosen.settle(client)
targets(client)                                       # the ids of the blocks, for the actions of automations
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SendgridEmail, SlackWebhook
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from everlearn.errors import BadInputError
from everlearn.orchestration.server_changes import ServerChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import BlockDocument

NAME = "everlearn"
KINDS: tuple[type[Block], ...] = (SlackWebhook, SendgridEmail, CustomWebhookNotificationBlock)
SLACK = "hooks.slack.com"
NOBODY = UUID(int=0)
"""Stands for a target that is not kept yet, so that a plan can be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Who is told from now on: `kept` are blocks of the server, `new` those to keep there, `gone` those to forget.

    Each is known by what it is, such as slack-webhook/everlearn: a target is there once of each kind.
    """

    kept: dict[str, UUID]
    new: dict[str, Block]
    gone: dict[str, UUID]

    @property
    def ids(self) -> tuple[UUID, ...]:
        """For the actions of automations, always in one order; NOBODY stands for what is not kept yet."""
        known = dict.fromkeys(self.new, NOBODY) | self.kept
        return tuple(known[name] for name in map(_name_of, KINDS) if name in known)

    @property
    def changes(self) -> tuple[ServerChange, ...]:
        """What settling this would change on the server, without any secret."""
        return (
            *(
                ServerChange(name=f"target {name}", field="address", before="another", after="that of --notify")
                if name in self.kept
                else ServerChange(name=f"target {name}")
                for name in self.new
            ),
            *(ServerChange(name=f"target {name}", gone=True) for name in self.gone),
        )

    def settle(self, client: SyncPrefectClient) -> list[str]:
        """Keep and forget; in words."""
        for block in self.new.values():
            block.save(NAME, overwrite=True)
        for block_id in self.gone.values():
            client.delete_block_document(block_id)
        said = [f"notifications go to {name}" for name in self.new]
        return said + [f"notifications no longer go to {name}" for name in self.gone]


def choose(client: SyncPrefectClient, wanted: Sequence[Block] = (), *, only: bool = False) -> Targets:
    """Those `wanted`, each in place of the one of its kind, and what the server has already, unless `only`."""
    there = _there(client)
    named = {_name_of(type(block)): block for block in wanted}
    gone = {name: found.id for name, found in there.items() if only and name not in named}
    return Targets(
        kept={name: found.id for name, found in there.items() if name not in gone},
        new={name: block for name, block in named.items() if name not in there or not _is(there[name], block)},
        gone=gone,
    )


def targets(client: SyncPrefectClient) -> tuple[UUID, ...]:
    """The targets that the server knows."""
    return tuple(found.id for found in _there(client).values())


def _there(client: SyncPrefectClient) -> dict[str, BlockDocument]:
    found = {}
    for kind in KINDS:
        slug = kind.get_block_type_slug()
        try:
            found[_name_of(kind)] = client.read_block_document_by_name(NAME, slug, include_secrets=True)
        except ObjectNotFound:
            continue
    return found


def _is(found: BlockDocument, block: Block) -> bool:
    """Whether the server has that very address."""
    return type(block).model_validate(found.data).model_dump() == block.model_dump()


def _name_of(kind: type[Block]) -> str:
    return f"{kind.get_block_type_slug()}/{NAME}"


def addressed(automation: dict[str, Any], ids: tuple[UUID, ...]) -> dict[str, Any]:
    """An automation of infra/notifications.yaml whose messages go to all targets."""
    actions = [action | {"block_document_id": str(each)} for action in automation["actions"] for each in ids]
    return automation | {"actions": actions}


def target_of(url: str) -> Block:
    """What an address means; nothing is kept yet. BadInputError if it is none."""
    parts = urlsplit(url)
    wrong = BadInputError(
        "--notify wants https://hooks.slack.com/…, sendgrid://KEY:sender@domain/receiver@domain, or the http(s) URL of a webhook"
    )
    if parts.scheme in {"http", "https"} and parts.hostname:
        if parts.hostname == SLACK:
            return SlackWebhook(url=SecretStr(url))
        message = {"subject": "{{subject}}", "text": "{{body}}"}
        hidden = SecretDict({"address": url})  # `url` itself is no secret field: the server shows it to everybody
        return CustomWebhookNotificationBlock(name=NAME, url="{{address}}", json_data=message, secrets=hidden)
    if parts.scheme != "sendgrid" or not parts.netloc.count("@") or not parts.path.strip("/"):
        raise wrong
    key, _, sender = parts.netloc.partition(":")
    receivers = [each for each in parts.path.split("/") if each]
    if not key or "@" not in sender or not all("@" in each for each in receivers):
        raise wrong
    return SendgridEmail(api_key=SecretStr(key), sender_email=sender, to_emails=receivers)
