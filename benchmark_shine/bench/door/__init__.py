"""The checks of `python -m benchmark_shine.bench.validate`, one a module."""
