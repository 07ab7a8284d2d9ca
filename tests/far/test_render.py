"""The renderer stays on LLVM, torch is on a far device: every crossing is a copy, and the numbers are the CPU's."""
from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from dipir.device import moved
from dipir.render import denoise
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes, RenderSettings
from dipir.render.transport import Transport
from dipir.render.transport_record import TransportSettings
from dipir.scene.assets.asset import Material
from dipir.scene.proxy import Proxy
from dipir.scene.source import Source
from dipir.workshop.things.objects import simple_asset
from tests.render.test_proxy_sites import slab
from tests.support.far import far_device
from tests.support.scenes import placed, scene_of, sphere_scene, sunny

CPU = torch.device("cpu")
SUN = sunny((0.5, 0.6, -0.6))
EMISSIVE = scene_of(placed(simple_asset("sphere", Material(emission=(0.4, 0.5, 0.6), roughness=0.4))))


def assert_same(ours: Passes, theirs: Passes) -> None:
    assert ours.object_rgb.device.type == "meta"
    ours = moved(ours, CPU)
    for name in ("object_rgb", "ground_lit", "ground_shadowed"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-7)
    for field in fields(theirs.gbuffers):
        torch.testing.assert_close(getattr(ours.gbuffers, field.name), getattr(theirs.gbuffers, field.name),
                                   rtol=1e-6, atol=1e-6)


def path(scene, env) -> tuple[Passes, torch.Tensor]:
    """Passes and the gradient of their sum to the light."""
    light = env.clone().requires_grad_()
    passes = PathTracer(scene, settings=RenderSettings(depth=2), gbuffer_samples=4).passes(light, seed=3, spp=16)
    (passes.object_rgb.sum() + passes.ground_shadowed.sum()).backward()
    return moved(passes, passes.object_rgb.device), light.grad


@pytest.mark.parametrize("scene", [sphere_scene("glossy"), EMISSIVE, scene_of(*sphere_scene().objects,
                                                                               proxy=Proxy(slab()))])
def test_path_tracer(scene):
    theirs, gradient = path(scene, SUN)
    with far_device() as there, torch.no_grad():
        with torch.enable_grad():
            ours, found = path(scene, SUN.to(there.torch))
        assert_same(moved(ours, there.torch), theirs)
        torch.testing.assert_close(found.cpu(), gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_transport(half):
    settings = TransportSettings(samples=2, bsdf_samples=2, light_samples=2, half=half)
    theirs = Transport.record(EMISSIVE, settings=settings).passes(SUN)
    with far_device() as there:
        assert_same(Transport.record(EMISSIVE, settings=settings).passes(SUN.to(there.torch)), theirs)


@pytest.mark.parametrize("scene", [EMISSIVE, scene_of(*sphere_scene().objects, proxy=Proxy(slab()))])
def test_the_column_of_a_sun(scene):
    settings = TransportSettings(samples=2, bsdf_samples=2, light_samples=2)
    sun = Source(torch.tensor([0.6, 0.8, 0.0]), torch.tensor([3.0, 2.0, 1.0]))
    theirs = Transport.record(scene, settings=settings, source=sun).passes(SUN, irradiance=sun.irradiance)
    with far_device() as there:
        far = moved(sun, there.torch)
        transport = Transport.record(scene, settings=settings, source=far)
        assert transport.column.shade(24 * 24).device.type == "meta"
        assert_same(transport.passes(SUN.to(there.torch), irradiance=far.irradiance), theirs)


@pytest.mark.skipif(denoise.available() is None, reason="no denoiser")
def test_denoiser():
    scene = sphere_scene(size=48)
    tracer = PathTracer(scene, gbuffer_samples=4)
    noisy = tracer.passes(SUN, seed=1, spp=4)
    theirs = denoise.denoise_passes(noisy, tracer.camera)
    with far_device() as there:
        ours = denoise.denoise_passes(moved(noisy, there.torch), tracer.camera)
        assert_same(ours, theirs)
