"""The preview: what the final picture will show, linear in the lamps, the plate untouched where nothing is."""
from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dipir.errors import ConfigError, ImageError, RenderError
from dipir.image.composite import flatten_disp, flatten_lin
from dipir.image.tone import ToneCurve
from dipir.insert.config import load_config
from dipir.insert.final import final_picture
from dipir.insert.preview import Preview, guess_pictures
from dipir.priors.plate_light import Shade, decided
from dipir.render.mitsuba_scene import build, material_names
from dipir.render.transport_record import TransportSettings
from dipir.scene.assets.asset import Material, Part
from dipir.scene.light import SphericalGaussians
from dipir.scene.plate import plate_from_tensor
from dipir.scene.proxy import Proxy
from dipir.scene.rig import Rig
from dipir.scene.scene import Scene
from dipir.scene.source import Source
from dipir.workshop.things.objects import simple_asset
from tests.support.looks import look
from tests.support.scenes import MATERIALS, placed, scene_of

PLAIN = (ToneCurve.identity(), ToneCurve.identity())
GLASS = Material(base_color=(1, 1, 1), roughness=0.05, transmission=1.0)
FINE = TransportSettings(samples=16, bsdf_samples=8, light_samples=4)


def things(size: int = 64, material: Material = MATERIALS["diffuse"], proxy: Proxy = Proxy()) -> Scene:
    """A ball beside a box before a coloured plate."""
    scene = scene_of(placed(simple_asset("sphere", material), x=-0.35), placed(
        simple_asset("box", MATERIALS["glossy"]), x=0.45, z=3.3, name="b"), size=size, proxy=proxy)
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(5)) * 0.6 + 0.2
    plate = torch.nn.functional.interpolate(noise, (size, size), mode="bilinear")
    return replace(scene, plate=plate_from_tensor((plate * 255).round() / 255))


def sun(direction=(-0.6, 0.66, -0.5), irradiance=(2.0, 1.7, 1.3), sigma: float = 0.0023) -> Source:
    return Source(normalize(torch.tensor(direction), dim=0), torch.tensor(irradiance), sigma)


def sky() -> SphericalGaussians:
    return SphericalGaussians.of(torch.tensor([[0.0, 1.0, 0.1], [0.7, 0.4, 0.2], [0.0, -1.0, 0.0]]),
                                 torch.tensor([[0.3, 0.4, 0.6], [0.5, 0.3, 0.2], [0.1, 0.1, 0.1]]),
                                 torch.tensor([0.8, 0.6, 0.9]))


@pytest.fixture(scope="module")
def preview() -> Preview:
    return Preview.record(things(), 64)


