"""Models: the policy (base and adapter), forward passes, and the fingerprint of a base model.

May import `domains`, `errors` and nothing else of `training`.
"""
