"""Models: the policy (base and adapter), forward passes, adapter files, and the fingerprint of a base model.

May import `registry`, `domains` and below, and nothing else of `training`.
"""
