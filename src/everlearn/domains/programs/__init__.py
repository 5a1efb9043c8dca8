"""The domain `programs`: Python functions, judged by tests that run in a sandbox.

`grammar` reads statements; `hidden_tests` reads the tests of a reference; `pipelines` is a small language of steps whose
tests follow from the statement, `test_inputs` draws their inputs, `moves` derives shorter ones, `rewrites` writes right and
wrong programs. `sandbox` runs an answer under `syscall_filter`, with `harness` inside; `values` reads and compares what
comes out; `judgement` makes a verdict of it. Other packages use `domain` through the entry point.
"""
