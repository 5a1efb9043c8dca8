"""The demo's base model: tokenizer, pretraining from nothing, and its model card.

Nothing here runs in a night. May import `training` and below.
"""
