"""The transport renderer against the path tracer, and the physics that both must obey."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dipir.errors import RenderError
from dipir.image import latlong
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.assets.asset import Material
from dipir.scene.light import SphericalGaussians
from dipir.scene.source import Source
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sphere_scene, sunny

RUNS = 6


def two_objects(material: str):
    """A sphere beside a green box: interreflection and mutual shadows."""
    box = simple_asset("box", Material(base_color=(0.15, 0.6, 0.2), roughness=0.6))
    return scene_of(placed(simple_asset("sphere", MATERIALS[material]), x=-0.2, name="s"),
                    placed(box, x=0.5, z=3.1, name="b"))


def environments() -> dict[str, torch.Tensor]:
    noise = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(3)) ** 4 * 3
    return {"noise": noise, "sun": sunny((0.6, 0.5, -0.6))}


@pytest.mark.parametrize("material", list(MATERIALS))
def test_transport_agrees_with_path_tracer(material):
    """Welch's test on every pixel over independent runs of both renderers: as many small p-values as chance allows."""
    scene = two_objects(material)
    tracer = PathTracer(scene, settings=RenderSettings(depth=4), gbuffer_samples=64)
    maps = [Transport.record(scene, settings=TransportSettings(samples=8, seed=s)) for s in range(RUNS)]
    # Coverage of the pixels that the horizon crosses depends on the camera samples; it is no matter of light.
    whole = (tracer.gbuffers.ground == 1).flatten()
    for name, env in environments().items():
        ours = [m.passes(env) for m in maps]
        theirs = [tracer.passes(env, seed=100 + s, spp=64) for s in range(RUNS)]
        for field in ("object_rgb", "ground_shadowed"):
            a, b = (torch.stack([getattr(p, field)[0] for p in runs]).mean(1).reshape(RUNS, -1)[:, whole].numpy()
                    for runs in (ours, theirs))
            seen = (a.std(0) > 1e-7) & (b.std(0) > 1e-7)
            p = stats.ttest_ind(a[:, seen], b[:, seen], equal_var=False).pvalue
            assert seen.sum() > 40
            assert (p < 0.01).mean() < 0.05, f"{material}/{name}/{field}: {(p < 0.01).mean():.3f} of pixels differ"
            total = stats.ttest_ind(a.sum(1), b.sum(1), equal_var=False).pvalue
            gap = abs(a.sum() - b.sum()) / b.sum()
            assert total > 1e-3 or gap < 0.004, f"{material}/{name}/{field}: sums differ by {gap:.4f}"


def test_linear_in_light():
    transport = Transport.record(sphere_scene("glossy"), settings=TransportSettings(samples=4))
    a, b = environments().values()
    both, one, two = (transport.passes(e) for e in (a + 2 * b, a, b))
    for field in ("object_rgb", "ground_lit", "ground_shadowed"):
        torch.testing.assert_close(getattr(both, field), getattr(one, field) + 2 * getattr(two, field),
                                   rtol=1e-4, atol=1e-5)


def burley_albedo(cosine: float, roughness: float, count: int = 300) -> float:
    """Light that a white surface sends towards a viewer at ``cosine`` under a sky of 1: Burley's diffuse term (2012,
    section 5.3) integrated over the hemisphere by the midpoint rule."""
    steps = (np.arange(count) + 0.5) / count
    light, azimuth = np.meshgrid(steps, steps * 2 * np.pi, indexing="ij")
    between = light * cosine + np.sqrt((1 - light**2) * (1 - cosine**2)) * np.cos(azimuth)
    grazing = 0.5 + 2 * roughness * (1 + between) / 2 - 1
    return float(((1 + grazing * (1 - light) ** 5) * (1 + grazing * (1 - cosine) ** 5) * light).mean() * 2)


@pytest.mark.parametrize("renderer", ["transport", "path"])
@pytest.mark.parametrize("metallic, roughness", [(1.0, 0.05), (0.0, 0.5), (0.0, 1.0)])
def test_white_furnace(renderer, metallic, roughness):
    """Under a sky of 1 a smooth white metal reflects 1, and a white diffuse sphere what Burley's term integrates to at
    the angles that the camera sees (its specular part, 0.08 % at normal incidence, adds less than 0.005)."""
    material = Material(base_color=(1, 1, 1), roughness=roughness, specular=0.01, metallic=metallic)
    scene, env = scene_of(placed(simple_asset("sphere", material))), torch.ones(16, 32, 3)
    passes = (Transport.record(scene, settings=TransportSettings(samples=8)).passes(env) if renderer == "transport"
              else PathTracer(scene).passes(env, spp=256))
    inside, g = passes.alpha[0, 0] > 0.999, passes.gbuffers
    towards = torch.from_numpy(scene.camera.position).float()[None, :, None, None] - g.position
    cosines = (torch.nn.functional.normalize(towards, dim=1) * g.normal).sum(1)[0][inside].tolist()
    wanted = 1.0 if metallic else np.mean([burley_albedo(c, roughness) for c in cosines])
    found = float(passes.object_rgb[0][:, inside].mean())
    assert wanted - 0.004 < found < wanted + 0.005


