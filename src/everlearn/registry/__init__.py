"""Registry of a line: immutable, signed versions and their history as a chain of events in a bucket.

Entry points: `versions` (publish, roll back, promote, pull) and `connect` (from settings).

- History: `events`, `line_state` (the fold), `event_log` (the chain in the store), `eligibility` (what it allows).
- Contents: `content_store`, `manifest`, `provenance`, `bill_of_materials`, `sealed_document`, `signing`.
- Consumers: `adapter_validation` and `adapter_settings`, `delivery`, `acknowledgements`.
- Upkeep: `publisher_heartbeat`, `maintenance` (fsck, restore, gc).

Imports no torch, Prefect or Great Expectations. May import `cycle`, `storage` and below.
"""
