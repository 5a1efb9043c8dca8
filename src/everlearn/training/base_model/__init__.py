"""The demo's base model: tokenizer, pretraining from scratch, and its model card.

Not used by a cycle. May import `training` and below.
"""