def test_shadow_ratio_bounds_and_identity():
    scene = sphere_scene(size=32)
    transport = Transport.record(scene)
    passes = transport.passes(sunny((0.5, 0.6, -0.5)))
    ratio = passes.shadow_ratio
    assert ratio.min() >= 0 and ratio.max() <= 1 and ratio.min() < 0.35
    touched = torch.zeros(32 * 32, dtype=torch.bool)
    touched[transport.shadow_pixels] = True
    assert (ratio[0].reshape(3, -1)[:, ~touched] == 1).all()
    assert 0 < len(transport.shadow_pixels) < 32 * 32


def test_shadow_lies_opposite_to_the_sun():
    transport = Transport.record(sphere_scene(size=32))
    for x, side in ((0.8, "right"), (-0.8, "left")):
        dark = 1 - transport.passes(sunny((x, 0.5, 0.0))).shadow_ratio[0].mean(0)
        # +X is the picture's left: a sun there throws the shadow to the right.
        centre = float((dark.sum(0) * torch.arange(32)).sum() / dark.sum())
        assert (centre > 17) == (side == "right")


def test_turning_light_equals_turning_everything():
    """Light turned by a quarter lights a sphere in front of the camera as a camera turned the other way would see
    it."""
    transport = Transport.record(sphere_scene(size=24), settings=TransportSettings(samples=16))
    env = sunny((0.0, 0.7, -0.7))
    left, right = (transport.passes(latlong.rotate_yaw(env, a)).object_rgb for a in (60.0, -60.0))
    assert (left - right.flip(-1)).abs().mean() < 0.04 * left.mean()


@pytest.mark.parametrize("sigma", [0.011, 0.05, 0.2, 0.8])
def test_no_energy_lost_at_any_sharpness(sigma):
    """The irradiance on the ground of a lobe from above equals the closed form within the texels' angle."""
    transport = Transport.record(sphere_scene(size=16))
    light = SphericalGaussians.of(torch.tensor([[0.0, 1.0, 0.0]]), torch.ones(1, 3), torch.tensor([sigma]))
    lit = float(transport.passes(light.envmap(16, 32)).ground_lit.amax())
    cos = np.linspace(0, 1, 200001)
    density = np.exp((cos - 1) / sigma**2) * cos
    assert abs(lit / (2 * np.trapezoid(density, cos)) - 1) < 0.03


def test_gradient_is_exact():
    """float64-free check: the product is linear, so a directional difference is the derivative up to rounding."""
    transport = Transport.record(sphere_scene("metal"), settings=TransportSettings(samples=2))
    env = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    def loss(e):
        return ((transport.passes(e).object_rgb * weight).sum()
                          + (transport.passes(e).ground_shadowed * weight).sum())
    (gradient,) = torch.autograd.grad(loss(env), env)
    direction = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        difference = loss(env + direction) - loss(env)
    assert abs(float((gradient * direction).sum() / difference) - 1) < 1e-4


def test_half_precision_is_close():
    scene, env = sphere_scene("metal"), sunny((0.3, 0.8, -0.4))
    full = Transport.record(scene, settings=TransportSettings(samples=2))
    half = Transport.record(scene, settings=TransportSettings(samples=2, half=True))
    assert half.nbytes < 0.6 * full.nbytes
    torch.testing.assert_close(half.passes(env).object_rgb, full.passes(env).object_rgb, rtol=0.03, atol=0.02)


def test_emission_is_added_and_survives_darkness():
    asset = simple_asset("sphere", Material(base_color=(0.5, 0.5, 0.5), emission=(0.3, 0.6, 0.9)))
    passes = Transport.record(scene_of(placed(asset))).passes(torch.full((16, 32, 3), 1e-6))
    inside = passes.alpha[0, 0] > 0.999
    torch.testing.assert_close(passes.object_rgb[0][:, inside].mean(1), torch.tensor([0.3, 0.6, 0.9]),
                               rtol=0.02, atol=0.01)


def test_cut_outs_let_light_through():
    """A card whose opacity texture is half open casts about half of the shadow of a closed one."""
    hole = np.zeros((64, 64), np.float32)
    hole[:, :32] = 1
    env = sunny((0.0, 0.6, -0.8))
    dark = []
    for texture in (None, hole):
        card = simple_asset("plane_card", Material(opacity_texture=texture))
        passes = Transport.record(scene_of(placed(card, yaw_rad=0.0), size=32)).passes(env)
        dark.append((float((1 - passes.shadow_ratio).sum()), float(passes.alpha.sum())))
    assert 0.35 < dark[1][0] / dark[0][0] < 0.65 and 0.4 < dark[1][1] / dark[0][1] < 0.6


