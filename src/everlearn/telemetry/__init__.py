"""Logs and metrics: log formatting with context fields, Prometheus metrics, and the health of a line.

Read-only. May import `registry`, `cycle` and below.
"""
