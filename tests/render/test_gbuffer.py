"""The rectangle of the objects: it holds all of them, stays in the picture, and rendering it is rendering the whole."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.render.backend import mitsuba
from dipir.render.gbuffer import PixelBox, _lookup
from dipir.render.mitsuba_scene import build, material_dict
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Material, Sampling
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sphere_scene, sunny

SPHERE = simple_asset("sphere", MATERIALS["glossy"])


@pytest.mark.parametrize("x, z, height", [(0, 3, 0.8), (-0.9, 3, 0.8), (0.7, 2.2, 1.2), (0, 8, 0.5), (0, 1.2, 2.0)])
def test_everything_that_is_seen_lies_inside(x, z, height):
    scene = scene_of(placed(SPHERE, x=x, z=z, height_m=height), size=160)
    region = PixelBox.of_objects(build(scene), scene.camera)
    alpha = PathTracer(scene, gbuffer_samples=16).gbuffers.alpha
    outside = alpha.clone()
    region.cut(outside).zero_()
    assert float(alpha.max()) > 0.9 and float(outside.max()) == 0
    assert 0 <= region.x0 and region.x0 + region.width <= 160 and 0 <= region.y0 and region.y0 + region.height <= 160


def test_behind_the_camera_all_and_out_of_view_little():
    around = scene_of(placed(SPHERE, z=0.2, height_m=3.0), size=64)
    assert PixelBox.of_objects(build(around), around.camera) == PixelBox(0, 0, 64, 64, (64, 64))
    aside = scene_of(placed(SPHERE, x=30.0), size=64)
    region = PixelBox.of_objects(build(aside), aside.camera)
    assert region.width * region.height < 64 * 64


def test_the_part_is_what_the_whole_shows():
    """The same light on the object, whether its rectangle or the whole picture is rendered, up to noise."""
    scene, env = scene_of(placed(SPHERE, x=0.3), size=96), sunny((0.5, 0.6, -0.6))
    part, whole = (PathTracer(scene, settings=RenderSettings(256), gbuffer_samples=1) for _ in range(2))
    assert part.region.width < 96
    whole.region = PixelBox(0, 0, 96, 96, (96, 96))
    from dipir.render.mitsuba_scene import sensor_dict

    whole._sensor = mitsuba().load_dict(sensor_dict(scene.camera, 256))
    (a, alpha_a), (b, alpha_b) = (t.object_pass(env, seed=4, spp=256) for t in (part, whole))
    assert float((alpha_a - alpha_b).abs().max()) < 0.06 and float((a - b).abs().mean()) < 0.002
    assert abs(float(a.sum() / b.sum()) - 1) < 0.003


def test_pixels_paste_and_cut():
    region = PixelBox(3, 2, 4, 5, (12, 9))
    picture = torch.arange(9 * 12.0).reshape(1, 1, 9, 12)
    assert torch.equal(region.cut(picture).flatten(), picture.flatten()[region.pixels(torch.device("cpu"))])
    pasted = region.paste(region.cut(picture))
    assert torch.equal(region.cut(pasted), region.cut(picture)) and float(pasted.sum()) == float(
        region.cut(picture).sum())
    camera = scene_of(placed(SPHERE), size=32).camera
    seen = PixelBox(5, 6, 7, 8, (32, 32)).camera(camera)
    assert np.allclose(seen.directions(), camera.directions()[6:14, 5:12])


def test_gbuffers_of_a_sphere():
    scene = sphere_scene(size=48)
    g = PathTracer(scene).gbuffers
    row, col = [int(v) for v in (g.alpha[0, 0] > 0.99).nonzero().float().mean(0).round()]
    centre = np.array([0, 0.4, 3.0])
    distance = np.linalg.norm(centre - scene.camera.position)
    assert float(g.depth[0, 0, row, col]) == pytest.approx(distance - 0.4, abs=0.05)
    towards = torch.tensor((scene.camera.position - centre) / distance, dtype=torch.float32)
    assert float(g.normal[0, :, row, col] @ towards) > 0.97
    torch.testing.assert_close(g.albedo[0, :, row, col], torch.tensor([0.7, 0.4, 0.2]), atol=1e-4, rtol=0)
    assert float(g.roughness[0, 0, row, col]) == pytest.approx(0.8, abs=1e-4) and int(g.object_id[0, 0, row, col]) == 1
    assert (g.object_id[g.alpha == 0] == 0).all() and (g.ground[0, 0, -1] == 1).all()


MOVES = [(1.0, 0, 0, 0, 1, 0), (2.0, 0, 0.1, 0, 3, -0.4), (0.0, 1.5, 0.2, -1.5, 0, 0.3)]


@pytest.mark.parametrize("matrix", MOVES)
@pytest.mark.parametrize("wrap", ["repeat", "mirror", "clamp"])
@pytest.mark.parametrize("nearest", [False, True])
def test_textures_are_looked_up_as_the_renderer_does(matrix, wrap, nearest):
    """Base colour and roughness at random UVs, inside and beyond [0, 1]: the renderer's own bitmaps are the oracle."""
    import drjit as dr

    rng = np.random.default_rng(0)
    material = Material(base_color_texture=rng.random((5, 7, 3), np.float32),
                        roughness_texture=rng.uniform(0.05, 1, (4, 3)).astype(np.float32),
                        sampling=(("base_color", Sampling(wrap, nearest, matrix)),))
    uv = rng.uniform(-2.2, 3.1, (400, 2)).astype(np.float32)
    mi = mitsuba()
    si = dr.zeros(mi.SurfaceInteraction3f, len(uv))
    si.uv = mi.Point2f(mi.Float(uv[:, 0]), mi.Float(uv[:, 1]))
    bsdf = material_dict(material, True)["bsdf"]
    color = np.array(mi.load_dict(bsdf["base_color"]).eval(si)).T
    rough = np.array(mi.load_dict(bsdf["roughness"]).eval_1(si))
    ours = _lookup(material, torch.from_numpy(uv), True).numpy()
    close = np.isclose(ours[:, :3], color, atol=2e-4).all(1)
    # Where the nearest texel changes, rounding may decide for the other.
    assert close.mean() > (0.99 if nearest else 0.9999) and np.allclose(ours[:, 3], rough, atol=1e-4)
