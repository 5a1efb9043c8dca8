"""Servers on one machine, as background processes: SeaweedFS (S3), Prefect (on SQLite or Postgres) and the site.

Deployments and schedules are in `orchestration`. May import `reporting`, `registry` and below.
"""
