"""A small first guess that sees no shape and changes nothing to speak of, for tests of what is told it."""
from __future__ import annotations

import torch

from dipir.priors.geometry import Geometry
from tests.priors.test_geometry import random_geometry


def blind_geometry() -> Geometry:
    """All weights are zero."""
    made = random_geometry()
    with torch.no_grad():
        for weights in made.nets.parameters():
            weights.zero_()
    return made
