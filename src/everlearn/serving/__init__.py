"""Consumers of a line: the follower of the champion, the rollout status, and the vLLM plugin.

Delivery of verified files is in `registry.delivery`. Imports no torch; only the plugin imports vLLM. May import
`registry` and below.
"""
