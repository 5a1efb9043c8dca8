"""Measurements that back claims in the README and the docs. Each is a module to run, and states its target."""
