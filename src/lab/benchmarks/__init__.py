"""What scripts/lab/benchmark.py can measure, one file each."""
