"""Generation and scoring behind one protocol. Here by Transformers; `vllm_engine` has vLLM."""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from rbft_ray.core.schema import Reason
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vlm import Vlm, encode_prompts, to_device

Item = TypeVar("Item")
Result = TypeVar("Result")


class Request(NamedTuple):
    clip: ClipFrames
    prompt: str
    seed: int = 0


def request_seed(seed: int, clip_id: str, hinted: bool, candidate: int) -> int:
    """The sampling seed of one request: the same on every run, whatever block or replica it falls to."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{clip_id}\n{hinted}\n{candidate}".encode()).digest()[:4])


class Completion(NamedTuple):
    """text: without special tokens; truncated: ended by the token limit; error: None, or why there is no text; too_long: because
    prompt and answer exceed what the engine takes.

    log_probability: natural logarithm, mean over the answer's tokens, at temperature 1; None where it was not asked for.
    """

    text: str
    truncated: bool
    prompt_tokens: int
    output_tokens: int
    error: str | None = None
    log_probability: float | None = None
    too_long: bool = False

    @property
    def failure(self) -> Reason | None:
        """Why there is no text; None where there is one."""
        return (Reason.TOO_LONG if self.too_long else Reason.ENGINE_ERROR) if self.error else None


class Engine(Protocol):
    def generate(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Completion]: ...

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        """`scoring.label_log_probabilities`: float64 (clips, labels)."""
        ...


class TransformersEngine:
    """Generation and scoring with a loaded model, so many clips at a time; half as many from where memory is short."""

    def __init__(self, vlm: Vlm, batch_clips: int = 8):
        self._vlm, self._batch = vlm, batch_clips

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        """`scoring.label_log_probabilities` in batches."""
        return np.concatenate(
            self._in_batches(clips, lambda part: label_log_probabilities(self._vlm, part, prompt, labels))
        )

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Completion]:
        """Answers the requests in padded batches."""
        parts = self._in_batches(requests, lambda part: self._generate_batch(part, max_tokens, temperature))
        return [answer for part in parts for answer in part]

    def _in_batches(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result]:
        found: list[Result] = []
        start = 0
        while start < len(items):
            try:
                found.append(work(items[start : start + self._batch]))
                start += self._batch
            except torch.OutOfMemoryError:
                if self._batch == 1:
                    raise
                self._batch //= 2
                torch.cuda.empty_cache()
        return found

    def _generate_batch(self, requests: Sequence[Request], max_tokens: int, temperature: float) -> list[Completion]:
        model, processor = self._vlm.model, self._vlm.processor
        encoded = encode_prompts(processor, [r.clip for r in requests], [r.prompt for r in requests])
        inputs = to_device(encoded, model.device, model.dtype)
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        # As vLLM's: none of the defaults that a checkpoint's generation_config.json has (Qwen2.5-VL penalises repetition).
        sampling |= {"repetition_penalty": 1.0, "top_k": 0, "top_p": 1.0}
        if temperature > 0:
            torch.manual_seed(requests[0].seed)
        tokens = model.generate(**inputs, max_new_tokens=max_tokens, eos_token_id=self._vlm.end_of_turn, **sampling)[
            :, inputs["input_ids"].shape[1] :
        ]
        out = []
        for row, prompt_mask in zip(tokens.tolist(), inputs["attention_mask"], strict=True):
            ended = self._vlm.end_of_turn in row
            answer = row[: row.index(self._vlm.end_of_turn)] if ended else row
            text = processor.tokenizer.decode(answer, skip_special_tokens=True)
            out.append(Completion(text.strip(), not ended, int(prompt_mask.sum()), len(answer)))
        return out
