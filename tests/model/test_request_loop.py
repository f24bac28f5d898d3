"""One vLLM engine for many threads: what each gets is its own, and what fails costs itself only."""

import queue
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ray

from rbft_ray.core.errors import WorkerBroken
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.engine import Request
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import VllmEngine
from rbft_ray.model.vlm import answer_tokens, render_prompt

pytestmark = pytest.mark.ray
IN_FLIGHT = 10
PROMPT = "Describe the video."
LONG_PROMPT = "The ball is red. " * 60  # of several blocks of the prefix cache
TURNS = [("What is it?", "The ball is red. The"), ("What is it?", "The ball is blue. The")]
ANSWERS = [" ball is red", " ball is blue", " car"]


@ray.remote(num_cpus=1, runtime_env={"env_vars": vllm_environment(gpu=False)})
class Replica:
    """An engine in a process of its own, as in the stages, and what can be done to it."""

    def __init__(self, base_dir: str):
        self._engine = VllmEngine(base_dir, dtype="float32", max_model_len=512, in_flight=IN_FLIGHT)
        self._step = self._engine._loop._llm.llm_engine.step
        self._rng = np.random.default_rng(0)

    def _requests(self, count):
        clips = [ClipFrames(self._rng.integers(0, 255, (8, 84, 84, 3), dtype=np.uint8), 2.0) for _ in range(count)]
        return [Request(clip, PROMPT, number) for number, clip in enumerate(clips)]

    def _answers(self, requests):
        return self._engine.generate(requests, max_tokens=12, temperature=0.0)

    def by_threads(self):
        """The texts of 24 requests, asked by 8 threads at a time and by one; how many ran in each step."""
        requests, loop, running = self._requests(24), self._engine._loop, []

        def step():
            running.append(len(loop._running))
            return self._step()

        loop._llm.llm_engine.step = step
        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(lambda start: self._answers(requests[start : start + 3]), range(0, 24, 3)))
        alone = self._answers(requests)
        loop._llm.llm_engine.step = self._step
        return [answer.text for part in parts for answer in part], [answer.text for answer in alone], running

    def places_by_caller(self, callers):
        """The order in which callers get a place who began to wait in this order while there was none."""
        loop, placed = self._engine._loop, queue.SimpleQueue()
        for _ in range(IN_FLIGHT):
            loop._take_place(0)

        def wait(caller):
            loop._take_place(caller)
            placed.put(caller)

        with ThreadPoolExecutor(len(callers)) as pool:
            for number, caller in enumerate(callers, 1):
                pool.submit(wait, caller)
                while len(loop._waiting) < number:
                    time.sleep(0.01)
            order = []
            for _ in callers:
                loop._give_place()
                order.append(placed.get(timeout=60))
        for _ in range(IN_FLIGHT):
            loop._give_place()
        return order, loop._free

    def numbers_of_callers(self):
        return [self._engine.for_caller()._caller for _ in range(3)]

    def with_a_bad_frame_size(self):
        requests = self._requests(5)
        requests[2] = Request(ClipFrames(np.zeros((8, 20, 20, 3), dtype=np.uint8), 2.0), PROMPT)
        return self._answers(requests)

    def with_failing_steps(self, error: Exception, at_least: int):
        """Steps with so many requests or more raise; returns the answers, without and with it, and the limit left."""
        requests, loop = self._requests(6), self._engine._loop
        expected = self._answers(requests)

        def step():
            if len(loop._running) >= at_least:
                raise error
            return self._step()

        loop._llm.llm_engine.step = step
        try:
            return expected, self._answers(requests), loop._most
        finally:
            loop._llm.llm_engine.step = self._step

    def with_one_that_fails(self):
        """Any step with the third request raises."""
        requests, loop = self._requests(6), self._engine._loop
        bad = tuple(requests[2].clip.frames[0, 0, 0])
        engine = loop._llm.llm_engine
        add, bad_names = engine.add_request, set()

        def add_request(name, prompt, params):
            if params.seed == 2:
                bad_names.add(name)
            return add(name, prompt, params)

        def step():
            if bad_names & set(loop._running):
                raise ValueError(f"no such pixel: {bad}")
            return self._step()

        engine.add_request, engine.step = add_request, step
        try:
            return self._answers(requests), self._answers(self._requests(2))
        finally:
            engine.add_request, engine.step = add, self._step

    def with_a_failing_pass(self):
        """The model fails once, in the middle of a step that vLLM has planned; answers of long prompts without that and with it."""
        clips = [request.clip for request in self._requests(4)]
        requests = [Request(clip, LONG_PROMPT, number) for number, clip in enumerate(clips)]
        loop, failures = self._engine._loop, [RuntimeError("a kernel failed")]
        executor = loop._llm.llm_engine.model_executor
        execute = executor.execute_model

        def execute_model(*arguments, **named):
            if failures and len(loop._running) > 2:
                raise failures.pop()
            return execute(*arguments, **named)

        executor.execute_model = execute_model
        try:
            found = self._answers(requests)
        finally:
            executor.execute_model = execute
        loop._llm.llm_engine.reset_prefix_cache()
        return self._answers(requests), found

    def with_an_engine_that_fails_for_all(self):
        def step():
            raise RuntimeError("the device is in error")

        self._engine._loop._llm.llm_engine.step = step
        return self._answers(self._requests(6))

    def unscorable(self):
        clips = [request.clip for request in self._requests(2)]
        clips.insert(1, ClipFrames(np.zeros((8, 20, 20, 3), dtype=np.uint8), 2.0))
        return self._engine.score(clips, PROMPT, ["red", "blue"])

    def texts(self):
        return self._engine.score_texts(TURNS, ANSWERS)


