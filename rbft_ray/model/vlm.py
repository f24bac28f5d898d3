"""A vision-language model of any family that Transformers knows: loading, prompts to tensors, targets to tokens.

The answer's tokens are the label or rationale followed by the end-of-turn token, tokenised on their own and put after
the rendered prompt. Training, scoring and serving all build them here, so that they agree to the token.

Shapes: B samples, P prompt tokens, A answer tokens, L = P + A padded to the longest, T frames of H x W px.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rbft_ray.core.errors import DataError
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.base import local_base
from rbft_ray.model.positions import follow_reference
from rbft_ray.model.video_input import check_frames, video_metadata, video_options

IGNORED_LABEL = -100  # torch.nn.functional.cross_entropy's ignore_index
PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids")  # tensors of (B, P)
_TIMES = ("second_per_grid_ts",)  # of the grid of a video, in seconds; Qwen2.5-VL counts positions from them
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Vlm(NamedTuple):
    """A loaded model with its processor; `end_of_turn` is the token that ends an answer in the model's chat template."""

    model: Any
    processor: Any
    end_of_turn: int


def load_processor(base: str, revision: str | None = None) -> Any:
    """The processor of a model directory, URI or hub id.

    Raises:
        DataError: there is no such model, or it has no processor for video.
    """
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(local_base(base), revision=revision)
    except (OSError, ValueError) as error:
        raise DataError(f"model.base: {base!r} has no processor that loads: {_first_line(error)}") from error
    if getattr(processor, "video_processor", None) is None:
        raise DataError(f"model.base: {base!r} takes no video (its processor has no video processor)")
    return processor


def load(base: str, *, dtype: str, revision: str | None = None, device: str = "cpu") -> Vlm:
    """Loads a model directory, URI or hub id in `dtype` (a key of DTYPES), in evaluation mode.

    Raises:
        DataError: there is no such model, or its weights do not load.
    """
    from transformers import AutoModelForImageTextToText

    processor = load_processor(base, revision)
    try:
        model = AutoModelForImageTextToText.from_pretrained(local_base(base), revision=revision, dtype=DTYPES[dtype])
    except (OSError, ValueError) as error:
        raise DataError(f"model.base: {base!r} does not load: {_first_line(error)}") from error
    follow_reference(model)
    return Vlm(model.eval().to(device), processor, end_of_turn_token(processor))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def render_prompt(processor: Any, prompt: str, *, video: bool = True) -> str:
    """The model's own chat template around one video (or none) and `prompt`, up to where the answer starts."""
    content = [*([{"type": "video"}] if video else []), {"type": "text", "text": prompt}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def end_of_turn_token(processor: Any) -> int:
    """The first token that the chat template puts after an answer.

    Raises:
        DataError: the chat template puts none.
    """
    marker = "rbft-answer"
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "question"}]},
        {"role": "assistant", "content": [{"type": "text", "text": marker}]},
    ]
    after = processor.apply_chat_template(turns).rpartition(marker)[2]
    tokens = processor.tokenizer(after, add_special_tokens=False)["input_ids"]
    if not tokens:
        raise DataError("the model's chat template puts no token after an answer, so its end cannot be learned")
    return int(tokens[0])


def answer_tokens(processor: Any, end_of_turn: int, answer: str) -> list[int]:
    """Tokens of an answer with its end-of-turn token."""
    return [*processor.tokenizer(answer, add_special_tokens=False)["input_ids"], end_of_turn]


