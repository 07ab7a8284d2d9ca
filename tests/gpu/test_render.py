"""The renderer on a GPU against the CPU within Monte Carlo error: passes, G-buffers, transport, gradients, denoiser.

Each device computes in a process of its own (tests/support/render_figures.py). Where the machine has no LLVM for the
renderer, the committed figures of a CPU stand in. ``DIPIR_REHEARSE=1`` puts the CPU, with other seeds, in the place of
the GPU: it shows without a GPU that the tests pass for what is equal but for noise.
"""
from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from scipy import stats

from dipir import device
from tests.support import render_figures

REHEARSAL = os.environ.get("DIPIR_REHEARSE") == "1"
ASKED = "cpu" if REHEARSAL else "cuda"
pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not (torch.cuda.is_available() or REHEARSAL), reason="torch has no GPU here")]


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    if render_figures.llvm_is_there() and not REHEARSAL:
        return render_figures.in_child(tmp_path_factory.mktemp("cpu") / "figures.npz", "cpu")
    return render_figures.load(render_figures.REFERENCE)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """Other seeds, so that the two are independent."""
    return render_figures.in_child(tmp_path_factory.mktemp("gpu") / "figures.npz", ASKED, first_seed=5000)


def test_computed_where_it_was_asked(cpu, gpu):
    def name(found):
        return "".join(chr(int(c)) for c in found["device"])
    assert name(cpu) == "cpu llvm_ad_rgb"
    # Torch on the GPU in any case; the renderer as well unless the driver lacks OptiX.
    renderer = device.CUDA if device.why_not_optix() is None else device.LLVM
    assert name(gpu) == ("cpu llvm_ad_rgb" if REHEARSAL else f"cuda {renderer}")


@pytest.mark.parametrize("field", ["object", "shadowed", "ratio", "transport_object", "transport_shadowed",
                                   "environment_gradient"])
def test_equal_but_for_noise(cpu, gpu, field):
    """Welch's test on every pixel (texel): as many small p-values as chance allows, and equal sums."""
    a, b = gpu[field], cpu[field]
    assert a.shape == b.shape and np.isfinite(a).all()
    seen = (a.std(0) > 1e-6) & (b.std(0) > 1e-6)
    assert seen.sum() > 40
    p = stats.ttest_ind(a[:, seen], b[:, seen], equal_var=False).pvalue
    assert (p < 0.01).mean() < 0.05, f"{field}: {(p < 0.01).mean():.3f} differ"
    total = stats.ttest_ind(a.sum(1), b.sum(1), equal_var=False).pvalue
    gap = abs(a.sum() - b.sum()) / abs(b.sum())
    assert total > 1e-3 or gap < 0.004, f"{field}: sums differ by {gap:.4f}"
    # Where there is nothing to see on the one there is nothing on the other.
    assert (np.abs(a.mean(0) - b.mean(0))[~seen] < 0.02 * max(1.0, np.abs(b).max())).mean() > 0.97


def test_transport_against_the_path_tracer(gpu):
    """Both of the same device, as tests/render/test_transport.py has it on the CPU."""
    whole = gpu["gbuffer_ground"].ravel() == 1
    for ours, theirs in (("transport_object", "object"), ("transport_shadowed", "shadowed")):
        a, b = gpu[ours][:, whole], gpu[theirs][:, whole]
        seen = (a.std(0) > 1e-7) & (b.std(0) > 1e-7)
        p = stats.ttest_ind(a[:, seen], b[:, seen], equal_var=False).pvalue
        assert seen.sum() > 40 and (p < 0.01).mean() < 0.05, f"{theirs}: {(p < 0.01).mean():.3f} of pixels differ"


@pytest.mark.parametrize("name", ["alpha", "ground", "depth", "normal", "albedo", "roughness", "metallic", "position",
                                  "object_id"])
def test_gbuffers(cpu, gpu, name):
    """Means over 64 samples: equal inside, and within the coverage's noise at edges."""
    a, b = gpu[f"gbuffer_{name}"], cpu[f"gbuffer_{name}"]
    inside = (cpu["gbuffer_alpha"][0] == 1) & (gpu["gbuffer_alpha"][0] == 1)
    scale = max(1.0, float(np.abs(b).max()))
    assert inside.sum() > 20 and np.isfinite(a).all()
    assert np.median(np.abs(a - b)[:, inside]) < 0.01 * scale
    assert (np.abs(a - b) > 0.1 * scale).mean() < 0.03


@pytest.mark.parametrize("name, against_difference, against_cpu", [
    ("transport", 1e-3, 0.05), ("environment", 0.03, 0.03), ("base_color", 0.08, 0.05), ("roughness", 0.08, 0.1)])
def test_gradients(cpu, gpu, name, against_difference, against_cpu):
    """The slope along a direction equals a finite difference, and the CPU's."""
    slope, difference = gpu[f"{name}_slope"]
    assert slope == pytest.approx(difference, rel=against_difference)
    assert slope == pytest.approx(cpu[f"{name}_slope"][0], rel=against_cpu)


def test_denoiser(cpu, gpu):
    """OptiX's or Open Image Denoise on the GPU: much nearer to the truth than what it was given, and not much farther
    than the CPU's; coverage untouched, and no shadow where there was none."""
    if "denoise_object" not in gpu:
        pytest.skip("no denoiser on this device")
    for name in ("denoise_object", "denoise_ratio"):
        before, after = gpu[name]
        assert after < 0.7 * before, f"{name}: {before:.4f} before, {after:.4f} after"
        if name in cpu:
            assert after < 1.5 * cpu[name][1] + 1e-3, f"{name}: {after:.4f} here, {cpu[name][1]:.4f} on the CPU"
    assert gpu["denoise_keeps"].tolist() == [1, 1]


def test_what_was_handed_out_stays(gpu):
    """Zero-copy tensors are not written to by later renders, and a seed means the same again."""
    assert gpu["stays"].tolist() == [1, 1]
