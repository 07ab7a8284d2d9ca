"""Tiny pipelines, built once."""
from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """kind -> folder of a tiny pipeline. Tests that damage one must copy it first."""
    from tests.support.tiny_diffusion import build_pipeline

    root = tmp_path_factory.mktemp("pipelines")
    return {kind: build_pipeline(root / kind, kind) for kind in ("sd1", "sd2", "xl")}
