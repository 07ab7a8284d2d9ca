"""Stable Diffusion's side of insertion on a real GPU, with the tiny pipelines; run by ``make test-gpu``.

Needs torch with CUDA, diffusers, transformers, peft, safetensors and pytest. Tolerances: the GPU sums in another order
and, where said, with 10 (TF32) or 8 (bfloat16) bits of mantissa.
"""
from __future__ import annotations

import pytest
import torch

from dipir import device
from dipir.diffusion.batched import personalised_and_base
from dipir.diffusion.denoiser import GuidedDenoiser
from dipir.diffusion.lora import PersonalizeConfig, add_lora, lora_state
from dipir.diffusion.memory import MemorySettings
from dipir.diffusion.personalize import Examples, FrozenBase, personalise, train_lora
from dipir.diffusion.pretrained import load_pretrained
from dipir.fit.checks import together
from dipir.fit.loop import FitConfig, minimise
from dipir.fit.parameters import Parameters
from dipir.guidance.distillation import apply_score, lds
from tests.support.tiny_diffusion import build_pipeline

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch has no GPU here")]
EXACT = MemorySettings(dtype="float32", vae_dtype="float32")
GPU = torch.device("cuda")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_pipeline(tmp_path_factory.mktemp("sd") / "sd1", "sd1")


def relative(a, b):
    return float((a.detach().cpu().double() - b.detach().cpu().double()).norm() / b.detach().cpu().double().norm())


def test_what_is_loaded_and_in_which_type(folder):
    prior = load_pretrained(folder, GPU)
    weight = prior.network.conv_in.weight
    assert weight.is_cuda and weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert prior.parts.vae.dtype == torch.float32 and prior.parts.table.is_cuda
    assert prior.encode_text("car").text.is_cuda and prior.parts.text_encoders[0].dtype == torch.bfloat16


@pytest.mark.parametrize("options, tolerance", [(EXACT, 1e-4), (MemorySettings(), 1e-2),
                                                (MemorySettings(vae_dtype="bfloat16"), 0.2)])
def test_the_encoders_gradient_is_that_of_the_cpu(folder, options, tolerance):
    image, cotangent = torch.rand(2, 3, 32, 32), torch.randn(2, 4, 16, 16)

    def gradient(prior, place):
        leaf = image.clone().to(place).requires_grad_()
        latent = prior.encode(leaf)
        (latent * cotangent.to(place)).sum().backward()
        return latent, leaf.grad
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    near = gradient(load_pretrained(folder), torch.device("cpu"))
    far = gradient(load_pretrained(folder, GPU, options=options), GPU)
    assert all(relative(a, b) < tolerance for a, b in zip(far, near, strict=True))
    assert far[0].dtype == torch.float32
    assert flags == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


@torch.no_grad()
@pytest.mark.parametrize("options, tolerance", [(EXACT, 5e-3), (None, 0.1)])
def test_answers_are_those_of_the_cpu(folder, options, tolerance):
    x, sigma = torch.randn(2, 4, 16, 16), torch.tensor([0.5, 3.0])
    near, far = load_pretrained(folder), load_pretrained(folder, GPU, options=options)
    wanted = near(x, sigma, near.encode_text("car"))
    assert relative(far(x.cuda(), sigma.cuda(), far.encode_text("car")), wanted) < tolerance


@torch.no_grad()
def test_batched_branches_are_those_of_single_calls(folder):
    prior = load_pretrained(folder, GPU, options=EXACT)
    add_lora(prior.network, PersonalizeConfig())
    for weight in lora_state(prior.network).values():
        torch.nn.init.normal_(weight.data, std=0.3)
    x, sigma = torch.randn(1, 4, 16, 16, device=GPU), torch.tensor([2.0], device=GPU)
    condition, empty = prior.encode_pair("car", "")
    base = FrozenBase(prior, prior.network)
    calls = []
    prior.network.register_forward_hook(lambda *_: calls.append(1))
    for scale in (1.0, 5.0):
        guided = [GuidedDenoiser(prior, scale, empty, batched=b) for b in (None, False)]
        del calls[:]
        one = personalised_and_base(guided[0], base, x, sigma, (condition, empty))
        assert len(calls) == 1
        two = personalised_and_base(guided[1], base, x, sigma, (condition, empty), batched=False)
        assert all(relative(a, b) < 5e-3 for a, b in zip(one, two, strict=True))
        assert relative(guided[0](x, sigma, condition), guided[1](x, sigma, condition)) < 5e-3


