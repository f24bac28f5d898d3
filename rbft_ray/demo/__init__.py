"""The embedded default: a seeded world of short videos with known facts, and a small base VLM schooled in it."""

from pathlib import Path

BASE_DIR = Path(__file__).parent / "base"
CONFIG_FILE = Path(__file__).parent / "demo.yaml"
