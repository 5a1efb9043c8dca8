"""The gate: decides PASS, FAIL or INSUFFICIENT from paired measurements, with reasons.

`baselines` chooses the comparisons, `evidence` computes the statistics of one suite with the tests in `statistics`,
`checks` judges the deterministic reports, `decision` combines everything into a `decision_record`, and `consequences`
says what follows from it. Measuring itself is `training.evaluation`. May import `registry`, `data` and below.
"""
