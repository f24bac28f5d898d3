"""The section `train` of the configuration: both fine-tuning stages."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rbft_ray.core.section import BARE_OFF, NO_EFFECT, Section


class LoraConfig(Section):
    r: int = Field(16, ge=1, description="rank of the adapter")
    alpha: int = Field(32, ge=1, description="the adapter is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the adapter's input")
    use_rslora: bool = Field(False, description="scale by alpha / sqrt(r) instead of alpha / r")
    use_dora: bool = Field(False, description="decompose weights into magnitude and direction")
    target_modules: str = Field(
        "all-linear", description="'all-linear', or a regular expression on names of linear modules (in train.parts)"
    )


LEARNING_RATES = {
    "lora": {"language": 1e-4, "vision": 1e-4},
    "full": {"language": 1e-5, "vision": 2e-6},
}


class StageRecipe(Section):
    epochs: float = Field(3.0, gt=0, description="passes over the training clips")
    global_batch: int = Field(8, ge=1, description="samples per optimizer step, over all workers")
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="of the language model; null: 1e-4 for LoRA, the RB-FT authors' 1e-5 for full fine-tuning",
    )
    learning_rate_merger: float | None = Field(None, gt=0, description="null: learning_rate")
    learning_rate_vision: float | None = Field(
        None, gt=0, description="null: learning_rate; with that null too, the authors' 2e-6 for full fine-tuning"
    )
    warmup_ratio: float = Field(
        0.03, ge=0, lt=1, description="share of the steps in which rates rise; then cosine to 0"
    )
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to it")
    class_balance: Literal["none", "sampling", "loss"] = Field(
        "none",
        description="of imbalanced classes: sampling: each class is drawn equally often; loss: a sample's loss is weighed "
        "by the inverse of its class's share",
    )

    def learning_rates(self, method: str) -> dict[str, float]:
        """Peak rate of each part of the model for a `method` of TrainConfig. The defaults for 'full' are the authors'."""
        language = self.learning_rate or LEARNING_RATES[method]["language"]
        vision = language if self.learning_rate else LEARNING_RATES[method]["vision"]
        return {
            "language": language,
            "merger": self.learning_rate_merger or language,
            "vision": self.learning_rate_vision or vision,
        }


class LabelRecipe(StageRecipe):
    """Of training on labels, which the validation split can judge."""

    validate_every_epochs: float | None = Field(
        1.0, gt=0, description="macro-F1 of the validation split so often; the best checkpoint is kept. null: the last"
    )
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better macro-F1")


class DeepSpeedConfig(Section):
    zero_stage: Literal[0, 1, 2, 3] = Field(
        2, description="parted over workers: 1: optimizer states; 2: gradients, too; 3: weights, too"
    )
    offload_optimizer: bool = Field(False, json_schema_extra=NO_EFFECT, description="to host memory; ZeRO 1 to 3")
    offload_parameters: bool = Field(False, json_schema_extra=NO_EFFECT, description="to host memory; ZeRO 3")
    file: str | None = Field(
        None,
        json_schema_extra=NO_EFFECT,  # what it holds enters the identity
        description="a DeepSpeed JSON of your own; its keys come before what the settings here give",
    )


class TrainConfig(Section):
    method: Literal["lora", "full"] = Field("lora", description="adapters, or all weights of train.parts")
    parts: tuple[Literal["vision", "merger", "language"], ...] = Field(
        ("vision", "merger", "language"), min_length=1, description="of the model that are trained; others are frozen"
    )
    vision_cache: Annotated[Literal["auto", "off"], BARE_OFF] = Field(
        "auto", json_schema_extra=NO_EFFECT, description="auto: what frozen vision parts make of a clip is stored once"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the training computation")
    workers: int | None = Field(
        None, ge=1, json_schema_extra=NO_EFFECT, description="Ray Train workers; null: one per GPU, 2 without GPUs"
    )
    min_workers: int | None = Field(
        None,
        ge=1,
        json_schema_extra=NO_EFFECT,
        description="go on with so few where workers are lost; null: with all only",
    )
    resize_check_sec: float = Field(
        60.0, gt=0, json_schema_extra=NO_EFFECT, description="with min_workers: how often lost workers are looked for"
    )
    micro_batch_tokens: int = Field(
        2048,
        ge=1,
        json_schema_extra=NO_EFFECT,
        description="tokens per worker and forward pass, padding included; a longer sample goes alone",
    )
    gradient_checkpointing: bool = Field(
        False, json_schema_extra=NO_EFFECT, description="compute activations twice to keep fewer in memory"
    )
    checkpoint_every_steps: int = Field(
        20, ge=1, json_schema_extra=NO_EFFECT, description="what a lost worker costs at most"
    )
    max_failures: int = Field(2, ge=0, json_schema_extra=NO_EFFECT, description="restarts of the worker group")
    max_tokens: int = Field(2048, ge=128, description="a longer sample is rejected")
    trackers: tuple[str, ...] = Field(
        ("tensorboard",), json_schema_extra=NO_EFFECT, description="as Transformers' report_to: wandb, mlflow, ..."
    )
    lora: LoraConfig = LoraConfig()
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    stage1: StageRecipe = StageRecipe()
    stage2: LabelRecipe = LabelRecipe()

    @property
    def planned_workers(self) -> int:
        """To count with before a cluster is known: 1 where it decides."""
        return self.workers or 1

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.min_workers is not None and self.workers is not None and self.min_workers > self.workers:
            raise ValueError("min_workers must not be above workers")
        if self.precision == "fp16" and self.deepspeed.zero_stage == 0:
            raise ValueError("precision fp16 needs deepspeed.zero_stage 1, 2 or 3 (1 costs one worker nothing)")
        if self.stage2.patience is not None and self.stage2.validate_every_epochs is None:
            raise ValueError("stage2.patience needs stage2.validate_every_epochs")
        return self
