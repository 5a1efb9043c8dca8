"""Training: grow a ladder with a policy, train a LoRA adapter on it by GRPO, measure policies on suites.

`models` holds policies and forward passes, `engines` decoding and process groups, `base_model` builds the demo's base
model. The only package that imports torch, transformers and peft. Judges no candidate (`gate`) and publishes nothing
(`registry`). May import `ladder`, `data`, `domains` and below.
"""
