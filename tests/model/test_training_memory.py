"""The bytes that `core/training_memory` counts, against those that DeepSpeed engines and autograd really hold."""

import gc
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from rbft_ray.core.estimate import ModelShape, Sample, video_tokens
from rbft_ray.core.train_config import TrainConfig
from rbft_ray.core.training_memory import VALUE_BYTES, Zero, activation_bytes, training_memory
from rbft_ray.demo import BASE_DIR
from rbft_ray.model.shape import model_shape
from rbft_ray.model.trainable import make_trainable

WORKERS, BUCKET = 2, 100_000
CASES = [
    {"method": method, "precision": precision, "zero_stage": stage}
    for method in ("full", "lora")
    for precision in ("fp32", "bf16")
    for stage in (0, 1, 2, 3)
]
OFFLOADED = {"method": "full", "precision": "bf16", "offload_optimizer": True}
CASES += [OFFLOADED | {"zero_stage": stage, "offload_parameters": stage == 3} for stage in (1, 2, 3)]
CASES += [
    {"method": "full", "precision": "bf16", "zero_stage": stage, "grad_accum_dtype": "fp32"} for stage in (1, 2, 3)
]


def train_config(case: dict[str, Any]) -> TrainConfig:
    return TrainConfig(method=case["method"], precision=case["precision"])


def small_base(folder: Path, text: int, vision: int) -> str:
    """A configuration like the demo base's with so many blocks."""
    config = json.loads((BASE_DIR / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": text, "layer_types": ["full_attention"] * text}
    config["vision_config"] |= {"depth": vision, "fullatt_block_indexes": list(range(vision))}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def small_model(base: str, config: TrainConfig) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText

    dtype = torch.float32 if config.precision == "fp32" else torch.bfloat16
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base), dtype=dtype)
    return make_trainable(model, config).to(dtype)


def inputs(dtype: torch.dtype, clips: int, text: int) -> dict[str, torch.Tensor]:
    """A micro-batch of clips of 4 frames of 84 x 84 px, in the demo base's tokens."""
    ids = torch.tensor([[3, *[7] * 18, 4, *range(20, 18 + text)]] * clips)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == 7).long() * 2,
        "pixel_values_videos": torch.randn(72 * clips, 3 * 2 * 14 * 14, dtype=dtype),
        "video_grid_thw": torch.tensor([[2, 6, 6]] * clips),
    }


# --- the workers


def census() -> int:
    """Bytes of all tensors that live in this process, the least of three looks: threads let go of theirs a little later."""
    looks = []
    for _ in range(3):
        looks.append(_census())
        time.sleep(0.05)
    return min(looks)


def _census() -> int:
    """Each storage once."""
    gc.collect()
    storages: dict[int, int] = {}
    for one in gc.get_objects():
        if issubclass(type(one), torch.Tensor):
            for tensor in (one, one.grad if one.is_leaf else None):
                if tensor is not None and tensor.device.type == "cpu":
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def engine(case: dict[str, Any], model: Any) -> Any:
    """DeepSpeed around `model`, with a configuration like that of `model/deepspeed.py` and a small bucket."""
    import deepspeed

    zero: dict[str, Any] = {"stage": case["zero_stage"], "reduce_bucket_size": BUCKET}
    if case.get("offload_optimizer"):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if case.get("offload_parameters"):
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": case["precision"] == "bf16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }
    if "grad_accum_dtype" in case:
        settings["data_types"] = {"grad_accum_dtype": case["grad_accum_dtype"]}
    adam = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    return deepspeed.initialize(model=model.train(), optimizer=adam, config=settings, dist_init_required=False)[0]


def held(case: dict[str, Any], base: str) -> dict[str, int]:
    """Bytes between the two micro-batches of the second step, and after that step."""
    gc.collect()
    gc.freeze()  # what lives already is not looked at again
    config, before, found = train_config(case), census(), {}
    model = small_model(base, config)
    dtype, trained = model.dtype, engine(case, model)
    del model
    for step in range(2):
        for last in (False, True):
            logits = trained(**inputs(dtype, 1, 10), use_cache=False).logits
            trained.backward(logits.float().pow(2).mean())
            del logits
            if step == 1 and not last:
                found["between"] = census() - before
            trained.step()
    return {**found, "after": census() - before}


