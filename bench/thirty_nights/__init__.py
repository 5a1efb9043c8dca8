"""Thirty consecutive nights on the demo's base while the skills change: what is learned, what is kept, what it costs.

    python -m bench.thirty_nights --json                   # every arm, three seeds; continues where it was stopped
    python -m bench.thirty_nights --arms everything --seeds 1
    python -m bench.thirty_nights --rerun everything,0     # repeat one row and compare it night by night

Each night has new problems of one or two skills, sums of many terms or compositions of several functions; skills
appear, stop, and the first one returns after twenty nights (`stream.SCHEDULE`). The nights are those of a line: the
steps of `flows/run_cycle.py` one after another, without Prefect, on a real S3 server, with ladder, training, gate,
memory suites, registry and fresh process. What was not published is offered to the next night again. Arms:

    everything            replay and gate
    gate without replay   `learn.replay: 0`
    replay without gate   every candidate is published
    naive                 sequential LoRA: neither
    from undecided        everything; a night goes on from the candidate of an INSUFFICIENT one (`learn.start: undecided`)
    from the base         everything; each night begins with a new adapter (`learn.start: base`)
    growing rank          everything; each night adds rank 4 to its parent's adapter (`learn.grow_rank`)
    divergence            everything; `learn.kl: 0.02`
    anchors               everything; `learn.anchor_kl: 0.1`
    line budgets          everything; `gate.improvement_error: line` and `gate.loss_error: line`

After each night the champion answers fixed fresh problems of every skill, which no night sees. Raw results by night are
in docs/thirty_nights.json; docs/thirty_nights.md and docs/thirty_nights.svg are made of them. `--folder` keeps the
servers' data, so that a row that was stopped goes on with its next night.
"""
