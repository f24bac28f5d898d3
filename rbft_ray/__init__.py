"""Rationale-Bootstrapped Fine-Tuning (arXiv 2511.15923) of video classifiers on Ray."""

__version__ = "0.1.0"
