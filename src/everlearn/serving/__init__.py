"""Consumers of a line: following the champion, the status of a rollout, the vLLM plugin.

Delivery of verified files is `registry.delivery`. Imports no torch; vLLM is imported by its plugin only. May import
`registry` and below.
"""
