"""Maintenance of a line: check every byte (fsck), restore what was lost, remove what is unreferenced (gc).

Defines no rule about versions: those are in `registry`. May import `registry`, `cycle` and below.
"""
