"""The only package that imports torch: policy, rollouts, GRPO, checkpoints, decoding."""
