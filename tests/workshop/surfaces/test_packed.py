"""Meshes and pictures as bytes: what comes back, what is refused before it is decoded."""
from __future__ import annotations

import lzma
from dataclasses import replace

import numpy as np
import pytest

from dipir.scene.assets.asset import Asset, Material, Part, Sampling
from dipir.workshop.relight.scenes import TEXTURE_PX, at_common_size
from dipir.workshop.surfaces import packed
from dipir.workshop.surfaces.packed import jpeg, mesh, mesh_bytes, picture
from dipir.workshop.things.objects import simple_asset


def smooth(side: int, channels: int = 3) -> np.ndarray:
    """(side, side, C) in [0.05, 0.95], waves of another length in each channel."""
    axis = np.linspace(0, 6, side, dtype=np.float32)
    waves = [0.5 + 0.45 * np.sin((k + 1) * axis[:, None]) * np.cos(axis[None]) for k in range(channels)]
    return np.stack(waves, -1).astype(np.float32)


@pytest.fixture(scope="module")
def asset() -> Asset:
    """A textured ball and, far from the middle, a plain box without UVs, with colours of its vertices."""
    material = Material("skin", (0.3, 0.5, 0.7), 0.4, 0.2, 0.6, base_color_texture=smooth(300),
                        roughness_texture=smooth(64)[..., 0], normal_texture=smooth(TEXTURE_PX),
                        sampling=(("base_color", Sampling("mirror", True, (2.0, 0.0, 0.5, 0.0, 1.0, 0.0))),))
    ball, = simple_asset("sphere", material).parts
    ball = replace(ball, uvs=ball.uvs * 3 - 1)
    cube, = simple_asset("box", Material("plain", (0.1, 0.2, 0.3), clearcoat=0.5, sheen=0.25)).parts
    cube = replace(cube, vertices=cube.vertices * 0.1 + np.float32(3), uvs=None, normals=None,
                   colors=np.linspace(0, 1, 3 * len(cube.vertices), dtype=np.float32).reshape(-1, 3))
    return Asset((ball, cube))


@pytest.fixture(scope="module")
def back(asset) -> Asset:
    return mesh(mesh_bytes(asset))


def test_geometry_comes_back(asset, back):
    size = np.ptp(asset.bounds, axis=0).max()
    for ours, theirs in zip(asset.parts, back.parts, strict=True):
        assert ours.name == theirs.name and np.array_equal(ours.faces, theirs.faces)
        assert theirs.faces.dtype == np.uint32 and theirs.vertices.dtype == np.float32
        assert np.abs(ours.vertices - theirs.vertices).max() < 1.01 * size / 65535
    ball, cube = back.parts
    apart = (asset.parts[0].normals * ball.normals).sum(1).clip(-1, 1)
    assert np.degrees(np.arccos(apart)).max() < 0.6 and np.allclose(np.linalg.norm(ball.normals, axis=1), 1, atol=1e-5)
    assert np.abs(asset.parts[0].uvs - ball.uvs).max() < 4 / 65535
    assert cube.uvs is None and cube.normals is None and ball.colors is None
    np.testing.assert_allclose(cube.colors, asset.parts[1].colors, atol=0.006)


def test_materials_come_back_with_textures_of_the_common_size(asset, back):
    for ours, theirs in zip(asset.parts, back.parts, strict=True):
        for name in ("name", "base_color", "roughness", "metallic", "specular", "opacity", "clearcoat", "sheen",
                     "sampling", "double_sided"):
            assert getattr(ours.material, name) == getattr(theirs.material, name), name
    ours, theirs = asset.parts[0].material, back.parts[0].material
    for name in ("base_color_texture", "roughness_texture", "normal_texture"):
        wanted, got = at_common_size(getattr(ours, name), 0), getattr(theirs, name)
        assert got.shape == wanted.shape and got.dtype == np.float32 and np.abs(got - wanted).mean() < 0.01, name
    assert theirs.metallic_texture is None and back.parts[1].material.base_color_texture is None


def test_what_shines_does_not(asset):
    lamp = replace(asset.parts[1], material=Material(emission=(5.0, 5.0, 5.0)))
    assert mesh(mesh_bytes(Asset((lamp,)))).parts[0].material.emission == (0.0, 0.0, 0.0)


def test_many_vertices(asset):
    """More than two bytes count."""
    count = 70_000
    points = np.random.default_rng(0).random((count, 3)).astype(np.float32)
    faces = np.array([[0, 1, 2], [count - 1, 5, 66_000], [1, 2, count - 2]], np.uint32)
    part, = mesh(mesh_bytes(Asset((Part("cloud", points, faces),)))).parts
    assert np.array_equal(part.faces, faces) and np.abs(part.vertices - points).max() < 2e-5


@pytest.mark.parametrize("data", [b"", b"nothing", lzma.compress(b"nothing")])
def test_other_bytes_are_no_mesh(data):
    with pytest.raises(ValueError, match="no mesh"):
        mesh(data)


def test_a_mesh_that_is_cut_short_or_too_large_is_refused(asset, monkeypatch):
    data = mesh_bytes(asset)
    with pytest.raises(ValueError, match="cut short or larger"):
        mesh(data[:-100])
    # A bomb: a few bytes that become very many.
    monkeypatch.setattr(packed, "_MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match="cut short or larger"):
        mesh(lzma.compress(bytes(10_000_000)))


def test_faces_of_no_vertices_are_refused(asset):
    part = replace(asset.parts[0], faces=asset.parts[0].faces + np.uint32(3))
    with pytest.raises(ValueError, match="faces of vertices that do not exist"):
        mesh(mesh_bytes(Asset((part,))))


def test_pictures_come_back():
    for channels in (1, 3):
        code = np.squeeze((smooth(64, channels) * 255).astype(np.uint8))
        got = picture(jpeg(code, 90), 64)
        assert got.shape == code.shape and np.abs(got.astype(float) - code).mean() < 1.5


def test_pictures_of_another_size_or_kind_are_refused():
    data = jpeg(np.zeros((64, 48, 3), np.uint8), 90)
    for wanted in (64, 48):
        with pytest.raises(ValueError, match=f"wanted {wanted} x {wanted}"):
            picture(data, wanted)
    for other in (b"\x89PNG\r\n\x1a\n", jpeg((smooth(64) * 255).astype(np.uint8), 90)[:-200]):
        with pytest.raises(ValueError, match="no JPEG"):
            picture(other, 64)
