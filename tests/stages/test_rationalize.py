"""Rationales by real vLLM: the form holds, every clip ends once, and vLLM agrees with Transformers."""

import contextlib
import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import ray

from rbft_ray.core.config import ModelConfig, RationalizeConfig
from rbft_ray.core.prompts import Task, hinted_rationale_prompt, prompt_hash, rationale_form, rationale_prompt
from rbft_ray.core.rationale_checks import Knowledge
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import CANDIDATES, REJECTS, Reason
from rbft_ray.io.clips import read_frames
from rbft_ray.model.engine import Request, TransformersEngine, request_seed
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import VllmEngine
from rbft_ray.runtime.blocks import read_parts
from rbft_ray.stages.rationalize import kept_among, kept_rationales, main_reasons, passes, rationalize

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def task(clips) -> Task:
    return Task(tuple(sorted({clip["label"] for clip in clips})))


def test_every_clip_ends_with_a_kept_rationale_or_a_reject(ray_cluster, clips, task, base_dir, tmp_path):
    config = RationalizeConfig(block_clips=6, candidates=2, max_tokens=100)
    counts = rationalize(
        str(tmp_path),
        clips,
        base_dir,
        ModelConfig(),
        task,
        config,
        Needs(1),
        knowledge=Knowledge(),
        seed=0,
        no_progress_timeout_sec=300,
    )
    gold = {clip["id"]: clip["label"] for clip in clips}
    kept = kept_rationales(str(tmp_path))
    rejected = [row["id"] for table in read_parts(str(tmp_path), "rejects", REJECTS) for row in table.to_pylist()]
    assert counts.read == len(clips) == counts.written + counts.rejected
    assert sorted([*kept, *rejected]) == sorted(clip["id"] for clip in clips)
    assert kept_among(str(tmp_path), set(gold), task, config) == kept
    some = set(list(gold)[:5])
    among = kept_among(str(tmp_path), some, task, config)
    assert set(among) <= some and set(kept) & some <= set(among)  # too few for a judge, which only rejects
    assert set(main_reasons(str(tmp_path))) == {gold[name] for name in rejected}
    candidates = [row for table in read_parts(str(tmp_path), "candidates", CANDIDATES) for row in table.to_pylist()]
    for row in candidates:
        prompt = hinted_rationale_prompt(task, row["label"]) if row["hinted"] else rationale_prompt(task)
        assert row["prompt_hash"] == prompt_hash(prompt)
        assert row["prompt_tokens"] > 36  # the video's tokens are there
        if row["reason"] != "truncated":
            assert re.fullmatch(rationale_form(task.labels), row["text"]), row["text"]
        assert row["accepted"] == (row["reason"] == "")
        if row["kept"]:
            assert row["answer"] == gold[row["id"]]
    surely = {row["id"] for row in candidates if row["accepted"] and not row["hinted"] and (row["margin"] or 0) > 1}
    assert not surely & {row["id"] for row in candidates if row["hinted"]}, "the hint is for the others only"
    assert {row["margin"] is None for row in candidates if row["accepted"]} == {False}, "each was judged by its text"
    assert all(row["log_probability"] < 0 for row in candidates)


@pytest.fixture(scope="module")
def vllm_answers(clips, base_dir, task):
    """Greedy answers of vLLM, in a process of its own as in a replica, to ordinary requests and one too long."""
    requests = [Request(frames, rationale_prompt(task)) for frames in read_frames(clips[:4])]
    too_long = Request(requests[0].clip, "word " * 600)

    @ray.remote(num_cpus=1, runtime_env={"env_vars": vllm_environment(gpu=False)})
    def answer():
        engine = VllmEngine(base_dir, dtype="float32", max_model_len=512)
        engine.generate(requests * 4, max_tokens=2, temperature=0.7)  # more than one step's tokens, seeded
        return engine.generate([*requests, too_long], max_tokens=60, temperature=0.0)

    return requests, ray.get(answer.remote())


def test_vllm_and_transformers_write_the_same(ray_cluster, vllm_answers, vlm):
    requests, answers = vllm_answers
    expected = TransformersEngine(vlm).generate(requests, max_tokens=60, temperature=0.0)
    assert [answer.text for answer in answers[:4]] == [answer.text for answer in expected]
    assert [answer.prompt_tokens for answer in answers[:4]] == [answer.prompt_tokens for answer in expected]


def test_a_prompt_that_is_too_long_costs_its_row_only(ray_cluster, vllm_answers):
    _, answers = vllm_answers
    assert "exceed max_model_len 512" in answers[4].error and answers[4].failure == Reason.TOO_LONG
    assert answers[0].error is None


def test_seeds_depend_on_the_clip_and_the_candidate_and_nothing_else():
    seeds = {request_seed(0, clip, hinted, number) for clip in "ab" for hinted in (False, True) for number in (0, 1)}
    assert len(seeds) == 8
    assert request_seed(0, "a", False, 1) == request_seed(0, "a", False, 1)
    assert os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") is None  # the stage sets it for its replicas only


def test_a_replica_killed_in_mid_run_is_replaced(ray_cluster, clips, task, base_dir, tmp_path):
    out = tmp_path / "out"
    pool = ThreadPoolExecutor(1)
    killed = pool.submit(kill_replica_after_first_commit, out)
    again = [{**clip, "id": f"{clip['id']} again"} for clip in clips]
    counts = rationalize(
        str(out),
        clips + again,
        base_dir,
        ModelConfig(),
        task,
        RationalizeConfig(
            block_clips=2, requests_in_flight=4, candidates=2, max_tokens=100, mode="blind", more_tries=0
        ),
        Needs(1),
        knowledge=Knowledge(),
        seed=0,
        no_progress_timeout_sec=300,
    )
    killed.result()
    assert counts.read == 2 * len(clips) == counts.written + counts.rejected
    candidates = [row for table in read_parts(str(out), "candidates", CANDIDATES) for row in table.to_pylist()]
    asked = Counter((row["id"], row["candidate"]) for row in candidates)
    assert set(asked.values()) == {1}
    assert len(asked) == 2 * len(clips) * 2


def kill_replica_after_first_commit(out):
    """Kills the process of the stage's replica with -9 once it has committed a block."""
    deadline_sec = time.monotonic() + 120
    while not list(out.glob("receipts/*.json")):
        assert time.monotonic() < deadline_sec
        time.sleep(0.05)
    replicas = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # Ray's processes come and go
            if "MapWorker" in " ".join(process.cmdline()):
                replicas.append((process.create_time(), process.pid))
    os.kill(max(replicas)[1], signal.SIGKILL)  # the youngest: one of an earlier test may not have ended yet


def test_more_tries_are_like_the_last_pass_but_never_greedy():
    config = RationalizeConfig(mode="bootstrap", more_tries=2, temperature=0.0)
    assert passes(config) == [(False, 0, 0.0), (True, 0, 0.0), (True, 1, 0.7), (True, 2, 0.7)]
    config = RationalizeConfig(mode="bootstrap", candidates=3, more_tries=1)
    assert passes(config) == [(False, 0, 0.7), (True, 0, 0.7), (True, 3, 0.7)]
    with pytest.raises(ValueError, match="temperature above 0"):
        RationalizeConfig(candidates=2, temperature=0.0)
    assert passes(RationalizeConfig(mode="blind", more_tries=0, temperature=0.9)) == [(False, 0, 0.9)]
