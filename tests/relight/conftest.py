"""A photo, what a prior is sure it should become, and the result of a run."""
from __future__ import annotations

import pytest
import torch

from dipir.relight.method import Picture, relight
from tests.support.sure_prior import LEFT, quick, sure


@pytest.fixture(scope="session")
def photo():
    """A coloured picture with soft shapes, values in 0.15 to 0.6."""
    torch.manual_seed(0)
    low = torch.rand(1, 3, 6, 8) * 0.45 + 0.15
    return torch.nn.functional.interpolate(low, (96, 128), mode="bicubic").clamp(0.15, 0.6)


@pytest.fixture(scope="session")
def wanted(photo):
    """The photo, brighter on the left and darker on the right by up to 1.6."""
    return (photo * torch.exp(torch.linspace(0.45, -0.45, 128))).clamp(0, 1)


@pytest.fixture(scope="session")
def relit(photo, wanted):
    return relight(Picture(photo), LEFT, quick(), engine=sure(wanted))
