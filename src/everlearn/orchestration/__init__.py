"""Prefect as seen from this project: deployments, schedules, pools, workers, notifications, events.

Holds no flow (`flows`) and no task (`tasks`). May import `local`, `telemetry` and below. The only package of
`everlearn` that imports Prefect.
"""
