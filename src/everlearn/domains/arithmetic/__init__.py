"""The domain `arithmetic`: additions and multiplications of two whole numbers, verified exactly.

`grammar` reads problems and answers; `moves` derives problems of fewer digits and reads those that a model proposes;
`columns` computes results a second time, digit by digit; `fixtures` writes the skill suite. Other packages use `domain`
through the entry point.
"""
