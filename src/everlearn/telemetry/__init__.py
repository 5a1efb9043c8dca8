"""Logs and metrics: log formatting with context fields, Prometheus metrics, and the health of a line.

Changes nothing it observes. May import `registry`, `cycle` and below.
"""
