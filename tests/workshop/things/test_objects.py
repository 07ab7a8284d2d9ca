import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.assets.asset import Material
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from dipir.workshop.things.objects import KINDS, random_asset, random_of_kind, simple_asset


def _closed(part):
    """Every edge, by position, is used as often in one direction as in the other."""
    _, place = np.unique(np.round(part.vertices * 1e5).astype(int), axis=0, return_inverse=True)
    f = place.reshape(-1)[part.faces]
    f = f[(f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])]
    edges = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]])
    forward, counts = np.unique(edges, axis=0, return_counts=True)
    backward, back_counts = np.unique(edges[:, ::-1], axis=0, return_counts=True)
    return np.array_equal(forward, backward) and np.array_equal(counts, back_counts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_closed_outward_mesh_of_one_metre(kind):
    for seed in range(3):
        asset = random_of_kind(kind, seed)
        low, high = asset.bounds
        assert low[1] == pytest.approx(0, abs=1e-6) and high[1] == pytest.approx(1, abs=1e-5)
        assert low[[0, 2]] == pytest.approx(-high[[0, 2]], abs=1e-5)
        assert 0.29 < (high - low)[[0, 2]].max() < 3.01
        assert sum(len(p.faces) for p in asset.parts) <= 4000
        for part in asset.parts:
            assert part.vertices.dtype == part.normals.dtype == part.uvs.dtype == np.float32
            assert part.faces.dtype == np.uint32 and part.faces.max() < len(part.vertices)
            assert _closed(part)
            assert signed_volume(part.vertices, part.faces) > 0
            assert np.linalg.norm(part.normals, axis=1) == pytest.approx(1, abs=1e-4)
            agree = unit(face_cross(part.vertices, part.faces))[:, None] * part.normals[part.faces]
            assert agree.sum(-1).min() > 0.3
            assert part.uvs.min() > -1e-6 and part.uvs.max() < 1 + 1e-6


def test_same_seed_same_bytes_and_other_seed_other_object():
    a, b, c = random_asset(11), random_asset(11), random_asset(12)
    assert all(np.array_equal(p.vertices, q.vertices) and p.material.roughness == q.material.roughness
               for p, q in zip(a.parts, b.parts, strict=True))
    assert not np.array_equal(a.parts[0].vertices, c.parts[0].vertices)


def test_detail_scales_triangles():
    assert len(random_of_kind("vase", 0, 0.5).parts[0].faces) < 0.7 * len(random_of_kind("vase", 0).parts[0].faces)


def test_smooth_and_sharp_normals():
    sphere = simple_asset("sphere").parts[0]
    radial = unit(sphere.vertices - np.array([0, 0.5, 0]))
    assert (radial * sphere.normals).sum(1).min() > 0.999
    box = simple_asset("box").parts[0]
    assert len(box.vertices) == 24 and np.abs(box.normals).max(1) == pytest.approx(1)


def test_plane_card_faces_the_default_camera():
    card = simple_asset("plane_card", Material(roughness=0.3)).parts[0]
    assert unit(face_cross(card.vertices, card.faces)) == pytest.approx(np.tile([0, 0, -1], (2, 1)))
    assert card.material.roughness == 0.3
    # A camera that looks along +Z has +X on its left, where the texture begins.
    assert card.uvs[card.vertices[:, 0] > 0, 0].max() == 0


def test_torus_stands_and_unknown_kinds_are_named():
    low, high = simple_asset("torus").bounds
    assert (high - low)[2] < 0.5 * (high - low)[0]
    with pytest.raises(AssetError, match="Did you mean 'sphere'"):
        simple_asset("spere")
    with pytest.raises(AssetError, match="Did you mean 'torus'"):
        random_of_kind("toruss", 0)
