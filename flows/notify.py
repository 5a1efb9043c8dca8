"""Where notifications go: each target is a block of Prefect's, which keeps the secret, and is known by what it is for.

save_target("https://hooks.slack.com/services/…")     # or sendgrid://KEY:from@x.org/to@y.org, or any other http(s) URL
targets(client)                                       # the ids of the blocks, for the actions of automations
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SendgridEmail, SlackWebhook
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from everlearn.errors import BadInputError

if TYPE_CHECKING:
    from prefect.blocks.core import Block
    from prefect.client.orchestration import SyncPrefectClient

NAME = "everlearn"
KINDS: tuple[type[Block], ...] = (SlackWebhook, SendgridEmail, CustomWebhookNotificationBlock)
SLACK = "hooks.slack.com"
NOBODY = UUID(int=0)
"""Stands for a target that is not kept yet, so that a plan can be shown."""


def save_target(block: Block) -> str:
    """Keep a target on the server, in place of the one of its kind; what it is, without its secret."""
    block.save(NAME, overwrite=True)
    return f"{type(block).get_block_type_slug()}/{NAME}"


def targets(client: SyncPrefectClient) -> tuple[UUID, ...]:
    """The targets that the server knows."""
    found = []
    for kind in KINDS:
        try:
            found.append(client.read_block_document_by_name(NAME, kind.get_block_type_slug()).id)
        except ObjectNotFound:
            continue
    return tuple(found)


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
