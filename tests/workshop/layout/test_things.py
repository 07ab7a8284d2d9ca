"""Things of the layout pictures: whole, and each like itself alone."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.priors.captions import MATERIALS, SHAPES
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from dipir.workshop.layout.things import BASE, random_yaw, thing


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("material", MATERIALS)
def test_things_are_whole(shape, material):
    for seed in range(3):
        part, = thing(np.random.default_rng(seed), shape, material).parts
        assert part.vertices[:, 1].min() == pytest.approx(0, abs=1e-6) and signed_volume(part.vertices, part.faces) > 0
        middle = (part.vertices.min(0) + part.vertices.max(0)) / 2
        assert middle[[0, 2]] == pytest.approx([0, 0], abs=1e-5)
        assert np.linalg.norm(part.normals, axis=1) == pytest.approx(np.ones(len(part.normals)), abs=1e-5)
        outwards = (unit(face_cross(part.vertices, part.faces))[:, None] * part.normals[part.faces]).sum(-1)
        assert np.quantile(outwards, 0.01) > 0.5  # Shading follows the surface, bulging sides too.
        again, = thing(np.random.default_rng(seed), shape, material).parts
        assert np.array_equal(part.vertices, again.vertices) and part.material.roughness == again.material.roughness


def test_materials_differ_in_what_they_are_known_by():
    made = {word: [thing(np.random.default_rng(s), "sphere", word).parts[0].material for s in range(20)]
            for word in MATERIALS}
    assert all(m.base_color == (BASE,) * 3 and m.base_color_texture is None for row in made.values() for m in row)
    assert min(m.roughness for m in made["matte"]) > 3 * max(m.roughness for m in made["shiny"])
    assert min(m.specular for m in made["shiny"]) > max(m.specular for m in made["matte"])
    assert {m.metallic for m in made["metal"]} == {1.0} and max(m.metallic for m in made["shiny"]) < 0.01
    assert all((m.normal_texture is not None) == (word == "metal") for word, row in made.items() for m in row)


def test_shapes_by_their_proportions():
    """Width and height at the middle and near the top of each, from points of their surfaces."""
    def size(name, seed):
        return np.ptp(thing(np.random.default_rng(seed), name, "matte").parts[0].vertices, axis=0)
    for seed in range(12):
        x, y, z = size("cube", seed)
        assert max(x, y, z) / min(x, y, z) < 1.15
        assert np.allclose(size("sphere", seed), 1, atol=0.02)
        x, y, z = size("bottle", seed)
        assert y > 2 * x and x == pytest.approx(z, rel=0.02)
        x, y, z = size("mug", seed)
        assert 1.15 < x / z < 1.6  # The handle.
        x, y, z = size("chair", seed)
        assert y > 1.25 * max(x, z)
    lying = sum(size("torus", seed)[1] < 0.5 * size("torus", seed)[0] for seed in range(40))
    assert 15 < lying < 36


def test_shapes_show_what_they_are_known_by():
    yaw = {name: np.array([random_yaw(np.random.default_rng(s), name) for s in range(300)]) for name in SHAPES}
    for name in ("mug", "torus"):
        assert np.abs(np.cos(yaw[name])).min() > 0.69 and len(set(np.sign(np.cos(yaw[name])))) == 2
    assert (np.abs(np.cos(yaw["cylinder"])) > 0.5).all()
    assert (np.abs(np.sin(2 * yaw["cube"])) > 0.38).all() and np.ptp(yaw["cube"]) > 5.5
    assert (np.cos(yaw["chair"]) > -0.91).all() and np.cos(yaw["chair"]).min() < -0.8
    for name in ("sphere", "cone", "bottle"):
        assert np.abs(np.mean(np.exp(1j * yaw[name]))) < 0.15 and np.ptp(yaw[name]) > 6
    # A mug's handle is on its +X side.
    part, = thing(np.random.default_rng(0), "mug", "matte").parts
    reach = np.array([part.vertices[:, 0].max(), -part.vertices[:, 0].min()])
    assert np.abs(part.vertices[part.vertices[:, 0] > 0.9 * reach[0], 2]).max() < 0.12
    assert np.abs(part.vertices[part.vertices[:, 0] < -0.9 * reach[1], 2]).max() > 0.12