def rmse(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of bytes, in display values."""
    return float((one.float() - other.float()).square().mean().sqrt()) / 255


def final_bytes(scene: Scene, light: Rig) -> torch.Tensor:
    config = load_config("default", None, ["final.spp=256", "final.denoise=false"])
    made = final_picture(scene, light, PLAIN, config, lambda event: None)
    return (made.composite_disp[0].permute(1, 2, 0) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("sigma, bound", [(0.0023, 0.014), (0.1, 0.014)])
def test_it_shows_what_the_final_picture_shows(sigma, bound):
    """Of sky and sun together, all bounces; what is left is noise and the size of texels."""
    scene, lamp = things(), sun(sigma=sigma)
    got = Preview.record(scene, 64, FINE).picture(sky().envmap(16, 32), [lamp], full=True)
    want = final_bytes(scene, Rig.of(sky(), lamp))
    changed = (want != (scene.plate.disp[0].permute(1, 2, 0) * 255).round().to(torch.uint8)).any(-1)
    assert 0.1 < float(changed.float().mean()) < 0.9
    assert rmse(got[changed], want[changed]) < bound
    assert abs(float(got[changed].float().mean() - want[changed].float().mean())) < 1.0


@pytest.mark.parametrize("kind", ["glass", "mesh"])
def test_glass_and_meshes_are_as_in_the_final_picture(kind):
    corners = np.array([[-3, -0.3, 0], [3, 0.3, 0], [3, 0.3, 9], [-3, -0.3, 9]], np.float32)
    slope = Part("slope", corners, np.array([[0, 2, 1], [0, 3, 2]], np.uint32))
    scene = things(48, material=GLASS) if kind == "glass" else things(48, proxy=Proxy(slope))
    lamp = sun()
    got = Preview.record(scene, 48, FINE).picture(sky().envmap(16, 32), [lamp], full=True)
    want = final_bytes(scene, Rig.of(sky(), lamp))
    assert rmse(got, want) < 0.03
    # What would be wrong by far: the plate alone, and a preview without the lamp.
    assert rmse(Preview.record(scene, 48).picture(sky().envmap(16, 32)), want) > 2 * rmse(got, want)


def test_direct_light_lacks_little_of_all_bounces(preview):
    rest = sky().envmap(16, 32)
    direct, full = preview.picture(rest, [sun()]), preview.picture(rest, [sun()], full=True)
    assert 0 < rmse(direct, full) < 0.03 and float(full.float().sum()) > float(direct.float().sum())


def test_it_is_linear_in_strength_and_lamps_add(preview):
    dark, one, other = torch.zeros(16, 32, 3), sun(), sun((0.6, 0.5, -0.4), (0.5, 1.0, 2.0), 0.05)

    def rgb(rest, *lamps):
        return preview.layers(rest, lamps).layers[1].image
    torch.testing.assert_close(rgb(dark, replace(one, irradiance=3 * one.irradiance)), 3 * rgb(dark, one))
    rest = sky().envmap(16, 32)
    torch.testing.assert_close(rgb(rest, one, other), rgb(rest) + rgb(dark, one) + rgb(dark, other))
    # The ground: light that is taken and light that arrives add up before one is divided by the other.
    up = [float(s.direction[1]) for s in (one, other)]
    shares = [preview.layers(dark, [s]).layers[0].image for s in (one, other)]
    lit = [s.irradiance[None, :, None, None] * y for s, y in zip((one, other), up, strict=True)]
    both = preview.layers(dark, [one, other]).layers[0].image
    expected = (shares[0] * lit[0] + shares[1] * lit[1]) / (lit[0] + lit[1])
    torch.testing.assert_close(both, expected, rtol=0, atol=2e-3)


def test_pixels_that_nothing_touches_are_the_plates_bytes(preview):
    scene, rest = things(), sky().envmap(16, 32)
    got, layers = preview.picture(rest, [sun()]), preview.layers(rest, [sun()])
    plate = (scene.plate.disp[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    alone = (layers.layers[1].alpha[0, 0] == 0) & (layers.layers[0].image[0] == 1).all(0)
    assert 0.2 < float(alone.float().mean()) < 0.95 and torch.equal(got[alone], plate[alone])
    assert not torch.equal(got, plate)


@pytest.mark.parametrize("curves", [False, True])
def test_the_picture_is_its_layers_flattened(preview, curves):
    steep = ToneCurve.identity().with_parameters({"heights": torch.tensor([[0.5, 0.2, 0.0, -0.2, 0.1]])})
    tones = (steep, steep) if curves else (None, None)
    given = (sky().envmap(16, 32), [sun()], tones)
    flat = (flatten_disp(preview.layers(*given))[0].permute(1, 2, 0) * 255).round()
    assert float((preview.picture(*given).float() - flat).abs().max()) <= 1
    assert torch.equal(preview.picture(*given), preview.picture(*given[:2])) != curves


def test_the_shadow_ratio_is_light_that_arrives_over_light_that_would(preview):
    """Below an umbra of the sun alone it is black, and a sky fills it by its share."""
    dark, lamp = torch.zeros(16, 32, 3), sun()
    umbra = preview.layers(dark, [lamp]).layers[0].image[0, 0] == 0
    even = torch.full((16, 32, 3), 0.4)
    filled = preview.layers(even, [lamp]).layers[0].image[0][:, umbra]
    own = lamp.irradiance * lamp.direction[1] / math.pi
    # The object takes a part of the sky as well, so that this is the most that may be left.
    assert int(umbra.sum()) > 20 and bool((filled <= (0.4 / (0.4 + own))[:, None] + 1e-4).all())
    assert float(filled.mean()) > 0.3 * float((0.4 / (0.4 + own)).mean())


def test_strength_colour_and_surroundings_take_no_new_column(preview):
    preview._columns.clear()
    for k in range(4):
        preview.picture(torch.full((16, 32, 3), 0.1 * k), [sun(irradiance=(1.0, 0.5 * k, 2.0))])
    assert len(preview._columns) == 1
    for k in range(60):
        preview.picture(torch.zeros(16, 32, 3), [sun((0.1 * k - 3, 1.0, -0.5))])
    assert len(preview._columns) == 24


def test_what_moved_is_seen_at_once_and_then_finely():
    scene, rest = things(), sky().envmap(16, 32)
    first = Preview.record(scene, 64)
    before = first.picture(rest, [sun()])
    ball = scene.objects[0]
    there = replace(scene, objects=(replace(placed(ball.asset, x=-0.1, z=2.9), name="a"), scene.objects[1]))
    quick = first.moved(there)
    wanted = Preview.record(there, 64).picture(rest, [sun()])
    coarse = quick.picture(rest, [sun()])
    assert rmse(coarse, wanted) < 0.04 < rmse(before, wanted)
    # The same recording as from the start, and the one that it came from is still right.
    assert torch.equal(quick.refined().picture(rest, [sun()]), wanted)
    first._columns.clear()
    assert torch.equal(first.picture(rest, [sun()]), before)


def test_what_moved_may_be_shown_smaller_and_finely_at_full_size(preview):
    scene = things()
    pose = scene.objects[0].to_world.copy()
    pose[0, 3] += 0.3
    moved = replace(scene, objects=(replace(scene.objects[0], to_world=pose), scene.objects[1]))
    small = preview.moved(moved, longest=32)
    assert small.size == (32, 32) and small.built.objects is preview.built.objects
    fine = small.refined(longest=64)
    assert fine.size == (64, 64)
    rest, lamps = sky().envmap(16, 32), [sun()]
    reduced = fine.picture(rest, lamps).float().reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert rmse(small.picture(rest, lamps), reduced) < 0.04 < rmse(
        small.picture(rest, lamps), preview.picture(rest, lamps).float().reshape(32, 2, 32, 2, 3).mean((1, 3)))


def test_fitted_materials_are_shown_and_stay_when_an_object_moves():
    """A ball fitted to be green is green, there and elsewhere."""
    scene, rest = things(48), torch.ones(16, 32, 3)
    key = next(n.key for n in material_names(build(scene).params) if n.kind == "base_color")
    green = Preview.record(scene, 48, materials={key: torch.tensor([0.05, 0.6, 0.05])})
    plain = Preview.record(scene, 48)
    there = replace(scene, objects=(placed(scene.objects[0].asset, x=-0.2), scene.objects[1]))
    for preview in (green, green.moved(there), green.refined()):
        colour = preview.layers(rest).layers[1].image[0].sum((1, 2))
        other = plain.layers(rest).layers[1].image[0].sum((1, 2))
        assert float(colour[1] / colour[0]) > 1.5 * float(other[1] / other[0])
    with pytest.raises(RenderError, match="no material parameter"):
        Preview.record(scene, 48, materials={"object9.base_color.value": torch.zeros(3)})


def test_objects_can_be_exchanged_and_taken_away():
    scene, rest = things(48), sky().envmap(16, 32)
    first = Preview.record(scene, 48)
    other = replace(scene, objects=(placed(simple_asset("torus", MATERIALS["metal"])),))
    wanted = Preview.record(other, 48, first._coarse).picture(rest, [sun()])
    assert torch.equal(first.moved(other).picture(rest, [sun()]), wanted)
    empty = first.moved(replace(scene, objects=()))
    plate = (scene.plate.disp[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    assert torch.equal(empty.picture(rest, [sun()]), plate)


def test_warming_up_changes_nothing(preview):
    given = (sky().envmap(16, 32), [sun()])
    before = preview.picture(*given)
    preview.warm()
    preview._columns.clear()
    assert torch.equal(preview.picture(*given), before)


def test_it_has_the_plates_shape_and_is_no_larger_than_the_plate():
    scene = things(40)
    wide = replace(scene, plate=plate_from_tensor(torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(1))),
                   camera=replace(scene.camera, height=30, cy=15.0))
    assert Preview.record(wide, 20).size == (20, 15)
    large = Preview.record(wide, 640)
    assert large.size == (40, 30) and large.picture(torch.ones(16, 32, 3)).shape == (30, 40, 3)
    with pytest.raises(ConfigError, match="16 or more"):
        Preview.record(wide, 8)


def test_layers_are_on_the_plate_as_it_is(preview):
    layers = preview.layers(torch.zeros(16, 32, 3))
    torch.testing.assert_close(layers.base_lin, things().plate.lin)
    # No light at all: the object is black, the ground keeps its brightness.
    assert [layer.name for layer in layers.layers] == ["shadow", "object"]
    assert float(layers.layers[1].image.abs().max()) == 0 and bool((layers.layers[0].image == 1).all())
    inside = layers.layers[1].alpha[0, 0] == 1
    assert float(flatten_lin(layers)[0][:, inside].abs().max()) == 0


def test_each_guess_is_shown_by_its_own_light():
    """As a preview of the light that choosing it gives; nothing without a light prior or with a light of a file."""
    scene = things(48)
    begun = decided(look(), torch.zeros(16, 32, 3), shade=lambda: Shade(0.3, 0.5, 0.9))
    made = guess_pictures(scene, begun, (None, None), longest=32)
    preview = Preview.record(scene, 32)
    assert [tuple(m.shape) for m in made] == [(1, 3, 32, 32)] * 3
    for guess, picture in enumerate(made, 1):
        light = decided(look(), torch.zeros(16, 32, 3), guess, shade=lambda: Shade(0.3, 0.5, 0.9))
        wanted = preview.picture(light.rest, [light.source]).permute(2, 0, 1)[None]
        assert torch.equal((picture * 255).round().to(torch.uint8), wanted)
    # Suns from the right (guess 1) and from the left (guess 2) throw their shadows to the left and to the right.
    dark = [1 - preview.layers(begun.around, [source]).layers[0].image[0].mean(0) for source in begun.sources[:2]]
    left, right = (float((d.sum(0) * torch.arange(32)).sum() / d.sum()) for d in dark)
    assert left < right - 3
    assert guess_pictures(scene, replace(begun, around=None), (None, None)) == ()
    assert guess_pictures(scene, replace(begun, guesses=(), sources=()), (None, None)) == ()


def test_a_jpeg_is_the_picture_in_fewer_bytes(preview):
    picture = preview.picture(sky().envmap(16, 32), [sun()])
    data = Preview.jpeg(picture, 95)
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert data[:2] == b"\xff\xd8" and len(data) < picture.numel() and len(Preview.jpeg(picture, 30)) < len(data)
    assert rmse(torch.from_numpy(back.copy()), picture) < 0.03
    with pytest.raises(ImageError, match="uint8"):
        Preview.jpeg(picture.float())
