"""Formats: how a model is addressed, apart from what a problem means (`everlearn.domains`).

`format` is the protocol; `marked` the notation of the demo model, whose text is in `marked_notation`; `chat` the
tokenizer's own template, which `chat_template` renders; `format_choice` decides which one a model gets.
"""
