"""The text after a video starts after the video's largest position, as in vLLM."""

import numpy as np
import pytest
import torch

from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.positions import reference_positions
from rbft_ray.model.vlm import encode_prompts, to_device


def test_the_text_after_a_long_video_starts_after_its_temporal_extent():
    # Two text tokens, a video of 3 x 1 x 1 whose time positions are 2, 6, 10, then two text tokens; one padding in front.
    video = torch.tensor([[2, 6, 10], [2, 2, 2], [2, 2, 2]])
    text = torch.tensor([[0, 1]]).expand(3, 2)
    after = torch.tensor([[3, 4]]).expand(3, 2)  # as Transformers has it: 2 + max(height, width)
    positions = torch.cat([torch.zeros(3, 1, dtype=torch.long), text, video, after], dim=1).unsqueeze(1)
    kinds = torch.tensor([[0, 0, 0, 2, 2, 2, 0, 0]])
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1]])
    fixed, deltas = reference_positions(positions, kinds, mask)
    assert fixed[:, 0, 3:6].tolist() == video.tolist()
    assert fixed[:, 0, 6:].tolist() == [[11, 12]] * 3
    assert deltas.tolist() == [[13 - 7]]


def test_the_loaded_model_uses_them(vlm, random_clips):
    inputs = encode_prompts(vlm.processor, random_clips[1:2], ["Which class?"])  # 0.5 frames per second: long in time
    positions, deltas = vlm.model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        second_per_grid_ts=inputs["second_per_grid_ts"],
        attention_mask=inputs["attention_mask"],
    )
    is_video = inputs["mm_token_type_ids"][0] == 2
    last_video = int(is_video.nonzero()[-1])
    assert positions[0, 0, last_video + 1] == positions[:, 0, is_video].max() + 1
    assert int(deltas[0]) == int(positions.max()) + 1 - inputs["input_ids"].shape[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_16_bit_counts_the_same_positions(vlm, dtype):
    frames = np.zeros((16, 84, 84, 3), dtype=np.uint8)
    encoded = encode_prompts(vlm.processor, [ClipFrames(frames, 2.0)], ["Which class?"])
    for seconds in np.random.default_rng(0).uniform(0.1, 2.0, 300):
        encoded["second_per_grid_ts"] = torch.tensor([seconds], dtype=torch.float32)
        found = [to_device(encoded, "cpu", one) for one in (torch.float32, dtype)]
        assert found[1].pop("pixel_values_videos").dtype == dtype
        del found[0]["pixel_values_videos"]
        expected, positions = (vlm.model.model.get_rope_index(**inputs)[0] for inputs in found)
        assert positions.tolist() == expected.tolist(), seconds
