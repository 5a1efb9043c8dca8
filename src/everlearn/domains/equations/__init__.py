"""The domain `equations`: polynomial equations in one unknown and linear systems in two or three, verified exactly.

`grammar` reads and prints expressions; `statements` reads equations in symbols or words; `answers` reads solutions.
`polynomials`, `surds` and `solver` compute exactly; `keys` has the canonical and the equivalence key. `recheck` judges a
second time by SymPy. `moves` derives easier problems, `similar_equations` draws new ones, and `sample_answers` writes
right and wrong answers. Other packages use `domain` through the entry point.
"""
