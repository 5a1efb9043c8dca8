"""What the ladder adds on a real language model: long additions on SmolLM2-135M-Instruct, with controls.

    make cycle-lm                                     # once, for the model in .everlearn/models/smollm2
    python -m bench.lm_night --json                   # every arm, three seeds; continues where it was stopped
    python -m bench.lm_night --rerun ladder,1         # repeat one row and compare it item by item
    python -m bench.lm_night --seeds 1 --rollouts 600 --out /tmp/try

Roots are additions of two numbers of 6 digits, of which the model solves none in 2,000 answers. It is asked in its own
chat template, with plain rotary positions. The arms are those of bench/learning, all with the same number of sampled
completions; `direct` has the CPU seconds that `ladder` has used for its seed instead. `course` are generated additions
of 1 to 5 digits without the user's roots, `pieces` adds column by column with answers of the untrained model.

A row of a trained arm has 15,000 completions, a quarter of a night's, and takes half an hour on one core; `--rollouts
60000` is the night's own budget, for a file of its own (`--out`).
"""
