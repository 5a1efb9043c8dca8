"""The domain `integration`: the problem is an integrand in x, the answer an antiderivative.

`grammar` parses text; `canonical` detects equal and equivalent problems; `numeric_verifier` verifies answers in double
precision in the hot path, with `term_cache`, `dual_numbers` and `numeric_safety`; `recheck` verifies at 50 digits, with
`high_precision`; `symbolic` proves answers exactly for display. `term_sums` and `moves` define the sums of the demo, and
the moves towards easier ones. Other packages use `domain` through the entry point.
"""
