"""Batches: cameras, photos that say the truth about their light, whatever was done to them; any device."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.scene.camera import Camera
from dipir.scene.source import Source
from dipir.workshop import crops
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light.batches import HEIGHT, WIDTH, Raw, Truth, draw, in_texel, photos, quantile, ship
from dipir.workshop.light.framed import Framed
from dipir.workshop.light.sources import Stored
from tests.support.far import KIND, far_device
from tests.support.light_sets import PLAIN, angle_deg, raw_plates, unit

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def raw() -> Raw:
    return raw_plates(4)


def numbers_of(count: int, config: crops.CropConfig = PLAIN, seed: int = 0, **fixed) -> dict[str, torch.Tensor]:
    columns = light_batches.columns(np.random.default_rng(seed), count, config)
    whole = {"wide": WIDTH, "tall": HEIGHT, "left": 0, "top": 0, "blur": 0.0, "mirrored": 0.0}
    return ship(columns | {key: np.full(count, value) for key, value in {**whole, **fixed}.items()}, CPU)


def test_directions_are_those_of_the_cameras() -> None:
    lenses = [[50.0, 12.0, 3.0], [82.0, -6.0, -2.0], [45.0, 32.0, 0.0]]
    made = light_batches.directions(torch.tensor(lenses), WIDTH, HEIGHT)
    for rays, (fov, pitch, roll) in zip(made, lenses, strict=True):
        camera = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
        assert (rays - torch.from_numpy(camera.directions()).float()).abs().max() < 1e-5


def test_columns_arrive_as_they_were() -> None:
    columns = {"a": np.arange(3), "b": np.array([[True, False], [False, True]]), "c": np.array([0.25])}
    for key, value in ship(columns, CPU).items():
        assert value.dtype == torch.float32 and np.array_equal(value.numpy(), columns[key].astype(np.float32)), key


def test_a_source_in_a_texel_keeps_its_energy() -> None:
    direction = torch.stack([unit(30, 40), unit(-179.9, -85), unit(179.9, 89.9)])
    irradiance = torch.tensor([[3.0, 2, 1], [1.0, 1, 1], [0.0, 0, 0]])
    maps = in_texel(direction, irradiance, 16, 32)
    energy = (maps * latlong.solid_angles(16, 32)[..., None]).sum((1, 2))
    torch.testing.assert_close(energy, irradiance)
    brightest = latlong.directions(16, 32).reshape(-1, 3)[int(maps[0].sum(-1).argmax())]
    assert angle_deg(brightest, direction[0]) < 8


def test_share_of_the_truth_is_that_of_the_source() -> None:
    rest = torch.rand(3, 16, 32, 3, generator=torch.Generator().manual_seed(0))
    direction, irradiance = torch.stack([unit(10, 30), unit(90, 70), unit(0, -10)]), torch.rand(3, 3) * 5
    truth = Truth(rest, direction, irradiance, torch.full((3,), 0.004))
    for k, share in enumerate(truth.share().tolist()):
        assert share == pytest.approx(Source(direction[k], irradiance[k]).ground_share(rest[k]), abs=1e-5)
    assert float(truth.share()[2]) == 0


def test_quantiles_are_those_of_the_library() -> None:
    values = torch.rand(5, 777, generator=torch.Generator().manual_seed(0)).sort(1).values
    for share in (0.0, 0.5, 0.9, 1.0):
        torch.testing.assert_close(quantile(values, share), values.quantile(share, dim=1))


def seen_in(truth: Truth, k: int, rays: torch.Tensor) -> torch.Tensor:
    return latlong.sample(truth.rest[k], rays).permute(2, 0, 1)


@pytest.mark.parametrize("mirrored", [0.0, 1.0])
@pytest.mark.parametrize("window", [{}, {"wide": 180, "tall": 140, "left": 38, "top": 40}])
def test_photos_agree_with_their_directions_and_light(raw: Raw, mirrored: float, window: dict) -> None:
    """Where nothing is clipped, the photo is the truth in its directions, whatever the balance is."""
    config = replace(PLAIN, balance=0.06)
    batch = photos(raw, numbers_of(4, config, mirrored=mirrored, amount=1.0, metering=0, exposure=0.8, **window))
    torch.testing.assert_close(batch.directions.norm(dim=-1), torch.ones(4, HEIGHT, WIDTH))
    for k in range(4):
        photo = batch.plate_disp[k]
        error = (seen_in(batch.truth, k, batch.directions[k]) - srgb_to_linear(photo)).abs()[photo < 0.99]
        assert error.numel() > 1000 and error.mean() < 0.01
    extent = float(batch.directions[0, 96, 0] @ batch.directions[0, 96, -1])
    whole = photos(raw, numbers_of(4)).directions
    assert (extent > float(whole[0, 96, 0] @ whole[0, 96, -1]) + 0.05) == bool(window)


def test_the_mirrored_photo_has_the_mirrored_truth(raw: Raw) -> None:
    straight, turned = (photos(raw, numbers_of(4, mirrored=m)) for m in (0.0, 1.0))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(turned.plate_disp, straight.plate_disp.flip(-1))
    torch.testing.assert_close(turned.truth.rest, straight.truth.rest.flip(2))
    torch.testing.assert_close(turned.truth.direction, straight.truth.direction * flip)
    torch.testing.assert_close(turned.place, straight.place * flip)
    torch.testing.assert_close(turned.directions, straight.directions.flip(2) * flip, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.truth.irradiance, straight.truth.irradiance)
    torch.testing.assert_close(turned.truth.share(), straight.truth.share())


def test_exposure_scales_plate_and_truth_alike(raw: Raw) -> None:
    """A stop less: half the linear photo, half of rest and source; the share stays."""
    one, half = (photos(raw, numbers_of(4, metering=0, exposure=e)) for e in (0.5, 0.25))
    # The photo has 256 steps.
    torch.testing.assert_close(srgb_to_linear(half.plate_disp) * 2, srgb_to_linear(one.plate_disp), atol=0.012, rtol=0)
    torch.testing.assert_close(half.truth.rest * 2, one.truth.rest)
    torch.testing.assert_close(half.truth.irradiance * 2, one.truth.irradiance)
    torch.testing.assert_close(half.truth.share(), one.truth.share())
    # A plate in another unit is the same photo with the same truth.
    larger = replace(raw, plate=raw.plate * 7, rest=raw.rest * 7, irradiance=raw.irradiance * 7)
    other = photos(larger, numbers_of(4, metering=0, exposure=0.5))
    torch.testing.assert_close(other.truth.rest, one.truth.rest, rtol=1e-3, atol=1e-4)
    assert (other.plate_disp - one.plate_disp).abs().max() < 1.01 / 255


def test_grey_surroundings_are_grey_in_plate_and_truth(raw: Raw) -> None:
    batch = photos(raw, numbers_of(4, amount=0.0, balance=0.0, jitter=1.0) | {"jitter": torch.ones(4, 3)})
    for value in (batch.plate_disp.permute(0, 2, 3, 1), batch.truth.rest, batch.truth.irradiance):
        assert (value.amax(-1) - value.amin(-1)).max() < 1e-2


def test_grain_is_noise_of_the_told_deviation(raw: Raw) -> None:
    strip = light_batches.noise_strip(CPU)
    assert abs(float(strip.mean())) < 1e-3 and abs(float(strip.std()) - 1) < 1e-3
    numbers = numbers_of(4, noise=0.05)
    noisy, clear = (photos(raw, numbers, s) for s in (strip, None))
    inside = (clear.plate_disp > 0.25) & (clear.plate_disp < 0.75)
    assert 0.048 < float((noisy.plate_disp - clear.plate_disp)[inside].std()) < 0.052


def test_something_in_the_way_covers_a_part_of_the_photo(raw: Raw) -> None:
    numbers = numbers_of(4, cover_tall=50, cover_wide=70, cover_top=20, cover_left=30)
    numbers["colour"] = torch.full((4, 3), 0.9)
    covered, clear = photos(raw, numbers), photos(raw, numbers_of(4))
    changed = (covered.plate_disp != clear.plate_disp).any(1)
    outside = changed.clone()
    outside[:, 20:70, 30:100] = False
    assert not bool(outside.any()) and bool(changed[:, 20:70, 30:100].float().mean() > 0.95)


def test_softened_photos_keep_their_light(raw: Raw) -> None:
    rough = replace(raw, plate=raw.plate * (1 + 0.5 * torch.rand(raw.plate.shape, generator=torch.Generator()
                                                                 .manual_seed(0))))
    sharp, soft = (photos(rough, numbers_of(4, blur=b)).plate_disp for b in (0.0, 1.0))
    def steps(x):
        return (x[..., 1:] - x[..., :-1]).abs().mean()
    assert steps(soft) < 0.6 * steps(sharp) and abs(float((soft - sharp).mean())) < 0.01


def test_random_numbers_stay_in_their_ranges() -> None:
    columns = light_batches.columns(np.random.default_rng(0), 3000, crops.CropConfig())
    assert ((columns["left"] >= 0) & (columns["left"] + columns["wide"] <= WIDTH)).all()
    assert ((columns["top"] >= 0) & (columns["top"] + columns["tall"] <= HEIGHT)).all()
    assert ((columns["cover_top"] + columns["cover_tall"] <= HEIGHT)
            & (columns["cover_left"] + columns["cover_wide"] <= WIDTH)).all()
    assert 0.45 < columns["mirrored"].mean() < 0.55 and 0.25 < (columns["cover_tall"] > 0).mean() < 0.35
    assert abs(np.log2(columns["exposure"])).max() <= 1


def test_a_batch_follows_from_its_generator_and_holds_all_sources(places, raw: Raw) -> None:
    sources = [(2, Framed(places)), (1, Stored(raw))]
    one, two = (draw(np.random.default_rng(7), sources) for _ in range(2))
    other = draw(np.random.default_rng(8), sources)
    assert torch.equal(one.plate_disp, two.plate_disp) and not torch.equal(one.plate_disp, other.plate_disp)
    assert one.plate_disp.shape == (3, 3, HEIGHT, WIDTH) and float(one.truth.sigma[2]) == pytest.approx(0.005)
    torch.testing.assert_close((one.plate_disp * 255).round() / 255, one.plate_disp)


def test_same_batch_on_another_device(places, raw: Raw) -> None:
    def rng():
        return np.random.default_rng(7)
    here = draw(rng(), [(2, Framed(places)), (2, Stored(raw))])
    with far_device() as chosen:
        def far(data):
            return type(data)(*(v.to(chosen.torch) for v in vars(data).values()))
        there = draw(rng(), [(2, Framed(far(places))), (2, Stored(far(raw)))])
        assert there.plate_disp.device.type == KIND
        parts = [getattr(there, key).cpu() for key in ("plate_disp", "directions", "place")]
        truth = [v.cpu() for v in vars(there.truth).values()]
    for part, key in zip(parts, ("plate_disp", "directions", "place"), strict=True):
        assert torch.equal(part, getattr(here, key)), key
    for part, value in zip(truth, vars(here.truth).values(), strict=True):
        assert torch.equal(part, value)
