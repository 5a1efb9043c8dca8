"""The servers of a laptop: S3 (SeaweedFS), Prefect (on SQLite or Postgres) and the site, as child processes.

Holds no deployment and no schedule (`orchestration`). May import `reporting`, `registry` and below.
"""
