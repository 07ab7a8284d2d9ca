"""Where a GPU was asked for (`make test-gpu`) and there is none, the run ends at once; all skipped would look fine."""
from __future__ import annotations

import os

import pytest


def pytest_sessionstart(session: pytest.Session) -> None:
    """Only when tests/gpu itself is named on the command line; elsewhere these tests are deselected or skipped."""
    import torch

    asked = os.environ.get("DIPIR_DEVICE", "")
    if asked.startswith("cuda") and not torch.cuda.is_available() and os.environ.get("DIPIR_REHEARSE") != "1":
        pytest.exit(f"DIPIR_DEVICE={asked}, but torch {torch.__version__} sees no GPU here; `dipir doctor` says why.",
                    returncode=2)
