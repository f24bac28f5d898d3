"""Generation and scoring by vLLM, in this process, for callers of any number of threads."""

import copy
import itertools
import logging
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from typing import Any

import numpy as np

from rbft_ray.core.config import ModelConfig, RationalizeConfig
from rbft_ray.core.errors import WorkerBroken
from rbft_ray.core.trie import tries
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.base import local_base
from rbft_ray.model.engine import Completion, Request
from rbft_ray.model.request_loop import RequestLoop
from rbft_ray.model.scoring import label_tokens
from rbft_ray.model.video_input import check_family, check_frames, video_metadata, video_options, video_text
from rbft_ray.model.vlm import end_of_turn_token, load_processor, render_prompt

_log = logging.getLogger(__name__)

MAX_LOGPROB_TOKENS = 128  # vLLM's limit for `logprob_token_ids` of a request


class VllmEngine:
    """One vLLM engine. `form`: a regular expression that every answer follows (constrained decoding).
    `in_flight`: requests that it has at a time.

    Its methods may be called from many threads at a time: all requests share the engine's batches.
    """

    def __init__(
        self,
        base: str,
        *,
        dtype: str,
        max_model_len: int,
        revision: str | None = None,
        tensor_parallel: int = 1,
        gpu_memory_utilization: float = 0.9,
        seed: int = 0,
        form: str | None = None,
        in_flight: int = 256,
    ):
        from vllm import LLM
        from vllm.platforms import current_platform
        from vllm.sampling_params import StructuredOutputsParams

        on_cpu = current_platform.is_cpu()
        self._form = StructuredOutputsParams(regex=form) if form else None
        self._processor = load_processor(base, revision)
        check_family(self._processor)
        self._end_of_turn = end_of_turn_token(self._processor)
        self._max_model_len = max_model_len
        self._prompt_ids = lru_cache(maxsize=1024)(self._rendered_tokens)  # few prompts, many clips
        make_llm = partial(
            LLM,
            model=local_base(base),
            revision=revision,
            dtype=dtype,
            max_model_len=max_model_len,
            tensor_parallel_size=tensor_parallel,
            **({} if on_cpu else {"gpu_memory_utilization": gpu_memory_utilization}),
            limit_mm_per_prompt={"video": 1, "image": 0},
            mm_processor_kwargs=video_options(self._processor),
            seed=seed,
            enable_prefix_caching=True,
            enforce_eager=on_cpu,  # compiling costs more seconds at start than it saves on a CPU
            # vLLM 0.32 cannot rewind a CPU generator ("CPU Generator does not use offset"), as it does for a seeded request
            # whose prompt is split over two steps.
            enable_chunked_prefill=not on_cpu,
        )
        self._loop = RequestLoop(make_llm, in_flight)
        self.beside = self._loop.beside
        self._callers, self._caller = itertools.count(1), 0
        weakref.finalize(self, self._loop.close)

    def for_caller(self) -> "VllmEngine":
        """The same engine for one more caller: its requests go before those of callers that come later."""
        view = copy.copy(self)
        view._caller = next(self._callers)
        return view

    def generate(
        self, requests: Iterable[Request], *, max_tokens: int, temperature: float, log_probability: bool = False
    ) -> list[Completion]:
        """Answers all requests with continuous batching. A request that fails gives a completion with the error.

        Args:
            requests: taken one by one, and no longer held once the engine has them.
            log_probability: of each answer too; with a small model on a CPU it costs a tenth of the speed.

        Raises:
            WorkerBroken: the engine does not run any more.
        """
        asked = [self._asked(request, max_tokens, temperature, log_probability) for request in requests]
        return [found if isinstance(found, Completion) else self._completion(*found) for found in asked]

    def _asked(
        self, request: Request, max_tokens: int, temperature: float, log_probability: bool
    ) -> "Completion | tuple[Future[Any], int]":
        """The request in the engine and the tokens of its prompt, or why it cannot be there."""
        from vllm import SamplingParams

        try:
            length = self._prompt_tokens(request)
            if length + max_tokens > self._max_model_len:
                error = f"prompt of {length} + answer of {max_tokens} tokens exceed max_model_len {self._max_model_len}"
                return Completion("", False, length, 0, error, too_long=True)
            params = SamplingParams(
                max_tokens=max_tokens,
                temperature=temperature,
                seed=request.seed,
                structured_outputs=self._form,
                logprobs=0 if log_probability else None,  # of the chosen tokens only
            )
            prompt = vllm_prompt(self._prompt_ids(request.prompt), request.clip)
            return self._loop.submit(prompt, params, self._caller), length
        except WorkerBroken:
            raise
        except Exception as error:  # whatever vLLM or the processor has against this one input
            return Completion("", False, 0, 0, _one_line(error))

    def _completion(self, future: "Future[Any]", expected: int) -> Completion:
        try:
            output = future.result()
        except WorkerBroken:
            raise
        except Exception as error:  # the engine failed on this request alone
            return Completion("", False, expected, 0, _one_line(error))
        answer, seen = output.outputs[0], len(output.prompt_token_ids)
        if seen != expected:  # a dropped or resized video would show here
            return Completion("", False, seen, 0, f"vLLM saw {seen} prompt tokens, the processor {expected}")
        chosen = answer.cumulative_logprob
        mean = chosen / len(answer.token_ids) if answer.token_ids and chosen is not None else None
        return Completion(
            answer.text.strip(),
            answer.finish_reason == "length",
            expected,
            len(answer.token_ids),
            log_probability=mean,
        )

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        """`scoring.label_log_probabilities`: float64 (clips, labels); not a number where vLLM fails on the clip.

        Raises:
            WorkerBroken: the engine does not run any more.
        """
        ids = self._prompt_ids(prompt)
        return self._score([(clip, ids) for clip in clips], labels)

    def score_texts(self, turns: Sequence[tuple[str, str]], answers: Sequence[str]) -> np.ndarray:
        """How likely each answer goes on from each turn, without a video: float64 (turns, answers), natural logarithm.

        Only tokens at which the answers part count, so that long answers with much in common cost little.

        Args:
            turns: (user's prompt, what the assistant's turn begins with).
        """
        texts = [render_prompt(self._processor, user, video=False) + begins for user, begins in turns]
        return self._score([(None, self._tokens(text)) for text in texts], answers, partings_only=True)

    def _score(
        self,
        prompts: Sequence[tuple[ClipFrames | None, tuple[int, ...]]],
        labels: Sequence[str],
        partings_only: bool = False,
    ) -> np.ndarray:
        """One token is asked for after each prefix of the labels, with the log-probabilities of those that may follow; the
        prefix cache holds the prompt and the video from one to the next."""
        answers = label_tokens(self._processor, self._end_of_turn, labels)
        (trie,) = tries(answers, sum(map(len, answers)))
        following: dict[int, set[int]] = {}
        for label, path in zip(trie.labels, trie.paths, strict=True):
            for node, token in zip(path, answers[label], strict=True):
                following.setdefault(node, set()).add(token)
        if partings_only:
            following = {node: tokens for node, tokens in following.items() if len(tokens) > 1}
        asked = [
            (row, node, sorted(tokens)[start : start + MAX_LOGPROB_TOKENS])
            for node, tokens in following.items()  # a prefix comes before those that it begins
            for row in range(len(prompts))
            for start in range(0, len(tokens), MAX_LOGPROB_TOKENS)
        ]
        found = [self._next_token(*prompts[row], trie.prefix(node), tokens) for row, node, tokens in asked]
        known: dict[tuple[int, int], dict[int, float]] = {}
        for (row, node, tokens), values in zip(asked, map(_log_probabilities, found), strict=True):
            known.setdefault((row, node), {}).update({token: values.get(token, np.nan) for token in tokens})
        scores = np.zeros((len(prompts), len(labels)))
        for label, path in zip(trie.labels, trie.paths, strict=True):
            for row in range(len(prompts)):
                steps = zip(path, answers[label], strict=True)
                scores[row, label] = sum(known[row, node][token] for node, token in steps if node in following)
        return scores

    def _next_token(
        self, clip: ClipFrames | None, prompt: tuple[int, ...], prefix: Sequence[int], tokens: list[int]
    ) -> "Future[Any] | None":
        """Asks for the log-probability of each of `tokens` after the prompt and the prefix; None where vLLM refuses."""
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=tokens, detokenize=False)
        try:
            if clip is not None:
                check_frames(self._processor, clip)
            return self._loop.submit(vllm_prompt((*prompt, *prefix), clip), params, self._caller)
        except WorkerBroken:
            raise
        except Exception as error:
            _log.warning("not scored: %s", _one_line(error))
            return None

    def _rendered_tokens(self, prompt: str) -> tuple[int, ...]:
        return self._tokens(render_prompt(self._processor, prompt))

    def _tokens(self, text: str) -> tuple[int, ...]:
        return tuple(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _prompt_tokens(self, request: Request) -> int:
        return len(self._prompt_ids(request.prompt)) - 1 + len(self._tokens(video_text(self._processor, request.clip)))


def rationale_engine(
    base: str, model: ModelConfig, config: RationalizeConfig, seed: int, form: str | None = None
) -> VllmEngine:
    """The engine that writes rationales as `config` says."""
    return VllmEngine(
        base,
        dtype=model.dtype,
        revision=model.revision,
        max_model_len=config.max_model_len,
        tensor_parallel=config.tensor_parallel,
        gpu_memory_utilization=model.gpu_memory_utilization,
        seed=seed,
        form=form,
        in_flight=config.requests_in_flight,
    )


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _log_probabilities(asked: "Future[Any] | None") -> dict[int, float]:
    """{token: its log-probability} of an answered request; nothing of one that failed."""
    if asked is None:
        return {}
    try:
        found = asked.result().outputs[0].logprobs[0]
    except WorkerBroken:
        raise
    except Exception as error:
        _log.warning("not scored: %s", _one_line(error))
        return {}
    return {token: value.logprob for token, value in found.items()}


def vllm_prompt(ids: Sequence[int], clip: ClipFrames | None) -> dict[str, Any]:
    """Tokens and, where there is one, the sampled clip, as vLLM takes them."""
    prompt: dict[str, Any] = {"prompt_token_ids": list(ids)}
    if clip is not None:
        video = (clip.frames, {**video_metadata(clip), "do_sample_frames": False})
        prompt["multi_modal_data"] = {"video": [video]}
    return prompt
