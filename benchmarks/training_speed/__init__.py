"""The parts of `benchmarks/train.py`: what is measured, and arithmetic on it."""
