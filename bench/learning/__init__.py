"""What the ladder adds on the demo task: easy-to-hard training and its controls, at equal numbers of sampled completions.

    python -m bench.learning                          # every arm, three seeds; continues where it was stopped
    python -m bench.learning --rerun ladder,1         # repeat one row and compare it item by item
    python -m bench.learning --page                   # write the page of the stored rows again
    python -m bench.learning --cpu-seconds 90         # the same at equal CPU seconds, in docs/learning_seconds.json, .md and .svg
    python -m bench.learning --seeds 1 --rollouts 600 --out /tmp/try

Roots are sums of 14 terms, of which the default base (pretrained on sums of one to three) solves about 2 %. Trained arms:

    ladder        variants that the model proposes, sampled by their measured pass rate
    posterior     the same kind of ladder, sampled by the posterior of each rung's own pass rate
    uniform       the same kind of ladder, every rung sampled equally often
    filtered      the same kind of ladder, reward-filtered fine-tuning: right answers have weight 1, others none
    course        sums of 4 to 13 terms from the generator, without the roots and without proposals of the model
    short course  sums of 4 to 6 terms from the generator
    direct        GRPO on the roots alone
    random        the same kind of ladder, rewards drawn by a coin
    variants      the same kind of ladder and sampling as `ladder`, but the domain's own moves make the variants, without completions

Arms without training ask the unmodified base:

    pieces        the sum is asked two terms at a time, greedily, and the answers are joined
    best of n     as many sampled answers for each problem as the budget allows; solved if one of them is right

`python -m bench.compositions` does the same on integrals whose parts say nothing about the whole: roots of 6 functions,
the base was pretrained on one to three, `pieces` asks each factor alone and multiplies the answers, and a course has 3 to 5
functions, the short one 3 and 4. It writes docs/compositions.md.

Each row runs in a process of its own. `arms` trains and measures, `rows` keeps raw results per item with revision,
machine and command in docs/learning.json, `page` writes docs/learning.md and docs/learning.svg. Rows with a budget of CPU
seconds are kept beside them, in files whose names end with `_seconds`: a trained arm begins no step after these seconds, best of n
has them for each table. Each point of a curve has its completions, its pass rate and its CPU seconds. Both budgets include
the measurement of the skills before the training, in every trained arm. The split `dev` was used to choose settings. `test` has other roots and problems; it was looked at several times (docs/LOG.md), so it is no unseen data.
"""
