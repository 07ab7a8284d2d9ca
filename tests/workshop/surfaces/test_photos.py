"""Photos of scenes with known surfaces: light, mirror images, what is known, exposure, the camera."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.relit.depth_shadows import in_camera
from dipir.workshop.stored import decode, join
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.photos import Photos, ShotConfig, _varied, developed, draw
from tests.support.surface_sets import LIGHTS, backdrops, ball, balls

EXACT = ShotConfig(augment=False, camera=False, targets=2)
ONE = replace(EXACT, even=0.0, double=0.0, ambient=(0.2, 0.2001), level=(0.8, 0.8001))


def _photos(count: int = 24, config: ShotConfig = EXACT, seed: int = 0, data=None) -> Photos:
    return draw(np.random.default_rng(seed), balls() if data is None else data, backdrops(), count, config)


def _same(a: Photos, b: Photos) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@pytest.mark.parametrize("config", [EXACT, ShotConfig(targets=1)])
def test_everything_follows_from_the_generator(config):
    first = _photos(8, config)
    assert _same(first, _photos(8, config)) and not _same(first, _photos(8, config, 1))
    codes = first.image * 255
    torch.testing.assert_close(codes, codes.round(), atol=1e-3, rtol=0)
    assert all(bool(torch.isfinite(value).all()) for value in vars(first).values())


@pytest.mark.parametrize("targets", [0, 1, 2])
def test_form(targets):
    made = _photos(5, replace(ShotConfig(), targets=targets))
    shapes = {name: tuple(value.shape[1:]) for name, value in vars(made).items()}
    assert shapes == {"image": (3, 32, 32), "normal": (3, 32, 32), "albedo": (3, 32, 32), "up": (3,),
                      **{n: (1, 32, 32) for n in ("shading", "depth", "shadow", "solid", "known", "subject")},
                      "target": (targets, 3, 32, 32), "light": (targets, 4), "far": ()}
    assert len(made) == 5 and len(made[1:3]) == 2


def test_rows_are_photos_of_their_own():
    made = _photos(6)
    part = made[torch.tensor([4, 2])]
    assert torch.equal(part.image, made.image[[4, 2]]) and torch.equal(part.light, made.light[[4, 2]])


# ---- light -----------------------------------------------------------------------------------------------------------

def test_one_light_and_the_sky_by_hand():
    """Of one scene: exposed as the 97 % quantile says, then sRGB in 8 bits."""
    data = ball((0.6, 0.6, 0.6), covered=True)
    made = _photos(12, replace(ONE, targets=0), data=data)
    lit, sky = decode(data.lit[0]), decode(data.sky[0])
    possible = []
    for one in lit:
        linear = one + 0.2 * sky
        linear = linear * 0.8 / torch.quantile(linear.amax(0), 0.97)
        possible.append(linear_to_srgb(linear.clamp(0, 1)))
    nearest = [min(float((image - p).abs().max()) for p in possible) for image in made.image]
    assert max(nearest) < 0.02
    # Lights differ more than that.
    assert float((possible[0] - possible[1]).abs().max()) > 0.2


def test_shading_is_light_over_albedo():
    """Of the picture itself, up to its mean, wherever it is not cut off at white."""
    made = _photos(16, replace(EXACT, level=(0.5, 0.9)))
    linear = srgb_to_linear(made.image).mean(1) / made.albedo.mean(1).clamp_min(0.02)
    for light, shading, solid in zip(linear, made.shading[:, 0], made.solid[:, 0], strict=True):
        sure = (solid > 0.9) & (shading > -1.5)
        apart = light[sure].clamp_min(1e-4).log2() - 2 * shading[sure]
        assert float((apart - apart.median()).abs().quantile(0.9)) < 0.2


def test_shadow_is_what_keeps_the_first_light_off():
    """The first light does not reach the upper quarter; an even photo has no shadows; no photo has one where surfaces
    turn away."""
    data = ball((0.6, 0.6, 0.6), covered=True)
    made = _photos(40, replace(ONE, targets=0), data=data)
    upper = made.shadow[:, 0, :8]
    shadowed = upper.amax((1, 2)) > 0.5
    assert 3 < int(shadowed.sum()) < 25 and not made.shadow[~shadowed].any() and not made.shadow[:, 0, 9:].any()
    cosine = torch.einsum("c,chw->hw", LIGHTS[0].vector, made.normal[0])[:8]
    assert bool((upper[shadowed][0][cosine > 0.15] == 1).all()) and not upper[shadowed][0][cosine < 0.05].any()
    assert not _photos(10, replace(EXACT, even=1.0), data=data).shadow.any()


# ---- what is told ----------------------------------------------------------------------------------------------------

def test_solid_and_known():
    """Outdoors and before skies all of it is known; before a photographed place only what stands there."""
    free, covered, world = (balls().part(slice(k, k + 1)) for k in (0, 1, 2))
    for data, config, everywhere in ((world, replace(EXACT, sky=0.0), True), (free, replace(EXACT, sky=1.0), True),
                                     (free, replace(EXACT, sky=0.0), False)):
        made = _photos(6, config, data=data)
        assert bool((made.known == 1).all()) == everywhere
        assert torch.equal(made.solid, (data.alpha / 255).expand_as(made.solid))
        inside = made.solid > 0.02
        assert bool((made.known[inside] == 1).all()) and (everywhere or not made.known[~inside].any())
    made = _photos(4, EXACT, data=covered)
    assert bool((made.solid == 1).all()) and bool((made.known == 1).all()) and 0.4 < made.subject.mean() < 0.7


def test_no_light_falls_on_what_is_behind():
    """Around the ball the picture and its targets show the same."""
    made = _photos(12, EXACT, data=balls().part(slice(0, 1)))
    outside = made.solid == 0
    for k in range(2):
        torch.testing.assert_close(made.target[:, k][outside.expand(-1, 3, -1, -1)],
                                   made.image[outside.expand(-1, 3, -1, -1)])
    assert float(made.image[outside.expand(-1, 3, -1, -1)].std()) > 0.05


# ---- targets ---------------------------------------------------------------------------------------------------------

def test_targets_are_as_bright_in_the_mean_unless_that_would_burn_them():
    data = ball((0.6, 0.5, 0.4), covered=True)
    made = _photos(60, replace(EXACT, level=(0.5, 0.9)), data=data)
    before, after = (srgb_to_linear(x).mean((-1, -2, -3)) for x in (made.image, made.target))
    share = after / before[:, None]
    bright = torch.quantile(srgb_to_linear(made.target).amax(2).flatten(2), 0.97, dim=2)
    equal = (share - 1).abs() < 0.03
    # Rounding and what is above white take a little; where the level differs, the picture is as bright as it may be.
    assert float(equal.float().mean()) > 0.5 and float(share.max()) < 1.03
    assert bool((bright[~equal] > 0.9).all())


def test_no_target_burns(monkeypatch):
    """Before anything is cut off at white: as bright in the mean, or 97 % of it below the limit and darker in the
    mean."""
    monkeypatch.setattr(photos, "developed", lambda rng, linear, camera: linear)
    data = ball((0.6, 0.5, 0.4), covered=True)
    made = _photos(60, replace(EXACT, level=(1.0, 1.1)), data=data)
    share = made.target.mean((-1, -2, -3)) / made.image.mean((-1, -2, -3))[:, None]
    bright = torch.quantile(made.target.amax(2).flatten(2), 0.97, dim=2)
    equal = (share - 1).abs() < 1e-3
    assert 10 < int(equal.sum()) < 110 and float(share.max()) < 1.001
    assert float(bright.max()) < 1.21 and float(bright[~equal].min()) > 1.15


def test_a_target_is_the_scene_in_that_light():
    """As its numbers say: the light of the set that has them, with a fill of the sky, up to exposure."""
    data = ball((0.6, 0.5, 0.4), covered=True)
    made = _photos(10, replace(EXACT, level=(0.3, 0.4)), data=data)
    sky = decode(data.sky[0])
    for target, light in zip(made.target.flatten(0, 1), made.light.flatten(0, 1), strict=True):
        k = int((data.light[0] - light).norm(dim=1).argmin())
        assert torch.equal(data.light[0, k], light)
        expected = decode(data.lit[0, k]) + 0.2 * sky
        linear = srgb_to_linear(target)
        sure = linear.amax(0) < 0.95
        scale = (linear * expected)[:, sure].sum() / expected[:, sure].square().sum()
        assert float((linear - scale * expected)[:, sure].abs().max()) < 0.02


# ---- mirrored, recoloured --------------------------------------------------------------------------------------------

def _mirrored(plain: Photos, made: Photos) -> torch.Tensor:
    """(B,) by the lights, of two at most one of which is straight ahead."""
    return (made.light[..., 0] != plain.light[..., 0]).any(1)


def test_mirrored_pictures_keep_normals_light_and_up_together():
    """n . l is mirrored as the picture is; so is the vertical's part of the normal."""
    plain = _photos(40, EXACT, data=join([balls().part(slice(2, 3)), balls().part(slice(3, 4))]))
    made = _varied(np.random.default_rng(5), plain)
    mirrored = _mirrored(plain, made)
    assert 8 < int(mirrored.sum()) < 32

    def told(p: Photos) -> list[torch.Tensor]:
        light = torch.stack([in_camera(p.light[:, k], p.up) for k in range(2)], 1)
        return [torch.einsum("bkc,bchw->bkhw", light, p.normal), torch.einsum("bc,bchw->bhw", p.up, p.normal)]

    for before, after in zip(told(plain), told(made), strict=True):
        expected = torch.where(mirrored.view(-1, *[1] * (before.ndim - 1)), before.flip(-1), before)
        torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)
    for name in ("depth", "solid", "known", "subject", "shadow", "shading"):
        before, after = getattr(plain, name), getattr(made, name)
        assert torch.equal(after, torch.where(mirrored[:, None, None, None], before.flip(-1), before)), name
    assert bool((made.light[mirrored][..., 0] == -plain.light[mirrored][..., 0]).all())
    assert torch.equal(made.light[~mirrored], plain.light[~mirrored])


