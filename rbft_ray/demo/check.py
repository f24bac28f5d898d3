"""Measures a base: facts, order and rules on held-out clips, by greedy generation from the saved 16-bit weights.

`rbft demo check-base` prints the figures.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from rbft_ray.core.prompts import ANSWER_PREFIX, Task, hinted_rationale_prompt, label_prompt, rationale_prompt
from rbft_ray.demo.grammar import DOMAIN_RELATION_PAIRS, make_domain
from rbft_ray.demo.language import CAPTION_PROMPTS, described, stated_objects
from rbft_ray.demo.lessons import drawn_case, general_look
from rbft_ray.demo.render import NUM_SAMPLED, SAMPLED_TIMES_SEC, SOURCE_FPS, Appearance, mp4_bytes, render_frames
from rbft_ray.demo.scenes import DURATION_SEC, Scene, random_scene
from rbft_ray.demo.world import domain_task, draw_split

CHECK_DOMAIN_SEEDS = (1001, 1002, 1003, 1004)
_GENERAL_CRF = 18
_BATCH = 50
_MAX_NEW_TOKENS = 110
_METADATA = {
    "fps": NUM_SAMPLED / DURATION_SEC,
    "total_num_frames": NUM_SAMPLED,
    "duration": DURATION_SEC,
    "frames_indices": list(range(NUM_SAMPLED)),
}


def decoded_frames(scene: Scene, rng: np.random.Generator, look: Appearance, crf: int) -> np.ndarray:
    """(T, H, W, 3) uint8: the sampled frames of the scene's clip after H.264."""
    import av

    with av.open(io.BytesIO(mp4_bytes(render_frames(scene, rng, look), crf=crf)), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([frames[round(time_sec * SOURCE_FPS)] for time_sec in SAMPLED_TIMES_SEC])


class Speaker:
    """A loaded base that answers prompts greedily."""

    def __init__(self, base_dir: Path) -> None:
        self.processor = AutoProcessor.from_pretrained(base_dir)
        self.model = Qwen2_5_VLForConditionalGeneration.from_pretrained(base_dir, dtype=torch.float32).eval()

    def answers(self, prompts: Sequence[str], clips: Sequence[np.ndarray] | None) -> list[str]:
        """One answer for each prompt; `clips` are (T, H, W, 3) uint8, or None for text alone."""
        said: list[str] = []
        for start in range(0, len(prompts), _BATCH):
            some = slice(start, start + _BATCH)
            said.extend(self._batch(prompts[some], clips[some] if clips is not None else None))
        return said

    def _batch(self, prompts: Sequence[str], clips: Sequence[np.ndarray] | None) -> list[str]:
        video = [{"type": "video"}] if clips is not None else []
        chats = [[{"role": "user", "content": [*video, {"type": "text", "text": prompt}]}] for prompt in prompts]
        texts = [self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        videos = {"videos": list(clips), "video_metadata": [_METADATA] * len(clips)} if clips is not None else {}
        inputs = self.processor(text=texts, padding=True, padding_side="left", return_tensors="pt", **videos)
        with torch.inference_mode():
            output = self.model.generate(**inputs, max_new_tokens=_MAX_NEW_TOKENS, do_sample=False)
        tail = output[:, inputs["input_ids"].shape[1] :]
        return self.processor.tokenizer.batch_decode(tail, skip_special_tokens=True)


def fact_figures(scenes: Sequence[Scene], captions: Sequence[str]) -> dict[str, float]:
    """Shares of right facts over all objects of all scenes; an object that a caption omits counts as wrong everywhere.

    `motion` is over all (object, step); `order` over the objects with two different actions: both right, in order.
    """
    hits: dict[str, list[bool]] = {"colour": [], "shape": [], "motion": [], "order": []}
    for scene, text in zip(scenes, captions, strict=True):
        stated = stated_objects(text)
        for index, thing in enumerate(scene.objects):
            colour, shape, actions = stated[index] if index < len(stated) else ("", "", ("", ""))
            hits["colour"].append(colour == thing.colour)
            hits["shape"].append(shape == thing.shape)
            hits["motion"].extend(said == true for said, true in zip(actions, thing.actions, strict=True))
            if len(set(thing.actions)) > 1:
                hits["order"].append(actions == thing.actions)
    return {name: round(float(np.mean(own)), 4) for name, own in hits.items()}


def stated_label(rationale: str) -> str:
    """The class name on the answer line, "" if there is none."""
    return rationale.rpartition(ANSWER_PREFIX)[2].strip() if ANSWER_PREFIX in rationale else ""


def _share_right(rationales: Sequence[str], labels: Sequence[str]) -> float:
    right = [stated_label(text) == label for text, label in zip(rationales, labels, strict=True)]
    return round(float(np.mean(right)), 4)


@dataclass(frozen=True)
class Case:
    """A clip with its task: the scene, its frames (T, H, W, 3) uint8, the task, and the right class."""

    scene: Scene
    frames: np.ndarray
    task: Task
    label: str


def general_cases(rng: np.random.Generator, count: int) -> list[Case]:
    """General clips with four classes each, over the pairs of relations that are held out from schooling."""
    drawn = [drawn_case(rng, DOMAIN_RELATION_PAIRS, full_task_share=1.0) for _ in range(count)]
    return [
        Case(scene, decoded_frames(scene, rng, general_look(rng), _GENERAL_CRF), task, gold)
        for scene, _, task, gold in drawn
    ]


def domain_cases(count: int, seed: int) -> list[Case]:
    """About `count` test clips of `CHECK_DOMAIN_SEEDS`, in their own appearance and with their own tasks."""
    per_class = -(-count // (4 * len(CHECK_DOMAIN_SEEDS)))
    cases = []
    for domain_seed in CHECK_DOMAIN_SEEDS:
        domain, task = make_domain(domain_seed), domain_task(domain_seed)
        for clip in draw_split(domain, "test", [per_class] * len(domain.labels), seed):
            frames = decoded_frames(clip.scene, np.random.default_rng(clip.look_seed), domain.look, domain.crf)
            cases.append(Case(clip.scene, frames, task, clip.label))
    return cases


def rule_figures(speaker: Speaker, cases: Sequence[Case]) -> dict[str, float]:
    """Shares of right classes after reasoning: from a true description in place of the video, and from the video."""
    labels, prompts = [case.label for case in cases], [rationale_prompt(case.task) for case in cases]
    texts = [f"{described(case.scene)}\n{prompt}" for case, prompt in zip(cases, prompts, strict=True)]
    return {
        "rule_from_text": _share_right(speaker.answers(texts, None), labels),
        "rule_from_video": _share_right(speaker.answers(prompts, [case.frames for case in cases]), labels),
    }


def answer_figures(speaker: Speaker, cases: Sequence[Case]) -> dict[str, float]:
    """Shares of right classes: as the bare name, and after reasoning under a true and under a wrong hint."""
    labels, clips = [case.label for case in cases], [case.frames for case in cases]
    names = speaker.answers([label_prompt(case.task) for case in cases], clips)
    wrong = [next(label for label in case.task.labels if label != case.label) for case in cases]

    def hinted(hints: Sequence[str]) -> list[str]:
        return [hinted_rationale_prompt(case.task, hint) for case, hint in zip(cases, hints, strict=True)]

    return {
        "bare_name": round(float(np.mean([name == label for name, label in zip(names, labels, strict=True)])), 4),
        "true_hint": _share_right(speaker.answers(hinted(labels), clips), labels),
        "wrong_hint": _share_right(speaker.answers(hinted(wrong), clips), labels),
    }


def check_base(base_dir: Path, count: int = 300, seed: int = 0) -> dict[str, dict[str, float]]:
    """All figures of a base, `general` and `domain` as the goals are stated, and beside them `*_answers`.

    Args:
        count: clips (and texts) for each figure, of the general world and of the domains.
    """
    speaker = Speaker(base_dir)
    rng = np.random.default_rng([seed, 7005])
    scenes = [random_scene(rng, 1 + number % 3) for number in range(count)]
    clips = [decoded_frames(scene, rng, general_look(rng), _GENERAL_CRF) for scene in scenes]
    facts = fact_figures(scenes, speaker.answers([CAPTION_PROMPTS[0]] * count, clips))
    general, domain = general_cases(rng, count), domain_cases(count, seed)
    captions = speaker.answers([CAPTION_PROMPTS[0]] * len(domain), [case.frames for case in domain])
    return {
        "general": facts | rule_figures(speaker, general),
        "domain": fact_figures([case.scene for case in domain], captions) | rule_figures(speaker, domain),
        "general_answers": answer_figures(speaker, general),
        "domain_answers": answer_figures(speaker, domain),
    }
