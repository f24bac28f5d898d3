"""Many threads, one vLLM engine: a thread of its own steps the engine, and the requests of all callers share its batches.

vLLM's offline `LLM.generate` runs one caller's requests to the end before the next caller's begin, so that the engine drains
between blocks of clips. Its asynchronous engine wants a second process, whose start costs more than a small job takes on a
CPU and which outlives a killed parent on a GPU. This loop keeps the engine in the process of the Ray actor that holds it:
they live and die together.

A step that fails (out of memory, an input that the model chokes on) does not take the engine with it: the requests in it are
aborted and asked again, half as many at a time, until the one that fails alone gets the error.
"""

import itertools
import logging
import queue
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, NamedTuple

import torch

from rbft_ray.core.errors import WorkerBroken

SUCCESSES_TO_GROW = 4  # times the limit: then twice as many requests run at a time again

_log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    prompt: Any  # as vLLM's renderer gives it
    params: Any
    future: "Future[Any]"


class RequestLoop:
    """Runs requests of any thread on a `vllm.LLM`; at most `limit` of them at a time."""

    def __init__(self, llm: Any, limit: int):
        self._llm, self._limit, self._most = llm, limit, limit
        self._rendering = threading.Lock()  # the engine must meet videos in the order in which they were rendered
        self._new: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._held: deque[_Asked] = deque()
        self._running: dict[str, _Asked] = {}
        self._ids = itertools.count()
        self._successes = 0
        self._broken: Exception | None = None
        threading.Thread(target=self._run, name="vllm-steps", daemon=True).start()

    def submit(self, prompt: dict[str, Any], params: Any) -> "Future[Any]":
        """The future of a request's `vllm.RequestOutput`; it raises what the engine raised on this request alone.

        Args:
            prompt: {"prompt_token_ids", "multi_modal_data"} of vLLM.
            params: `vllm.SamplingParams`.

        Raises:
            Exception: the renderer refuses the prompt (of whatever type vLLM has for it).
            WorkerBroken: the engine does not run any more.
        """
        from vllm.sampling_params import RequestOutputKind

        params.output_kind = RequestOutputKind.FINAL_ONLY
        with self._rendering:
            if self._broken:
                raise WorkerBroken(f"the engine stopped: {self._broken}") from self._broken
            (rendered,) = self._llm.renderer.render_cmpl([prompt])
            asked = _Asked(rendered, params, Future())
            self._new.put(asked)
        return asked.future

    def close(self) -> None:
        """Ends the thread once nothing runs."""
        self._new.put(None)

    def _run(self) -> None:
        try:
            while self._take_new():
                self._admit()
                if self._running:
                    self._step()
        except Exception as error:  # the engine itself is gone: nobody must wait for it
            self._give_up(error)

    def _take_new(self) -> bool:
        """Moves new requests to `_held`; waits for one where there is nothing to do. False: closed."""
        idle = not self._running and not self._held
        while idle or not self._new.empty():
            asked = self._new.get()
            if asked is None:
                return False
            self._held.append(asked)
            idle = False
        return True

    def _admit(self) -> None:
        while self._held and len(self._running) < self._limit:
            asked = self._held.popleft()
            name = str(next(self._ids))
            try:
                self._llm.llm_engine.add_request(name, asked.prompt, asked.params)
            except Exception as error:  # vLLM has many types for a request that it refuses
                asked.future.set_exception(error)
            else:
                self._running[name] = asked

    def _step(self) -> None:
        try:
            outputs = self._llm.llm_engine.step()
        except Exception as error:
            self._shrink(error)
            return
        for output in outputs:
            if output.finished:
                self._running.pop(output.request_id).future.set_result(output)
                self._successes += 1
        if self._successes >= SUCCESSES_TO_GROW * self._limit:
            self._limit, self._successes = min(self._most, 2 * self._limit), 0

    def _shrink(self, error: Exception) -> None:
        """Takes all requests out of the engine and asks them again, half as many at a time; a single one gets the error."""
        failed = list(self._running.values())
        self._llm.llm_engine.abort_request(list(self._running))
        self._running.clear()
        self._successes = 0
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # raises where the device itself is in error
            torch.cuda.empty_cache()
        if len(failed) == 1:
            failed[0].future.set_exception(error)
            return
        self._limit = max(1, len(failed) // 2)
        if isinstance(error, torch.OutOfMemoryError):
            self._most = self._limit
        _log.warning("a step of %d requests failed (%s); trying %d at a time", len(failed), error, self._limit)
        self._held.extendleft(reversed(failed))

    def _give_up(self, error: Exception) -> None:
        with self._rendering:
            self._broken = error
            while not self._new.empty():
                if asked := self._new.get():
                    self._held.append(asked)
        for asked in [*self._running.values(), *self._held]:
            asked.future.set_exception(WorkerBroken(f"the engine stopped: {error}"))
