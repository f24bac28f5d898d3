"""The same optimizer steps for any number of workers and ZeRO stage, checkpoints between them, and as TRL takes them."""

import gc
import json
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rbft_ray.core.errors import DataError
from rbft_ray.core.train_config import DeepSpeedConfig, StageRecipe, TrainConfig
from rbft_ray.demo import BASE_DIR
from rbft_ray.model import checkpoint, trainable, vlm
from rbft_ray.stages.train import TrainJob, _add_gradients, _work

STEPS, SAVED_AT = 4, 2
RECIPE = StageRecipe(epochs=100, global_batch=6, learning_rate=1e-3, class_balance="loss")
ALL_PARTED = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}  # small tensors, too
# (workers, ZeRO stage, method, the run whose checkpoint it goes on from)
RUNS = {
    "alone": (1, 0, "full", None),
    "two, ZeRO 0": (2, 0, "full", None),
    "two, ZeRO 2": (2, 2, "full", None),
    "two, ZeRO 3": (2, 3, "full", None),
    "two, ZeRO 2 from ZeRO 3": (2, 2, "full", "two, ZeRO 3"),
    "two, ZeRO 3 from alone": (2, 3, "full", "alone"),
    "alone, ZeRO 1 from two": (1, 1, "full", "two, ZeRO 2"),
    "adapter alone": (1, 0, "lora", None),
    "adapter, two, ZeRO 2": (2, 2, "lora", "adapter alone"),
}


def make_job(samples: list[dict], config: TrainConfig, out: str) -> TrainJob:
    return TrainJob("test", str(BASE_DIR), None, "Which class?", tuple(samples), config, RECIPE, 0, out)


def take_steps(engine, loaded, job: TrainJob, rank: int, workers: int, steps: Iterator[int]) -> Iterator[float]:
    """The loss of each step, over all workers."""
    from rbft_ray.model.samples import Samples

    samples = Samples(loaded, job.prompt, job.samples)
    for step in steps:
        work = _work(job, samples, SimpleNamespace(rank=rank, workers=workers), step)
        loss = torch.tensor(_add_gradients(engine, work, loaded.model.dtype))
        dist.all_reduce(loss)
        engine.step(1.0)
        yield float(loss)


