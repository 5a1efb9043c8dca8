"""The family of domains `gym`: every task of the library reasoning-gym, `gym/chain_sum` for its `chain_sum`.

`dials` reads statements, which are levels of difficulty and a seed; `library` lets the library make the entry of a statement
and score an answer to it, and is the only module that imports it; `answer_guard` keeps answers from being run as code by
the library's verifiers; `near_misses` writes wrong answers. Other packages use `domain` through the entry point.
"""
