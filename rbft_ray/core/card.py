"""The classifier card: everything beside the weights that a server needs to answer as evaluation did."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from rbft_ray.core.calibration import log_posterior
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import PROMPT_VERSION, Task, label_prompt, prompt_hash
from rbft_ray.core.sampling import SamplingContract

CARD_FILE = "classifier_card.json"
CARD_VERSION: Literal[1] = 1


class Calibration(BaseModel):
    """How the scores of `model/scoring.py` become probabilities: softmax(scores / lengths / temperature + ratio).

    label_lengths: what each label's score is divided by, or nothing. temperature: fitted on the validation split.
    log_prior_ratio: log(prior where the classifier is used / prior in training) of each label, or nothing.
    abstain_below: below this largest probability the classifier abstains; null: never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_lengths: tuple[int, ...] = ()
    temperature: float = 1.0
    log_prior_ratio: tuple[float, ...] = ()
    abstain_below: float | None = None

    def adjusted(self, scores: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """(clips, labels) float64 whose softmax at `temperature` is the posterior."""
        values = np.asarray(scores, dtype=np.float64)
        if self.label_lengths:
            values = values / np.array(self.label_lengths)
        if self.log_prior_ratio:
            values = values + self.temperature * np.array(self.log_prior_ratio)
        return values

    def posterior(self, scores: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Class probabilities of (clips, labels) scores in natural logarithm: float64, rows sum to 1."""
        return np.exp(log_posterior(self.adjusted(scores), self.temperature))

    def abstains(self, probabilities: np.ndarray) -> bool:
        """Whether the largest of (labels,) probabilities is too small."""
        return self.abstain_below is not None and float(probabilities.max()) < self.abstain_below


class ClassifierCard(BaseModel):
    """`labels` is the order of every probability vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = CARD_VERSION
    arm: str
    labels: tuple[str, ...]
    definitions: dict[str, str]
    role: str
    guidance: str
    prompt_version: str
    label_prompt_hash: str
    sampling: SamplingContract
    base: str
    base_identity: str
    data_identity: str
    calibration: Calibration = Calibration()

    def task(self) -> Task:
        """The task that the prompts state.

        Raises:
            DataError: this version of rbft would word the prompt otherwise than in training.
        """
        task = Task(self.labels, self.definitions, self.role, self.guidance)
        if prompt_hash(label_prompt(task)) != self.label_prompt_hash:
            raise DataError(
                f"{CARD_FILE}: the model was trained with prompt version {self.prompt_version}, which this rbft (version "
                f"{PROMPT_VERSION}) renders differently; use the rbft that trained it, or train again"
            )
        return task


def make_card(
    arm: str, task: Task, sampling: SamplingContract, *, base: str, base_identity: str, data_identity: str
) -> ClassifierCard:
    """The card of a freshly trained model."""
    return ClassifierCard(
        arm=arm,
        labels=task.labels,
        definitions=dict(task.definitions),
        role=task.role,
        guidance=task.guidance,
        prompt_version=PROMPT_VERSION,
        label_prompt_hash=prompt_hash(label_prompt(task)),
        sampling=sampling,
        base=base,
        base_identity=base_identity,
        data_identity=data_identity,
    )


def parse_card(content: bytes, where: str) -> ClassifierCard:
    """A card from its JSON.

    Raises:
        DataError: it is no card, or of an unknown schema version.
    """
    try:
        return ClassifierCard.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise DataError(f"{where}: is no classifier card of schema version {CARD_VERSION}: {problems}") from None
