"""Consumers of a line: the endpoint, the follower of the champion, the rollout status, and the vLLM plugin.

Delivery of verified files is in `registry.delivery`. Only `served_version` loads models, by `training`; only the plugin
imports vLLM.
"""
