"""Tokens, FLOPs and bytes of training, on shapes whose figures can be worked out by hand."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.estimate import (
    GPUS,
    ModelShape,
    Part,
    Sample,
    Tower,
    hours,
    micro_batch_tokens,
    sample_flops,
    video_tokens,
)
from rbft_ray.core.train_config import DeepSpeedConfig, TrainConfig
from rbft_ray.core.training_memory import Memory, Zero, activation_bytes, training_memory, zero_of

NO_BLOCKS = Tower(0, 0, 0, 0, 0, gated=True, fused=False)
VISION, MERGER, LANGUAGE, TABLES = 1_000_000, 50_000, 8_000_000, 2_000_000


def shape_of(*trained: str, adapter: int = 0, **fields) -> ModelShape:
    """A model without attention; `trained` parts have their weights trained, or `adapter` parameters beside them."""
    sizes = {"vision": VISION, "merger": MERGER, "language": LANGUAGE}
    whole = ModelShape(
        parts={
            name: Part(size, 0 if adapter or name not in trained else size, adapter if name in trained else 0)
            for name, size in sizes.items()
        },
        tables=TABLES,
        vocabulary=1000,
        tensors=(1_000_000,),
        largest_trained=1_000_000,
        vision=NO_BLOCKS,
        language=NO_BLOCKS,
        patch_px=14,
        merge=2,
        frames_per_patch=2,
    )
    return dataclasses.replace(whole, **fields)


FULL = shape_of("vision", "merger", "language")
SAMPLE = Sample(video=100, text=50, answer=10, patches=400, frame_patches=40)


# --- tokens


def test_the_authors_clip_has_192_tokens_per_pair_of_frames() -> None:
    assert video_tokens(FULL, frames=64, frame_pixels=360 * 420) == (32 * 192, 32 * 192 * 4, 192 * 4)
    assert video_tokens(FULL, frames=3, frame_pixels=28 * 28 + 27) == (2, 8, 4)


def test_frames_that_the_processor_resizes_have_its_size() -> None:
    own = shape_of("language", own_px=448, frames_per_patch=1)
    assert video_tokens(own, frames=8, frame_pixels=1) == (8 * 256, 8 * 1024, 1024)


@pytest.mark.parametrize(
    ("per_worker", "most", "expected"), [(4, 500, 500), (4, 50, 160), (2, 500, 320), (1, 5000, 160)]
)
def test_a_micro_batch_is_no_larger_than_its_limit_a_sample_or_all_samples(per_worker, most, expected) -> None:
    assert micro_batch_tokens(SAMPLE, per_worker, most) == expected


# --- FLOPs


def flops_of(shape: ModelShape, *, recomputes: bool = False) -> float:
    """Without the output layer, which has no hidden values in NO_BLOCKS."""
    return sample_flops(shape, SAMPLE, recomputes=recomputes)


def test_trained_weights_take_6_frozen_ones_4_and_those_without_a_backward_pass_2() -> None:
    vision, merger, language = 400 * VISION, 100 * MERGER, 160 * (LANGUAGE - TABLES)
    assert flops_of(FULL) == 6 * (vision + merger + language)
    assert flops_of(shape_of("language")) == 2 * (vision + merger) + 6 * language
    assert flops_of(shape_of("vision")) == 6 * vision + 4 * (merger + language)
    adapters = shape_of("vision", "merger", "language", adapter=1000)
    assert flops_of(adapters) == 4 * (vision + merger + language) + 6 * 1000 * (400 + 100 + 160)


def test_recomputation_adds_a_forward_pass_of_blocks_that_gradients_pass() -> None:
    vision, merger, language = 400 * VISION, 100 * MERGER, 160 * (LANGUAGE - TABLES)
    assert flops_of(FULL, recomputes=True) == 8 * (vision + language) + 6 * merger
    assert flops_of(shape_of("language"), recomputes=True) == 2 * (vision + merger) + 8 * language


def test_attention_is_12_layers_width_length_per_token() -> None:
    tower = Tower(layers=3, hidden=64, attention=64, key_values=64, intermediate=0, gated=False, fused=False)
    parts = {name: Part(0, 0, 0) for name in ("vision", "merger")} | {"language": Part(0, 1, 0)}
    shape = dataclasses.replace(FULL, parts=parts, tables=0, vocabulary=0, vision=NO_BLOCKS, language=tower)
    assert flops_of(shape) == 12 * 3 * 64 * SAMPLE.tokens * SAMPLE.tokens  # PaLM, appendix B


def test_the_output_layer_is_multiplied_for_answers_alone() -> None:
    tower = dataclasses.replace(NO_BLOCKS, hidden=64)
    more = flops_of(dataclasses.replace(FULL, language=tower)) - flops_of(FULL)
    assert more == 6 * SAMPLE.answer * FULL.vocabulary * 64


def test_hours_are_flops_over_the_share_of_the_peak() -> None:
    assert hours(8 * 989e12 * 0.5 * 3600, 8, GPUS["H100"], "bf16", 0.5) == pytest.approx(1)
    assert hours(67e12 * 0.5 * 3600, 1, GPUS["H100"], "fp32", 0.5) == pytest.approx(1)


# --- weights, gradients, optimizer states


def memory_of(stage: int, shape: ModelShape = FULL, value: int = 2, workers: int = 4, **fields) -> Memory:
    zero = Zero(stage, workers, value_bytes=value, gradient_bytes=value, reduce_bucket=0, live=0)
    return training_memory(shape, dataclasses.replace(zero, **fields), accumulates=False)


def per_parameter(memory: Memory, parameters: int) -> tuple[float, float, float]:
    return tuple(part / parameters for part in (memory.weights, memory.gradients, memory.states))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("value", "stage", "expected"),
    [
        (2, 0, (2, 2, 12)),
        (2, 1, (2, 2, 12 / 4)),
        (2, 2, (2, 2 / 4, 12 / 4)),
        (2, 3, (2 / 4, 2 / 4, 12 / 4)),
        (4, 0, (4, 4, 8)),
        (4, 1, (4, 4, 12 / 4)),
        (4, 2, (4, 4 / 4, 12 / 4)),
        (4, 3, (4 / 4, 4 / 4, 12 / 4)),
    ],
)
def test_bytes_per_parameter_are_those_of_the_zero_paper(value: int, stage: int, expected: tuple[float, ...]) -> None:
    assert per_parameter(memory_of(stage, value=value), FULL.parameters) == pytest.approx(expected)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_frozen_weights_have_neither_gradients_nor_states(stage: int) -> None:
    shape = shape_of("language", adapter=1000)
    memory = memory_of(stage, shape)
    assert memory.weights == shape.parameters * 2 / (4 if stage == 3 else 1)
    assert memory.gradients == 1000 * 2 / (4 if stage >= 2 else 1)
    assert memory.states == 1000 * 12 / (4 if stage else 1)


@given(st.integers(1, 512), st.sampled_from([2, 4]))
def test_a_higher_stage_and_more_workers_hold_no_more(workers: int, value: int) -> None:
    def held(stage: int, count: int) -> float:
        memory = memory_of(stage, value=value, workers=count)
        return memory.weights + memory.gradients + memory.states

    for stage in (1, 2, 3):
        assert held(stage, workers + 1) <= held(stage, workers)
        assert stage == 1 or held(stage, workers) <= held(stage - 1, workers) + 1e-6


def test_small_tensors_stay_whole_with_zero_3() -> None:
    shape = dataclasses.replace(FULL, tensors=(100_000, 100_001))
    assert memory_of(3, shape).weights - memory_of(3).weights == 100_000 * 2


def test_buckets_and_gathered_weights_are_counted_whole() -> None:
    assert memory_of(2, reduce_bucket=10**9).buffers == 2e9
    assert memory_of(2, reduce_bucket=10**9, overlaps=True).buffers == 4e9
    assert memory_of(3, reduce_bucket=10**9, live=10**6).buffers == 2e9 + 2e6
    assert memory_of(3, live=10**12).buffers == FULL.parameters * 2


def test_zero_2_averages_further_micro_batches_beside_what_it_keeps() -> None:
    zero = Zero(2, 4, value_bytes=2, gradient_bytes=2, reduce_bucket=0)
    assert training_memory(FULL, zero, accumulates=True).buffers == FULL.trained * 2 / 4
    in_fp32 = training_memory(FULL, dataclasses.replace(zero, gradient_bytes=4), accumulates=True)
    assert (in_fp32.gradients, in_fp32.buffers) == (FULL.trained, 0)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_what_is_offloaded_lies_on_the_host(stage: int) -> None:
    here, there = memory_of(stage), memory_of(stage, offload_optimizer=True)
    assert there.states == 0 and there.gradients == (here.gradients if stage == 1 else 0)
    assert there.host >= FULL.trained / 4 * (4 + 4 + 8)
    if stage == 3:
        weights = memory_of(3, offload_optimizer=True, offload_parameters=True)
        assert weights.weights == 0 and weights.host == there.host + here.weights


def test_the_peak_is_in_the_backward_pass_in_the_step_or_at_the_start() -> None:
    memory = Memory(10, 20, 30, buffers=1, step=5, start=0)
    assert memory.peak(100) == 161
    assert memory.peak(1) == 65
    assert memory._replace(start=1000).peak(100) == 1000


# --- activations


def test_activations_grow_with_trained_parts_and_shrink_with_checkpointing() -> None:
    tower = Tower(layers=10, hidden=64, attention=64, key_values=64, intermediate=256, gated=True, fused=False)

    def kept(*trained: str, checkpointing: bool = False) -> float:
        shape = shape_of(*trained, vision=tower, language=tower)
        return activation_bytes(shape, SAMPLE, SAMPLE.tokens, 2, checkpointing=checkpointing, adapters=False)

    block = 2 * (4 + 2 * 2) * 64 + 2 * (4 * 64 + 4 * 256)  # two norms, attention and MLP
    inputs = SAMPLE.patches * 2 * 3 * 2 * 14 * 14
    loss = (SAMPLE.answer + 1) * 1000 * 12 + SAMPLE.tokens * (4 + 2 * 2) * 64
    assert kept("language") == inputs + 10 * SAMPLE.tokens * block + loss
    assert kept("language", checkpointing=True) == inputs + SAMPLE.tokens * (10 * 2 * 64 + block) + loss
    assert kept("vision", "merger", "language") > kept("language") + 10 * SAMPLE.patches * block
    normed = shape_of("language", vision=tower, language=dataclasses.replace(tower, normed=True))
    with_norms = activation_bytes(normed, SAMPLE, SAMPLE.tokens, 2, checkpointing=False, adapters=False)
    assert with_norms - kept("language") == 10 * SAMPLE.tokens * (4 + 2 * 2) * (64 + 64)


def test_padded_samples_keep_a_mask_and_keys_and_values_of_every_head() -> None:
    tower = Tower(layers=1, hidden=64, attention=64, key_values=16, intermediate=256, gated=False, fused=False)
    shape = shape_of("language", vision=NO_BLOCKS, language=tower)
    one, two = (
        activation_bytes(shape, SAMPLE, count * SAMPLE.tokens, 2, checkpointing=False, adapters=False)
        for count in (1, 2)
    )
    assert two - 2 * one == 2 * SAMPLE.tokens * 2 * 2 * (64 - 16) + 2 * SAMPLE.tokens**2 * 2


# --- what DeepSpeed is told


def test_the_configuration_and_the_users_own_keys_make_zero() -> None:
    train = TrainConfig(
        precision="bf16",
        workers=3,
        deepspeed=DeepSpeedConfig(zero_stage=3, offload_optimizer=True, offload_parameters=True),
    )
    zero = zero_of(train, {})
    assert zero == Zero(3, 3, 2, 2, offload_optimizer=True, offload_parameters=True)
    assert not zero_of(train, {}, stage=2).offload_parameters and not zero_of(train, {}, stage=0).offload_optimizer
    own = {
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {
            "stage": 2,
            "offload_optimizer": {"device": "none"},
            "reduce_bucket_size": 2e8,
            "overlap_comm": True,
        },
    }
    expected = Zero(2, 3, 2, gradient_bytes=4, overlaps=True, reduce_bucket=200_000_000)
    assert zero_of(train, own) == expected
