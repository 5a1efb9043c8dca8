"""One cycle (a night), identified by its key: frozen inputs, lease, and the results of its steps.

Holds `inputs` (what decides the weights, and the key), `record` (the open cycle), `lease` (one run per line, with a
fencing token), `workspace` (step results in the store) and `resume_limit`. Holds no step of a night: those are in
`tasks/`. May import `storage` and below.
"""
