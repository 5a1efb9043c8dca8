"""Bad and harmless candidates through the real gate: which of them would be published?

    python -m bench.bad_nights [--json]                 # all candidates; continues where it was stopped
    python -m bench.bad_nights --cpu-minutes 5          # a piece: stops after the candidate that uses these up
    python -m bench.bad_nights --bad 1 --harmless 1 --out /tmp/rows.json

Each seed has a line of its own: the demo's base, v0001 and its successor v0002, which are trained on sums of three to
six terms, and a good candidate, which begins as v0002 and is trained on sums of seven to ten. The three adapters are
made once and kept in --folder. A night is about sums of ten terms without a cosine. Its gate compares the candidate
with its parent v0002 on target and skills, with the base on both, and with the best version on the skills, as
`gate.baselines` chooses; the checks of a night are made as well: the saved bytes read by peft against the trainer's
answers, and the rewarded answers judged again at 50 digits.

Bad candidates are the good one, or its parent, with one fault:

    wrong labels          GRPO steps whose rewards are inverted
    loose verifier        taught answers that only a verifier which looks for an exponential function accepts
    rate x30              GRPO steps at thirty times the learning rate, without the guards that stop such a training
    truncated training    one GRPO step from the parent, at the rate of a first step
    other base            an adapter of another base (the same function, its hidden units in another order), which arrives in
                          three ways: the line's base was exchanged before the night; during it; or the bytes alone come
    zeroed                no update in any layer, or in all but one to three, so that about the base is left
    doubled, scaled       the update twice; three to six times
    slow decline          the parent's update a tenth smaller in each of one to four nights
    skill destroyed       taught wrong answers to short problems with a cosine, and right ones to others, like the target
    leaked items          the parent, taught right answers to the night's own target; found in three ways: by the split of
                          new problems, by the ladder, and by `everlearn leaks --bar` after the publication
    endless answers       taught its own answers over and over, without an end

Harmless ones are the good one with tiny noise, with an update 3 % larger or smaller, rounded to bfloat16, or after one
more honest step.

What a candidate truly is, compared with its parent, is measured on independent suites of up to 250 and 450 items, in
five blocks, until it is clear. The stated margin: bad is what lost more than `gate.widest_margin` on skills, or gained
less than `gate.worthwhile_gain` on the target, beyond chance (one-sided, 95 %). Leaked candidates and those of another
base count as bad for what they are. Candidates on neither side are counted as unclear. The suites of the gate, 80 and
210 items, are smaller than a night's by default (200 with the generated ones, and 700): smaller suites have wider
margins, so that more could pass. Not simulated: generated fillers, and the memory of earlier nights.

docs/bad_nights.json has every candidate, with revision, machine and command. All 416 take about an hour on one core.
"""
