"""Notification targets: Slack, e-mail and webhook blocks of Prefect, which store the address as a secret.

plan = plan_targets(client, [parse_target("https://hooks.slack.com/services/…")])   # or sendgrid://KEY:from/to, or a webhook
plan.changes                     # what would be created, replaced or deleted
plan.apply(client)
read_target_ids(client)          # the ids of the blocks, for the actions of automations
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
PLACEHOLDER = UUID(int=0)
"""Stands for the id of a target that is not saved yet, so that a plan can be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPlan:
    """Notification targets by name, such as slack-webhook/everlearn: one of each kind.

    `kept` are on the server already, `new` are to be saved there, `gone` are to be deleted. A target in both `kept` and
    `new` is replaced.
    """

    kept: dict[str, UUID]
    new: dict[str, Block]
    gone: dict[str, UUID]

    @property
    def ids(self) -> tuple[UUID, ...]:
        """Ids of the targets in a fixed order, for the actions of automations; PLACEHOLDER for those not saved yet."""
        ids = dict.fromkeys(self.new, PLACEHOLDER) | self.kept
        return tuple(ids[name] for name in map(_name_of, KINDS) if name in ids)

    @property
    def changes(self) -> tuple[ServerChange, ...]:
        """What `apply` would change on the server, without secrets."""
        return (
            *(
                ServerChange(name=f"target {name}", field="address", before="another", after="that of --notify")
                if name in self.kept
                else ServerChange(name=f"target {name}")
                for name in self.new
            ),
            *(ServerChange(name=f"target {name}", gone=True) for name in self.gone),
        )

    def apply(self, client: SyncPrefectClient) -> list[str]:
        """Save and delete targets; return a sentence for each change."""
        for block in self.new.values():
            block.save(NAME, overwrite=True)
        for block_id in self.gone.values():
            client.delete_block_document(block_id)
        saved = [f"notifications go to {name}" for name in self.new]
        return saved + [f"notifications no longer go to {name}" for name in self.gone]


def plan_targets(client: SyncPrefectClient, wanted: Sequence[Block] = (), *, only: bool = False) -> TargetPlan:
    """Plan to add the `wanted` targets, each replacing the one of its kind; with `only`, to delete all others."""
    existing = _read_targets(client)
    named = {_name_of(type(block)): block for block in wanted}
    gone = {name: document.id for name, document in existing.items() if only and name not in named}
    return TargetPlan(
        kept={name: document.id for name, document in existing.items() if name not in gone},
        new={name: block for name, block in named.items() if name not in existing or not _equal(existing[name], block)},
        gone=gone,
    )


def read_target_ids(client: SyncPrefectClient) -> tuple[UUID, ...]:
    """Return the block ids of the targets on the server."""
    return tuple(document.id for document in _read_targets(client).values())


def with_targets(automation: dict[str, Any], ids: tuple[UUID, ...]) -> dict[str, Any]:
    """Return an automation of infra/notifications.yaml with each action repeated for each target."""
    actions = [action | {"block_document_id": str(target)} for action in automation["actions"] for target in ids]
    return automation | {"actions": actions}


def parse_target(url: str) -> Block:
    """Return the unsaved block for an address. BadInputError if the address is not supported."""
    unsupported = BadInputError(
        "--notify takes https://hooks.slack.com/…, sendgrid://KEY:sender@domain/receiver@domain, or the http(s) URL of a webhook"
    )
    try:
        parts = urlsplit(url)
    except ValueError:  # such as https://[
        raise unsupported from None
    if parts.scheme in {"http", "https"} and parts.hostname:
        if parts.hostname == SLACK:
            return SlackWebhook(url=SecretStr(url))
        message = {"subject": "{{subject}}", "text": "{{body}}"}
        # The block's `url` is not a secret field: the server shows it. So the address goes into `secrets`.
        secrets = SecretDict({"address": url})
        return CustomWebhookNotificationBlock(name=NAME, url="{{address}}", json_data=message, secrets=secrets)
    if parts.scheme != "sendgrid" or not parts.netloc.count("@") or not parts.path.strip("/"):
        raise unsupported
    key, _, sender = parts.netloc.partition(":")
    receivers = [receiver for receiver in parts.path.split("/") if receiver]
    if not key or "@" not in sender or not all("@" in receiver for receiver in receivers):
        raise unsupported
    return SendgridEmail(api_key=SecretStr(key), sender_email=sender, to_emails=receivers)


def _read_targets(client: SyncPrefectClient) -> dict[str, BlockDocument]:
    documents = {}
    for kind in KINDS:
        slug = kind.get_block_type_slug()
        try:
            documents[_name_of(kind)] = client.read_block_document_by_name(NAME, slug, include_secrets=True)
        except ObjectNotFound:
            continue
    return documents


def _equal(document: BlockDocument, block: Block) -> bool:
    """Return whether the server has this very address."""
    return type(block).model_validate(document.data).model_dump() == block.model_dump()


def _name_of(kind: type[Block]) -> str:
    return f"{kind.get_block_type_slug()}/{NAME}"
