"""The comparisons of test_render.py and test_insert.py on the CPU, against the committed figures: they pass for what is
equal but for noise, they fail for what is not, and the figures are those of the renderer as it is now.

When the renderer or the fit changed on purpose: ``python -m tests.support.render_figures --reference`` and
``python -m tests.support.insert_figures --reference``.
"""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import insert_figures, render_figures

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def loaded(name: str):
    """The test module of that name, to call its checks."""
    spec = importlib.util.spec_from_file_location(f"rehearsed_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("words", [["test_render.py"], ["test_insert.py", "-k", "whole"]], ids=["render", "insert"])
def test_the_cpu_in_the_place_of_the_gpu(words):
    run = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / words[0]), *words[1:]],
                         cwd=ROOT, env={**os.environ, "DIPIR_REHEARSE": "1", "DIPIR_DEVICE": "cpu"},
                         capture_output=True, text=True, timeout=900)
    assert run.returncode == 0 and " skipped" not in run.stdout, run.stdout[-3000:]


@pytest.mark.parametrize("field, change", [
    ("object", lambda x: x * 1.03), ("shadowed", lambda x: x * 1.02), ("ratio", lambda x: x[:, ::-1]),
    ("transport_object", lambda x: x * 1.04), ("environment_gradient", lambda x: x[:, ::-1])])
def test_a_wrong_renderer_is_seen(field, change):
    cpu = render_figures.load(render_figures.REFERENCE)
    check = loaded("test_render").test_equal_but_for_noise
    check(cpu, cpu, field)
    with pytest.raises(AssertionError, match=field):
        check(cpu, {**cpu, field: change(cpu[field])}, field)


def test_wrong_gbuffers_gradients_and_a_useless_denoiser_are_seen():
    cpu, tests = render_figures.load(render_figures.REFERENCE), loaded("test_render")
    with pytest.raises(AssertionError):
        tests.test_gbuffers(cpu, {**cpu, "gbuffer_normal": -cpu["gbuffer_normal"]}, "normal")
    with pytest.raises(AssertionError):
        tests.test_gradients(cpu, {**cpu, "base_color_slope": cpu["base_color_slope"] * 1.1}, "base_color", 0.08, 0.05)
    with pytest.raises(AssertionError, match="denoise_object"):
        tests.test_denoiser(cpu, {**cpu, "denoise_object": np.array([0.02, 0.02])})


@pytest.mark.parametrize("change", [
    lambda x: replace(x, composite=x.plate), lambda x: replace(x, composite=(x.composite + 0.03).clip(0, 1)),
    lambda x: replace(x, light=x.light[::-1].copy()), lambda x: replace(x, composite=np.roll(x.composite, 4, 1))])
def test_a_wrong_insert_is_seen(change):
    cpu, check = insert_figures.load(), loaded("test_insert").same_picture
    check(cpu, cpu)
    with pytest.raises(AssertionError):
        check(change(cpu), cpu)
