"""Clips -> rationales. vLLM replicas hosted by Ray write them; every candidate is kept with its verdict.

in:   training clips of `list_clips` {id, label, file, row}
out:  drafts/NNNNN.parquet: the candidates of a block with the verdicts of the text checks and the scores of the judge,
      candidates/00000.parquet: all of them with the final verdicts; `kept` marks the one per clip that stage 1 trains on,
      rejects/*.parquet: clips without an accepted rationale; one clip in, one kept rationale or one reject out,
      judges.json: {judge: whether it is fit, its agreement with the labels, why it is not}

Several blocks are in flight in each replica and share vLLM's batches, so that it does not drain at the end of a block. Ray
Data's own LLM processor was not taken: it keeps one row apart from the next, so that a second pass over what the gate
refused would be a second run of the engine, and it commits nothing before its end.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

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
from rbft_ray.core.rationale_selection import JUDGES, select
from rbft_ray.core.rationale_support import closing_scores, verdict
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE, REJECTS, Reason, reject
from rbft_ray.io import storage
from rbft_ray.io.clips import FRAME_COLUMNS, decoded, read_clip_rows
from rbft_ray.model.engine import Completion, Request, request_seed
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import VllmEngine, rationale_engine
from rbft_ray.runtime.block_runs import run_blocks
from rbft_ray.runtime.blocks import REJECTS_TABLE, BlockOutput, BlockWorker, Counts, part, read_rows

STAGE = "rationalize"
DRAFTS_TABLE = "drafts"
JUDGES_FILE = "judges.json"
PASSES = {"blind": (False,), "label_conditioned": (True,), "bootstrap": (False, True)}  # hinted or not, in order
BLOCKS_AHEAD = 2  # times those whose requests fill a replica: the rest begin while these wait for their last answers
MIN_RETRY_TEMPERATURE = 0.7  # the same prompt again at temperature 0 gives the same text


class Pass(NamedTuple):
    """One round of candidates for the clips that have no accepted one yet; `first`: the number of its first candidate."""

    hinted: bool
    first: int
    temperature: float


def passes(config: RationalizeConfig) -> list[Pass]:
    """The rounds of the mode, then `more_tries` rounds like its last."""
    hinted = PASSES[config.mode]
    again = max(config.temperature, MIN_RETRY_TEMPERATURE)
    return [Pass(hint, 0, config.temperature) for hint in hinted] + [
        Pass(hinted[-1], number * config.candidates, again) for number in range(1, config.more_tries + 1)
    ]


def rationalize_block(
    clips: list[dict[str, Any]],
    engine: VllmEngine,
    task: Task,
    config: RationalizeConfig,
    seed: int,
    knowledge: Knowledge,
) -> BlockOutput:
    """Drafts for each clip, pass by pass; a clip that has one which will do does not enter the next pass."""
    with engine.beside():
        stored = dict(zip([clip["id"] for clip in clips], read_clip_rows(clips, FRAME_COLUMNS), strict=True))
    candidates: list[dict[str, Any]] = []
    left = list(clips)
    for turn in passes(config):
        found = _candidates(left, stored, engine, task, config, turn, seed, knowledge)
        candidates += found
        done = {candidate["id"] for candidate in found if _supported(candidate, task)}
        left = [clip for clip in left if clip["id"] not in done]
        if not left:
            break
    return BlockOutput({DRAFTS_TABLE: (CANDIDATES, candidates)}, [], Counts(len(clips), len(clips), 0))


def _candidates(
    clips: list[dict[str, Any]],
    stored: dict[str, dict[str, Any]],
    engine: VllmEngine,
    task: Task,
    config: RationalizeConfig,
    turn: Pass,
    seed: int,
    knowledge: Knowledge,
) -> list[dict[str, Any]]:
    numbers = range(turn.first, turn.first + config.candidates)
    asked = [(clip, number, _prompt(task, clip, turn)) for clip in clips for number in numbers]
    answers = engine.generate(
        _requests(asked, stored, engine, turn, seed),
        max_tokens=config.max_tokens,
        temperature=turn.temperature,
        log_probability=config.candidates > 1,
    )
    with engine.beside():
        found = [
            {"id": clip["id"], "label": clip["label"], "candidate": number, "hinted": turn.hinted}
            | _checked(clip["label"], prompt, answer, task, knowledge)
            for (clip, number, prompt), answer in zip(asked, answers, strict=True)
        ]
    if config.support_check:
        accepted = [row for row in found if row["accepted"]]
        scores = closing_scores([row["text"] for row in accepted], task, engine.score_texts)
        for row, own in zip(accepted, scores, strict=True):
            row["closings"] = own
    return found


def _prompt(task: Task, clip: dict[str, Any], turn: Pass) -> str:
    return hinted_rationale_prompt(task, clip["label"]) if turn.hinted else rationale_prompt(task)


def _requests(
    asked: Sequence[tuple[dict[str, Any], int, str]],
    stored: dict[str, dict[str, Any]],
    engine: VllmEngine,
    turn: Pass,
    seed: int,
) -> Iterator[Request]:
    """The requests one by one, as the engine takes them: decoded frames of a block that waits would fill the host's memory."""
    for _, of_clip in groupby(asked, key=lambda one: one[0]["id"]):
        own = list(of_clip)
        with engine.beside():
            frames = decoded(stored[own[0][0]["id"]])
        for clip, number, prompt in own:
            yield Request(frames, prompt, request_seed(seed, clip["id"], turn.hinted, number))