@pytest.fixture(scope="module")
def replica(ray_cluster, base_dir):
    actor = Replica.remote(base_dir)
    yield actor
    ray.kill(actor)


def test_threads_share_the_engine_and_get_their_own_answers(replica):
    by_threads, alone, running = ray.get(replica.by_threads.remote())
    assert by_threads == alone
    assert len(set(alone)) > 1
    assert 3 < max(running) <= IN_FLIGHT  # more than one caller's, and no more than wanted


def test_who_came_first_goes_first_with_what_it_asks_later(replica):
    order, free = ray.get(replica.places_by_caller.remote([5, 3, 4, 3, 1]))
    assert order == [1, 3, 3, 4, 5]
    assert free == IN_FLIGHT


def test_callers_are_numbered_as_they_come(replica):
    assert ray.get(replica.numbers_of_callers.remote()) == [1, 2, 3]


def test_a_clip_that_the_processor_refuses_costs_itself(replica):
    answers = ray.get(replica.with_a_bad_frame_size.remote())
    assert [bool(answer.error) for answer in answers] == [False, False, True, False, False]
    assert all(answer.output_tokens for answer in answers if not answer.error)


def test_out_of_memory_shrinks_and_retries(replica):
    import torch

    expected, found, most = ray.get(replica.with_failing_steps.remote(torch.OutOfMemoryError("no room"), 3))
    assert found == expected
    assert most < 3


def test_a_request_that_breaks_every_step_gets_the_error_and_the_others_their_answers(replica):
    answers, later = ray.get(replica.with_one_that_fails.remote())
    assert [answer.error or "" for answer in answers[:2] + answers[3:]] == [""] * 5
    assert "no such pixel" in answers[2].error
    assert [answer.error for answer in later] == [None, None]


def test_what_a_failed_pass_did_not_compute_is_not_taken_from_the_caches(replica):
    expected, found = ray.get(replica.with_a_failing_pass.remote())
    assert [answer.error for answer in found] == [None] * 4
    assert found == expected


def test_a_clip_that_cannot_be_scored_is_not_a_number(replica):
    scores = ray.get(replica.unscorable.remote())
    assert np.isfinite(scores[[0, 2]]).all()
    assert np.isnan(scores[1]).all()


def test_texts_are_scored_without_a_video_where_the_answers_part(replica, vlm):
    import torch

    scores = ray.get(replica.texts.remote())
    tokenizer = vlm.processor.tokenizer
    answers = [answer_tokens(vlm.processor, vlm.end_of_turn, answer) for answer in ANSWERS]
    for row, (user, begins) in enumerate(TURNS):
        prompt = tokenizer(render_prompt(vlm.processor, user, video=False) + begins, add_special_tokens=False)[
            "input_ids"
        ]
        for column, answer in enumerate(answers):
            with torch.inference_mode():
                logits = vlm.model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            parts = [
                len({tuple(other[: n + 1]) for other in answers if other[:n] == answer[:n]}) > 1
                for n in range(len(answer))
            ]
            assert 1 <= sum(parts) < len(answer)
            expected = sum(logits[len(prompt) - 1 + n, answer[n]].item() for n, part in enumerate(parts) if part)
            assert scores[row, column] == pytest.approx(expected, abs=1e-3)


def test_an_engine_that_fails_for_all_is_given_up(replica):  # the last one: there is no engine after it
    with pytest.raises(WorkerBroken, match="the device is in error"):
        ray.get(replica.with_an_engine_that_fails_for_all.remote())
