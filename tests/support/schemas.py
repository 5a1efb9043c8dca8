"""Validate documents against the official definitions: protobuf of in-toto and SLSA, JSON schema of CycloneDX 1.6.

Both definitions come with the standards' own packages and refuse unknown fields.
"""

from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

CYCLONEDX = JsonStrictValidator(SchemaVersion.V1_6)


def faults_of_bom(written: bytes) -> str:
    """Return the schema violations; empty for a valid document."""
    return str(CYCLONEDX.validate_str(written.decode()) or "")


def checked_provenance(written: bytes) -> Any:
    """Return the parsed SLSA predicate of a valid statement; fields that the specifications require are asserted."""
    parsed = json_format.Parse(written, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert parsed.predicate_type == "https://slsa.dev/provenance/v1"
    predicate = json_format.Parse(json.dumps(json.loads(written)["predicate"]), provenance_pb2.Provenance())
    made, run = predicate.build_definition, predicate.run_details
    assert ":" in made.build_type
    assert made.external_parameters.fields
    assert ":" in run.builder.id
    for each in (*made.resolved_dependencies, *run.byproducts):
        ResourceDescriptor.copy_from_pb(each).validate()
        assert each.digest
    return predicate
