"""Maintenance of a line: check every byte (fsck), restore what was lost, remove what nothing needs (gc).

Holds no rule on what a version is: that is `registry`. May import `registry`, `cycle` and below.
"""
