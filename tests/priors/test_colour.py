"""The colour prior: what it is told, its sizes, its file."""
from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.errors import PriorError
from dipir.image.palette import parse_palette
from dipir.priors.colour import COLOUR, colour_condition, tinted_planes
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import PicturePrior
from dipir.priors.weights import read_network, write_weights

SMALL = ConditionalUNetConfig(planes=12, vector=12, channels=(8, 8, 16), blocks=1, embedding=16, detail=2)


def _prior(seed: int = 3) -> PicturePrior:
    net = ConditionalUNet(SMALL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return PicturePrior(COLOUR, net)


def _drawing(height: int = 24, width: int = 32) -> torch.Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(1))


def test_condition_is_drawing_and_palette() -> None:
    drawing, palette = _drawing(), parse_palette("red and blue")
    condition = colour_condition(drawing, palette)
    grey = (drawing * 2 - 1).expand(1, 3, -1, -1)
    torch.testing.assert_close(condition.planes, tinted_planes(grey, palette.vector))
    assert torch.equal(condition.vector, palette.vector)
    assert not colour_condition(drawing).vector.any()
    coloured = torch.cat([drawing, drawing * 0.5, drawing * 0], 1)
    torch.testing.assert_close(colour_condition(coloured).planes[:, :1], drawing - 1)  # The mean is half the drawing.


def test_tinted_planes_by_hand() -> None:
    """A drawing of 0.5 and 1 under the colours (1, 0.5, 0) and (0.25, 1, 1); no third."""
    drawing = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    vector = torch.tensor([[1, 0, -1, 1, -0.5, 1, 1, 1, 0, 0, 0, 0.0]])
    tinted = ((tinted_planes(drawing, vector)[0, 3:9, 0] + 1) / 2).tolist()
    assert tinted == [[0.5, 1], [0.25, 0.5], [0, 0], [0.125, 0.25], [0.5, 1], [0.5, 1]]
    assert torch.equal(tinted_planes(drawing, vector)[:, :3], drawing)
    assert not tinted_planes(drawing, vector)[:, 9:].any() and not tinted_planes(drawing, 0 * vector)[:, 3:].any()


def test_untrained_estimate_of_noise_is_the_drawing() -> None:
    prior, condition = PicturePrior.untrained(COLOUR), colour_condition(_drawing(), parse_palette("red"))
    noise = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(2))
    estimate = prior(40 * noise, torch.full((2,), 40.0), condition)
    torch.testing.assert_close(estimate, condition.planes[:, :3].expand(2, -1, -1, -1), atol=0.03, rtol=0)
    assert prior(noise, torch.full((2,), 0.02), condition).sub(noise).abs().max() < 0.02


def test_palette_changes_the_estimate_and_each_row_has_its_own() -> None:
    prior, drawing, x = _prior(), _drawing(), torch.zeros(2, 3, 24, 32)
    sigma = torch.full((2,), 1.0)
    red, blue = (colour_condition(drawing, parse_palette(word)) for word in ("red", "blue"))
    both = Condition(planes=torch.cat([red.planes, blue.planes]), vector=torch.cat([red.vector, blue.vector]))
    rows = prior(x, sigma, both)
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    for k, alone in enumerate((red, blue)):
        torch.testing.assert_close(rows[k], prior(x, sigma, alone)[k])


def test_file_keeps_the_prior(tmp_path: Path) -> None:
    prior, path = _prior(), tmp_path / "colour.safetensors"
    digest = prior.save(path, {"steps": "7"})
    again = PicturePrior.load(COLOUR, path)
    x, condition = torch.randn(1, 3, 24, 32), colour_condition(_drawing(), parse_palette("gold"))
    before, after = (p(x, torch.ones(1), condition) for p in (prior, again))
    torch.testing.assert_close(after, before, atol=2e-2, rtol=0)
    assert again.hash == digest and again.net.config == SMALL
    prior.save(path)
    assert PicturePrior.load(COLOUR, path).hash == digest


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "colour.safetensors"
    with pytest.raises(PriorError, match="no such file.*dipir prior train colour"):
        PicturePrior.load(COLOUR, path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(PriorError, match="not a complete safetensors file"):
        PicturePrior.load(COLOUR, path)
    state = _prior().net.state_dict()
    write_weights(path, state, "dipir.composite_unet.1", json.dumps(asdict(SMALL)))
    with pytest.raises(PriorError, match="architecture 'dipir.composite_unet.1'; expected 'dipir.colour_unet.1'"):
        PicturePrior.load(COLOUR, path)
    for config in ("{}", "[1]", "{", json.dumps({"channels": [8, 8, 16], "depth": 3})):
        write_weights(path, state, COLOUR.architecture, config)
        with pytest.raises(PriorError, match="do not fit together"):
            PicturePrior.load(COLOUR, path)


def test_read_network_makes_tuples_of_lists(tmp_path: Path) -> None:
    seen = {}
    write_weights(tmp_path / "a.safetensors", torch.nn.Linear(2, 3).state_dict(), "some.1", '{"sizes": [2, 3], "k": 1}',
                  {"note": "kept"})
    net, meta = read_network(tmp_path / "a.safetensors", "some.1", "make it",
                             lambda settings: seen.update(settings) or torch.nn.Linear(*settings["sizes"]))
    assert seen == {"sizes": (2, 3), "k": 1} and net.weight.shape == (3, 2) and meta["note"] == "kept"


def test_conditions_that_do_not_fit() -> None:
    prior, x, sigma = _prior(), torch.zeros(1, 3, 24, 32), torch.ones(1)
    whole = colour_condition(_drawing())
    for condition in (Condition(), Condition(planes=whole.planes), Condition(vector=whole.vector)):
        with pytest.raises(PriorError, match="colour prior needs Condition.planes and Condition.vector"):
            prior(x, sigma, condition)
    with pytest.raises(PriorError, match=r"\(24, 32\) pixels and a condition of \(16, 32\)"):
        prior(x, sigma, colour_condition(_drawing(16, 32)))
    with pytest.raises(PriorError, match="a multiple of 8"):
        prior(torch.zeros(1, 3, 20, 32), sigma, colour_condition(_drawing(20, 32)))


@pytest.mark.skipif(not COLOUR.path.is_file(), reason="no weights there")
def test_shipped_weights_colour_a_disc_as_asked() -> None:
    """The one-step estimate from pure noise of a shaded disc: red is reddest, blue bluest."""
    prior = PicturePrior.load(COLOUR)
    assert prior.net.config == COLOUR.net and COLOUR.path.stat().st_size < 4.2e6
    row, column = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside = (row - 32) ** 2 + (column - 32) ** 2 < 400
    drawing = torch.where(inside, 0.75, 0.97)[None, None]
    means = []
    for word in ("red", "blue", "green"):
        noise = 40 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        estimate = prior.decode(prior(noise, torch.full((4,), 40.0), colour_condition(drawing, parse_palette(word))))
        means.append(estimate[:, :, inside].mean((0, 2)))
        assert estimate[:, :, 2, 2].min() > 0.7
    assert means[0].argmax() == 0 and means[1].argmax() == 2 and means[2].argmax() == 1
    assert all(m.max() - m.min() > 0.2 for m in means)
