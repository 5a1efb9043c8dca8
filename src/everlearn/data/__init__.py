"""Problems as data: reading and accepting rows, snapshots and their DVC remote, the hold-out split, suites.

Holds no verifier (`domains`) and no Great Expectations suite (`tasks`). May import `domains` and below. DVC is imported
in dvc_remote.py only.
"""
