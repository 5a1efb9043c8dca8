"""Presentation for users: the report of a night, the site of a line, charts and HTML templates.

Read-only. May import `registry`, `gate`, `ladder` and below.
"""
