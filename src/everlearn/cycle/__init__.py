"""One cycle (a night) by its key: its frozen inputs, its lease, and the results of its steps.

Holds `record` (the open cycle), `lease` (one run per line, with a fencing token) and `workspace` (step results in the
store). Holds no step of a night: those are in `tasks/`. May import `storage` and below.
"""
