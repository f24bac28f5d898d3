"""The shape of a model from its configuration, against published sizes and against the models themselves."""

import json
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES, write_family

from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.estimate import Tower
from rbft_ray.core.train_config import LoraConfig, TrainConfig
from rbft_ray.model.shape import model_shape
from rbft_ray.model.trainable import make_trainable

# The published sizes of Qwen2.5-VL-7B-Instruct (its config.json on the Hugging Face hub).
QWEN_7B: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen2_5_vl_text",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {
        "model_type": "qwen2_5_vl_vision",
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}


@pytest.fixture(scope="module")
def qwen_7b(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("qwen")
    (folder / "config.json").write_text(json.dumps(QWEN_7B))
    return str(folder)


def test_qwen2_5_vl_7b_has_its_published_parameters(qwen_7b: str) -> None:
    shape = model_shape(qwen_7b, None, TrainConfig(method="full", parts=("vision", "language")))
    assert shape.weights == 8_292_166_656  # 8.29 B on the hub
    assert {name: part.weights for name, part in shape.parts.items()} == {
        "vision": 631_975_680,
        "merger": 44_574_464,
        "language": 7_615_616_512,
    }
    assert shape.trained == 8_292_166_656 - 44_574_464
    assert (shape.tables, shape.vocabulary) == (2 * 152064 * 3584, 152064)
    assert shape.language == Tower(28, 3584, 3584, 512, 18944, gated=True, fused=False)
    assert shape.vision == Tower(32, 1280, 1280, 1280, 3420, gated=True, fused=True)
    assert (shape.patch_px, shape.merge, shape.frames_per_patch, shape.own_px) == (14, 2, 2, None)


def test_an_adapter_has_r_values_for_every_input_and_output_of_its_layers(qwen_7b: str) -> None:
    lora = TrainConfig(parts=("language",), lora=LoraConfig(r=8))
    layer = 2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944)  # q and o, k and v, gate, up and down
    shape = model_shape(qwen_7b, None, lora)
    assert shape.trained == shape.parts["language"].adapter == 28 * 8 * layer
    assert (shape.parts["vision"].adapter, shape.parts["language"].trained) == (0, 0)
    outputs = 2 * 3584 + 2 * 512 + 2 * 18944 + 3584
    dora = model_shape(qwen_7b, None, lora.model_copy(update={"lora": LoraConfig(r=8, use_dora=True)}))
    assert dora.trained == 28 * (8 * layer + outputs)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_counts_are_those_of_the_loaded_model(base_dir: str, method: str) -> None:
    from transformers import AutoModelForImageTextToText

    config = TrainConfig(method=method, parts=("vision", "language"))
    shape = model_shape(base_dir, None, config)
    model = AutoModelForImageTextToText.from_pretrained(base_dir)
    assert shape.weights == sum(parameter.numel() for parameter in model.parameters())
    assert shape.tables == model.get_input_embeddings().weight.numel()  # tied
    trainable = make_trainable(model, config)
    sizes = sorted(parameter.numel() for parameter in trainable.parameters())
    assert sorted(shape.tensors) == sizes
    trained = [parameter.numel() for parameter in trainable.parameters() if parameter.requires_grad]
    assert (shape.trained, shape.largest_trained) == (sum(trained), max(trained))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_shape(tmp_path: Path, family: str) -> None:
    shape = model_shape(write_family(family, tmp_path / family), None, TrainConfig(method="full"))
    assert (shape.language.layers, shape.language.hidden, shape.vision.layers, shape.vision.hidden) == (3, 128, 2, 64)
    assert shape.language.gated and not shape.language.fused
    assert shape.vision.gated == (family == "qwen2_5_vl") and shape.vision.fused == (family != "internvl")
    assert all(part.weights == part.trained > 0 for part in shape.parts.values())
    assert shape.own_px == (112 if family == "internvl" else None) and shape.merge == 2


def test_gradients_pass_what_comes_after_a_trained_part(qwen_7b: str) -> None:
    def passed(*trained: Any) -> list[str]:
        shape = model_shape(qwen_7b, None, TrainConfig(method="full", parts=trained))
        return [part for part in shape.parts if shape.needs_backward(part)]

    assert passed("language") == ["language"]
    assert passed("merger") == ["merger", "language"]
    assert passed("vision") == ["vision", "merger", "language"]


def test_what_cannot_be_estimated_is_refused(tmp_path: Path, qwen_7b: str) -> None:
    def refused(values: dict[str, Any]) -> str:
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(DataError) as error:
            model_shape(str(tmp_path), None, TrainConfig())
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "does not load" in refused({"model_type": "no such family"})
    assert "does not load" in refused({"model_type": "qwen2"})  # takes no images
    assert "is a mixture of experts" in refused({"model_type": "qwen3_vl_moe"})
    with pytest.raises(ConfigError, match=r"train\.lora\.target_modules"):
        model_shape(qwen_7b, None, TrainConfig(lora=LoraConfig(target_modules="none")))
