"""evaluation: what the predictions of a split look like, for people: summaries of fixed size.

A diagnosis takes what metrics take, and adds up whole numbers alone: neither the order of the
examples nor how they are cut into chunks, nor how many processes there are, changes a bit of it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import Float, Shaped
from torch import Tensor

from job.diagnosis_classes import Classes, Columns
from job.diagnosis_values import Links, Numbers, Vectors
from job.record import DIAGNOSIS, replace_file
from mtl.tasks._classification import Classification
from mtl.tasks._multilabel import Multilabel
from mtl.tasks._regression import Regression
from mtl.tasks.bound import BoundTask
from mtl.tasks.feature_reconstruction import FeatureReconstruction
from mtl.tasks.link_prediction import LinkPrediction


class Diagnosis(Protocol):
    """A summary of the predictions of one task."""

    def update(
        self, scores: Float[Tensor, "seeds ..."], target: Shaped[Tensor, "seeds ..."]
    ) -> None:
        """Take the scores of some seeds, as metrics read them, and what they should be."""

    def facts(self) -> dict[str, Any]:
        """Return it as JSON; `kind` says what the rest means."""


Diagnoses = Mapping[str, Diagnosis]
NONE: Diagnoses = {}
KINDS = {
    Classification: Classes,
    Multilabel: Columns,
    Regression: Numbers,
    LinkPrediction: Links,
    FeatureReconstruction: Vectors,
}


def diagnose(tasks: Mapping[str, BoundTask]) -> dict[str, Diagnosis]:
    """Return a fresh diagnosis of each task; of a type that is unknown here there is none."""
    kinds = {
        name: next((kind for base, kind in KINDS.items() if isinstance(bound.task, base)), None)
        for name, bound in tasks.items()
    }
    return {name: kind(tasks[name]) for name, kind in kinds.items() if kind is not None}


def write_or_say(run_dir: Path, diagnoses: Diagnoses, say: Callable[[str], None]) -> None:
    """Write diagnosis.json; where that fails, say so and go on."""
    try:
        write(run_dir, diagnoses)
    except OSError as error:  # of a full disk: what a report is drawn from ends no training
        say(f"warning: {run_dir / DIAGNOSIS} is not written: {error}")


def write(run_dir: Path, diagnoses: Diagnoses) -> None:
    """Write diagnosis.json, from which the report is drawn."""
    facts = {name: diagnosis.facts() for name, diagnosis in diagnoses.items()}
    replace_file(run_dir / DIAGNOSIS, json.dumps(facts, separators=(",", ":")) + "\n")
