"""The registry of one line: immutable versions, and their history as a chain of events in a bucket.

`versions` is the entry point: publish, roll back, promote, pull. `events` and `event_log` are the history, `manifest`
describes a version, `signing` holds the only use of cryptography, `consumers` what each consumer has acknowledged;
`maintenance` checks, repairs and collects garbage. Imports no torch, Prefect or Great Expectations. May import `cycle`,
`storage` and below.
"""
