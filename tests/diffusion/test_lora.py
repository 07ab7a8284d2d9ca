"""The adapter: the base is untouched, layers are found, files fit or are refused."""
from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from dipir.diffusion.lora import (
    PersonalizeConfig,
    add_lora,
    disable_lora,
    load_lora,
    lora_state,
    remove_lora,
    save_lora,
)
from dipir.diffusion.personalize import FrozenBase
from dipir.diffusion.pretrained import load_pretrained
from dipir.errors import PriorError
from tests.support.adapters import SMALL, Body, PixelPrior, move


@pytest.fixture
def sd(folders):
    return load_pretrained(folders["sd1"])


def test_fresh_adapter_and_switched_off_adapter_are_the_base_bit_for_bit(sd):
    x, sigma, condition = torch.randn(2, 4, 8, 8), torch.tensor([0.4, 3.0]), sd.encode_text("car")
    with torch.no_grad():
        base = sd(x, sigma, condition)
        add_lora(sd.network, SMALL)
        assert torch.equal(sd(x, sigma, condition), base)  # B = 0
        move(sd.network)
        personal = sd(x, sigma, condition)
        assert not torch.allclose(personal, base, atol=1e-4)
        with disable_lora(sd.network):
            assert torch.equal(sd(x, sigma, condition), base)
        assert torch.equal(FrozenBase(sd, sd.network)(x, sigma, condition), base)
        assert torch.equal(sd(x, sigma, condition), personal)
        remove_lora(sd.network)
        assert torch.equal(sd(x, sigma, condition), base) and not lora_state(sd.network)


def test_disabling_restores_flags_also_after_an_error():
    prior = PixelPrior()
    add_lora(prior.network, SMALL)
    frozen = next(iter(lora_state(prior.network).values())).requires_grad_(False)
    flags = [p.requires_grad for p in prior.network.parameters()]
    move(prior.network)
    x = torch.randn(1, 3, 4, 4)
    before = prior.network(x)
    with pytest.raises(RuntimeError), disable_lora(prior.network):
        raise RuntimeError
    assert [p.requires_grad for p in prior.network.parameters()] == flags and not frozen.requires_grad
    with disable_lora(prior.network):
        with disable_lora(prior.network):
            pass
        assert not torch.equal(prior.network(x), before)  # The inner block leaves the outer one in force.
    assert torch.equal(prior.network(x), before)


def test_layers_of_both_naming_styles_are_found(sd):
    assert sorted(add_lora(PixelPrior().network, SMALL)) == [f"attention.to_{n}" for n in ("k", "out", "q", "v")]
    names = add_lora(sd.network, SMALL)
    endings = {re.search(r"to_\w+(\.0)?$", name).group() for name in names}
    assert endings == {"to_q", "to_k", "to_v", "to_out.0"}
    trainable = {n for n, p in sd.network.named_parameters() if p.requires_grad}
    assert trainable == set(lora_state(sd.network)) and len(trainable) == 2 * len(names)
    assert all(min(t.shape) == 2 for t in lora_state(sd.network).values())


def test_all_layers_can_be_adapted():
    """Convolutions and linear layers outside the attention too, for a prior in which attention has little say."""
    body = Body()
    x = torch.rand(1, 3, 4, 4)
    before = body(x)
    names = add_lora(body, PersonalizeConfig(rank=2, layers="all"))
    assert set(names) == {"inner", "outer", *(f"attention.{n}" for n in ("to_q", "to_k", "to_v", "to_out"))}
    assert torch.equal(body(x), before)
    with torch.no_grad():
        for name, weight in lora_state(body).items():
            if name.startswith("outer") and "lora_B" in name:
                weight.fill_(0.1)
    assert not torch.allclose(body(x), before)
    with disable_lora(body):
        assert torch.equal(body(x), before)


def test_adapter_start_depends_on_its_seed_and_leaves_the_global_generator_alone():
    def weights(seed):
        module = PixelPrior().network
        add_lora(module, PersonalizeConfig(seed=seed))
        return torch.cat([t.detach().flatten() for t in lora_state(module).values()])
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    module = Body()
    torch.manual_seed(5)
    add_lora(module, SMALL)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_networks_that_cannot_be_adapted():
    with pytest.raises(PriorError, match="no attention layer"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), SMALL)
    module = PixelPrior().network
    add_lora(module, SMALL)
    with pytest.raises(PriorError, match="adapter already"):
        add_lora(module, SMALL)


def test_files_that_do_not_fit(tmp_path):
    module = Body()
    add_lora(module, SMALL)
    move(module)
    file = tmp_path / "deep" / "a.safetensors"
    save_lora(file, module, "key")
    target = Body()
    add_lora(target, PersonalizeConfig(rank=2))
    load_lora(file, target, "key")
    assert all(torch.equal(a, b) for a, b in zip(lora_state(module).values(), lora_state(target).values(), strict=True))
    kept = {n: t.detach().clone() for n, t in lora_state(target).items()}
    with pytest.raises(PriorError, match="other images, settings or weights"):
        load_lora(file, target, "another")
    whole = file.read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(PriorError, match="cannot be read"):
            load_lora(file, target, "key")
    file.write_bytes(b"PK not weights at all" * 40)
    with pytest.raises(PriorError, match="cannot be read"):
        load_lora(file, target, "key")
    with pytest.raises(PriorError, match="cannot be read"):
        load_lora(tmp_path / "absent.safetensors", target)
    wide = Body()
    add_lora(wide, PersonalizeConfig(rank=3))
    save_lora(file, wide, "key")
    with pytest.raises(PriorError, match="do not fit"):
        load_lora(file, target, "key")
    with torch.no_grad():
        next(iter(lora_state(module).values()))[0, 0] = float("nan")
    save_lora(file, module, "key")
    with pytest.raises(PriorError, match="NaN"):
        load_lora(file, target, "key")
    assert all(torch.equal(t, kept[n]) for n, t in lora_state(target).items())


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    module = Body()
    add_lora(module, SMALL)
    with pytest.raises(PriorError, match="cannot be written"):
        save_lora(tmp_path / "file" / "a.safetensors", module, "key")
