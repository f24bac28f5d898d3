"""Where the time of vLLM goes: a stopwatch on its main functions, each counted without those that it calls."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from typing import Any

# (what, module, class or "", functions). A function's time is that of the innermost entry that runs.
WATCHED: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "preprocessing of videos",
        "vllm.renderers.base",
        "BaseRenderer",
        ("render_cmpl", "render_prompts", "process_for_engine"),
    ),
    ("admitting requests", "vllm.v1.engine.llm_engine", "LLMEngine", ("add_request",)),
    ("grammar", "vllm.v1.structured_output", "StructuredOutputManager", ("grammar_init", "grammar_bitmask")),
    ("grammar", "vllm.v1.structured_output", "StructuredOutputManager", ("accept_tokens",)),
    ("grammar", "vllm.v1.worker.gpu_model_runner", "", ("apply_grammar_bitmask",)),
    ("scheduler", "vllm.v1.core.sched.scheduler", "Scheduler", ("schedule", "update_from_output")),
    ("preparing the batch", "vllm.v1.worker.gpu_model_runner", "GPUModelRunner", ("execute_model",)),
    ("vision tower", "vllm.v1.worker.gpu_model_runner", "GPUModelRunner", ("_execute_mm_encoder",)),
    ("language model", "vllm.v1.worker.gpu_model_runner", "GPUModelRunner", ("_model_forward",)),
    ("sampling", "vllm.v1.worker.gpu_model_runner", "GPUModelRunner", ("sample_tokens", "_sample")),
    ("detokenising", "vllm.v1.engine.output_processor", "OutputProcessor", ("process_outputs",)),
)


class Stopwatch:
    """Seconds by name, of functions of one thread that call each other."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = defaultdict(float)
        self._stack: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = self._clock()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`; its seconds, less those of watched functions that it calls, go to `name`."""

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            self._switch()
            self._stack.append(name)
            try:
                return function(*arguments, **options)
            finally:
                self._switch()
                self._stack.pop()

        return run

    def shares(self, total_sec: float) -> dict[str, float]:
        """{name: its share of `total_sec`}, the largest first; `else` is what no watched function took."""
        found = {name: seconds / total_sec for name, seconds in self.seconds.items()}
        found["else"] = 1 - sum(found.values())
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @classmethod
    def on_vllm(cls) -> "Stopwatch":
        """A stopwatch on the functions of vLLM in `WATCHED`, from now on in this process."""
        watch = cls()
        for name, module, owner, functions in WATCHED:
            place: Any = import_module(module)
            if owner:
                place = getattr(place, owner)
            for function in functions:
                setattr(place, function, watch.watched(name, getattr(place, function)))
        return watch
