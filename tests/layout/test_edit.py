"""Editing: what stays bit for bit, what comes back, and which window the prior sees."""
from __future__ import annotations

import pytest
import torch

from dipir.diffusion.pretrained import load_pretrained
from dipir.layout.config import LayoutConfig, LayoutGuidance
from dipir.layout.edit import EditWindow, invert, put_back, weaken, window_of
from dipir.layout.method import LayoutRequest, layout, layouts
from dipir.layout.regions import Region, box_mask
from dipir.layout.work import canvas_of
from dipir.priors.captions import COLOURS
from dipir.priors.layout import LayoutPrior
from dipir.settings import read
from tests.support.tiny_diffusion import build_pipeline
from tests.support.toy_layout import ColourToy

SIZE = 32
BOX = (0.25, 0.25, 0.5, 0.75)
TOY = ColourToy(std=0.3, size=SIZE)
PLAIN = ["attention=false", f"width={SIZE}", f"height={SIZE}", "sampler.steps=20", "sampler.scale=1",
         "guidance.strength=0", "edit.iterations=8", "edit.noise=inverted"]


def settings(*pairs) -> LayoutConfig:
    return read.override(LayoutConfig(), [*PLAIN, *pairs])


def picture(height=SIZE, width=SIZE, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def wish(image, *regions, **more):
    return LayoutRequest(more.pop("caption", "a red cube"), tuple(Region(*r) for r in regions or [("a red cube", BOX)]),
                         image=image, **more)


def reach(box, height, width, pixels):
    """1 in the pixels that are at most so far from the box."""
    return torch.nn.functional.max_pool2d(box_mask(box, height, width), 2 * pixels + 1, 1, pixels)


def test_an_edits_strength_is_a_share_of_the_others():
    guide = LayoutConfig(guidance=LayoutGuidance(strength=0.4, outside=0.2)).guidance
    assert weaken(guide, 0.5) == LayoutGuidance(strength=0.2, outside=0.1)
    assert weaken(LayoutGuidance(strength=0.4), 0.25) == LayoutGuidance(strength=0.1)
    image = picture()

    def made(*pairs):
        return layout(wish(image), settings(*pairs, "guidance.delta=constant"), prior=TOY).image

    half = made("guidance.strength=0.4", "edit.strength=0.5")
    assert torch.equal(half, made("guidance.strength=0.2", "edit.strength=1"))
    assert not torch.equal(half, made("guidance.strength=0.4", "edit.strength=1"))


# ----------------------------------------------------------------------------------------------------------- what stays
@pytest.mark.parametrize("pairs", [(), ("guidance.kind=none",), ("guidance.kind=multidiffusion",),
                                   ("guidance.kind=paste",), ("layers.composition=at_t0",), ("sampler.kind=heun",),
                                   ("guidance.delta=constant", "guidance.strength=0.3"), ("edit.noise=fresh",),
                                   ("edit.feather=0",), ("layers.edge=2",)])
def test_outside_the_feathered_region_every_bit_stays(pairs):
    image, config = picture(), settings(*pairs)
    got = layout(wish(image), config, prior=TOY).image
    near = reach(BOX, SIZE, SIZE, 2 * config.edit.feather).expand_as(image) == 1
    assert torch.equal(got[~near], image[~near])
    inside = box_mask(BOX, SIZE, SIZE).expand_as(image) == 1
    assert float((got - image)[inside].abs().mean()) > 0.05


@pytest.mark.parametrize("context", [0, 1, 2])
def test_a_photo_larger_than_the_priors_pictures(context):
    image, box = picture(90, 130), (0.5, 0.4, 0.9, 0.9)
    got = layout(wish(image, ("a red cube", box)), settings(f"edit.context={context}"), prior=TOY).image
    near = reach(box, 90, 130, 10).expand_as(image) == 1
    assert got.shape == image.shape and torch.equal(got[~near], image[~near])
    assert float((got - image)[box_mask(box, 90, 130).expand_as(image) == 1].abs().mean()) > 0.05


def test_the_region_shows_its_caption():
    toy = ColourToy(std=0.02, size=SIZE)
    image = torch.full((1, 3, SIZE, SIZE), 0.5)
    got = layout(wish(image, source="a grey floor"), settings("edit.feather=0"), prior=toy).image
    inside = box_mask(BOX, SIZE, SIZE).expand_as(image) == 1
    red = torch.tensor(COLOURS["red"])[None, :, None, None].expand_as(image)
    assert torch.allclose(got[inside], red[inside], atol=0.05) and torch.equal(got[~inside], image[~inside])


def test_several_regions_with_masks():
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 20:30, 4:12] = 1
    toy, image = ColourToy(std=0.02, size=SIZE), torch.full((1, 3, SIZE, SIZE), 0.5)
    got = layout(wish(image, ("a red cube", BOX), ("a blue mug", None, mask), caption="both"), settings(
        "edit.feather=0", "layers.share=1"), prior=toy).image
    blue = torch.tensor(COLOURS["blue"])
    both = (mask + box_mask(BOX, SIZE, SIZE)).clamp(0, 1).expand_as(image) == 1
    assert torch.allclose(got[..., 26, 6], blue, atol=0.05) and torch.equal(got[~both], image[~both])


