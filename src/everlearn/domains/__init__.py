"""Domains: the meaning of a problem, the verification of its answers, and the moves towards easier problems.

`contract` is the protocol; `pool` and `verifier_process` verify in processes that can be killed; `verification` judges files of
answers; `exact_proofs` runs computer algebra for display; `contamination` detects training problems that are equivalent
to suite items. Each domain is a package. Computer algebra (sympy, mpmath) is imported here only. May import `storage`
and below.
"""