def encode_prompts(processor: Any, clips: Sequence[ClipFrames], prompts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Model inputs of B prompts with one clip each, left-padded to the longest. Frames are not sampled again; whether they are
    resized, the family decides (`video_input`).

    Returns:
        `input_ids`, `attention_mask` (B, P) int64, and the family's own video tensors.

    Raises:
        DataError: the model cannot take frames of this size.
    """
    encoded = [_encode_prompt(processor, clip, prompt) for clip, prompt in zip(clips, prompts, strict=True)]
    return collate(encoded, pad_token(processor))


def _encode_prompt(processor: Any, clip: ClipFrames, prompt: str) -> dict[str, torch.Tensor]:
    check_frames(processor, clip)
    return processor(
        text=[render_prompt(processor, prompt)],
        videos=[torch.from_numpy(np.ascontiguousarray(clip.frames)).permute(0, 3, 1, 2)],
        video_metadata=[video_metadata(clip)],
        return_tensors="pt",
        **video_options(processor),
    )


def collate(encoded: Sequence[Mapping[str, torch.Tensor]], pad_token: int) -> dict[str, torch.Tensor]:
    """One batch of B encoded prompts with one clip each. Not every processor takes clips of several lengths at a time.

    What is per token, (1, P), is left-padded to (B, longest P); what is per video is joined along its first dimension.
    """
    longest = max(one["input_ids"].shape[1] for one in encoded)
    batch = {}
    for name in encoded[0]:
        parts = [one[name] for one in encoded]
        if name in PER_TOKEN:
            fill = pad_token if name == "input_ids" else 0
            parts = [torch.nn.functional.pad(part, (longest - part.shape[1], 0), value=fill) for part in parts]
        batch[name] = torch.cat(parts)
    return batch


def with_answers(
    inputs: dict[str, torch.Tensor], answers: Sequence[Sequence[int]], pad_token: int
) -> dict[str, torch.Tensor]:
    """Appends B answers to encoded prompts and adds `labels`: the answer's tokens, everything else ignored.

    Returns:
        the inputs with `input_ids`, `attention_mask`, `mm_token_type_ids` (where there), `labels` of shape (B, L) int64.
    """
    width = max(len(answer) for answer in answers)
    tokens = torch.full((len(answers), width), pad_token, dtype=torch.long)
    labels = torch.full((len(answers), width), IGNORED_LABEL, dtype=torch.long)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = torch.tensor(answer)
        labels[row, : len(answer)] = torch.tensor(answer)
    out = dict(inputs)
    prompt_mask = inputs["attention_mask"]
    out["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
    out["attention_mask"] = torch.cat([prompt_mask, (labels != IGNORED_LABEL).to(prompt_mask.dtype)], dim=1)
    out["labels"] = torch.cat([torch.full_like(inputs["input_ids"], IGNORED_LABEL), labels], dim=1)
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"]
        out["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(tokens, dtype=kinds.dtype)], dim=1)
    return out


def answer_loss_sum(model: Any, batch: dict[str, torch.Tensor], weights: torch.Tensor | None = None) -> torch.Tensor:
    """Sum of the cross-entropy over the answer tokens of a batch (`with_answers`), in fp32: a scalar.

    weights: (B,) fp32 factors of the samples; None: 1.
    """
    labels = batch["labels"]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    first = int((labels != IGNORED_LABEL).any(dim=0).nonzero()[0])  # positions before it predict no answer token
    logits = model(**inputs, use_cache=False, logits_to_keep=labels.shape[1] - first + 1).logits[:, :-1].float()
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        labels[:, first:].reshape(-1),
        ignore_index=IGNORED_LABEL,
        reduction="none",
    ).view(len(labels), -1)
    return losses.sum() if weights is None else losses.sum(dim=1) @ weights


def to_device(batch: Mapping[str, Any], device: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Moves tensors to `device`; floating-point ones get `dtype`, but for the times that positions are counted from."""
    return {
        name: value.to(device, dtype) if value.is_floating_point() and name not in _TIMES else value.to(device)
        for name, value in batch.items()
        if isinstance(value, torch.Tensor)
    }


def pad_token(processor: Any) -> int:
    """The padding token's id, or the end-of-text token's where there is none."""
    tokenizer = processor.tokenizer
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def best_device() -> str:
    """'cuda' where this process sees a GPU, else 'cpu'; for scripts: a Ray worker is told by its `Needs.device`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
