"""Light, framing and regions on another device than the CPU: the same bits. Scenes that are moved lose nothing."""
from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from dipir.device import moved
from dipir.layout.regions import Region, box_mask, reduce_mask
from dipir.scene import light as lights
from dipir.scene.framing import Window, as_directions, wide_view, working_window
from dipir.scene.light import EnvironmentMap, SphericalGaussians
from dipir.scene.plate import Plate
from dipir.scene.source import Source, ground_irradiance
from tests.support.far import KIND, far_device
from tests.support.scenes import grey_plate, sphere_scene, sunny

CPU = torch.device("cpu")
SUN = sunny((0.3, 0.8, -0.5))
LOBES = lights.fit_gaussians(SUN, 6, steps=2)
MASK = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(0))


def source_figures(source: Source, env: torch.Tensor) -> tuple[torch.Tensor, ...]:
    up = torch.tensor([0.0, 0.8, 0.6])
    made, rest = source.shared_out(env, 0.7, up)
    return (source.lobe().envmap(8, 16), ground_irradiance(env), ground_irradiance(env, up), made.irradiance, rest,
            source.with_ground_share(env, 0.4).irradiance)


CASES = {
    "fit": (lambda env: tuple(lights.fit_gaussians(env, 8, steps=3).parameters().values()), (SUN,)),
    "uniform": (lambda colour: tuple(SphericalGaussians.uniform(colour, 7).parameters().values()),
                (torch.tensor([1.0, 0.5, 0.2]),)),
    "lobes": (lambda light: (light.mu, light.sigma, light.amplitude, light.energy, light.envmap(8, 16),
                             light.envmap(64, 128), light.radiance(light.mu)), (LOBES,)),
    "map": (lambda env: (EnvironmentMap(env).envmap(8, 16), EnvironmentMap(env).envmap(10, 20)), (SUN,)),
    "sharp lobes": (lambda light: (light.widened(0.02).axis, *light.joined(light).parameters().values(),
                                   *light.split(0.2)[0].parameters().values()), (LOBES,)),
    "source": (lambda env, direction, colour: source_figures(Source(direction, colour), env),
               (SUN, torch.tensor([0.6, 0.8, 0.0]), torch.tensor([3.0, 2.0, 1.0]))),
    "fuse": (lambda a, b: lights.fuse(a, b, 0.4), (SUN, SUN.flip(1))),
    "dominant": (lights.dominant_direction, (SUN,)),
    "dominant of even light": (lights.dominant_direction, (torch.ones(16, 32, 3),)),
    "cut": (lambda image: (Window(-4, 3, 18).cut(image, 8), wide_view(image, 8)), (MASK.expand(1, 3, -1, -1),)),
    "cover": (lambda mask: (Region("a cube", mask=mask).cover(5, 7, mask.device), reduce_mask(mask, 4, 4),
                            Region("a cube", (0.1, 0.2, 0.6, 0.9)).cover(5, 7, mask.device),
                            box_mask((0.1, 0.2, 0.6, 0.9), 9, 8, mask.device)), (MASK,)),
}


def as_tuple(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_on_the_far_device(name):
    function, given = CASES[name]
    wanted = as_tuple(function(*given))
    with far_device() as far:
        got = as_tuple(function(*moved(given, far.torch)))
        assert all(x.device.type == KIND for x in got)
        got = moved(got, CPU)
    for a, b in zip(wanted, got, strict=True):
        assert torch.equal(a, b)


def test_numbers_of_a_light_are_the_same():
    with far_device() as far:
        there = moved(LOBES, far.torch)
        assert there.to_dict() == LOBES.to_dict()
        assert lights.fusion_weight("adaptive", 0.3, *moved((SUN, SUN.flip(1)), far.torch)) == \
            lights.fusion_weight("adaptive", 0.3, SUN, SUN.flip(1))
        assert lights.azimuth_elevation_deg(lights.dominant_direction(moved(SUN, far.torch))) == \
            lights.azimuth_elevation_deg(lights.dominant_direction(SUN))
        assert SphericalGaussians.from_dict(LOBES.to_dict()).axis.device == CPU


def test_regions_are_checked_and_bounded_there():
    region = Region("a cube", mask=MASK)
    with far_device() as far:
        there = moved(region, far.torch)
        assert there.mask.device.type == KIND and there.bounds() == region.bounds() and there.caption == "a cube"


# ------------------------------------------------------------------------------------------------------------- scenes
def test_a_plate_moves_with_all_that_it_knows(tmp_path):
    plate = Plate(grey_plate(8, 6).disp, grey_plate(8, 6).lin * 2, tmp_path / "p.png", 40.0, ("a note",))
    with far_device() as far:
        there = moved(plate, far.torch)
        assert there.disp.device.type == there.lin.device.type == KIND and there.size == (8, 6)
        back = moved(there, CPU)
    assert torch.equal(back.disp, plate.disp) and torch.equal(back.lin, plate.lin)
    assert (back.path, back.fov_x_deg, back.notes) == (plate.path, plate.fov_x_deg, plate.notes)


def test_a_scene_moves_its_plate_only():
    scene = sphere_scene()
    assert moved(scene, CPU) is scene, "nothing is copied on the CPU"
    with far_device() as far:
        there = moved(scene, far.torch)
        assert there.plate.lin.device.type == KIND
        for part in fields(scene):
            if part.name != "plate":
                assert getattr(there, part.name) is getattr(scene, part.name), part.name
        assert working_window(there.objects, there.camera) == working_window(scene.objects, scene.camera)
        rays = as_directions(there.camera, there.plate.lin.device)
        assert rays.device.type == KIND and torch.equal(rays.cpu(), as_directions(scene.camera))
        back = moved(there, CPU)
    assert torch.equal(back.plate.disp, scene.plate.disp) and back.objects is scene.objects
