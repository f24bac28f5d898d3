"""How fast a training group is: tokens and model FLOPs per second, share of the GPU's peak, memory."""

import resource
import statistics
import time

import torch

from rbft_ray.core.estimate import GPUS


class Meter:
    """Measures from one call of `step` to the next. precision: train.precision, which decides the GPU's peak."""

    def __init__(self, workers: int, precision: str):
        self._workers = workers
        self._peak = _peak_flops(precision)
        self._since = time.monotonic()
        self._seconds: list[float] = []
        self._tokens = 0

    def step(self, tokens: int, flops: float) -> dict[str, float]:
        """Rates of the step that ends now, over all workers.

        Args:
            tokens: of the global batch, without padding; flops: of the model for them (`sample_flops`), without recomputation.

        Returns:
            step_sec, tokens_per_s, tflops_per_worker, memory_gib (the peak so far, of the GPU or else of the process), and on a GPU
            whose peak is known `mfu` (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
        """
        now = time.monotonic()
        spent, self._since = now - self._since, now
        self._seconds.append(spent)
        self._tokens += tokens
        each = flops / spent / self._workers
        rates = {
            "step_sec": spent,
            "tokens_per_s": tokens / spent,
            "tflops_per_worker": each / 1e12,
            "memory_gib": _peak_memory_bytes() / 2**30,
        }
        return rates if self._peak is None else {**rates, "mfu": each / self._peak}

    def summary(self) -> dict[str, float]:
        """Of all steps since the start of this process but the first, which warms up: step_sec (median), tokens_per_s (mean)."""
        if len(self._seconds) < 2:
            return {}
        mean = sum(self._seconds[1:]) / (len(self._seconds) - 1)
        return {
            "step_sec": statistics.median(self._seconds[1:]),
            "tokens_per_s": self._tokens / len(self._seconds) / mean,
        }


def _peak_flops(precision: str) -> float | None:
    name = torch.cuda.get_device_name().replace(" ", "") if torch.cuda.is_available() else ""
    return next((gpu.peak(precision) for gpu in GPUS.values() if gpu.name in name), None)


def _peak_memory_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
