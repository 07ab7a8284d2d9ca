"""One call for several answers: the same numbers as one after the other; LDS and training on the far device."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.attention import recording
from dipir.diffusion.batched import adapter_rows, personalised_and_base
from dipir.diffusion.denoiser import Condition, GuidedDenoiser, joined
from dipir.diffusion.lora import PersonalizeConfig, add_lora, lora_state, remove_lora
from dipir.diffusion.memory import MemorySettings, set_up
from dipir.diffusion.personalize import Examples, FrozenBase, personalise, train_lora
from dipir.diffusion.pretrained import load_pretrained
from dipir.errors import FitError, PriorError
from dipir.fit.loop import FitConfig, minimise
from dipir.fit.parameters import Parameters
from dipir.guidance.distillation import apply_score, lds
from tests.support.far_diffusion import far_prior, near_prior, one_attention


@pytest.fixture
def adapted(folders):
    """A prior whose adapter does something."""
    prior = load_pretrained(folders["sd1"])
    add_lora(prior.network, PersonalizeConfig())
    for weight in lora_state(prior.network).values():
        torch.nn.init.normal_(weight.data, std=0.3, generator=torch.Generator().manual_seed(len(weight)))
    return prior


@pytest.fixture
def asked():
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 8, 8, generator=g), torch.tensor([0.5, 3.0])


def test_joined_conditions():
    one, two = Condition(text=torch.zeros(1, 3, 2)), Condition(text=torch.ones(2, 3, 2))
    assert joined([one, two], 2).text.mean((1, 2)).tolist() == [0, 0, 1, 1]
    assert joined([one, Condition()], 2) is None and joined([one, Condition(text=torch.zeros(1, 4, 2))], 2) is None
    with pytest.raises(PriorError, match="one row for each"):
        joined([two], 3)


@torch.no_grad()
def test_guidance_in_one_batch_is_guidance_in_two_calls(adapted, asked):
    condition, negative = adapted.encode_pair("car", "a")
    plain, batched = (GuidedDenoiser(adapted, 5.0, negative, batched=b) for b in (None, True))
    wanted = plain(*asked, condition)
    assert torch.allclose(batched(*asked, condition), wanted, atol=1e-4)
    assert not torch.allclose(adapted(*asked, condition), wanted, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_both_branches_of_lds_in_one_call(adapted, asked, scale):
    condition, empty = adapted.encode_pair("car", "")
    guided = GuidedDenoiser(adapted, scale, adapted.encode_text("b"))
    base, calls = FrozenBase(adapted, adapted.network), []
    adapted.network.register_forward_hook(lambda *_: calls.append(1))
    two = personalised_and_base(guided, base, *asked, (condition, empty))
    assert len(calls) == (2 if scale == 1 else 3)
    one = personalised_and_base(guided, base, *asked, (condition, empty), batched=True)
    assert len(calls) == (3 if scale == 1 else 4)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(one, two, strict=True))
    assert not torch.allclose(one[0], one[1], atol=1e-2)
    assert torch.equal(two[1], base(*asked, empty))


def test_a_compiled_network_is_called_one_by_one_and_not_recorded(adapted, asked, monkeypatch):
    """It does not notice hooks, which both would need."""
    calls = []
    def compiled(net):
        return lambda *given, **named: calls.append(1) or net.forward(*given, **named)
    monkeypatch.setattr(type(adapted.network), "compile",
                        lambda net: setattr(net, "_compiled_call_impl", compiled(net)))
    monkeypatch.setattr(type(adapted.parts.vae.encoder), "compile", lambda net: None)
    set_up(adapted.network, adapted.parts.vae, torch.device("cpu"), MemorySettings(compile=True))
    conditions = adapted.encode_pair("car", "")
    with torch.no_grad():
        personalised_and_base(adapted, FrozenBase(adapted, adapted.network), *asked, conditions, batched=True)
    assert len(calls) == 2
    with pytest.raises(PriorError, match="memory.compile: false"), recording(adapted):
        pass


@torch.no_grad()
def test_rows_without_the_adapter_are_the_base_and_hooks_go_away(adapted, asked):
    x, sigma = asked
    condition = adapted.encode_text("car")
    on = adapted(x, sigma, condition)
    with pytest.raises(ValueError), adapter_rows(adapted.network, torch.tensor([1.0, 0.0])):
        mixed = adapted(x, sigma, condition)
        raise ValueError
    assert torch.equal(adapted(x, sigma, condition), on) and torch.equal(mixed[0], on[0])
    remove_lora(adapted.network)
    assert torch.equal(mixed[1], adapted(x, sigma, condition)[1])


def lds_run(prior, folder, place):
    """Two steps of LDS on a picture, after a personalisation of three; what comes out, on the CPU."""
    g = torch.Generator().manual_seed(1)
    plate, events = torch.rand(1, 3, 16, 16, generator=g).to(place), []
    condition, empty = prior.encode_pair("car", "")
    config = PersonalizeConfig(steps=3, batch=2, learning_rate=0.05, layers="all")
    path = personalise(prior, prior.network, [Examples(plate, condition)], config, folder, events.append)
    base, parameters = FrozenBase(prior, prior.network), Parameters()
    parameters.add("picture", plate, rate=0.05)
    noise = torch.randn(1, 4, 8, 8, generator=g).to(place)

    def objective(step):
        latent = prior.encode(parameters["picture"])
        score = lds((prior, base), latent, (condition, empty), torch.full((1,), 1.0 + step, device=place), noise)
        return apply_score(latent, score), score.norms, lambda: {"picture": parameters["picture"].detach()}
    history = minimise(objective, parameters, FitConfig(steps=2), on_event=events.append)
    weights = {name: w.detach().cpu() for name, w in lora_state(prior.network).items()}
    return parameters["picture"].detach().cpu(), history, weights, events, path.name


def test_personalisation_and_lds_on_a_device_have_the_bits_of_the_cpu(folders, tmp_path):
    with one_attention():
        near = lds_run(near_prior(folders["sd1"]), tmp_path / "near", torch.device("cpu"))
    with far_prior(folders["sd1"]) as prior:
        far = lds_run(prior, tmp_path / "far", prior.places.device)
    assert torch.equal(near[0], far[0]) and near[1] == far[1] and near[4] == far[4]
    assert set(near[1][0]) == {"step", "loss", "rate", "personalised", "base", "residual", "gradient"}
    assert all(torch.equal(w, far[2][name]) for name, w in near[2].items())
    assert any(bool(w.any()) for name, w in near[2].items() if "lora_B" in name)
    # A device is asked for losses now and then only; the last event says the same.
    steps = [[e.step for e in run[3] if e.stage == "personalise"] for run in (near, far)]
    assert steps == [[1, 2, 3], [3]]
    assert near[3][2].scalars == far[3][0].scalars
    assert all(image.device.type == "cpu" for e in far[3] for image in e.images.values()) and far[3][-1].images


def test_training_that_fails_on_a_device_names_the_first_bad_step(folders):
    with far_prior(folders["sd1"]) as prior:
        condition, place = prior.encode_text("car"), prior.places.device
        add_lora(prior.network, PersonalizeConfig())
        sigmas = iter([1.0, 1.0, float("nan"), 1.0])
        with pytest.raises(FitError, match="the loss is nan at step 2"):
            train_lora(prior, prior.network, [Examples(torch.rand(1, 3, 16, 16).to(place), condition)],
                       PersonalizeConfig(steps=4), draw_sigma=lambda n, _: torch.full((n,), next(sigmas)))
