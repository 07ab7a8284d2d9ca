"""Makes ``tests.support`` importable however pytest is started, and builds the tiny pipelines once."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """kind -> folder of a tiny pipeline. Tests that damage one must copy it first."""
    from tests.support.tiny_diffusion import build_pipeline

    root = tmp_path_factory.mktemp("pipelines")
    return {kind: build_pipeline(root / kind, kind) for kind in ("sd1", "sd2", "xl")}
