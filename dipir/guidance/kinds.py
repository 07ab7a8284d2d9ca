"""The kinds of guidance by the names that settings give them (``guidance.kind``)."""
from __future__ import annotations

from dipir.guidance.dataset_update import DatasetUpdate
from dipir.guidance.distillation import LoraDistillation, ScoreDistillation
from dipir.guidance.guidance import Guidance
from dipir.guidance.posterior import PosteriorMatching

GUIDANCES: dict[str, type[Guidance]] = {
    "posterior": PosteriorMatching,
    "lds": LoraDistillation,
    "sds": ScoreDistillation,
    "dataset_update": DatasetUpdate,
}
