"""Experiment trackers (TensorBoard, Weights & Biases, MLflow, ...) through Transformers' callbacks, without its Trainer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rbft_ray.core.errors import ConfigError


class Trackers:
    """Writes numbers by step to every named tracker. `folder`: where TensorBoard's event files go."""

    def __init__(self, names: Sequence[str], folder: str, run_name: str, settings: Mapping[str, Any]):
        from transformers import TrainerControl, TrainerState, TrainingArguments

        self._callbacks = [_callback(name, folder) for name in names]
        # The callbacks send the arguments along as the run's settings.
        self._args = TrainingArguments(output_dir=folder, run_name=run_name, report_to=[], use_cpu=True)
        for name, value in settings.items():
            setattr(self._args, name, value)
        self._state, self._control = TrainerState(is_local_process_zero=True), TrainerControl()
        for callback in self._callbacks:
            callback.on_train_begin(self._args, self._state, self._control)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one optimizer step, counted from 1."""
        self._state.global_step = step
        for callback in self._callbacks:
            callback.on_log(self._args, self._state, self._control, logs=dict(values))

    def close(self) -> None:
        for callback in self._callbacks:
            callback.on_train_end(self._args, self._state, self._control)


def check_trackers(names: Sequence[str]) -> None:
    """Raises ConfigError where Transformers knows no such tracker, or its package is missing."""
    from transformers.integrations import get_available_reporting_integrations, get_reporting_integration_callbacks

    for name in names:
        try:
            get_reporting_integration_callbacks([name])
        except ValueError as error:
            raise ConfigError(f"train.trackers: {error}") from error
        if name not in get_available_reporting_integrations():
            raise ConfigError(f"train.trackers: {name} is not installed here (pip install {name})")


def _callback(name: str, folder: str) -> Any:
    from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

    if name != "tensorboard":
        return get_reporting_integration_callbacks([name])[0]()
    from tensorboardX import SummaryWriter

    Path(folder).mkdir(parents=True, exist_ok=True)
    return TensorBoardCallback(tb_writer=SummaryWriter(folder))
