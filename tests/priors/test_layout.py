"""The layout prior: what it is told, its sizes, its file."""
from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dipir.diffusion.denoiser import Condition, GuidedDenoiser
from dipir.diffusion.sampler import euler
from dipir.diffusion.schedule import karras
from dipir.errors import ConfigError, PriorError
from dipir.priors import captions
from dipir.priors import layout as layout_prior
from dipir.priors.layout import ARCHITECTURE, DEFAULT_PATH, LAYOUT_NET, LayoutPrior
from dipir.priors.nets.text_unet import TextUNet
from dipir.priors.weights import PRIORS, write_weights

SMALL = replace(LAYOUT_NET, width=16, layers=1, channels=(8, 8, 16), embedding=16, detail=2, fine=4)


def scrambled(seed: int = 3) -> LayoutPrior:
    """A small prior with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = TextUNet(SMALL)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return LayoutPrior(net)


def _noise(count: int = 2, size: int = 16) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# ---- what it is told -------------------------------------------------------------------------------------------------

def test_text_of_captions() -> None:
    prior, said = scrambled(), ["a red cube", "", "an empty grey floor"]
    text = prior.encode_text(said).text
    assert text.shape == (3, captions.LONGEST, 16) and not text.requires_grad
    assert (text != 0).any(2).sum(1).tolist() == [4, 1, 5]  # Their words and the start.
    for row, one in enumerate(said):
        torch.testing.assert_close(prior.encode_text(one).text[0], text[row])


def test_text_is_that_of_the_words_numbers() -> None:
    prior = scrambled()
    expected = prior.net.read(torch.tensor([captions.tokens("a blue mug")]))
    assert torch.equal(prior.encode_text("a blue mug").text, expected)


def test_unknown_words_and_long_captions_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not know: lion.*Accepted are .*cube.*metal"):
        scrambled().encode_text(["a red cube", "a lion"])
    with pytest.raises(ConfigError, match="at most 39"):
        scrambled().encode_text("a red cube and " * 12)


def test_captions_change_the_estimate_and_each_row_has_its_own() -> None:
    prior, x, sigma = scrambled(), _noise()[:1].expand(2, -1, -1, -1), torch.ones(2)
    rows = prior(x, sigma, prior.encode_text(["a red cube", "a blue cube"]))
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    one = prior(x, sigma, prior.encode_text("a blue cube"))
    torch.testing.assert_close(one, rows[1:].expand(2, -1, -1, -1))


def test_wrong_conditions_and_sizes() -> None:
    prior, x, sigma = scrambled(), _noise(), torch.ones(2)
    for condition, given in ((Condition(), "no text"), (Condition(text=torch.zeros(1, 77, 768)), r"\(1, 77, 768\)"),
                             (prior.encode_text(["a cube"] * 3), r"\(3, 40, 16\) for 2 pictures")):
        with pytest.raises(PriorError, match=f"{given}.*encode_text"):
            prior(x, sigma, condition)
    for shape in ((2, 3, 12, 16), (2, 4, 16, 16)):
        with pytest.raises(PriorError, match=rf"\({', '.join(map(str, shape))}\).*multiples of 8"):
            prior(torch.zeros(shape), sigma, prior.encode_text(""))


# ---- estimates -------------------------------------------------------------------------------------------------------

def test_untrained_prior_hears_nothing() -> None:
    prior, x, sigma = LayoutPrior.untrained(), _noise(2, 64), torch.tensor([0.5, 40])
    estimate = prior(x, sigma, prior.encode_text("a red cube"))
    torch.testing.assert_close(estimate, x * (0.25 / (0.25 + sigma**2))[:, None, None, None])
    assert prior.hash == "untrained" and prior.multiple == 8
    again = LayoutPrior.untrained().net.state_dict()
    assert all(torch.equal(again[k], v) for k, v in prior.net.state_dict().items())


def test_making_one_does_not_disturb_random_numbers() -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    LayoutPrior.untrained()
    assert torch.equal(torch.rand(3), expected)


def test_guided_sampling() -> None:
    """The contract of all priors: levels, captions and negative ones through the common sampler."""
    prior, levels = scrambled(), karras(4, LayoutPrior.sigma_min, LayoutPrior.sigma_max)
    guided = GuidedDenoiser(prior, 3.0, prior.encode_text(""))
    drawn = [prior.decode(euler(guided, _noise() * levels[0], levels, prior.encode_text(said)))
             for said in ("a red cube", "a chair", "a red cube")]
    assert drawn[0].shape == (2, 3, 16, 16) and torch.equal(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)


def test_gradient_reaches_the_picture_and_no_weight() -> None:
    prior, x = scrambled(), _noise(1).requires_grad_()
    prior(x, torch.ones(1), prior.encode_text("a mug")).sum().backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    assert not any(p.requires_grad for p in prior.net.parameters()) and not prior.net.training


def test_encode_and_decode_are_inverse() -> None:
    prior, image = scrambled(), torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(prior.decode(prior.encode(image)), image)
    assert prior.decode(torch.tensor([-3.0, 3.0])).tolist() == [0, 1]


# ---- its file --------------------------------------------------------------------------------------------------------

def test_file_keeps_the_prior(tmp_path: Path) -> None:
    prior, path = scrambled(), tmp_path / "layout.safetensors"
    digest = prior.save(path, {"steps": "7"})
    again = LayoutPrior.load(path)
    state = prior.net.state_dict()
    assert all(torch.equal(v, state[k].half().float()) for k, v in again.net.state_dict().items())
    def estimate(p):
        return p(_noise(), torch.ones(2), p.encode_text("a shiny torus"))
    torch.testing.assert_close(estimate(again), estimate(prior), atol=2e-2, rtol=0)
    assert again.hash == digest and again.net.config == SMALL and not again.net.training
    assert again.save(path) == digest and [p.name for p in tmp_path.iterdir()] == ["layout.safetensors"]


def test_default_prior_is_small(tmp_path: Path) -> None:
    """The repository has no room for more."""
    path = tmp_path / "layout.safetensors"
    LayoutPrior.untrained().save(path)
    assert path.stat().st_size < 2_420_000 and sum(v.numel() for v in load_file(path).values()) <= 1_200_000
    assert DEFAULT_PATH == PRIORS / "layout.safetensors"


def test_wrong_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "layout.safetensors"
    with pytest.raises(PriorError, match="no such file.*dipir prior train layout"):
        LayoutPrior.load(path)
    scrambled().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(PriorError, match="not a complete safetensors file"):
        LayoutPrior.load(path)
    flipped = bytearray(whole)
    flipped[-101] ^= 64
    path.write_bytes(bytes(flipped))
    with pytest.raises(PriorError, match="checksum"):
        LayoutPrior.load(path)
    state = scrambled().net.state_dict()
    write_weights(path, state, "dipir.relight_unet.2", json.dumps(asdict(SMALL)))
    with pytest.raises(PriorError, match=f"architecture 'dipir.relight_unet.2'; expected '{ARCHITECTURE}'"):
        LayoutPrior.load(path)
    write_weights(path, state, ARCHITECTURE, json.dumps(asdict(SMALL) | {"width": 24}))
    with pytest.raises(PriorError, match="do not fit together"):
        LayoutPrior.load(path)


def test_weights_of_another_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many words, but others: the numbers would mean something else."""
    path = tmp_path / "layout.safetensors"
    scrambled().save(path)
    words = tuple("lion" if word == "mug" else word for word in captions.VOCABULARY)
    monkeypatch.setattr(layout_prior.captions, "VOCABULARY", words)
    with pytest.raises(PriorError, match="its vocabulary.*mug.*dipir prior train layout"):
        LayoutPrior.load(path)
