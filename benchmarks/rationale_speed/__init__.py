"""The parts of `benchmarks/rationales.py`: what is measured, and arithmetic on it."""
