"""Benchmarks: measured with `python -m benchmarks run SUITE`, committed with everything that explains them."""
