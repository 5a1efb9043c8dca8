"""Handing versions to the servers that answer with them. Light: what a server brings itself is imported there only."""
