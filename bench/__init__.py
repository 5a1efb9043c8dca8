"""Measurements that back a claim in the README or the docs. Each runs by itself and says whether its goal is met."""