def test_colours_are_exchanged_together():
    plain = _photos(40, EXACT, data=balls().part(slice(0, 1)))
    made = _varied(np.random.default_rng(6), plain)
    exchanged, mirrored = 0, _mirrored(plain, made)
    for k in range(40):
        flip = bool(mirrored[k])
        sides = [x.flip(-1) if flip else x for x in (plain.image[k], plain.albedo[k], plain.target[k].transpose(0, 1))]
        order = [next(j for j in range(3) if torch.equal(made.albedo[k, i], sides[1][j])) for i in range(3)]
        assert sorted(order) == [0, 1, 2]
        assert torch.equal(made.image[k], sides[0][order])
        assert torch.equal(made.target[k].transpose(0, 1), sides[2][order])
        exchanged += order != [0, 1, 2]
    # A third are mixed, of which a sixth end where they were.
    assert 4 < exchanged < 20


# ---- camera ----------------------------------------------------------------------------------------------------------

def _linear(count: int = 20) -> torch.Tensor:
    return torch.rand(count, 2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 1.2


def test_without_a_camera_it_is_srgb_in_8_bits():
    linear = _linear()
    made = developed(np.random.default_rng(0), linear, camera=False)
    torch.testing.assert_close(made, (linear_to_srgb(linear.clamp(0, 1)) * 255).round() / 255)


def test_a_camera_changes_the_photo_and_develops_its_targets_alike():
    """A step wedge: targets carry the same response, without noise, blur and compression."""
    wedge = torch.linspace(0, 1, 32).expand(30, 2, 3, 32, 32).clone()
    made = developed(np.random.default_rng(1), wedge.clone(), camera=True)
    photo, target = made[:, 0], made[:, 1]
    plain = linear_to_srgb(wedge[:, 0])
    assert float((photo - plain).abs().mean()) > 0.01
    # One curve for each photo, that only grows, and rows alike.
    assert bool((target.diff(dim=-1) >= -1e-6).all()) and float(target.std(2).max()) < 1e-6
    assert float((photo - target).mean((1, 2, 3)).abs().max()) < 0.03
    rough = (photo - target).std((1, 2, 3))
    assert float(rough.max()) > 0.015 and float(rough.min()) < 0.006
    assert float(photo.min()) >= 0 and float(photo.max()) <= 1
    assert float((target - plain).abs().amax((1, 2, 3)).median()) > 0.02
