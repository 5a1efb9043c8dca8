"""Domains: what a problem means, how its answers are judged, and the moves towards easier problems.

`contract` is the protocol, `pool` and `worker` judge in killable processes, `verification` judges files of answers;
each domain is a package of its own. Holds no model and no prompt template of a language model. May import `storage`
and below. Computer algebra (sympy, mpmath) is imported here only.
"""
