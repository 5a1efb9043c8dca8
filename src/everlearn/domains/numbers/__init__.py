"""The domain `numbers`: any text with a hidden numeric or symbolic reference, such as a word problem.

`quantities` reads numbers with units, currency signs and percent; `references` reads references and answers; `own_check`
compares them exactly, or numerically where they are symbolic; `second_opinion` asks math-verify. Both must agree. Other
packages use `domain` through the entry point.
"""
