"""The sampling contract: which frames, at which times, at which size."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rbft_ray.core.sampling import SamplingContract, frame_count, frame_size, plan_frames

frame_times = st.lists(st.integers(0, 6000).map(lambda ticks: ticks / 100), min_size=1, max_size=40, unique=True)
durations = st.floats(0.05, 100)
even_counts = st.integers(1, 12).map(lambda half: 2 * half)


def rate(fps: float, **bounds: int) -> SamplingContract:
    return SamplingContract(num_frames=None, fps=fps, **bounds)


@given(frame_times, even_counts, durations)
def test_every_grid_point_gets_its_nearest_true_frame(times: list[float], count: int, duration: float) -> None:
    plan = plan_frames(SamplingContract(num_frames=count), np.array(times), duration)
    distance = np.abs(np.array(times)[plan.indices] - plan.grid_sec)
    brute_force = np.abs(np.array(times)[None, :] - plan.grid_sec[:, None]).min(axis=1)
    np.testing.assert_array_equal(distance, brute_force)


@given(frame_times, even_counts, durations)
def test_grid_points_are_the_centres_of_equal_parts(times: list[float], count: int, duration: float) -> None:
    plan = plan_frames(SamplingContract(num_frames=count), np.array(times), duration)
    edges = np.linspace(0, duration, count + 1)
    np.testing.assert_allclose(plan.grid_sec, (edges[:-1] + edges[1:]) / 2)
    assert plan.indices.dtype == np.int64 and plan.grid_sec.dtype == np.float64
    assert len(plan.indices) == count and plan.fps == pytest.approx(count / duration)


@given(frame_times, even_counts, durations, st.randoms(use_true_random=False))
def test_the_order_of_the_source_frames_does_not_matter(
    times: list[float], count: int, duration: float, random
) -> None:
    contract, shuffled = SamplingContract(num_frames=count), random.sample(times, len(times))
    one = plan_frames(contract, np.array(times), duration)
    other = plan_frames(contract, np.array(shuffled), duration)
    np.testing.assert_array_equal(np.array(times)[one.indices], np.array(shuffled)[other.indices])


@given(frame_times, even_counts, durations)
def test_sampled_frames_follow_in_time(times: list[float], count: int, duration: float) -> None:
    plan = plan_frames(SamplingContract(num_frames=count), np.array(times), duration)
    assert (np.diff(np.array(times)[plan.indices]) >= 0).all()


def test_a_clip_with_fewer_frames_than_asked_repeats_them() -> None:
    assert plan_frames(SamplingContract(num_frames=4), np.array([0.0]), 0.1).indices.tolist() == [0, 0, 0, 0]
    assert plan_frames(SamplingContract(num_frames=4), np.array([0.0, 1.0]), 2.0).indices.tolist() == [0, 1, 1, 1]


@given(st.integers(2, 99), durations)
def test_the_frame_count_is_even_and_never_above_the_wanted_number(wanted: int, duration: float) -> None:
    count = frame_count(SamplingContract(num_frames=wanted), duration)
    assert count % 2 == 0 and wanted - 1 <= count <= wanted


@given(st.floats(0.1, 60), even_counts, even_counts, st.floats(0.01, 1000))
def test_a_rate_is_kept_between_its_bounds(fps: float, one: int, other: int, duration: float) -> None:
    low, high = sorted((one, other))
    count = frame_count(rate(fps, min_frames=low, max_frames=high), duration)
    assert low <= count <= high and count % 2 == 0
    if low < duration * fps - 2 and duration * fps + 2 < high:
        assert count == pytest.approx(duration * fps, abs=1.5)


@pytest.mark.parametrize(
    ("duration", "count"),
    [(0.1, 4), (3.0, 6), (3.4, 6), (3.5, 6), (4.0, 8), (1000.0, 10)],
    ids=lambda value: f"{value:g}",
)
def test_frame_counts_at_two_frames_per_second(duration: float, count: int) -> None:
    assert frame_count(rate(2.0, min_frames=4, max_frames=10), duration) == count


def test_an_odd_min_frames_is_not_undercut() -> None:
    assert frame_count(rate(1.0, min_frames=5), 1.0) >= 5


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValidationError):
        rate(1.0, min_frames=8, max_frames=4)


def test_a_video_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="no frames"):
        plan_frames(SamplingContract(), np.array([]), 1.0)


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_that_is_not_positive_and_finite_is_refused(duration: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        plan_frames(SamplingContract(), np.array([0.0]), duration)


sides = st.integers(1, 5000)
units = st.sampled_from([1, 14, 28, 32])


@given(sides, sides, units, st.integers(28 * 28, 1_000_000))
def test_frame_sizes_are_multiples_within_the_budget_and_never_enlarged(
    height: int, width: int, unit: int, budget: int
) -> None:
    assume(unit * unit <= budget)
    size = frame_size(SamplingContract(multiple_px=unit, max_pixels=budget), height, width)
    assert size[0] * size[1] <= budget
    for side, source in zip(size, (height, width), strict=True):
        assert side > 0 and side % unit == 0 and side < source + unit


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_a_size_that_already_fits_is_kept(rows: int, columns: int, spare: int) -> None:
    height, width = 28 * rows, 28 * columns
    contract = SamplingContract(multiple_px=28, max_pixels=height * width + spare)
    assert frame_size(contract, height, width) == (height, width)


@given(st.integers(300, 3000), st.integers(300, 3000))
def test_a_shrunk_frame_keeps_its_aspect_up_to_the_rounding(height: int, width: int) -> None:
    contract = SamplingContract(multiple_px=1, max_pixels=300 * 300)
    small_height, small_width = frame_size(contract, height, width)
    assert small_height / small_width == pytest.approx(height / width, rel=0.05)


def test_max_pixels_below_one_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="56 x 56"):
        SamplingContract(max_pixels=28 * 28, multiple_px=56)


@pytest.mark.parametrize(("height", "width"), [(0, 10), (10, 0), (-1, 10)])
def test_a_side_that_is_not_positive_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{width}x{height}"):
        frame_size(SamplingContract(), height, width)


@pytest.mark.parametrize(
    "values",
    [
        {"num_frames": None},
        {"num_frames": 8, "fps": 1.0},
        {"fps": 1.0},
        {"num_frames": 1},
        {"num_frames": None, "fps": 0.0},
        {"max_pixels": 28 * 28 - 1},
        {"multiple_px": 0},
        {"codec": "gif"},
        {"quality": 101},
        {"frames": 8},
    ],
    ids=str,
)
def test_a_contract_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingContract.model_validate(values)


def test_a_contract_is_frozen_and_survives_json() -> None:
    contract = rate(1.5, max_frames=12)
    assert SamplingContract.model_validate_json(contract.model_dump_json()) == contract
    with pytest.raises(ValidationError):
        contract.fps = 2.0
