"""Gradients of the path tracer against finite differences; G-buffers; materials."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.errors import RenderError
from dipir.render.gbuffer import PixelBox
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Material, Part
from dipir.scene.proxy import Proxy
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sphere_scene, sunny

ENV = sunny((0.5, 0.6, -0.6), peak=20.0)
SOFT = sunny((0.5, 0.6, -0.6), peak=0.0) + torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(9))


def pixel_weight(size: int = 24) -> torch.Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(5))


def mean_over_seeds(function, count: int = 4):
    return sum(function(s) for s in range(count)) / count


def test_gradient_to_environment():
    tracer = PathTracer(sphere_scene("glossy"), gbuffer_samples=1)
    weight, direction = pixel_weight(), torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(6))

    def loss(env, seed):
        passes = tracer.passes(env, seed=seed, spp=64)
        return (passes.object_rgb * weight).sum() + (passes.ground_shadowed * weight).sum()

    def slope(seed):
        env = ENV.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(env, seed), env)
        return float((g * direction).sum())

    with torch.no_grad():
        difference = mean_over_seeds(lambda s: float(loss(ENV + direction, s) - loss(ENV - direction, s)) / 2)
    assert mean_over_seeds(slope) == pytest.approx(difference, rel=0.03)


# (texture?, parameter, step): values and textures of each differentiable material parameter.
CASES = [(False, "base_color", 0.05), (False, "roughness", 0.04), (False, "metallic", 0.1), (True, "base_color", 0.05),
         (True, "roughness", 0.04)]


@pytest.mark.parametrize("textured, name, step", CASES)
def test_gradient_to_material(textured, name, step):
    grid = np.random.default_rng(1).random((8, 8)).astype(np.float32)
    material = Material(base_color=(0.5, 0.4, 0.3), roughness=0.5, metallic=0.4,
                        base_color_texture=np.repeat(grid[..., None], 3, 2) * 0.6 + 0.2 if textured else None,
                        roughness_texture=grid * 0.4 + 0.3 if textured else None)
    tracer = PathTracer(scene_of(placed(simple_asset("sphere", material))), settings=RenderSettings(depth=3),
                        gbuffer_samples=1)
    (value_of,) = [n for n in tracer.material_names() if n.kind == name]
    key, start, weight = value_of.key, tracer.material_start(value_of), pixel_weight()

    def loss(value, seed):
        return (tracer.object_pass(SOFT, seed=seed, spp=512, materials={key: value})[0] * weight).sum()

    def slope(seed):
        value = start.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss(value, seed), value)
        return float(g.sum())

    with torch.no_grad():
        difference = mean_over_seeds(lambda s: float(loss(start + step, s) - loss(start - step, s)) / (2 * step))
    assert mean_over_seeds(slope) == pytest.approx(difference, rel=0.08)


def test_gradient_to_emission():
    asset = simple_asset("sphere", Material(emission=(0.4, 0.5, 0.6)))
    tracer = PathTracer(scene_of(placed(asset)), gbuffer_samples=1)
    (name,) = [n for n in tracer.material_names() if n.kind == "emission"]
    key, value = name.key, tracer.material_start(name).clone().requires_grad_()
    image, alpha = tracer.object_pass(torch.full((16, 32, 3), 1e-4), seed=1, spp=64, materials={key: value})
    (g,) = torch.autograd.grad(image.sum(), value)
    # Every covered pixel shows the emission itself (and a little of it is not reflected: the sphere is convex).
    assert float(g.mean()) == pytest.approx(float(alpha.sum()), rel=0.03)


def test_primal_is_deterministic_and_seeds_differ():
    tracer = PathTracer(sphere_scene(), gbuffer_samples=1)
    a, b, c = (tracer.passes(ENV, seed=s, spp=16).object_rgb for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_many_samples_go_in_passes(monkeypatch):
    """A render above the wavefront limit is split and averages to the same expectation."""
    from dipir.render import path_traced

    tracer = PathTracer(sphere_scene(), gbuffer_samples=1)
    whole = tracer.passes(ENV, seed=3, spp=256)
    monkeypatch.setattr(path_traced, "_WAVEFRONT", 24 * 24 * 64)
    split = tracer.passes(ENV, seed=3, spp=256)
    for field in ("object_rgb", "ground_lit"):
        a, b = getattr(whole, field), getattr(split, field)
        assert float((a - b).abs().mean() / a.mean()) < 0.12 and abs(float(a.sum() / b.sum()) - 1) < 0.01
    assert torch.equal(whole.ground_lit == 0, split.ground_lit == 0)


def test_a_given_region_is_rendered_instead_of_the_one_that_objects_reach():
    scene = sphere_scene(size=64)
    own, whole = (PathTracer(scene, gbuffer_samples=1, region=r) for r in (None, PixelBox(0, 0, 64, 64, (64, 64))))
    assert own.region.width < 64 == whole.region.width
    (rgb, alpha), (rgb_whole, alpha_whole) = (t.object_pass(SOFT, spp=256) for t in (own, whole))
    assert rgb_whole.shape == (1, 3, 64, 64)
    assert (alpha - alpha_whole).abs().max() < 0.15 and (rgb - rgb_whole).abs().mean() < 0.02
    half = PathTracer(scene, gbuffer_samples=1, region=PixelBox(0, 0, 32, 64, (64, 64)))
    assert half.object_pass(SOFT, spp=16)[1][..., 32:].max() == 0 < half.object_pass(SOFT, spp=16)[1].max()


def test_ratio_is_one_without_occluder():
    scene = scene_of(placed(simple_asset("sphere", MATERIALS["diffuse"]), z=-300.0))
    ratio = PathTracer(scene, gbuffer_samples=1).passes(ENV, spp=16).shadow_ratio
    assert (ratio == 1).all()


def test_metal_with_no_specular_is_not_black():
    """specular = 0 kills the metal lobe of Mitsuba's principled BSDF; the floor keeps it."""
    asset = simple_asset("sphere", Material(base_color=(0.8, 0.8, 0.8), metallic=1.0, specular=0.0))
    passes = PathTracer(scene_of(placed(asset)), gbuffer_samples=1).passes(torch.ones(16, 32, 3), spp=64)
    assert passes.object_rgb[0][:, passes.alpha[0, 0] > 0.99].mean() > 0.5


