"""Clips -> rationales. vLLM replicas hosted by Ray write them; every candidate is kept with its verdict.

in:   training clips of `list_clips` {id, label, file, row}
out:  candidates/NNNNN.parquet (schema CANDIDATES; `kept` marks the one per clip that stage 1 trains on),
      rejects/NNNNN.parquet: clips without an accepted rationale; one clip in, one kept rationale or one reject out
"""

from functools import partial
from typing import Any

from rbft_ray.core.config import ModelConfig, RationalizeConfig
from rbft_ray.core.prompts import (
    Task,
    hinted_rationale_prompt,
    prompt_hash,
    rationale_form,
    rationale_prompt,
    rationale_text,
)
from rbft_ray.core.rationale_checks import Knowledge, check_rationale
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE, Reason, reject
from rbft_ray.io.clips import ClipFrames, read_frames
from rbft_ray.model.engine import Completion, Engine, Request, rationale_engine, request_seed, vllm_environment
from rbft_ray.runtime.blocks import BlockOutput, BlockWorker, Counts, read_rows, run_blocks

STAGE = "rationalize"
PASSES = {"blind": (False,), "label_conditioned": (True,), "bootstrap": (False, True)}  # mode: hinted or not, in order


def rationalize_block(
    clips: list[dict[str, Any]],
    engine: Engine,
    task: Task,
    config: RationalizeConfig,
    seed: int,
    knowledge: Knowledge | None = None,
) -> BlockOutput:
    """Candidates for each clip, pass by pass; a clip that has an accepted one does not enter the next pass."""
    candidates: list[dict[str, Any]] = []
    kept: set[str] = set()
    frames: list[ClipFrames] = [read_frames(clip) for clip in clips]
    for hinted in PASSES[config.mode]:
        asked = [
            (index, number)
            for index, clip in enumerate(clips)
            if clip["id"] not in kept
            for number in range(config.candidates)
        ]
        requests = [
            Request(
                frames[index],
                hinted_rationale_prompt(task, clips[index]["label"]) if hinted else rationale_prompt(task),
                request_seed(seed, clips[index]["id"], hinted, number),
            )
            for index, number in asked
        ]
        answers = engine.generate(requests, max_tokens=config.max_tokens, temperature=config.temperature)
        for (index, number), request, answer in zip(asked, requests, answers, strict=True):
            candidate = _candidate(clips[index], number, hinted, request, answer, task, knowledge)
            if candidate["accepted"] and clips[index]["id"] not in kept:
                candidate["kept"] = True
                kept.add(clips[index]["id"])
            candidates.append(candidate)
    rejects = [_reject(clip, candidates) for clip in clips if clip["id"] not in kept]
    return BlockOutput(
        {CANDIDATES_TABLE: (CANDIDATES, candidates)}, rejects, Counts(len(clips), len(kept), len(rejects))
    )


def _candidate(
    clip: dict[str, Any],
    number: int,
    hinted: bool,
    request: Request,
    answer: Completion,
    task: Task,
    knowledge: Knowledge | None,
) -> dict[str, Any]:
    verdict = check_rationale(answer.text, clip["label"], task.labels, truncated=answer.truncated, knowledge=knowledge)
    reason = Reason.ENGINE_ERROR if answer.error else verdict.reason
    return {
        "id": clip["id"],
        "label": clip["label"],
        "candidate": number,
        "hinted": hinted,
        "text": rationale_text(verdict.reasoning, verdict.answer) if verdict.answer else answer.text,
        "answer": verdict.answer,
        "accepted": reason is None,
        "kept": False,
        "reason": answer.error or (reason.value if reason else ""),
        "prompt_hash": prompt_hash(request.prompt),
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
    }


def _reject(clip: dict[str, Any], candidates: list[dict[str, Any]]) -> dict[str, str]:
    own = [candidate for candidate in candidates if candidate["id"] == clip["id"]]
    last = own[-1]
    known = {reason.value for reason in Reason}
    reason = Reason(last["reason"]) if last["reason"] in known else Reason.ENGINE_ERROR
    detail = f"{len(own)} candidates, none accepted; the last: {last['reason']}; {last['text'][:200]!r}"
    return reject(clip, STAGE, reason, detail)


def _make_worker(
    base: str, model: ModelConfig, task: Task, config: RationalizeConfig, seed: int, knowledge: Knowledge
) -> BlockWorker:
    engine = rationale_engine(base, model, config, seed, rationale_form(task.labels))
    return lambda clips: rationalize_block(clips, engine, task, config, seed, knowledge)


def rationalize(
    out: str,
    clips: list[dict[str, Any]],
    base: str,
    model: ModelConfig,
    task: Task,
    config: RationalizeConfig,
    needs: Needs,
    *,
    knowledge: Knowledge,
    seed: int,
    no_progress_timeout_sec: float,
) -> Counts:
    """Writes rationales for `clips` into `out`. Returns counts: read = clips with a kept rationale + rejected clips."""
    return run_blocks(
        STAGE,
        out,
        clips,
        partial(_make_worker, base, model, task, config, seed, knowledge),
        needs,
        block_rows=config.block_clips,
        environment=vllm_environment(needs.gpus > 0),
        no_progress_timeout_sec=no_progress_timeout_sec,
    )


def kept_rationales(out: str) -> dict[str, str]:
    """{clip id: rationale text} of the rationales that stage 1 trains on."""
    return {
        row["id"]: row["text"]
        for row in read_rows(out, CANDIDATES_TABLE, CANDIDATES, ["id", "text", "kept"])
        if row["kept"]
    }
