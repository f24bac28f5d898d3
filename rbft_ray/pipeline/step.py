"""A step is a frozen value: a name, what its result depends on, and a function of an output directory."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rbft_ray.core.resources import Cluster, Needs
from rbft_ray.core.schema import SCHEMA_VERSION
from rbft_ray.runtime.blocks import Counts


class StepContext(NamedTuple):
    """out: the step's directory; inputs: {name of an input or cache step: its directory}; needs: what the step may use."""

    out: str
    inputs: dict[str, str]
    needs: Needs


@dataclass(frozen=True)
class Step:
    """One step of a run.

    config: settings that affect the result, as JSON values; identities: hashes of what comes from outside (data, base
    weights, prompts). Paths, workers and hardware stay out of both, so that they rerun nothing.
    caches: steps whose output only saves work: they come before this one like inputs, and change no id.
    """

    name: str
    config: Mapping[str, Any]
    needs: Callable[[Cluster], Needs]
    run: Callable[[StepContext], Counts]
    inputs: tuple["Step", ...] = ()
    identities: Mapping[str, str] = field(default_factory=dict)
    caches: tuple["Step", ...] = ()

    @property
    def id(self) -> str:
        """First 12 hex digits of the SHA-256 of all that the result depends on."""
        facts = {
            "name": self.name,
            "schema_version": SCHEMA_VERSION,
            "config": self.config,
            "identities": dict(self.identities),
            "inputs": [step.id for step in self.inputs],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode()).hexdigest()[:12]

    @property
    def directory(self) -> str:
        return f"{self.name}-{self.id}"
