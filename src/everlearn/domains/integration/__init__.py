"""The domain `integration`: the problem is an integrand in x, the answer an antiderivative.

`grammar` reads text, `canonical` decides which texts are the same problem, `verify` judges answers numerically in the
hot path, `proof` judges them again at 50 digits, `moves` and `terms` are the demo's sums and the moves towards easier
ones. Known to other packages only through `domain` and the entry point.
"""