def test_compact_shows_the_same():
    transport = Transport.record(two_objects("glossy"), settings=TransportSettings(samples=4))
    small = transport.compact()
    assert small.nbytes < transport.nbytes and len(small.shadow_pixels) <= len(transport.shadow_pixels)
    for env in environments().values():
        ours, theirs = small.passes(env), transport.passes(env)
        torch.testing.assert_close(ours.object_rgb, theirs.object_rgb)
        assert float((ours.shadow_ratio - theirs.shadow_ratio).abs().max()) < 0.02
    same = transport.compact(dense=transport.blocked.numel())
    assert same.blocked.layout == torch.strided and torch.equal(same.shadow_pixels, small.shadow_pixels)
    torch.testing.assert_close(same.passes(env).ground_shadowed, small.passes(env).ground_shadowed)
    even = torch.ones(16, 32, 3)
    assert float((small.passes(even).shadow_ratio - transport.passes(even).shadow_ratio).abs().max()) <= 0.00101


@pytest.mark.parametrize("opacity", [0.3, 0.7])
def test_translucent_objects_are_as_much_there_as_they_are_opaque(opacity):
    """Coverage and premultiplied colour of a thin card under an even sky: a closed card's times its opacity."""
    cards = [placed(simple_asset("plane_card", Material(opacity=o)), yaw_rad=0.0) for o in (1.0, opacity)]
    dense, thin = (Transport.record(scene_of(one, size=32), settings=TransportSettings(samples=32)).passes(
        torch.ones(16, 32, 3)) for one in cards)
    assert float(thin.alpha.sum() / dense.alpha.sum()) == pytest.approx(opacity, rel=0.05)
    assert float(thin.object_rgb.sum() / dense.object_rgb.sum()) == pytest.approx(opacity, rel=0.05)


def a_sun(sigma: float = 0.0023) -> Source:
    return Source(torch.nn.functional.normalize(torch.tensor([-0.6, 0.66, -0.5]), dim=0), torch.tensor([3.0, 2.5, 2.0]),
                  sigma)


@pytest.mark.parametrize("material", list(MATERIALS))
def test_the_column_of_a_sun_is_what_the_path_tracer_shows_under_it(material):
    """A sun of half a degree beside an even sky, in a map of 0.18 degrees: object, interreflection and shadow."""
    scene, sun, sky = two_objects(material), a_sun(), torch.full((16, 32, 3), 0.3)
    got = Transport.record(scene, settings=TransportSettings(samples=32), source=sun).passes(
        sky, irradiance=sun.irradiance)
    fine = torch.full((1024, 2048, 3), 0.3) + sun.lobe().envmap(1024, 2048)
    want = PathTracer(scene, settings=RenderSettings(depth=4), gbuffer_samples=64).passes(fine, spp=1024)
    torch.testing.assert_close(got.object_rgb.mean((2, 3)), want.object_rgb.mean((2, 3)), rtol=0.008, atol=0)
    # A highlight of the metal is eight times as bright as white and a pixel wide.
    gap = got.object_rgb.clamp_max(1) - want.object_rgb.clamp_max(1)
    assert float(gap.square().mean().sqrt()) < 0.015
    assert float((got.shadow_ratio - want.shadow_ratio).square().mean().sqrt()) < 0.03
    ground = got.gbuffers.ground > 0.99
    lit = sun.irradiance * sun.direction[1] / torch.pi + 0.3
    for channel in range(3):
        for passes in (got, want):
            assert float(passes.ground_lit[:, channel:channel + 1][ground].mean()) == pytest.approx(
                float(lit[channel]), rel=2e-3)


def test_the_column_is_linear_in_the_irradiance_and_carries_a_gradient():
    sun, dark = a_sun(), torch.zeros(16, 32, 3)
    transport = Transport.record(sphere_scene(), settings=TransportSettings(samples=2), source=sun)
    one = transport.passes(dark, irradiance=torch.ones(3))
    strength = torch.tensor([2.0, 3.0, 0.5], requires_grad=True)
    more = transport.passes(dark, irradiance=strength)
    torch.testing.assert_close(more.object_rgb, one.object_rgb * strength[None, :, None, None])
    torch.testing.assert_close(more.ground_shadowed, one.ground_shadowed * strength[None, :, None, None])
    more.object_rgb.sum().backward()
    torch.testing.assert_close(strength.grad, one.object_rgb.sum((0, 2, 3)))
    assert float(one.shadow_ratio.min()) == 0 and float(one.shadow_ratio.max()) == 1


def test_the_columns_shadow_is_sharper_than_a_texels():
    """Pixels that are half in shadow: along the edge alone under the disc, over a broad seam under its texel."""
    scene, sun = sphere_scene(size=64), a_sun()
    transport = Transport.record(scene, settings=TransportSettings(samples=8), source=sun)
    sharp = transport.passes(torch.zeros(16, 32, 3), irradiance=sun.irradiance).shadow_ratio[0, 0]
    blurred = transport.passes(sun.lobe().envmap(16, 32)).shadow_ratio[0, 0]
    def between(r):
        return int(((r > 0.1) & (r < 0.9)).sum())
    assert between(sharp) < 0.65 * between(blurred)
    assert float((sharp - transport.column.shade(64 * 64).neg().add(1).reshape(64, 64)).abs().max()) < 1e-5


def test_a_sun_without_its_column_is_refused():
    with pytest.raises(RenderError, match="not recorded"):
        Transport.record(sphere_scene()).passes(torch.ones(16, 32, 3), irradiance=torch.ones(3))
