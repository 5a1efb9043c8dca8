"""Evaluate IAM policies on real requests to S3, as far as our policies need it.

An explicit denial wins, then any permission; the default is denial:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html. Action and
condition keys are read from the request, as in AWS's list for S3:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html. An unknown
operator or condition key is an error.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tests.support.s3_fault_proxy import Request

Keys = dict[str, str]
KNOWN = {"aws:SecureTransport", "s3:TlsVersion", "s3:prefix", "s3:if-match", "s3:if-none-match"}
KNOWN |= {"s3:x-amz-copy-source", "s3:ObjectCreationOperation"}


def render(path: Path, values: Mapping[str, str]) -> dict[str, Any]:
    """Render a template without expressions, as Terraform's templatefile does."""
    text = re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], path.read_text(encoding="utf-8"))
    return dict(json.loads(text))


def describe(request: Request) -> tuple[str, str, Keys]:
    """Return action, resource and condition keys of a path-style request, as if it came over TLS."""
    address = urlsplit(request.path)
    query = parse_qs(address.query, keep_blank_values=True)
    bucket, _, key = unquote(address.path).lstrip("/").partition("/")
    headers = {name.lower(): value for name, value in request.headers}
    keys: Keys = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3"}
    if not key:
        keys |= {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
        listed = {"versions": "s3:ListBucketVersions", "uploads": "s3:ListBucketMultipartUploads"}
        return next((listed[name] for name in listed if name in query), "s3:ListBucket"), f"arn:aws:s3:::{bucket}", keys
    names = {
        "if-match": "s3:if-match",
        "if-none-match": "s3:if-none-match",
        "x-amz-copy-source": "s3:x-amz-copy-source",
    }
    keys |= {names[name]: unquote(headers[name]) for name in names if name in headers}
    action = _action(request.method, query)
    if action == "s3:PutObject":
        makes = "partNumber" not in query and "uploads" not in query
        keys["s3:ObjectCreationOperation"] = "true" if makes else "false"
    return action, f"arn:aws:s3:::{bucket}/{key}", keys


def _action(method: str, query: Mapping[str, object]) -> str:
    version = "Version" if "versionId" in query else ""
    if method in {"GET", "HEAD"}:
        return f"s3:GetObject{version}"
    if method == "DELETE":
        return "s3:AbortMultipartUpload" if "uploadId" in query else f"s3:DeleteObject{version}"
    return "s3:PutObject"


def allows(policies: Iterable[dict[str, Any]], action: str, resource: str, keys: Keys) -> bool:
    """Return whether the policies together allow the action."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _concerns(statement, action, resource) and _holds(statement.get("Condition", {}), keys)
    }
    return effects == {"Allow"}


def denies(policy: dict[str, Any], request: Request) -> bool:
    """Return whether the policy explicitly denies the request."""
    action, resource, keys = describe(request)
    everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    return not allows([policy, everything], action, resource, keys)


def _concerns(statement: dict[str, Any], action: str, resource: str) -> bool:
    actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
    return any(_like(each, action) for each in actions) and any(_like(each, resource) for each in resources)


def _holds(condition: dict[str, dict[str, Any]], keys: Keys) -> bool:
    return all(
        _met(name, key, _listed(values), keys) for name, block in condition.items() for key, values in block.items()
    )


def _met(operator: str, key: str, values: list[str], keys: Keys) -> bool:
    assert key in KNOWN, key
    found = keys.get(key)
    if operator == "Null":
        return (found is None) == (values == ["true"])
    if found is None:
        return operator.endswith("IfExists") or operator == "StringNotLike"
    if operator == "Bool":
        return found in values
    if operator in {"StringLike", "StringLikeIfExists"}:
        return any(_like(each, found) for each in values)
    if operator == "StringNotLike":
        return not any(_like(each, found) for each in values)
    if operator == "NumericLessThan":
        return any(float(found) < float(each) for each in values)
    raise AssertionError(operator)


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def unused(policy: dict[str, Any], requests: Iterable[Request]) -> set[tuple[str, str]]:
    """Return the allowed pairs of action and resource that no request uses."""
    described = [describe(each)[:2] for each in requests]
    found = set()
    for statement in policy["Statement"]:
        actions, resources = _listed(statement["Action"]), _listed(statement["Resource"])
        used = [(action, resource) for action, resource in described if _concerns(statement, action, resource)]
        found |= {(statement["Sid"], each) for each in actions if not any(_like(each, action) for action, _ in used)}
        found |= {(statement["Sid"], each) for each in resources if not any(_like(each, thing) for _, thing in used)}
    return found
