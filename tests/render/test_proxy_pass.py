"""The shadow's estimate: unbiased by another estimator, exact in an umbra."""
from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from dipir.image import latlong
from dipir.render.mitsuba_scene import build
from dipir.render.path_traced import PathTracer
from dipir.scene.assets.asset import Part
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sunny

RUNS = 12
SKY = sunny((0.5, 0.6, -0.6), peak=0.0) + 0.2


def things(size: int = 24):
    sphere, box = (simple_asset(kind, MATERIALS["diffuse"]) for kind in ("sphere", "box"))
    return scene_of(placed(sphere, x=-0.5), placed(box, x=0.5, z=3.2, name="b"), size=size)


def by_brute_force(scene, env: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """(3, H, W): light that arrives, by cosine samples of the hemisphere and the camera's own rays: another estimator
    and other code than the renderer's."""
    import drjit as dr

    from dipir.render.backend import mitsuba
    from dipir.render.bridge import columns
    from dipir.render.rays import camera_ray, offset_origin, pixel_position, proxy_hit

    mi, built, camera = mitsuba(), build(scene), scene.camera
    pixels = camera.width * camera.height
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(seed, pixels * count)
    pixel = dr.arange(mi.UInt32, pixels * count) // count
    jitter = sampler.next_2d()
    valid, point, normal = proxy_hit(built, camera, camera_ray(camera, *pixel_position(camera, pixel, jitter.x,
                                                                                       jitter.y)))
    local = mi.warp.square_to_cosine_hemisphere(sampler.next_2d())
    direction = mi.Frame3f(normal).to_world(local)
    blocked = built.objects.ray_test(mi.Ray3f(offset_origin(point, normal, built.radius), direction), valid)
    seen = columns(direction, 3)
    light = latlong.sample(env, torch.nn.functional.normalize(seen, dim=1))
    free = columns(mi.Vector3f(dr.select(valid & ~blocked, mi.Float(1), mi.Float(0))), 3)
    return (light * free).reshape(camera.height, camera.width, count, 3).mean(2).permute(2, 0, 1)


def test_shadowed_light_is_that_of_another_estimator():
    """Welch's test on every pixel: as many small p-values as chance allows."""
    scene, env = things(), SKY.repeat_interleave(4, 0).repeat_interleave(4, 1)
    tracer = PathTracer(scene, gbuffer_samples=64)
    whole = (tracer.gbuffers.ground == 1).flatten().numpy()
    ours = torch.stack([tracer.passes(env, seed=s, spp=64).ground_shadowed[0] for s in range(RUNS)])
    theirs = torch.stack([by_brute_force(scene, env, 1024, 50 + s) for s in range(RUNS)])
    a, b = (x.mean(1).reshape(RUNS, -1).numpy()[:, whole] for x in (ours, theirs))
    # Below lies the rounding of a ratio.
    moves = a.std(0) > 1e-6
    p = stats.ttest_ind(a[:, moves], b[:, moves], equal_var=False).pvalue
    assert moves.sum() > 200 and (p < 0.01).mean() < 0.03
    assert abs(a[:, moves].sum() / b[:, moves].sum() - 1) < 0.003


def test_an_umbra_has_no_noise():
    """A slab over the ground: what it hides wholly is 0 exactly, with few samples."""
    roof = Part("roof", *_quad(3.0, 0.3))
    from dipir.scene.assets.asset import Asset
    from dipir.scene.proxy import PlacedAsset

    scene = scene_of(PlacedAsset(Asset((roof,)), np.eye(4), "roof"), size=24)
    sun = torch.zeros(64, 128, 3)
    sun[0:2] = 50.0
    ratio = PathTracer(scene, gbuffer_samples=1).passes(sun + 1e-6, spp=4).shadow_ratio
    assert float(ratio[0, :, 20:, 8:16].max()) < 1e-3


def _quad(size: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    v = np.array([[-size, y, -1], [size, y, -1], [size, y, 5], [-size, y, 5]], np.float32)
    return v, np.array([[0, 2, 1], [0, 3, 2]], np.uint32)