def worker(rank: int, workers: int, port: int, samples: list[dict], folder: str) -> None:
    """Makes all runs of so many workers, one after the other, in one process group; half-way through they score a clip."""
    from rbft_ray.io.clips import read_frames
    from rbft_ray.model.scoring import label_log_probabilities
    from rbft_ray.model.train_engine import TrainEngine

    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    for name, (own_workers, zero_stage, method, source) in RUNS.items():
        if (
            own_workers != workers
            or Path(folder, f"{name}.json").exists()
            or (source and not Path(folder, source).exists())
        ):
            continue
        config = TrainConfig(method=method, micro_batch_tokens=600, deepspeed=DeepSpeedConfig(zero_stage=zero_stage))
        loaded = vlm.load(str(BASE_DIR), dtype="float32")
        torch.manual_seed(0)
        model = trainable.make_trainable(loaded.model, config)
        if source:
            checkpoint.load_weights(model, str(Path(folder, source)))
        engine = TrainEngine(model, RECIPE, config, ALL_PARTED if zero_stage == 3 else {})
        if source:
            engine.restore(str(Path(folder, source)))
        job, losses = make_job(samples, config, folder), []
        for loss in take_steps(engine, loaded, job, rank, workers, range(SAVED_AT if source else 0, STEPS)):
            losses.append(loss)
            if len(losses) == SAVED_AT and not source:
                Path(folder, name).mkdir(exist_ok=True)
                engine.save(str(Path(folder, name)) if rank == 0 else None, {})
                label_log_probabilities(loaded, read_frames(samples[rank : rank + 1]), job.prompt, ("one", "two"))
        parameters = [weakref.ref(parameter) for parameter in model.parameters()]
        engine.close()
        del engine, model, loaded
        gc.collect()
        alive = sum(found() is not None for found in parameters)
        if rank == 0:
            Path(folder, f"{name}.json").write_text(json.dumps(losses))
            Path(folder, f"{name}.alive").write_text(f"{alive} of {len(parameters)}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def samples(clips: list[dict]) -> list[dict]:
    """Answers of several lengths; the classes are not of equal size."""
    words = ["one", "two words", "three little words", "four", "five or six of them", "seven"]
    return [
        {**clip, "answer": words[index % 6], "tokens": 150 + index, "flops": 0.0}
        for index, clip in enumerate(clips[:11])
    ]


@pytest.fixture(scope="module")
def runs(samples: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for workers in (1, 2, 1):  # some of one worker go on from checkpoints of two
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        mp.spawn(worker, (workers, port, samples, str(folder)), nprocs=workers)
    return folder


def losses(runs: Path, name: str) -> list[float]:
    return json.loads((runs / f"{name}.json").read_text())


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run[2] == "full" and name != "alone"])
def test_any_number_of_workers_and_zero_stage_takes_the_same_steps(runs: Path, name: str) -> None:
    expected = losses(runs, "alone")[SAVED_AT if RUNS[name][3] else 0 :]
    assert expected[-1] < losses(runs, "alone")[0]
    np.testing.assert_allclose(losses(runs, name), expected, atol=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_a_training_that_is_over_leaves_nothing_in_its_process(runs: Path, name: str) -> None:
    assert (runs / f"{name}.alive").read_text().startswith("0 of ")


def test_an_adapter_goes_on_with_more_workers(runs: Path) -> None:
    np.testing.assert_allclose(
        losses(runs, "adapter, two, ZeRO 2"), losses(runs, "adapter alone")[SAVED_AT:], atol=1e-4
    )


def test_a_checkpoint_holds_what_is_trained_and_nothing_else(runs: Path) -> None:
    names = [name for key, name, _ in checkpoint.read_tensors(str(runs / "adapter alone")) if key == "weight"]
    assert names and all("lora_" in name for name in names)
    assert all(file.stat().st_size < 8 << 20 for file in (runs / "adapter alone").iterdir())


def test_a_checkpoint_that_is_not_whole_is_refused(runs: Path, tmp_path: Path) -> None:
    for file in (runs / "alone").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shard = tmp_path / "trained-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"trained-00000.safetensors has \d+ of \d+ bytes"):
        checkpoint.read_state(str(tmp_path))
    (tmp_path / checkpoint.STATE_FILE).unlink()
    with pytest.raises(DataError, match="not whole"):
        checkpoint.read_state(str(tmp_path))


def test_a_checkpoint_of_other_weights_is_refused(runs: Path) -> None:
    loaded = vlm.load(str(BASE_DIR), dtype="float32")
    with pytest.raises(DataError, match="is no trained weight of this model"):
        checkpoint.load_weights(loaded.model, str(runs / "adapter alone"))


def test_fifty_steps_are_those_of_trl(samples: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from rbft_ray.core.batches import batch_indices, cosine_learning_rate
    from rbft_ray.model.samples import Samples
    from rbft_ray.model.train_engine import TrainEngine

    recipe = RECIPE.model_copy(update={"class_balance": "none", "learning_rate": 3e-4})
    config = TrainConfig(method="full", micro_batch_tokens=10_000, deepspeed=DeepSpeedConfig(zero_stage=0))
    job = TrainJob("test", str(BASE_DIR), None, "Which class?", tuple(samples), config, recipe, 0, "")
    ours, theirs = vlm.load(str(BASE_DIR), dtype="float32"), vlm.load(str(BASE_DIR), dtype="float32")

    batches = Samples(theirs, job.prompt, job.samples)
    order = [int(index) for step in range(50) for index in batch_indices(len(samples), 6, step, 0)]
    trainer = SFTTrainer(
        theirs.model,
        args=SFTConfig(
            output_dir=str(tmp_path), max_steps=50, per_device_train_batch_size=6, learning_rate=3e-4, logging_steps=1,
            lr_scheduler_type="cosine", weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm,
            use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], save_strategy="no", dataloader_pin_memory=False,
            remove_unused_columns=False, disable_tqdm=True, dataset_kwargs={"skip_prepare_dataset": True}, shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_list([{"row": index} for index in order]),
        data_collator=lambda rows: batches.micro_batch([row["row"] for row in rows], [1.0] * len(rows)).inputs,
        processing_class=theirs.processor,
    )  # fmt: skip
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    trainer.train()
    expected = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("LOCAL_RANK", "0")
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    try:
        engine = TrainEngine(trainable.make_trainable(ours.model, config), recipe, config, {})
        packed, found = Samples(ours, job.prompt, job.samples), []
        for step in range(50):
            work = _work(job, packed, SimpleNamespace(rank=0, workers=1), step)
            found.append(_add_gradients(engine, work, torch.float32))
            engine.step(cosine_learning_rate(step, 50, 0.0))
    finally:
        dist.destroy_process_group()
    assert expected[-1] < 0.5 * expected[0]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
