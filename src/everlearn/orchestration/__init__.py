"""Prefect as seen from this project: deployments, schedules, work pools, workers, notifications, events.

Flows are in `flows`, tasks in `tasks`. This is the only package of `everlearn` that imports Prefect. May import
`local`, `telemetry` and below.
"""
