"""Measures a base: facts, order and rules on held-out clips, by greedy generation from the saved 16-bit weights.

`python -m rbft_ray.demo.check BASE_DIR --clips N --seed S` prints the figures as JSON.
"""

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from rbft_ray.core.prompts import ANSWER_PREFIX, rationale_prompt
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


def check_general(speaker: Speaker, count: int, seed: int) -> dict[str, float]:
    """Facts on `count` general clips of one to three objects; held-out pairs of relations on `count` texts, clips."""
    rng = np.random.default_rng([seed, 7005])
    scenes = [random_scene(rng, 1 + number % 3) for number in range(count)]
    clips = [decoded_frames(scene, rng, general_look(rng), _GENERAL_CRF) for scene in scenes]
    figures = fact_figures(scenes, speaker.answers([CAPTION_PROMPTS[0]] * count, clips))
    cases = [drawn_case(rng, DOMAIN_RELATION_PAIRS, full_task_share=1.0) for _ in range(count)]
    labels = [gold for *_, gold in cases]
    prompts = [rationale_prompt(task) for _, _, task, _ in cases]
    texts = [f"{described(scene)}\n{prompt}" for (scene, *_), prompt in zip(cases, prompts, strict=True)]
    clips = [decoded_frames(scene, rng, general_look(rng), _GENERAL_CRF) for scene, *_ in cases]
    figures["rule_from_text"] = _share_right(speaker.answers(texts, None), labels)
    figures["rule_from_video"] = _share_right(speaker.answers(prompts, clips), labels)
    return figures


def check_domains(speaker: Speaker, count: int, seed: int) -> dict[str, float]:
    """The same on `count` clips of `CHECK_DOMAIN_SEEDS`, in their own appearance and with their own tasks."""
    per_class = -(-count // (4 * len(CHECK_DOMAIN_SEEDS)))
    scenes, labels, prompts, texts, clips = [], [], [], [], []
    for domain_seed in CHECK_DOMAIN_SEEDS:
        domain, prompt = make_domain(domain_seed), rationale_prompt(domain_task(domain_seed))
        for clip in draw_split(domain, "test", [per_class] * len(domain.labels), seed):
            scenes.append(clip.scene)
            labels.append(clip.label)
            prompts.append(prompt)
            texts.append(f"{described(clip.scene)}\n{prompt}")
            clips.append(decoded_frames(clip.scene, np.random.default_rng(clip.look_seed), domain.look, domain.crf))
    figures = fact_figures(scenes, speaker.answers([CAPTION_PROMPTS[0]] * len(scenes), clips))
    figures["rule_from_text"] = _share_right(speaker.answers(texts, None), labels)
    figures["rule_from_video"] = _share_right(speaker.answers(prompts, clips), labels)
    return figures


def check_base(base_dir: Path, n: int = 300, seed: int = 0) -> dict[str, dict[str, float]]:
    """All figures of a base, printed as JSON and returned.

    Args:
        n: clips (and texts) for each figure, of the general world and of the domains.
    """
    speaker = Speaker(base_dir)
    figures = {"general": check_general(speaker, n, seed), "domain": check_domains(speaker, n, seed)}
    print(json.dumps(figures))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base_dir", type=Path)
    parser.add_argument("--clips", type=int, default=300, help="clips and texts for each figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on a CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    check_base(arguments.base_dir, arguments.clips, arguments.seed)


if __name__ == "__main__":
    main()
