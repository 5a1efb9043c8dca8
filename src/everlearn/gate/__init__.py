"""The gate: turns paired measurements into PASS, FAIL or INSUFFICIENT, with reasons.

`statistics` has the tests and bounds, `evidence` applies them to one suite, `judgement` weighs all suites, `decision`
is the result as data. Measures nothing itself: that is `training.evaluation`. May import `registry`, `data` and below.
"""
