"""What is trained: the parts that are named, each at its rate, by adapters or whole."""

import pytest
import torch

from rbft_ray.core.errors import ConfigError
from rbft_ray.core.train_config import LoraConfig, StageRecipe, TrainConfig
from rbft_ray.demo import BASE_DIR
from rbft_ray.model.trainable import adapter_targets, make_trainable, merged, parameter_groups, part_of
from rbft_ray.model.vlm import load


@pytest.fixture
def model():
    return load(str(BASE_DIR), dtype="float32").model


def parts_trained(model) -> set[str]:
    return {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("parts", [("language",), ("merger", "vision"), ("vision", "merger", "language")])
def test_the_named_parts_are_trained_and_no_others(model, method, parts) -> None:
    trained = make_trainable(model, TrainConfig(method=method, parts=parts))
    assert parts_trained(trained) == set(parts)


def test_each_part_has_its_rate_and_biases_do_not_decay(model) -> None:
    recipe = StageRecipe(learning_rate=1e-5, learning_rate_merger=3e-5, learning_rate_vision=2e-6, weight_decay=0.1)
    groups = parameter_groups(make_trainable(model, TrainConfig(method="full")), recipe, "full")
    assert {group["name"]: (group["peak_lr"], group["weight_decay"]) for group in groups} == {
        "language": (1e-5, 0.1), "language-no-decay": (1e-5, 0.0), "merger": (3e-5, 0.1), "merger-no-decay": (3e-5, 0.0),
        "vision": (2e-6, 0.1), "vision-no-decay": (2e-6, 0.0),
    }  # fmt: skip
    assert sum(one.numel() for group in groups for one in group["params"]) == sum(p.numel() for p in model.parameters())


def test_a_pattern_narrows_the_adapters_and_one_that_matches_nothing_is_refused(model) -> None:
    config = TrainConfig(parts=("language",), lora=LoraConfig(target_modules=r".*\.q_proj"))
    assert adapter_targets(model, config) and all(name.endswith("q_proj") for name in adapter_targets(model, config))
    assert all("visual" not in name for name in adapter_targets(model, config))
    with pytest.raises(ConfigError, match="no linear module of vision matches"):
        make_trainable(model, TrainConfig(parts=("vision",), lora=LoraConfig(target_modules="lm_head")))


@pytest.mark.parametrize("variant", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_a_fresh_adapter_changes_nothing_and_merging_keeps_what_it_learned(model, variant) -> None:
    tokens = {"input_ids": torch.arange(5, 25).unsqueeze(0)}
    with torch.inference_mode():
        before = model(**tokens).logits
    trained = make_trainable(model, TrainConfig(parts=("language",), lora=LoraConfig(r=4, **variant))).eval()
    with torch.inference_mode():
        torch.testing.assert_close(trained(**tokens).logits, before, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    with torch.inference_mode():
        unmerged = trained(**tokens).logits
        assert not torch.allclose(unmerged, before, atol=1e-2)
        torch.testing.assert_close(merged(trained)(**tokens).logits, unmerged, rtol=1e-3, atol=1e-3)