# ------------------------------------------------------------------------------------------------------------ inversion
@pytest.mark.parametrize("kind", ["ddim", "euler"])
def test_a_region_of_what_is_there_already_comes_back(kind):
    """Inversion and sampling with the same words are inverse to each other, so nothing changes."""
    image = 0.3 + 0.4 * picture()
    config = settings(f"sampler.kind={kind}", "edit.iterations=25", "guidance.kind=none")
    got = layout(wish(image, caption="a grey thing", source="a grey thing"), config, prior=TOY).image
    assert float((got - image).abs().max()) < 1e-3


def test_inversion_reconstructs_the_picture_and_more_iterations_do_it_better():
    from dipir.diffusion.sampler import ddim

    image, config = 0.2 + 0.6 * picture(), settings()
    canvas, errors = canvas_of(TOY, config), []
    for iterations in (1, 3, 12):
        states = invert(TOY, image, canvas, "a red cube", iterations)
        assert states.shape == (21, 1, 3, SIZE, SIZE) and torch.equal(states[-1], TOY.encode(image))
        back = TOY.decode(ddim(TOY, states[0], canvas.sigmas, TOY.encode_text("a red cube")))
        errors.append(float((back - image).abs().max()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-3, errors


# --------------------------------------------------------------------------------------------------------------- window
@pytest.mark.parametrize("box, size, context, window", [
    ((0.25, 0.25, 0.5, 0.75), (32, 32), 2.0, (0, 0, 32, 32)),            # A picture of the prior's size: all of it.
    ((0.4, 0.4, 0.6, 0.6), (200, 200), 2.0, (60, 60, 140, 140)),
    ((0.0, 0.0, 0.2, 0.2), (200, 200), 2.0, (0, 0, 80, 80)),             # Moved into the picture.
    ((0.4, 0.4, 0.44, 0.44), (200, 200), 2.0, (68, 68, 100, 100)),       # At least what the prior makes.
    ((0.4, 0.4, 0.6, 0.6), (200, 200), 0.0, (0, 0, 200, 200)),
    ((0.2, 0.2, 0.5, 0.9), (100, 200), 2.0, (20, 0, 120, 100)),          # No more than the shorter side ...
    ((0.0, 0.2, 0.9, 0.9), (100, 200), 2.0, (0, 0, 180, 100))])          # ... unless the region is longer.
def test_the_window_around_a_region(box, size, context, window):
    got = window_of(box_mask(box, *size), context, canvas_of(TOY, settings()))
    assert (got.left, got.top, got.right, got.bottom) == window


def test_put_back_scales_the_feather_and_touches_nothing_else():
    image, new = picture(128, 128), torch.zeros(1, 3, 32, 32)
    cover, window = box_mask((0.25, 0.25, 0.5, 0.5), 128, 128), EditWindow(0, 0, 64, 64)
    got = put_back(image, new, cover, window, 2)
    inside, near = cover.expand_as(image) == 1, reach((0.25, 0.25, 0.5, 0.5), 128, 128, 8).expand_as(image) == 1
    assert not bool(got[inside].any()) and torch.equal(got[~near], image[~near])
    edge = got[0, 0, 48, 64:72] / image[0, 0, 48, 64:72]
    assert bool((edge[:-1] >= 0).all()) and torch.equal(got[..., 64:], image[..., 64:]), "nothing beyond the window"


# ---------------------------------------------------------------------------------------------------------- real priors
def test_new_and_edited_pictures_may_be_asked_for_together():
    config = settings("guidance.delta=constant", "guidance.strength=0.2")
    new, edited = LayoutRequest("a blue mug", (Region("a blue mug", BOX),)), wish(picture())
    first, second = layouts([edited, new], config, prior=TOY)
    assert torch.equal(first.image, layout(edited, config, prior=TOY).image)
    assert torch.equal(second.image, layout(new, config, prior=TOY).image)
    assert (first.provenance["edited"], second.provenance["edited"]) == (True, False)


def test_smoke_of_the_embedded_prior():
    image, config = picture(80, 100), read.override(LayoutConfig(), ["sampler.steps=3", "layers.stage=2"])
    got = layout(wish(image), config, prior=LayoutPrior.untrained())
    near = reach(BOX, 80, 100, 6).expand_as(image) == 1
    assert torch.equal(got.image[~near], image[~near]) and [n for n, _ in got.layers] == ["01_red_cube"]


def test_smoke_of_stable_diffusion(tmp_path):
    prior = load_pretrained(build_pipeline(tmp_path / "sd2", "sd2"))
    image = picture(80, 100)
    config = read.override(LayoutConfig(), ["sampler.steps=3", "layers.stage=2", "width=16", "height=16"])
    got = layout(wish(image, ("a car", BOX), caption="a car"), config, prior=prior).image
    near = reach(BOX, 80, 100, 14).expand_as(image) == 1
    assert torch.equal(got[~near], image[~near]) and bool(torch.isfinite(got).all())
