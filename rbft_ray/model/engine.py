"""Generation and scoring behind one protocol, by vLLM or by Transformers."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from rbft_ray.core.config import ModelConfig, RationalizeConfig
from rbft_ray.core.trie import tries
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.scoring import label_log_probabilities, label_tokens
from rbft_ray.model.vlm import (
    Vlm,
    best_device,
    encode_prompts,
    end_of_turn_token,
    load_processor,
    render_prompt,
    to_device,
    video_metadata,
)

MAX_LOGPROB_TOKENS = 128  # vLLM's limit for `logprob_token_ids` of a request
# vLLM reads these when it starts, so they go into the environment of the process that holds it.
VLLM_CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
VLLM_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives and dies with the Ray actor that holds it
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def vllm_environment(gpu: bool) -> dict[str, str]:
    """Environment variables of a process that will hold a `VllmEngine`."""
    return VLLM_ENVIRONMENT if gpu else {**VLLM_ENVIRONMENT, **VLLM_CPU_ENVIRONMENT}


class Request(NamedTuple):
    clip: ClipFrames
    prompt: str
    seed: int = 0


def request_seed(seed: int, clip_id: str, hinted: bool, candidate: int) -> int:
    """The sampling seed of one request: the same on every run, whatever block or replica it falls to."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{clip_id}\n{hinted}\n{candidate}".encode()).digest()[:4])


class Completion(NamedTuple):
    """text: without special tokens; truncated: ended by the token limit; error: None, or why there is no text."""

    text: str
    truncated: bool
    prompt_tokens: int
    output_tokens: int
    error: str | None = None


class Engine(Protocol):
    def generate(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Completion]: ...

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        """`scoring.label_log_probabilities`: float64 (clips, labels)."""
        ...


