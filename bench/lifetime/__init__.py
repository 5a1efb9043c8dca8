"""What a line promises over its life, in simulation, through the gate's own functions.

    python -m bench.lifetime [--lines 2000] [--nights 365] [--only improvements|losses] [--json]

`improvements` says how many "improved" labels are false, `losses` how often a version serves that lost more than the margin.
Intervals are Clopper-Pearson's at 95 % for shares of lines.
"""
