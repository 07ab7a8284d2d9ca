"""From the file to the pixel: textures of glTF files as G-buffers and renderer show them; layers of materials."""
from __future__ import annotations

import drjit as dr
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from dipir.render.backend import mitsuba
from dipir.render.gbuffer import record_gbuffers
from dipir.render.mitsuba_scene import build, material_dict
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Material
from dipir.scene.assets.load import load_asset
from tests.support.asset_samples import embedded, write
from tests.support.gltf_build import GltfBuilder
from tests.support.scenes import placed, scene_of
from tests.support.shared_cases import case

TEXELS = np.random.default_rng(3).integers(40, 255, (3, 4, 3))
LOW, HIGH = -1.0, 2.0  # The poster's UVs: the image three times each way.
ORDER_MODE = {(10497, 9729): (1, "grid-wrap"), (33648, 9729): (1, "reflect"), (33071, 9729): (1, "nearest"),
              (33648, 9728): (0, "reflect")}


def poster(folder, wrap, filtering):
    """An upright square of 1 m that faces the camera (its yaw is 0), textured beyond the image's edges."""
    built = GltfBuilder()
    corners = np.array([[0.5, 0, 0], [-0.5, 0, 0], [-0.5, 1, 0], [0.5, 1, 0]], "f4")
    uvs = np.array([[LOW, HIGH], [HIGH, HIGH], [HIGH, LOW], [LOW, LOW]], "f4")
    attributes = {"POSITION": built.add(corners), "TEXCOORD_0": built.add(uvs)}
    order = built.add(np.array([0, 1, 2, 0, 2, 3], "u1"))
    material = {"pbrMetallicRoughness": {"metallicFactor": 0, "baseColorTexture": {"index": 0}},
                "extensions": {"KHR_materials_specular": {"specularFactor": 0}}}
    document = built.document(
        primitive={"attributes": attributes, "indices": order, "material": 0}, materials=[material],
        images=[{"uri": embedded(TEXELS)}], textures=[{"source": 0, "sampler": 0}],
        samplers=[{"wrapS": wrap, "wrapT": wrap, "magFilter": filtering}])
    return load_asset(write(folder, document))


@pytest.mark.parametrize("wrap, filtering", list(ORDER_MODE))
def test_samplers_of_the_file_are_what_pixels_show(tmp_path, wrap, filtering):
    """scipy's interpolation of the file's own texels, at the points that each pixel sees, is the oracle; even light on
    a matte surface shows the same in the render."""
    asset = poster(tmp_path, wrap, filtering)
    scene = scene_of(placed(asset, height_m=1.0, yaw_rad=0.0), size=48)
    buffers = record_gbuffers(build(scene), scene.camera, samples=1)
    seen = buffers.alpha[0, 0].numpy() == 1
    x, y = (buffers.position[0, k].numpy()[seen] for k in (0, 1))
    # +X is the picture's left, so u grows with falling x; v grows downwards.
    u, v = LOW + (0.5 - x) * (HIGH - LOW), LOW + (1 - y) * (HIGH - LOW)
    texture = asset.parts[0].material.base_color_texture
    order, mode = ORDER_MODE[wrap, filtering]
    at = np.stack([v * texture.shape[0] - 0.5, u * texture.shape[1] - 0.5])
    expected = np.stack([map_coordinates(texture[..., k], at, order=order, mode=mode) for k in range(3)], -1)
    albedo = np.stack([buffers.albedo[0, k].numpy()[seen] for k in range(3)], -1)
    close = np.isclose(albedo, expected, atol=2e-3).all(1)
    assert seen.sum() > 300 and close.mean() > 0.99
    # ---- the render ----
    rgb, alpha = PathTracer(scene, settings=RenderSettings(64), gbuffer_samples=16).object_pass(
        torch.ones(8, 16, 3), seed=1, spp=256)
    whole = torch.from_numpy(record_gbuffers(build(scene), scene.camera, samples=64).albedo.numpy())
    inside = (alpha[0, 0] == 1).numpy()
    ratio = (rgb / whole.clamp_min(1e-3))[0, :, inside]
    assert float((ratio - ratio.mean()).abs().mean()) < 0.04 and 0.9 < float(ratio.mean()) < 1.05


def reflected(material, cosine, count=200_000):
    """Share of even light that a surface sends back, seen at an angle."""
    mi = mitsuba()
    bsdf = mi.load_dict(material_dict(material, False))
    si = dr.zeros(mi.SurfaceInteraction3f, count)
    si.wi = mi.Vector3f(float(np.sqrt(1 - cosine ** 2)), 0, float(cosine))
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(0, count)
    _, weight = bsdf.sample(mi.BSDFContext(), si, sampler.next_1d(), sampler.next_2d())
    return float(np.array(dr.mean(weight[0])).ravel()[0])


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_clear_coat_reflects_what_a_layer_of_index_1_5_does(share):
    """4 % at normal incidence (Fresnel), within a fifth of that, in proportion to its share; on black nothing else."""
    black = Material(base_color=(0, 0, 0), specular=0.01, roughness=0.5)
    coated = Material(base_color=(0, 0, 0), specular=0.01, roughness=0.5, clearcoat=share)
    assert reflected(coated, 1.0) - reflected(black, 1.0) == pytest.approx(0.04 * share, rel=0.2)


def test_sheen_shows_at_grazing_angles_only():
    plain, cloth = (Material(base_color=(0.2, 0.2, 0.2), roughness=1.0, sheen=s) for s in (0.0, 1.0))
    gain = [reflected(cloth, c) - reflected(plain, c) for c in (1.0, 0.4, 0.2)]
    assert abs(gain[0]) < 0.005 and gain[1] > 0.01 and gain[2] > gain[1]


def test_case_samplers_in_pixels():
    """Of the three boxes only the last, NEAREST, shows texels and nothing between them; the first, CLAMP, goes on with
    its edge, so there are fewer colours near its border than on the second, MIRRORED, one."""
    asset = load_asset(case("24_sampler_wrap/a.glb"))
    scene = scene_of(placed(asset, height_m=1.0, yaw_rad=0.0, z=4.0), size=96, fov_deg=60.0)
    buffers = record_gbuffers(build(scene), scene.camera, samples=1)
    albedo, x, y = buffers.albedo[0].numpy(), buffers.position[0, 0].numpy(), buffers.position[0, 1].numpy()
    front = (buffers.alpha[0, 0].numpy() == 1) & (buffers.normal[0, 2].numpy() < -0.99)
    texels = asset.parts[2].material.base_color_texture.reshape(-1, 3)

    def shown(at, part):
        return albedo[:, front & (np.abs(x - at) < 0.49) & part].T

    everywhere = np.ones_like(front)
    away = [np.linalg.norm(shown(at, everywhere)[:, None] - texels, axis=2).min(1).max() for at in (-1.25, 0, 1.25)]
    assert away[2] < 1e-3 < away[0]
    rows = np.abs(y - 0.5) < 0.15
    edge = [shown(at, rows & (np.abs(np.abs(x - at) - 0.4) < 0.09)) for at in (-1.25, 0)]
    assert len(edge[0]) > 20 and len(np.unique(edge[0].round(2), axis=0)) < len(np.unique(edge[1].round(2), axis=0))
