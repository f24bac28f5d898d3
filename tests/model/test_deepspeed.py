"""The DeepSpeed configuration: ours, and the user's own file."""

import json
from pathlib import Path

import pytest

from rbft_ray.core.errors import ConfigError
from rbft_ray.core.train_config import DeepSpeedConfig
from rbft_ray.model.deepspeed import deepspeed_config, own_settings


def written(path: Path, content: object) -> DeepSpeedConfig:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return DeepSpeedConfig(file=str(path))


def test_the_users_keys_come_first_and_auto_is_ours(tmp_path: Path) -> None:
    content = {
        "zero_optimization": {"stage": 3, "stage3_prefetch_bucket_size": "auto", "overlap_comm": True},
        "train_batch_size": "auto",
        "bf16": {"enabled": "auto"},
        "communication_data_type": "fp32",
    }
    settings = written(tmp_path / "ds.json", content)
    own = own_settings(settings)
    assert own == {"zero_optimization": {"stage": 3, "overlap_comm": True}, "communication_data_type": "fp32"}
    built = deepspeed_config(settings, own, precision="bf16", max_grad_norm=1.0)
    assert built["zero_optimization"]["stage"] == 3 and built["zero_optimization"]["overlap_comm"]
    assert built["bf16"]["enabled"] and built["communication_data_type"] == "fp32"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train_batch_size": 8, "optimizer": {"type": "Adam"}}, "sets train_batch_size, optimizer, which"),
        ({"fp16": {"enabled": True}}, "sets fp16"),
        ([1], "holds no JSON object"),
        ("{", "is no JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own_settings(written(tmp_path / "ds.json", content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.deepspeed\.file: .*gone"):
        own_settings(DeepSpeedConfig(file=str(tmp_path / "gone.json")))


def test_offloading_follows_the_stage() -> None:
    settings = DeepSpeedConfig(zero_stage=2, offload_optimizer=True, offload_parameters=True)
    zero = deepspeed_config(settings, {}, precision="fp32", max_grad_norm=1.0)["zero_optimization"]
    assert "offload_optimizer" in zero and "offload_param" not in zero
