"""What we do: one effect a function."""
