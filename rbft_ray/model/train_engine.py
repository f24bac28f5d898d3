"""A model under DeepSpeed: losses in, optimizer steps out, and checkpoints that do not depend on how the work is shared."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.fp16.unfused_optimizer import FP16_UnfusedOptimizer
from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK
from deepspeed.runtime.zero.partition_parameters import InsertPostInitMethodToModuleSubClasses
from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

from rbft_ray.core.train_config import StageRecipe, TrainConfig
from rbft_ray.model.checkpoint import MOMENTS, WEIGHT, read_state, read_tensors, write_checkpoint
from rbft_ray.model.deepspeed import deepspeed_config
from rbft_ray.model.trainable import parameter_groups

GATHERED_NUMBERS = 1 << 24  # of all workers, in one exchange: 64 MiB


class TrainEngine:
    """DeepSpeed around the trainable parameters of `model`; torch.distributed is up."""

    def __init__(self, model: Any, recipe: StageRecipe, config: TrainConfig, own: Mapping[str, Any]):
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self._deepspeed, self._optimizer, _, _ = deepspeed.initialize(
            model=model.train(),
            optimizer=torch.optim.AdamW(parameter_groups(model, recipe, config.method)),
            config=deepspeed_config(
                config.deepspeed, own, precision=config.precision, max_grad_norm=recipe.max_grad_norm
            ),
            dist_init_required=False,
        )
        self._scales_loss = config.precision == "fp16"
        self._masters = self._whole_masters()
        self._make_moments()

    @property
    def device(self) -> torch.device:
        return torch.device(self._deepspeed.device)

    @property
    def _adam(self) -> torch.optim.Optimizer:
        return getattr(self._optimizer, "optimizer", self._optimizer)

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Adds the gradient of this worker's part of a sum over all workers; `last`: of this step's micro-batches."""
        self._deepspeed.set_gradient_accumulation_boundary(last)
        self._deepspeed.backward(loss * self._deepspeed.dp_world_size, scale_wrt_gas=False)  # it averages over workers
        if not last:
            self._deepspeed.step()

    def step(self, rate_factor: float) -> dict[str, float]:
        """Takes the optimizer step at `rate_factor` of the peak rates. Returns the norm of the gradient and each part's rate."""
        rates = {}
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak_lr"] * rate_factor
            rates[f"learning_rate_{group['name'].removesuffix('-no-decay')}"] = group["lr"]
        own_norm = self._gradient_norm() if self._optimizer is self._adam else None  # DeepSpeed keeps none then
        self._deepspeed.step()
        return {"grad_norm": float(own_norm or self._deepspeed.get_global_grad_norm() or 0.0), **rates}

    def _gradient_norm(self) -> float:
        gradients = [parameter.grad for parameter in self._deepspeed.module.parameters() if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def __call__(self, **inputs: Any) -> Any:
        """The model's forward pass."""
        return self._deepspeed(**inputs)

    def close(self) -> None:
        """Lets go of what ZeRO holds for as long as the process lives: a kept worker group goes on to other work.

        DeepSpeed's hooks on the gradients hold weights, states and buckets where Python's garbage collection sees nothing, and
        ZeRO-3 (DeepSpeed 0.19.8) has a stack and a cache of modules beside. Its `linear`, which rounds otherwise on some CPUs,
        replaces torch's.
        """
        self._deepspeed.destroy()
        FWD_MODULE_STACK.clear()
        release = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
        for cell in release.__closure__ or ():
            if hasattr(cell.cell_contents, "cache_clear"):
                cell.cell_contents.cache_clear()
        torch.nn.functional.linear = getattr(
            InsertPostInitMethodToModuleSubClasses, "linear_bk", torch.nn.functional.linear
        )

    def save(self, folder: str | None, extra: Mapping[str, Any]) -> None:
        """Writes a checkpoint. Every worker calls it, as they gather the tensors together; all but one have no `folder`."""
        tensors = (
            (key, name, tensor)
            for key in (WEIGHT, *MOMENTS)
            for (name, _), tensor in zip(self._trained(), self._whole(key), strict=True)
        )
        if folder is None:
            for _ in tensors:
                pass
        else:
            own = {"workers": self._deepspeed.dp_world_size, "adam_step": self._adam_step()}
            write_checkpoint(folder, tensors, {**own, "loss_scaler": self._loss_scaler(), "extra": dict(extra)})

    def restore(self, folder: str) -> None:
        """Takes weights, moments and the loss scale of a checkpoint; the model has its weights already (`load_weights`)."""
        state, parameters = read_state(folder), dict(self._trained())
        for moments in self._adam.state.values():
            moments["step"].fill_(state["adam_step"])
        for key, name, tensor in read_tensors(folder):
            self._set_whole(parameters[name], key, tensor.to(self.device))
        if self._scales_loss:
            vars(self._optimizer.loss_scaler).update(state["loss_scaler"])

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, one) for name, one in self._deepspeed.module.named_parameters() if one.requires_grad)

    def _whole_masters(self) -> dict[torch.nn.Parameter, torch.Tensor] | None:
        """The fp32 weight that Adam steps, by trained parameter, without ZeRO; None where workers hold parts of them."""
        if self._optimizer is self._adam:
            return {parameter: parameter for _, parameter in self._trained()}
        if isinstance(self._optimizer, FP16_UnfusedOptimizer):  # 16 bit without ZeRO, bf16 too
            groups = zip(self._optimizer.fp16_groups, self._optimizer.fp32_groups, strict=True)
            return {one: master for low, high in groups for one, master in zip(low, high, strict=True)}
        return None

    def _whole(self, key: str) -> Iterator[torch.Tensor]:
        """The fp32 weight or a moment of each trained parameter, in its shape. Every worker calls it."""
        parameters = [parameter for _, parameter in self._trained()]
        if self._masters is not None:
            masters = [self._masters[parameter] for parameter in parameters]
            yield from masters if key == WEIGHT else (self._adam.state[master][key] for master in masters)
        elif hasattr(parameters[0], "ds_tensor"):  # ZeRO-3
            for parameter in parameters:
                found = (
                    safe_get_full_fp32_param(parameter)
                    if key == WEIGHT
                    else safe_get_full_optimizer_state(parameter, key)
                )
                assert found is not None, f"DeepSpeed holds no {key} of a trained parameter"
                yield found
        else:
            for some in _chunks(parameters):
                yield from _gathered(some, None if key == WEIGHT else key)

    def _set_whole(self, parameter: torch.nn.Parameter, key: str, value: torch.Tensor) -> None:
        if self._masters is not None:
            master = self._masters[parameter]
            (master if key == WEIGHT else self._adam.state[master][key]).data.copy_(value)
        elif not hasattr(parameter, "ds_tensor"):
            if key == WEIGHT:
                safe_set_full_fp32_param(parameter, value)
            else:
                safe_set_full_optimizer_state(parameter, value, key)
        else:  # ZeRO-3: safe_set_full_* of DeepSpeed 0.19.8 fail where the last worker's part is padded
            part = torch.zeros(parameter.ds_tensor.numel(), device=value.device)
            own = value.flatten()[torch.distributed.get_rank() * len(part) :][: len(part)]
            part[: len(own)] = own
            if key == WEIGHT:
                safe_set_local_fp32_param(parameter, part)
            else:
                safe_set_local_optimizer_state(parameter, part, key)

    def _make_moments(self) -> None:
        """Adam's state, which PyTorch makes in the first step: DeepSpeed's getters and setters want it there.

        DeepSpeed 0.19.8 links it to the parameters after the step of the first parameter group, and so misses the others.
        """
        flat = getattr(self._optimizer, "fp32_partitioned_groups_flat", None)  # ZeRO-3 empties the groups
        for tensor in flat or [one for group in self._adam.param_groups for one in group["params"]]:
            moments = {key: torch.zeros_like(tensor) for key in MOMENTS}
            self._adam.state[tensor] = {"step": torch.tensor(0.0), **moments}
        if hasattr(self._optimizer, "_lazy_init_hp_params_optimizer_state"):
            self._optimizer._lazy_init_hp_params_optimizer_state()

    def _adam_step(self) -> float:
        """Steps that Adam has taken: fewer than the run's where fp16 overflowed."""
        return max(float(state["step"]) for state in self._adam.state.values())

    def _loss_scaler(self) -> dict[str, float]:
        """The state of fp16's dynamic loss scale."""
        if not self._scales_loss:
            return {}
        return {
            key: value for key, value in vars(self._optimizer.loss_scaler).items() if isinstance(value, int | float)
        }


