"""The configuration of a run: one YAML file, typed and frozen. Every field has a default except where the data are.

`rbft config show` prints every value. Inside the sections that enter the identity of a step, a field that does not affect
results (workers, block sizes) carries `NO_EFFECT`: changing it reruns nothing.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from rbft_ray.core.sampling import SamplingContract

NO_EFFECT: dict[str, JsonValue] = {"affects_results": False}
BARE_OFF = BeforeValidator(lambda value: "off" if value is False else value)  # YAML reads a bare off as false


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Section):
    base: str = Field(
        "demo", description="directory, Hugging Face hub id, or 'demo' for the base VLM that comes with rbft"
    )
    revision: str | None = Field(None, description="hub revision")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the weights in generation, scoring and serving"
    )


class DemoWorldConfig(Section):
    """The embedded video world (rbft_ray/demo): used where `data.manifest` is null."""

    domain_seed: int = Field(100, ge=0, description="which domain: rule set and appearance")
    train_per_class: tuple[int, ...] = Field((44, 28, 18, 10), description="training clips of each of the 4 classes")
    val_per_class: int = Field(8, ge=1)
    test_per_class: int = Field(40, ge=1)


class DataConfig(Section):
    manifest: str | dict[str, str] | None = Field(
        None,
        description="path or URI of a CSV, TSV, JSONL or Parquet file or a folder of classes; or {split: path}; "
        "null: the embedded demo world",
    )
    video: str = Field("{path}", description="how a row names its video; {column} and {column_stem} are replaced")
    video_root: str | None = Field(None, description="where relative video paths start; null: beside the manifest")
    id: str | None = Field(None, description="template of the clip's id; null: the column 'id', else the video path")
    label: str = Field("label", description="column of the label")
    split: str | None = Field("split", description="column of the split, if the manifest has it")
    group: str | None = Field("group", description="column of the group (camera, source video), if the manifest has it")
    split_names: dict[str, Literal["train", "validation", "test"]] = Field(
        {"val": "validation", "valid": "validation", "dev": "validation", "training": "train", "testing": "test"},
        description="other names of the splits",
    )
    labels: tuple[str, ...] | None = Field(None, description="label set, ordered; null: the sorted labels of the data")
    label_map: dict[str, str] = Field({}, description="renames labels, many to one")
    validation_fraction: float = Field(0.15, gt=0, lt=1, description="of train, where there is no validation split")
    test_fraction: float = Field(0.25, gt=0, lt=1, description="of all, where there is no split at all")
    limit_per_split: int | None = Field(None, ge=1, description="take at most so many clips of each split")
    demo: DemoWorldConfig = DemoWorldConfig()


class TaskConfig(Section):
    role: str = "You are an expert in video classification."
    guidance: str = Field("", description="what to pay attention to, in a sentence or two; part of every prompt")
    definitions: dict[str, str] = Field({}, description="label: its definition, one sentence")
    cues: dict[str, tuple[str, ...]] = Field(
        {},
        description="label: phrases that speak for it, to check rationales by; part of no prompt",
    )


class RationalizeConfig(Section):
    mode: Literal["blind", "label_conditioned", "bootstrap"] = Field(
        "bootstrap",
        description="blind: the model does not see the label; label_conditioned: it does; bootstrap: blind first, "
        "then with the label as a hint where the blind answer was wrong",
    )
    candidates: int = Field(1, ge=1, description="rationales per clip and pass")
    temperature: float = Field(0.7, ge=0)
    support_check: bool = Field(
        True,
        description="reject rationales whose text alone, without conclusion and class names, does not speak for the "
        "label, by the base and by the job's other rationales, where these prove fit to judge",
    )
    more_tries: int = Field(
        1, ge=0, description="further passes over the clips that have no accepted rationale; temperature at least 0.7"
    )
    max_tokens: int = Field(160, ge=8)
    replicas: int = Field(1, ge=1, json_schema_extra=NO_EFFECT, description="vLLM replicas at most")
    min_replicas: int = Field(1, ge=1, json_schema_extra=NO_EFFECT, description="vLLM replicas to begin with")
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=NO_EFFECT, description="GPUs per replica")
    block_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT, description="clips per committed block")
    requests_in_flight: int = Field(
        256, ge=1, json_schema_extra=NO_EFFECT, description="rationales that a replica writes at a time, about"
    )
    max_model_len: int = Field(2048, ge=128, json_schema_extra=NO_EFFECT, description="tokens of prompt and answer")


class PreflightConfig(Section):
    clips: int = Field(32, ge=4, description="training clips to examine, about equally many of each class")
    samples: int = Field(4, ge=1, description="rationales per clip")


class LoraConfig(Section):
    r: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
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
    epochs: float = Field(3.0, gt=0)
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
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
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
    zero_stage: Literal[0, 1, 2, 3] = 2
    offload_optimizer: bool = Field(False, json_schema_extra=NO_EFFECT, description="to host memory; ZeRO 1 to 3")
    offload_parameters: bool = Field(False, json_schema_extra=NO_EFFECT, description="to host memory; ZeRO 3")
    file: str | None = Field(
        None,
        json_schema_extra=NO_EFFECT,  # what it holds enters the identity
        description="a DeepSpeed JSON of your own; its keys come before what the settings here give",
    )


class TrainConfig(Section):
    method: Literal["lora", "full"] = "lora"
    parts: tuple[Literal["vision", "merger", "language"], ...] = Field(
        ("vision", "merger", "language"), min_length=1, description="of the model that are trained; others are frozen"
    )
    vision_cache: Annotated[Literal["auto", "off"], BARE_OFF] = Field(
        "auto", json_schema_extra=NO_EFFECT, description="auto: what frozen vision parts make of a clip is stored once"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the training computation")
    workers: int = Field(2, ge=1, json_schema_extra=NO_EFFECT, description="Ray Train workers")
    min_workers: int | None = Field(
        None, ge=1, json_schema_extra=NO_EFFECT, description="go on with so few where workers are lost; null: workers"
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
    gradient_checkpointing: bool = Field(False, json_schema_extra=NO_EFFECT)
    checkpoint_every_steps: int = Field(20, ge=1, json_schema_extra=NO_EFFECT)
    max_failures: int = Field(2, ge=0, json_schema_extra=NO_EFFECT, description="restarts of the worker group")
    max_tokens: int = Field(2048, ge=128, description="a longer sample is rejected")
    trackers: tuple[str, ...] = Field(
        ("tensorboard",), json_schema_extra=NO_EFFECT, description="as Transformers' report_to: wandb, mlflow, ..."
    )
    lora: LoraConfig = LoraConfig()
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    stage1: StageRecipe = StageRecipe()
    stage2: LabelRecipe = LabelRecipe()

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError("min_workers must not be above workers")
        if self.precision == "fp16" and self.deepspeed.zero_stage == 0:
            raise ValueError("precision fp16 needs deepspeed.zero_stage 1, 2 or 3 (1 costs one worker nothing)")
        if self.stage2.patience is not None and self.stage2.validate_every_epochs is None:
            raise ValueError("stage2.patience needs stage2.validate_every_epochs")
        return self


class EvaluateConfig(Section):
    replicas: int = Field(2, ge=1, json_schema_extra=NO_EFFECT, description="scoring replicas")
    block_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT)
    batch_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT, description="clips per forward pass")
    engine: Literal["transformers", "vllm"] = Field("transformers", description="what computes the scores")
    length_correction: Literal["none", "per_token"] = Field(
        "none",
        description="per_token: a label's score is divided by its number of tokens (for a base that never saw them)",
    )
    target_prior: dict[str, float] | None = Field(
        None, description="share of each class where the classifier is used; null: as in training"
    )
    wanted_precision: float | None = Field(
        None, gt=0, le=1, description="abstain where the answers would be less precise (on the validation split)"
    )
    reason_then_label: bool = Field(
        False, description="also predict by writing a rationale for each clip and reading its answer line"
    )
    max_model_len: int = Field(4096, ge=128, json_schema_extra=NO_EFFECT, description="tokens; engine vllm only")
    example_rationales: int = Field(6, ge=0, description="example clips with a rationale in the report")
    max_rationale_tokens: int = Field(160, ge=8)


class ServeConfig(Section):
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    replicas: int = Field(1, ge=1)
    max_upload_mib: int = Field(64, ge=1)
    max_rationale_tokens: int = Field(160, ge=8)


class IngestConfig(Section):
    workers: int | None = Field(
        None, ge=1, json_schema_extra=NO_EFFECT, description="decoding processes; null: one per CPU of the cluster"
    )
    block_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT, description="clips per committed block")


class RayConfig(Section):
    """All but results: how this process meets its cluster."""

    address: str | None = Field(None, description="Ray cluster; null: RAY_ADDRESS, else a local one in this process")
    use_gpu: bool | None = Field(None, description="GPUs for generation, training, scoring; null: where there are any")
    no_progress_timeout_sec: float = Field(900.0, gt=0, description="a stage without progress for so long is an error")


class RunConfig(Section):
    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the run's directory is runs/<name>")
    storage: str = Field("runs", description="directory or URI under which runs and steps are written")
    seed: int = Field(0, ge=0)
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    task: TaskConfig = TaskConfig()
    sampling: SamplingContract = SamplingContract()
    ingest: IngestConfig = IngestConfig()
    rationalize: RationalizeConfig = RationalizeConfig()
    preflight: PreflightConfig = PreflightConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    serve: ServeConfig = ServeConfig()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.rationalize.min_replicas > self.rationalize.replicas:
            raise ValueError("rationalize.min_replicas must not be above rationalize.replicas")
        return self


def result_config(section: BaseModel) -> dict[str, Any]:
    """The fields of `section` that affect results, nested, as JSON values: what enters a step's identity."""
    kept: dict[str, Any] = {}
    dumped = section.model_dump(mode="json")
    for name, info in type(section).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("affects_results") is False:
            continue
        value = getattr(section, name)
        kept[name] = result_config(value) if isinstance(value, BaseModel) else dumped[name]
    return kept