def lds_run(prior, place, folder):
    g = torch.Generator().manual_seed(1)
    plate = torch.rand(1, 3, 16, 16, generator=g).to(place)
    condition, empty = prior.encode_pair("car", "")
    config = PersonalizeConfig(steps=3, batch=2, learning_rate=0.01)
    personalise(prior, prior.network, [Examples(plate, condition)], config, folder)
    base, parameters = FrozenBase(prior, prior.network), Parameters()
    parameters.add("picture", plate, rate=0.05)
    noise = torch.randn(1, 4, 8, 8, generator=g).to(place)

    def objective(step):
        latent = prior.encode(parameters["picture"])
        sigma = torch.full((1,), 1.0 + step, device=place)
        score = lds((prior, base), latent, (condition, empty), sigma, noise)
        return apply_score(latent, score), score.norms, {}
    history = minimise(objective, parameters, FitConfig(steps=2, preview_every=0))
    weights = {name: w.detach() for name, w in lora_state(prior.network).items()}
    return parameters["picture"], history, weights


def test_personalisation_and_lds_are_those_of_the_cpu(folder, tmp_path):
    near = lds_run(load_pretrained(folder), torch.device("cpu"), tmp_path / "near")
    far = lds_run(load_pretrained(folder, GPU, options=EXACT), GPU, tmp_path / "far")
    assert relative(far[0], near[0]) < 0.05
    for ours, theirs in zip(far[1], near[1], strict=True):
        assert ours == pytest.approx(theirs, rel=0.2)
    # Adam's first steps follow signs: single weights may turn over, their lengths may not.
    assert all(float(w.norm()) == pytest.approx(float(near[2][n].norm()), rel=0.1, abs=1e-4)
               for n, w in far[2].items())


def test_default_precisions_run_and_the_adapter_is_trained_in_float32(folder, tmp_path):
    prior = load_pretrained(folder, GPU)
    add_lora(prior.network, PersonalizeConfig())
    weights = lora_state(prior.network)
    assert all(w.is_cuda and w.dtype == torch.float32 for w in weights.values())
    history = train_lora(prior, prior.network, [Examples(torch.rand(1, 3, 16, 16, device=GPU),
                                                         prior.encode_text("car"))], PersonalizeConfig(steps=45))
    assert len(history) == 45 and all(h > 0 for h in history)
    assert any(bool(w.any()) for name, w in weights.items() if "lora_B" in name)
    picture, rows, weights = lds_run(load_pretrained(folder, GPU), GPU, tmp_path)
    assert bool(torch.isfinite(picture).all()) and len(rows) == 2
    assert all(w.dtype == torch.bfloat16 for w in weights.values())


def test_a_score_asks_the_device_for_nothing(folder):
    prior = load_pretrained(folder, GPU)
    add_lora(prior.network, PersonalizeConfig())
    condition, empty = prior.encode_pair("car", "")
    base, image = FrozenBase(prior, prior.network), torch.rand(1, 3, 16, 16, device=GPU, requires_grad=True)
    noise, sigma = torch.randn(1, 4, 8, 8, device=GPU), torch.ones(1, device=GPU)

    def step():
        latent = prior.encode(image)
        score = lds((prior, base), latent, (condition, empty), sigma, noise)
        apply_score(latent, score).backward()
    step()  # Libraries may ask when they are first used.
    try:
        with together():
            torch.cuda.set_sync_debug_mode("error")
            step()
            torch.cuda.set_sync_debug_mode("default")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [
    MemorySettings(dtype="float32", vae_dtype="float32", offload="model"),
    MemorySettings(True, True, True, True, dtype="float32", vae_dtype="float32")])
def test_saving_memory_changes_no_result(folder, tmp_path, options):
    plain = lds_run(load_pretrained(folder, GPU, options=EXACT), GPU, tmp_path / "plain")
    prior = load_pretrained(folder, GPU, options=options)
    saved = lds_run(prior, GPU, tmp_path / "saved")
    assert relative(saved[0], plain[0]) < 0.05
    if options.offload == "model":
        held = [m for m in (prior.network, prior.parts.vae, *prior.parts.text_encoders)
                if next(m.parameters()).is_cuda]
        assert len(held) == 1


def test_out_of_memory_says_what_was_asked_and_what_is_free():
    with pytest.raises(torch.OutOfMemoryError) as found:
        torch.empty(2**46, device=GPU)
    text = device.memory_text(found.value)
    assert text.startswith("out of GPU memory (") and "were asked for" in text and "GiB are free" in text
