"""Registry of a line: immutable, signed versions and their history as a chain of events in a bucket.

Entry points: `versions` (publish, roll back, promote, pull) and `connect` (from settings). `events`, `line_state` and
`event_log` are the history; `eligibility` the rules; `manifest`, `provenance` and `bill_of_materials` describe a version;
`adapter_validation` and `delivery` guard what consumers load; `signing` holds the only use of cryptography;
`acknowledgements` what each consumer serves; `maintenance` checks, restores and collects garbage. Imports no torch,
Prefect or Great Expectations. May import `cycle`, `storage` and below.
"""
