"""Prefect flows: one verb per file, each listing its steps in order. The steps are in `tasks/`."""
