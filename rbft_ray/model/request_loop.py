"""Many threads, one vLLM engine: a thread of its own steps the engine, and the requests of all callers share its batches.

vLLM's offline `LLM.generate` runs one caller's requests to the end before the next caller's begin, so that the engine drains
between blocks of clips. Its asynchronous engine wants a second process, whose start costs more than a small job takes on a
CPU and which outlives a killed parent on a GPU. This loop keeps the engine in the process of the Ray actor that holds it:
they live and die together.

Callers wait in `submit` while as many requests as wanted are in the loop, so that there may be more callers than needed to keep
the engine busy: while some of them wait for the last of their answers, others already have theirs in its batches. Who came first
goes first, also with what it asks later: otherwise all blocks of clips would end at the same time, and nothing before.

A step that fails (out of memory, an input that the model chokes on) does not take the engine with it: the requests in it are
aborted and asked again, half as many at a time, until the one that fails alone gets the error. Where MOST_FAILURES in a row do, or
a process of tensor parallel is dead, the engine is given up, and with it the process (`WorkerBroken`).
"""

import heapq
import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from threadpoolctl import ThreadpoolController

from rbft_ray.core.errors import WorkerBroken

MOST_FAILURES = 4  # requests in a row that fail alone
SUCCESSES_TO_GROW = 4  # times the limit: then twice as many requests run at a time again

_log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    prompt: Any  # as vLLM's renderer gives it
    params: Any
    future: "Future[Any]"


class RequestLoop:
    """Runs requests of any thread on a `vllm.LLM`, at most `in_flight` of them at a time.

    The thread that steps the engine also builds it: OpenMP's threads belong to the one that began them, and where there are
    more than cores they sleep between any two operators (libgomp), which takes a sixth of the speed of a small model on a CPU.

    Args:
        make_llm: gives the `vllm.LLM`; what it raises is raised here.
    """

    def __init__(self, make_llm: Callable[[], Any], in_flight: int):
        self._free = in_flight  # places
        self._waiting: list[
            tuple[int, int, threading.Event]
        ] = []  # a heap of those who wait for one: by caller, then in turn
        self._placing, self._turns = threading.Lock(), itertools.count()
        self._rendering = threading.Lock()  # the engine must meet videos in the order in which they were rendered
        self._beside = threading.Lock()
        self._new: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._held: deque[_Asked] = deque()
        self._running: dict[str, _Asked] = {}
        self._ids = itertools.count()
        self._successes, self._failures = 0, 0
        self._broken: Exception | None = None
        built: Future[None] = Future()
        threading.Thread(target=self._run, args=(make_llm, built), name="vllm-steps", daemon=True).start()
        built.result()
        self._openmp = ThreadpoolController().select(user_api="openmp")

    def submit(self, prompt: dict[str, Any], params: Any, caller: int = 0) -> "Future[Any]":
        """The future of a request's `vllm.RequestOutput`; it raises what the engine raised on this request alone.

        Waits while `in_flight` requests are in the loop; of those who wait, the caller with the lowest number comes first.

        Args:
            prompt: {"prompt_token_ids", "multi_modal_data"} of vLLM.
            params: `vllm.SamplingParams`.

        Raises:
            Exception: the renderer refuses the prompt (of whatever type vLLM has for it).
            WorkerBroken: the engine does not run any more.
        """
        from vllm.sampling_params import RequestOutputKind

        params.output_kind = RequestOutputKind.FINAL_ONLY
        self._take_place(caller)
        future: Future[Any] = Future()
        future.add_done_callback(lambda _: self._give_place())
        try:
            with self._rendering, self.beside():
                if self._broken:
                    raise WorkerBroken(f"the engine stopped: {self._broken}") from self._broken
                (rendered,) = self._llm.renderer.render_cmpl([prompt])
                self._new.put(_Asked(rendered, params, future))
        except Exception:
            future.cancel()
            raise
        return future

    def _take_place(self, caller: int) -> None:
        with self._placing:
            if self._free:
                self._free -= 1
                return
            given = threading.Event()
            heapq.heappush(self._waiting, (caller, next(self._turns), given))
        given.wait()

    def _give_place(self) -> None:
        with self._placing:
            if self._waiting:
                heapq.heappop(self._waiting)[-1].set()
            else:
                self._free += 1

    def close(self) -> None:
        """Ends the thread once nothing runs."""
        self._new.put(None)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """For what callers compute between their requests. On a CPU the cores are the engine's: one caller at a time, without
        OpenMP threads of its own."""
        if torch.cuda.is_available():
            yield
            return
        torch.get_num_threads()  # where it is the thread's first call, torch sets the number anew
        with self._beside, self._openmp.limit(limits=1):
            yield

    def _run(self, make_llm: Callable[[], Any], built: "Future[None]") -> None:
        try:
            self._llm = make_llm()
            self._limit = self._most = self._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
        except BaseException as error:
            built.set_exception(error)
            return
        built.set_result(None)
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
                self._successes, self._failures = self._successes + 1, 0
        if self._successes >= SUCCESSES_TO_GROW * self._limit:
            self._limit, self._successes = min(self._most, 2 * self._limit), 0

    def _shrink(self, error: Exception) -> None:
        """Takes all requests out of the engine and asks them again, half as many at a time; a single one gets the error."""
        failed, engine = list(self._running.values()), self._llm.llm_engine
        self._failures += len(failed) == 1
        if self._failures == MOST_FAILURES or getattr(engine.model_executor, "is_failed", False):
            raise error
        engine.abort_request(list(self._running))
        # vLLM lists the blocks and videos of a step as cached when it plans the step, and those of this one were never computed.
        engine.reset_encoder_cache()
        if not engine.reset_prefix_cache():
            raise error
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # raises where the device itself is in error
            torch.cuda.empty_cache()
        self._running.clear()  # what raises above leaves them to `_give_up`
        self._successes = 0
        if len(failed) == 1:
            failed[0].future.set_exception(error)
            return
        self._limit = max(1, len(failed) // 2)
        # With tensor parallelism it comes as text, from another process.
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower():
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
