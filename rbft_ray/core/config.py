"""The configuration of a run: one YAML file, typed and frozen. Every field has a default except where the data are.

`rbft config show` prints every value. Inside the sections that enter the identity of a step, a field that does not affect
results (workers, block sizes) carries `NO_EFFECT`: changing it reruns nothing.
"""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.section import NO_EFFECT, Section
from rbft_ray.core.train_config import TrainConfig


class ModelConfig(Section):
    base: str = Field(
        "demo", description="directory, Hugging Face hub id, or 'demo' for the base VLM that comes with rbft"
    )
    revision: str | None = Field(None, description="hub revision")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the weights in generation, scoring and serving"
    )
    gpu_memory_utilization: float = Field(
        0.9,
        gt=0,
        le=1,
        json_schema_extra=NO_EFFECT,
        description="share of a GPU's memory that vLLM takes, cache included",
    )


class DemoWorldConfig(Section):
    """The embedded video world (rbft_ray/demo): used where `data.manifest` is null."""

    domain_seed: int = Field(100, ge=0, description="which domain: rule set and appearance")
    train_per_class: tuple[int, ...] = Field((44, 28, 18, 10), description="training clips of each of the 4 classes")
    val_per_class: int = Field(8, ge=1, description="validation clips of each class")
    test_per_class: int = Field(40, ge=1, description="test clips of each class")


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
    train_per_class: PositiveInt | tuple[PositiveInt, ...] | None = Field(
        None,
        json_schema_extra=NO_EFFECT,  # on ingest; the steps that follow it take it up
        description="learn from so many training clips of each class only, drawn by the run's seed; a list: of each label",
    )
    seed: int | None = Field(
        None, ge=0, json_schema_extra=NO_EFFECT, description="of splits and limits; null: the run's seed"
    )
    demo: DemoWorldConfig = DemoWorldConfig()


class TaskConfig(Section):
    role: str = Field("You are an expert in video classification.", description="the first sentence of every prompt")
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
    temperature: float = Field(0.7, ge=0, description="of the first pass; 0: the most likely text")
    support_check: bool = Field(
        True,
        description="reject rationales whose text alone, without conclusion and class names, does not speak for the "
        "label, by the base and by the job's other rationales, where these prove fit to judge",
    )
    more_tries: int = Field(
        1, ge=0, description="further passes over the clips that have no accepted rationale; temperature at least 0.7"
    )
    max_tokens: int = Field(160, ge=8, description="of a rationale with its answer; a longer one is cut and rejected")
    replicas: int | None = Field(
        None, ge=1, json_schema_extra=NO_EFFECT, description="vLLM replicas at most; null: on all GPUs, 1 without GPUs"
    )
    min_replicas: int = Field(1, ge=1, json_schema_extra=NO_EFFECT, description="vLLM replicas to begin with")
    tensor_parallel: int = Field(1, ge=1, json_schema_extra=NO_EFFECT, description="GPUs per replica")
    block_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT, description="clips per committed block")
    requests_in_flight: int = Field(
        256, ge=1, json_schema_extra=NO_EFFECT, description="rationales that a replica writes at a time, about"
    )
    max_model_len: int = Field(2048, ge=128, description="tokens of prompt and answer; longer clips are rejected")

    @model_validator(mode="after")
    def _consistent(self) -> "RationalizeConfig":
        if self.temperature == 0 and self.candidates > 1:
            raise ValueError("candidates above 1 need a temperature above 0: without it they are all the same text")
        return self


class PreflightConfig(Section):
    clips: int = Field(32, ge=4, description="training clips to examine, about equally many of each class")
    samples: int = Field(4, ge=1, description="rationales per clip")


class EvaluateConfig(Section):
    replicas: int | None = Field(
        None, ge=1, json_schema_extra=NO_EFFECT, description="scoring replicas; null: one per GPU, 2 without GPUs"
    )
    block_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT, description="clips per committed block")
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
    max_model_len: int = Field(4096, ge=128, description="tokens; engine vllm only")
    example_rationales: int = Field(6, ge=0, description="example clips with a rationale in the report")
    max_rationale_tokens: int = Field(160, ge=8, description="the default is rationalize.max_tokens, where that is set")


class ServeConfig(Section):
    host: str = Field("127.0.0.1", description="address to listen at; 0.0.0.0: all of the machine")
    port: int = Field(8000, ge=1, le=65535, description="port to listen at")
    replicas: int = Field(1, ge=1, description="processes that hold the model; each takes a GPU where there are any")
    batch_clips: int = Field(8, ge=1, description="clips per forward pass, of requests that come together")
    max_upload_mib: int = Field(64, ge=1, description="a larger video is refused")
    max_rationale_tokens: int = Field(160, ge=8, description="the default is rationalize.max_tokens, where that is set")


class IngestConfig(Section):
    workers: int | None = Field(
        None, ge=1, json_schema_extra=NO_EFFECT, description="decoding processes; null: one per CPU of the cluster"
    )
    block_clips: int = Field(16, ge=1, json_schema_extra=NO_EFFECT, description="clips per committed block")


class RayConfig(Section):
    """All but results: how this process meets its cluster."""

    address: str | None = Field(None, description="Ray cluster; null: RAY_ADDRESS, else a local one in this process")
    use_gpu: bool | None = Field(None, description="GPUs for generation, training, scoring; null: where there are any")
    no_progress_timeout_sec: float = Field(
        1800.0, gt=0, description="a stage that begins and ends no block for so long is an error; model downloads count"
    )


class RunConfig(Section):
    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the run's directory is runs/<name>")
    storage: str = Field("runs", description="directory or URI under which runs and steps are written")
    seed: int = Field(0, ge=0, description="of all that is drawn: splits, batches, rationales, weights of adapters")
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
        if self.rationalize.replicas is not None and self.rationalize.min_replicas > self.rationalize.replicas:
            raise ValueError("rationalize.min_replicas must not be above rationalize.replicas")
        return self
