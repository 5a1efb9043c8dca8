"""Usual notation: answers and statements as people and language models write them, read into the strict grammar.

`text_forms` is the entry: it returns text of the strict grammar. `markup` finds the formula among words and delimiters,
`tokens` and `reader` (with `cursor`, `atoms` and `functions`) read it, and `integration_constant` removes `+ C`. No text is
evaluated. What the strict grammar can read is never read here.
"""
