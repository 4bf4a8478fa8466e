"""The benchmarks of scripts/lab/benchmark.py, one file each."""
