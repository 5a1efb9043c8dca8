"""Problems and suites as data: reading rows, snapshots, the held-out split, suites.

Holds no verifier (`domains`) and no Great Expectations suite (`tasks`). May import `domains` and below.
"""
