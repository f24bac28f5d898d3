"""How long a training sample is: in tokens, which decide its batch, and in floating-point operations, for the training speed."""

from typing import TYPE_CHECKING, Any

from rbft_ray.core.estimate import Sample, sample_flops, video_tokens
from rbft_ray.core.schema import Reason, reject
from rbft_ray.io.clips import read_clip_rows, read_frames
from rbft_ray.model.shape import model_shape
from rbft_ray.model.vision_features import FEATURED_PARTS
from rbft_ray.model.vlm import answer_tokens, encode_prompts, end_of_turn_token, load_processor

if TYPE_CHECKING:
    from rbft_ray.stages.train import TrainJob


def measured(job: "TrainJob") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(samples with `tokens` of prompt and answer and `flops` of a training pass, reject rows of those that are too long)."""
    processor, model = load_processor(job.base, job.revision), model_shape(job.base, job.revision, job.config)
    end_of_turn = end_of_turn_token(processor)
    prompt_tokens: dict[tuple[float, ...], int] = {}  # by the clip's shape and rate: they decide the prompt's length
    computed = [part for part in model.parts if "features" not in job.samples[0] or part not in FEATURED_PARTS]
    fitting, rejects = [], []
    sizes = read_clip_rows(job.samples, ["height_px", "width_px", "frame_times_sec", "fps"])
    for sample, row in zip(job.samples, sizes, strict=True):
        frames, pixels = len(row["frame_times_sec"]), row["height_px"] * row["width_px"]
        shape = (frames, row["height_px"], row["width_px"], row["fps"])
        if shape not in prompt_tokens:
            encoded = encode_prompts(processor, read_frames([sample]), [job.prompt])
            prompt_tokens[shape] = encoded["input_ids"].shape[1]
        answer = len(answer_tokens(processor, end_of_turn, sample["answer"]))
        tokens = prompt_tokens[shape] + answer
        if tokens <= job.config.max_tokens:
            video, patches, frame_patches = video_tokens(model, frames, pixels)
            counts = Sample(video, tokens - video - answer, answer, patches, frame_patches)
            flops = sample_flops(model, counts, recomputes=False, parts=computed)
            fitting.append({**sample, "tokens": tokens, "flops": flops})
        else:
            detail = f"{tokens} tokens of prompt and answer exceed train.max_tokens {job.config.max_tokens}"
            rejects.append(reject(sample, job.stage, Reason.TOO_LONG, detail))
    return fitting, rejects
