"""Engines: decoding on this machine, rollouts by vLLM servers, and training by several processes.

May import `training.models`, `training.job` and below.
"""
