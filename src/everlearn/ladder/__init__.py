"""The ladder: the verified tree of easier variants below the roots, the curriculum that draws from it, and replay.

Holds no model: the policy that proposes variants is in `training`. May import `domains` and below.
"""