def test_texture_orientation_reaches_the_picture():
    """Top rows of the texture file lie at the top of an upright card, in G-buffer and render alike."""
    texture = np.zeros((32, 32, 3), np.float32)
    texture[:16] = (0.9, 0.1, 0.1)
    texture[16:] = (0.1, 0.1, 0.9)
    card = simple_asset("plane_card", Material(base_color_texture=texture, roughness=1.0))
    tracer = PathTracer(scene_of(placed(card, yaw_rad=0.0), size=32))
    passes = tracer.passes(torch.ones(16, 32, 3), spp=32)
    solid = passes.alpha[0, 0] > 0.99
    rows = solid.nonzero()[:, 0]
    middle = (rows.min() + rows.max()) // 2
    upper = solid & (torch.arange(32)[:, None] < middle - 1)
    for image in (passes.object_rgb, passes.gbuffers.albedo):
        assert image[0, 0][upper].mean() > 2 * image[0, 2][upper].mean()


def test_mesh_catcher_receives_the_shadow():
    """A raised slab as catcher: its own height is where the shadow falls, beyond its edge there is no proxy."""
    y = 0.0
    v = np.array([[-1, y, 2], [1, y, 2], [1, y, 4], [-1, y, 4]], np.float32)
    slab = Part("slab", v, np.array([[0, 2, 1], [0, 3, 2]], np.uint32))
    objects = placed(simple_asset("sphere", MATERIALS["diffuse"]))
    mesh, plane = (PathTracer(scene_of(objects, proxy=p), gbuffer_samples=64).passes(ENV, spp=64)
                   for p in (Proxy(slab), Proxy()))
    on = (mesh.gbuffers.ground[0, 0] > 0.99)
    assert 20 < on.sum() < 24 * 24 - 20
    gap = (mesh.shadow_ratio - plane.shadow_ratio)[0].mean(0)[on].abs().mean()
    assert gap < 0.04 and (mesh.shadow_ratio[0][:, ~on & (mesh.gbuffers.ground[0, 0] == 0)] == 1).all()


def test_nan_light_stops_with_a_diagnostic():
    env = ENV.clone()
    env[3, 4, 0] = float("nan")
    with pytest.raises(RenderError, match="NaN"):
        PathTracer(sphere_scene(), gbuffer_samples=1).passes(env, spp=4)


def test_unknown_material_parameter_lists_the_valid_ones():
    with pytest.raises(RenderError, match="base_color"):
        PathTracer(sphere_scene(), gbuffer_samples=1).object_pass(
            ENV, spp=4, materials={"object0_part0.nothing": torch.ones(3)})
