"""The gate: turns paired measurements into PASS, FAIL or INSUFFICIENT, with reasons.

`statistics` has the tests and bounds, `evidence` applies them to one suite, `judgement` weighs all suites, `decision`
is the result as data. `baselines` chooses the policies to compare with, `checks` holds the tolerances beside the
statistics, `publication` says what follows from a decision. Measures nothing itself: that is `training.evaluation`.
May import `registry`, `cycle`, `data` and below.
"""
