"""Training samples as model inputs: clips are read by index, encoded one by one, and put together for a micro-batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import torch
from cachetools import LRUCache, cached
from threadpoolctl import ThreadpoolController

from rbft_ray.core.schema import FEATURES
from rbft_ray.io.clips import read_frames, read_rows_at
from rbft_ray.model import vision_features, vlm

CACHE_BYTES = 1 << 30  # of encoded clips that a worker keeps

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class MicroBatch(NamedTuple):
    """inputs: of one forward pass, with `labels`; weights: (B,) fp32, of each sample's loss."""

    inputs: dict[str, torch.Tensor]
    weights: torch.Tensor


class Samples:
    """Samples of one prompt, as rows of `list_clips` with `answer`. `answers`: tokens of each, with the end-of-turn token.

    Where they have `features` (where a row of FEATURES lies), these are read instead of frames.
    """

    def __init__(self, loaded: vlm.Vlm, prompt: str, samples: Sequence[dict[str, Any]]):
        self._processor, self._prompt, self._samples = loaded.processor, prompt, samples
        self._pad = vlm.pad_token(loaded.processor)
        self.answers = [vlm.answer_tokens(loaded.processor, loaded.end_of_turn, one["answer"]) for one in samples]
        kept = LRUCache[Any, dict[str, torch.Tensor]](CACHE_BYTES, getsizeof=_bytes)
        self._encoded = cached(kept, lock=Lock())(self._encode)

    def micro_batch(self, rows: Sequence[int], weights: Sequence[float]) -> MicroBatch:
        """These samples, prompts left-padded, answers right-padded (see `vlm.with_answers`), with their weights.

        Without rows it is sample 0 with the weight 0: every worker has as many passes as the others.
        """
        taken, factors = ([int(row) for row in rows], list(weights)) if len(rows) else ([0], [0.0])
        prompts = vlm.collate([self._encoded(row) for row in taken], self._pad)
        inputs = vlm.with_answers(prompts, [self.answers[row] for row in taken], self._pad)
        return MicroBatch(inputs, torch.tensor(factors, dtype=torch.float32))

    def _encode(self, row: int) -> dict[str, torch.Tensor]:
        sample = self._samples[row]
        if "features" in sample:
            stored = read_rows_at([sample["features"]], FEATURES)[0]
            return vision_features.encode_prompt(self._processor, stored, self._prompt)
        inputs = vlm.encode_prompts(self._processor, read_frames([sample]), [self._prompt])
        return {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}


def _bytes(encoded: dict[str, torch.Tensor]) -> int:
    return sum(value.nbytes for value in encoded.values())


def _without_openmp_threads() -> None:
    """This thread computes alone. With OpenMP threads of its own there would be more than cores, and then those of the training
    sleep between any two operators (libgomp), which takes a fifth of the speed of a small model.
    """
    torch.get_num_threads()  # the thread's first call sets the number anew
    ThreadpoolController().select(user_api="openmp").limit(limits=1)


def made_ahead(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """make(item) for each item, in order; the next one is made in a thread while the last one is in use."""
    with ThreadPoolExecutor(1, initializer=_without_openmp_threads) as pool:
        waiting = None
        for item in items:
            coming = pool.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