class VllmEngine:
    """One vLLM engine in this process. `form`: a regular expression that every answer follows (constrained decoding)."""

    def __init__(
        self,
        base: str,
        *,
        dtype: str,
        max_model_len: int,
        revision: str | None = None,
        tensor_parallel: int = 1,
        seed: int = 0,
        form: str | None = None,
    ):
        from vllm import LLM
        from vllm.sampling_params import StructuredOutputsParams

        on_cpu = best_device() == "cpu"
        self._form = StructuredOutputsParams(regex=form) if form else None
        self._processor = load_processor(base, revision)
        self._end_of_turn = end_of_turn_token(self._processor)
        self._max_model_len = max_model_len
        self._llm = LLM(
            model=base,
            revision=revision,
            dtype=dtype,
            max_model_len=max_model_len,
            tensor_parallel_size=tensor_parallel,
            limit_mm_per_prompt={"video": 1, "image": 0},
            mm_processor_kwargs={"do_resize": False},
            seed=seed,
            enable_prefix_caching=True,
            enforce_eager=on_cpu,  # compiling costs more seconds at start than it saves on a CPU
            # vLLM 0.32 cannot rewind a CPU generator ("CPU Generator does not use offset"), as it does for a seeded request
            # whose prompt is split over two steps.
            enable_chunked_prefill=not on_cpu,
        )

    def generate(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Completion]:
        """Answers all requests with continuous batching. A prompt that leaves no room for an answer gives an error row."""
        from vllm import SamplingParams

        completions: dict[int, Completion] = {}
        prompts: list[dict[str, Any]] = []
        params: list[Any] = []
        accepted: dict[int, int] = {}  # place of a request: its prompt tokens
        for index, request in enumerate(requests):
            length = self._prompt_tokens(request)
            if length + max_tokens > self._max_model_len:
                error = f"prompt of {length} + answer of {max_tokens} tokens exceed max_model_len {self._max_model_len}"
                completions[index] = Completion("", False, length, 0, error)
                continue
            prompts.append(
                {"prompt": render_prompt(self._processor, request.prompt), "multi_modal_data": _video(request.clip)}
            )
            params.append(
                SamplingParams(
                    max_tokens=max_tokens,
                    temperature=temperature,
                    seed=request.seed,
                    structured_outputs=self._form,
                )
            )
            accepted[index] = length
        outputs = self._llm.generate(prompts, params, use_tqdm=False) if prompts else []
        for (index, expected), output in zip(accepted.items(), outputs, strict=True):
            answer = output.outputs[0]
            if len(output.prompt_token_ids) != expected:  # a dropped or resized video would show here
                raise RuntimeError(f"vLLM saw {len(output.prompt_token_ids)} prompt tokens, the processor {expected}")
            completions[index] = Completion(
                answer.text.strip(), answer.finish_reason == "length", expected, len(answer.token_ids)
            )
        return [completions[index] for index in range(len(requests))]

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        """One token is asked for after each prefix of the labels, with the log-probabilities of those that may follow; the
        prefix cache holds the prompt and the video from one to the next."""
        tokenizer = self._processor.tokenizer
        prompt_ids = tokenizer(render_prompt(self._processor, prompt), add_special_tokens=False)["input_ids"]
        answers = label_tokens(self._processor, self._end_of_turn, labels)
        scores = np.zeros((len(clips), len(labels)))
        (trie,) = tries(answers, sum(map(len, answers)))
        following: dict[int, set[int]] = {}
        for label, path in zip(trie.labels, trie.paths, strict=True):
            for node, token in zip(path, answers[label], strict=True):
                following.setdefault(node, set()).add(token)
        asked = [
            (clip, node, sorted(tokens)[start : start + MAX_LOGPROB_TOKENS])
            for node, tokens in following.items()  # a prefix comes before those that it begins
            for clip in range(len(clips))
            for start in range(0, len(tokens), MAX_LOGPROB_TOKENS)
        ]
        found = self._next_tokens([(clips[clip], prompt_ids + trie.prefix(node), ids) for clip, node, ids in asked])
        known: dict[tuple[int, int], dict[int, float]] = {}
        for (clip, node, _), values in zip(asked, found, strict=True):
            known.setdefault((clip, node), {}).update(values)
        for label, path in zip(trie.labels, trie.paths, strict=True):
            for clip in range(len(clips)):
                steps = zip(path, answers[label], strict=True)
                scores[clip, label] = sum(known[clip, node][token] for node, token in steps)
        return scores

    def _next_tokens(self, asked: Sequence[tuple[ClipFrames, list[int], list[int]]]) -> list[dict[int, float]]:
        """For each (clip, prompt tokens, tokens asked for): the log-probability of each as the next token."""
        from vllm import SamplingParams

        prompts = [{"prompt_token_ids": ids, "multi_modal_data": _video(clip)} for clip, ids, _ in asked]
        params = [
            SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=tokens, detokenize=False)
            for *_, tokens in asked
        ]
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [
            {token: output.outputs[0].logprobs[0][token].logprob for token in tokens}
            for output, (*_, tokens) in zip(outputs, asked, strict=True)
        ]

    def _prompt_tokens(self, request: Request) -> int:
        count, height, width, _ = request.clip.frames.shape
        video = self._processor.video_processor
        grid = (count // video.temporal_patch_size) * (height // video.patch_size) * (width // video.patch_size)
        text = self._processor.tokenizer(render_prompt(self._processor, request.prompt), add_special_tokens=False)
        return len(text["input_ids"]) - 1 + grid // video.merge_size**2


def rationale_engine(
    base: str, model: ModelConfig, config: RationalizeConfig, seed: int, form: str | None = None
) -> VllmEngine:
    """The vLLM engine that writes rationales as `config` says."""
    return VllmEngine(
        base,
        dtype=model.dtype,
        revision=model.revision,
        max_model_len=config.max_model_len,
        tensor_parallel=config.tensor_parallel,
        seed=seed,
        form=form,
    )


def _video(clip: ClipFrames) -> dict[str, Any]:
    """A sampled clip as vLLM takes it."""
    return {"video": [(clip.frames, {**video_metadata(clip), "do_sample_frames": False})]}


class TransformersEngine:
    """Generation and scoring with a loaded model, so many clips at a time."""

    def __init__(self, vlm: Vlm, batch_clips: int = 8):
        self._vlm, self._batch = vlm, batch_clips

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        """`scoring.label_log_probabilities` in batches."""
        parts = [clips[start : start + self._batch] for start in range(0, len(clips), self._batch)]
        return np.concatenate([label_log_probabilities(self._vlm, part, prompt, labels) for part in parts])

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], *, max_tokens: int, temperature: float) -> list[Completion]:
        """Answers the requests in padded batches."""
        out: list[Completion] = []
        for start in range(0, len(requests), self._batch):
            out += self._generate_batch(requests[start : start + self._batch], max_tokens, temperature)
        return out

    def _generate_batch(self, requests: Sequence[Request], max_tokens: int, temperature: float) -> list[Completion]:
        model, processor = self._vlm.model, self._vlm.processor
        encoded = encode_prompts(processor, [r.clip for r in requests], [r.prompt for r in requests])
        inputs = to_device(encoded, model.device, model.dtype)
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
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
