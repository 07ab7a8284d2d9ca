"""Meshes made ready: one kind of material that looks as the mesh's own did; what cannot stand in is refused."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipir.scene.assets.asset import Asset, Material, Part
from dipir.workshop.dressed import things
from dipir.workshop.things.objects import simple_asset
from tests.support.asset_samples import embedded, gltf, write

PLAIN = Material(base_color=(0.7, 0.4, 0.2), roughness=0.8, metallic=0.25)


def test_constants_become_textures_of_one_size() -> None:
    part = things.plain(replace(simple_asset("box", PLAIN).parts[0], uvs=None))
    m = part.material
    assert m.base_color_texture.shape == (256, 256, 3) and part.uvs.shape == (len(part.vertices), 2)
    assert m.roughness_texture.shape == m.metallic_texture.shape == (128, 128)
    for texture, value in ((m.base_color_texture, PLAIN.base_color), (m.roughness_texture, 0.8),
                           (m.metallic_texture, 0.25)):
        np.testing.assert_allclose(texture, np.broadcast_to(np.float32(value), texture.shape))


def test_textures_keep_their_mean_and_their_sides(tmp_path) -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[:, 256:] = 255
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    thing = things.read_thing(write(tmp_path, gltf(material=material, images=(embedded(picture),))))
    texture = thing.parts[0].material.base_color_texture
    assert texture.shape == (256, 256, 3)
    assert texture[:, :128].max() < 0.01 < 0.99 < texture[:, 128:].min()


@pytest.mark.parametrize("changes", [{"opacity": 0.5}, {"transmission": 1.0}, {"emission": (1.0, 0.0, 0.0)},
                                     {"opacity_texture": np.ones((4, 4), np.float32)},
                                     {"emission_texture": np.ones((4, 4, 3), np.float32)}])
def test_glass_holes_and_lamps_are_refused(changes) -> None:
    assert things.is_plain(PLAIN) and not things.is_plain(replace(PLAIN, **changes))


def test_a_lamp_file_is_left_out(tmp_path) -> None:
    assert things.read_thing(write(tmp_path, gltf(material={"emissiveFactor": [1, 1, 1]}))) is None


def test_tint_changes_the_share_of_parts_that_is_asked_for() -> None:
    asset = Asset(tuple(things.plain(p) for p in simple_asset("box", PLAIN).parts) * 40)
    rng = np.random.default_rng(0)
    assert all(a is b for a, b in zip(things.tinted(rng, asset, 0.0).parts, asset.parts, strict=True))
    changed = [a is not b for a, b in zip(things.tinted(rng, asset, 0.5).parts, asset.parts, strict=True)]
    assert 10 < sum(changed) < 30
    colours = [p.material.base_color_texture for p in things.tinted(rng, asset, 1.0).parts]
    assert all(0 <= c.min() and c.max() <= 0.9 for c in colours) and np.std([c.mean() for c in colours]) > 0.05


def test_upright_things_are_preferred() -> None:
    def box(height: float) -> Asset:
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, height) for z in (0, 1)], np.float32)
        return Asset((Part("box", corners, np.array([[0, 1, 2]], np.uint32)),))

    flat, tall = box(0.01), box(5.0)
    assert things.upright(flat) == 0.25 and things.upright(tall) == 2.0 and things.upright(box(1.5)) == 1.5
    rng = np.random.default_rng(0)
    first = [things.choose(rng, [flat, tall], 1)[0] is tall for _ in range(400)]
    assert np.mean(first) == pytest.approx(8 / 9, abs=0.05)
    assert {id(t) for t in things.choose(rng, [flat, tall], 2)} == {id(flat), id(tall)}
    assert len(things.choose(rng, [flat, tall], 5)) == 5