def _checked(label: str, prompt: str, answer: Completion, task: Task, knowledge: Knowledge) -> dict[str, Any]:
    found = check_rationale(answer.text, label, task.labels, truncated=answer.truncated, knowledge=knowledge)
    reason = answer.failure or found.reason
    return {
        "text": rationale_text(found.reasoning, found.answer) if found.answer else answer.text,
        "answer": found.answer,
        "accepted": reason is None,
        "kept": False,
        "reason": reason.value if reason else "",
        "detail": answer.error or found.detail,
        "closings": None,
        "margin": None,
        "log_probability": answer.log_probability,
        "prompt_hash": prompt_hash(prompt),
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
    }


def _supported(candidate: dict[str, Any], task: Task) -> bool:
    """Whether it will do as far as this block can tell: whether the judge is fit is known at the end of the stage only."""
    if not candidate["accepted"]:
        return False
    told = verdict(candidate["closings"], candidate["label"], task.labels)
    return told is None or told.supported


def _reject(clip: dict[str, Any], own: list[dict[str, Any]]) -> dict[str, str]:
    """The reject row of a clip without a rationale, for the most frequent reason of its `own` candidates."""
    reasons = Counter(candidate["reason"] for candidate in own).most_common()
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons)
    last = own[-1]
    detail = f"{len(own)} candidates, none accepted: {counted}; the last: {last['detail']}; {last['text'][:200]!r}"
    return reject(clip, STAGE, Reason(reasons[0][0]), detail)


def _make_worker(
    base: str, model: ModelConfig, task: Task, config: RationalizeConfig, seed: int, knowledge: Knowledge
) -> BlockWorker:
    engine = rationale_engine(base, model, config, seed, rationale_form(task.labels))
    return lambda clips: rationalize_block(clips, engine.for_caller(), task, config, seed, knowledge)


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
    counts = run_blocks(
        STAGE,
        out,
        clips,
        partial(_make_worker, base, model, task, config, seed, knowledge),
        needs,
        block_rows=config.block_clips,
        in_flight=BLOCKS_AHEAD * -(-config.requests_in_flight // (config.block_clips * config.candidates)),
        environment=vllm_environment(needs.gpus > 0),
        no_progress_timeout_sec=no_progress_timeout_sec,
    )
    chosen = select(read_rows(out, DRAFTS_TABLE, CANDIDATES), task, JUDGES if config.support_check else {})
    written: dict[str, list[dict[str, Any]]] = {}
    for row in chosen.candidates:
        written.setdefault(row["id"], []).append(row)
    lost = [
        _reject(clip, own) for clip in clips if (own := written.get(clip["id"])) and not any(row["kept"] for row in own)
    ]
    storage.write_table(part(out, CANDIDATES_TABLE, 0), chosen.candidates, CANDIDATES)
    storage.write_table(storage.join(out, REJECTS_TABLE, "selection.parquet"), lost, REJECTS)
    storage.write_json(storage.join(out, JUDGES_FILE), {name: fit._asdict() for name, fit in chosen.judges.items()})
    return Counts(counts.read, counts.written - len(lost), counts.rejected + len(lost))


def kept_rationales(out: str) -> dict[str, str]:
    """{clip id: rationale text} of the rationales that stage 1 trains on."""
    return {
        row["id"]: row["text"]
        for row in read_rows(out, CANDIDATES_TABLE, CANDIDATES, ["id", "text", "kept"])
        if row["kept"]
    }


def kept_among(out: str, ids: Collection[str], task: Task, config: RationalizeConfig) -> dict[str, str]:
    """As `kept_rationales`, chosen from the drafts of the clips `ids` as if there were no others: judges see no more labels."""
    drafts = [row for row in read_rows(out, DRAFTS_TABLE, CANDIDATES) if row["id"] in ids]
    chosen = select(drafts, task, JUDGES if config.support_check else {})
    return {row["id"]: row["text"] for row in chosen.candidates if row["kept"]}


def counts_by_class(out: str, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """By label: training clips that were asked for a rationale, kept ones (blind, hinted), and clips without one."""
    clips: dict[str, set[str]] = {label: set() for label in labels}
    kept: Counter[tuple[str, bool]] = Counter()
    for row in read_rows(out, CANDIDATES_TABLE, CANDIDATES, ["id", "label", "hinted", "kept"]):
        clips[row["label"]].add(row["id"])
        kept[row["label"], row["hinted"]] += row["kept"]
    return {
        label: {
            "clips": len(own),
            "blind": kept[label, False],
            "hinted": kept[label, True],
            "none": len(own) - kept[label, False] - kept[label, True],
        }
        for label, own in clips.items()
    }


def main_reasons(out: str) -> dict[str, str]:
    """{label: the reason that most of its clips without a rationale have}, of the labels that have such clips."""
    reasons: dict[str, Counter[str]] = {}
    for row in read_rows(out, REJECTS_TABLE, REJECTS):
        reasons.setdefault(row["label"], Counter())[row["reason"]] += 1
    return {label: own.most_common(1)[0][0] for label, own in reasons.items()}


def judges(out: str) -> dict[str, dict[str, Any]]:
    """{judge: {fit, agreement, detail}} of the support check; empty where it was off."""
    return storage.read_json(storage.join(out, JUDGES_FILE))
