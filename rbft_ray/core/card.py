"""The classifier card: everything beside the weights that a server needs to answer as evaluation did."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import PROMPT_VERSION, Task, label_prompt, prompt_hash
from rbft_ray.core.sampling import SamplingContract

CARD_FILE = "classifier_card.json"
CARD_VERSION: Literal[1] = 1


class ClassifierCard(BaseModel):
    """`labels` is the order of every probability vector; `temperature` divides the scores before the softmax."""

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
    temperature: float = 1.0

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
