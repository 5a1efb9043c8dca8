"""What we do: one effect a function. `@task` lives here and only here; the thinking is one call away, in `everlearn`.

Tasks exchange keys and digests; what lies behind them is in the store. Each is safe to run again: it looks first
whether its result is there, and writes that result last. A local path never leaves the task that made it.
"""
