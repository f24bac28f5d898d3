"""What is asked of every side: clips of a demo domain, the prompts, and a larger base with random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rbft_ray.core.config import DataConfig, IngestConfig, ModelConfig, RationalizeConfig
from rbft_ray.core.prompts import Task, rationale_form, rationale_prompt
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import CLIPS
from rbft_ray.demo import BASE_DIR
from rbft_ray.io import storage
from rbft_ray.io.clips import CLIPS_TABLE, list_clips, read_frames
from rbft_ray.model.engine import Request, request_seed
from rbft_ray.model.vllm_engine import vllm_prompt
from rbft_ray.model.vlm import load_processor, render_prompt

DOMAIN_SEED = 100
SAMPLING = SamplingContract(max_pixels=84 * 84)
LARGE_TEXT = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16}
LARGE_VISION = {"hidden_size": 512, "intermediate_size": 1408, "depth": 8, "num_heads": 8, "out_hidden_size": 1024}
KEY_VALUE_HEADS = 4


class Job(NamedTuple):
    """Rationales to be written, the same for every side."""

    base: str
    clips: list[dict[str, Any]]
    task: Task
    config: RationalizeConfig
    seed: int = 0
    model: ModelConfig = ModelConfig()

    def requests(self) -> list[Request]:
        """What the stage asks in its one blind pass, frames in memory."""
        prompt = rationale_prompt(self.task)
        return [
            Request(frames, prompt, request_seed(self.seed, clip["id"], False, 0))
            for clip, frames in zip(self.clips, read_frames(self.clips), strict=True)
        ]


def demo_clips(scratch: Path, count: int) -> list[dict[str, Any]]:
    """So many clips of one demo domain, rendered and ingested under `scratch`."""
    from rbft_ray.demo.world import write_world
    from rbft_ray.pipeline.dataset import load_dataset
    from rbft_ray.runtime.blocks import part
    from rbft_ray.stages.ingest import ingest_row

    world, ingest = scratch / f"world-{count}", str(scratch / f"ingest-{count}")
    if not Path(ingest).exists():
        per_class = [-(-count // 4)] * 4
        write_world(world, domain_seed=DOMAIN_SEED, train_per_class=per_class, val_per_class=1, test_per_class=1)
        rows = load_dataset(DataConfig(manifest=str(world / "manifest.csv")), seed=0).rows
        kept = [clip for clip, _ in (ingest_row(row, SAMPLING) for row in rows) if clip]
        per_file = IngestConfig().block_clips
        for start in range(0, len(kept), per_file):
            storage.write_table(part(ingest, CLIPS_TABLE, start // per_file), kept[start : start + per_file], CLIPS)
    return list_clips(ingest, ["train"])[:count]


def demo_job(base: str, clips: Sequence[dict[str, Any]], max_tokens: int) -> Job:
    """One blind pass, one candidate per clip, of the demo's task; no scoring, which bare generation has not either."""
    from rbft_ray.demo.world import domain_task

    config = RationalizeConfig(mode="blind", candidates=1, more_tries=0, max_tokens=max_tokens, support_check=False)
    return Job(base, list(clips), domain_task(DOMAIN_SEED), config)


def vllm_requests(job: Job) -> tuple[list[dict[str, Any]], list[Any]]:
    """Prompts and sampling parameters for `vllm.LLM.generate`, the same as the stage's."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    processor, form = load_processor(job.base), StructuredOutputsParams(regex=rationale_form(job.task.labels))
    text = render_prompt(processor, rationale_prompt(job.task))
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    prompts, params = [], []
    for clip, _, seed in job.requests():
        prompts.append(vllm_prompt(ids, clip))
        sampling = {"max_tokens": job.config.max_tokens, "temperature": job.config.temperature, "seed": seed}
        params.append(SamplingParams(**sampling, structured_outputs=form))
    return prompts, params


def large_base(scratch: Path) -> str:
    """A Qwen2.5-VL of about 300 M random parameters with the demo's tokenizer and processor, saved under `scratch`."""
    import torch
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    from rbft_ray.demo.model import base_config, save_base

    out = scratch / "base-300m"
    if not (out / "config.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(BASE_DIR)
        config = base_config(tokenizer)
        for part, values in ((config.text_config, LARGE_TEXT), (config.vision_config, LARGE_VISION)):
            for name, value in values.items():
                setattr(part, name, value)
        config.text_config.num_key_value_heads = KEY_VALUE_HEADS
        config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
        config.vision_config.fullatt_block_indexes = list(range(config.vision_config.depth))
        torch.manual_seed(0)
        save_base(Qwen2_5_VLForConditionalGeneration(config), tokenizer, out)
    return str(out)
