"""What a line promises over its life, in simulation, through the gate's own functions.

    python -m bench.lifetime [--lines 10000] [--nights 365] [--only improvements|losses] [--out docs] [--json]

`improvements` says how many "improved" labels are false, `losses` how often a version serves that lost more than the
margin. Ten thousand lines take 20 to 30 CPU minutes. Intervals are Clopper-Pearson's at 95 % for shares of lines.
Results with date, machine, revision and command are in docs/lifetime.json; the tables of docs/gate_lifetime.md are made of them.
"""
