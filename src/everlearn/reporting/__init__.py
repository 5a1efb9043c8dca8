"""What people look at: the report of a night, the site of a line, charts, HTML templates.

Only reads: nothing here changes a line. May import `registry`, `gate`, `ladder` and below.
"""