def _chunks(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Those that are gathered at a time: of about GATHERED_NUMBERS together."""
    some: list[torch.nn.Parameter] = []
    numbers = 0
    for parameter in parameters:
        some.append(parameter)
        numbers += parameter.numel()
        if numbers >= GATHERED_NUMBERS or parameter is parameters[-1]:
            yield some
            some, numbers = [], 0


@torch.no_grad()
def _gathered(parameters: Sequence[torch.nn.Parameter], moment: str | None) -> list[torch.Tensor]:
    """What the workers hold in parts under ZeRO-1 and ZeRO-2: the fp32 weights (None) or a moment, each in its shape.

    As DeepSpeed's `safe_get_full_fp32_param`, but in one exchange for all: an exchange for each of the hundreds of small tensors
    of an adapter took 6 % of the training time of a small model.
    """
    buffer = torch.zeros(sum(one.numel() for one in parameters), device=parameters[0].device)
    parts = buffer.split([one.numel() for one in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        if parameter._hp_mapping is not None:  # this worker holds some of it
            own = parameter._hp_mapping.lp_fragment_address
            part[own.start : own.start + own.numel] = parameter._hp_mapping.get_hp_fragment(moment)
    torch.distributed.all_reduce(buffer, group=parameters[0]._dp_group)
    return [part.view_as(parameter) for parameter, part in zip(parameters, parts, strict=True)]
