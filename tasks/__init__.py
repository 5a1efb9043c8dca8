"""Prefect tasks: one effect per function. `@task` is used here and nowhere else; the decisions are in `everlearn`.

Tasks exchange keys and digests; the content is in the store. Each task is safe to run again: it first checks whether
its result exists, and writes that result last. A local path never leaves the task that created it.
"""