def main(rank: int, port: int, base: str, out: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORKERS)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    Path(out, f"{rank}.json").write_text(json.dumps([held(case, base) for case in CASES]))


# --- the tests


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_base(tmp_path_factory.mktemp("base"), text=2, vision=1)


@pytest.fixture(scope="module")
def workers(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, int]]]:
    """By worker and case, what it held."""
    out = tmp_path_factory.mktemp("held")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [(out / f"{rank}.log").open("w") for rank in range(WORKERS)]
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(port), base, str(out)], stdout=logs[rank], stderr=logs[rank]
        )
        for rank in range(WORKERS)
    ]
    for rank, process in enumerate(started):
        assert process.wait(timeout=500) == 0, (out / f"{rank}.log").read_text()[-2000:]
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(WORKERS)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_weights_gradients_and_states_are_those_that_deepspeed_holds(workers, base: str, case: dict[str, Any]) -> None:
    shape, value = model_shape(base, None, train_config(case)), VALUE_BYTES[case["precision"]]
    in_fp32 = "grad_accum_dtype" in case
    zero = Zero(
        case["zero_stage"],
        WORKERS,
        value_bytes=value,
        gradient_bytes=4 if in_fp32 else value,
        offload_optimizer=case.get("offload_optimizer", False),
        offload_parameters=case.get("offload_parameters", False),
        reduce_bucket=BUCKET,
    )
    memory = training_memory(shape, zero, accumulates=True)
    # What is not freed after a backward pass: ZeRO-1's and ZeRO-3's bucket, and offloading's tensor on the GPU's side.
    bucket = BUCKET * value if zero.stage == 3 or (zero.stage == 1 and not in_fp32) else 0
    tensor = shape.largest_trained * value if zero.offload_optimizer and zero.stage < 3 else 0
    after = memory.weights + memory.states + memory.host + tensor
    between = after + memory.gradients + bucket
    if zero.stage == 3:
        after = between  # the flat buffers of gradients stay
    elif in_fp32 and zero.stage == 1:
        after += shape.trained * 4
    for worker in workers:
        found = worker[CASES.index(case)]
        assert found["between"] == pytest.approx(between, rel=0.05)
        assert found["after"] == pytest.approx(after, rel=0.05)


def saved_bytes(base: str, config: TrainConfig, clips: int, text: int) -> int:
    """What autograd keeps of one forward pass besides parameters, each storage once."""
    model = small_model(base, config).train()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = inputs(model.dtype, clips, text)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(**batch, use_cache=False, logits_to_keep=1).logits
    logits.float().sum().backward()
    return sum(one.untyped_storage().nbytes() for place, one in saved.items() if place not in parameters)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_those_that_autograd_keeps(tmp_path: Path, method, precision, checkpointing: bool) -> None:
    config = TrainConfig(method=method, precision=precision, gradient_checkpointing=checkpointing)
    clips, text = 2, 60

    def both(layers: int) -> tuple[float, float]:
        """What autograd keeps, and what the formula says of a micro-batch without padding, logits and recomputed block apart."""
        base = small_base(tmp_path / str(layers), text=layers, vision=layers)
        return saved_bytes(base, config, clips, text), formula(model_shape(base, None, config))

    def formula(shape: ModelShape) -> float:
        video = video_tokens(shape, frames=4, frame_pixels=84 * 84)
        sample = Sample(video.tokens, text, 0, video.patches, video.frame_patches)
        one = sample._replace(text=clips * text, video=clips * sample.video, patches=clips * sample.patches)
        value = VALUE_BYTES[precision]
        return activation_bytes(shape, one, one.tokens, value, checkpointing=checkpointing, adapters=method == "lora")

    (kept_2, said_2), (kept_4, said_4) = both(2), both(4)
    assert said_4 - said_2 == pytest.approx(kept_4 - kept_2, rel=0.05)  # of two blocks
    if not checkpointing:
        assert said_4 == pytest.approx(kept_4, rel=0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
