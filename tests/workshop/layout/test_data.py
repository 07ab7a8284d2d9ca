"""Captioned layout pictures: against the path tracer, against values by hand, their words, sets on disk."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from dipir.errors import ConfigError
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors import captions
from dipir.priors.captions import COLOURS, GROUNDS, MATERIALS, SHAPES
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.workshop import shards
from dipir.workshop.layout import data as layouts
from dipir.workshop.layout.data import (
    NONE,
    DrawConfig,
    LayoutSet,
    LayoutSettings,
    calm,
    decode,
    draw,
    encode,
    generate,
    load,
    record,
)
from dipir.workshop.layout.scenes import MOST, SIZE, random_scene
from tests.support.layout_sets import several, squares

TINY = LayoutSettings(spp=4, depth=1, shard=2)
PLAIN = DrawConfig(augment=False)


@pytest.fixture(scope="module")
def drawn() -> layouts.LayoutPictures:
    return draw(np.random.default_rng(5), several(), 600)


# ---- recordings ------------------------------------------------------------------------------------------------------

def _with_colours(made, colours):
    """The scene with linear base colours for its things, floor and wall."""
    objects = []
    for placed, colour in zip(made.scene.objects, colours, strict=True):
        part = placed.asset.parts[0]
        texture = part.material.base_color_texture
        material = replace(part.material, base_color=tuple(colour), base_color_texture=None if texture is None else (
            texture / 0.6 * np.float32(colour)).astype(np.float32))
        objects.append(replace(placed, asset=replace(placed.asset, parts=(replace(part, material=material),))))
    return replace(made.scene, objects=tuple(objects))


def test_recordings_show_any_colours():
    """Coloured afterwards, against the path tracer with coloured surfaces (direct light, which is exact)."""
    seed, tried = next((seed, made) for seed in range(100) if sorted((made := random_scene(seed)).materials) == [
        "matte", "metal", "shiny"] and made.scene.objects[-1].name == "wall")
    data = record(seed, LayoutSettings(spp=144, depth=1))
    colours = np.array([[0.6, 0.2, 0.1], [0.05, 0.1, 0.4], [0.7, 0.6, 0.1], [0.2, 0.3, 0.2], [0.5, 0.4, 0.45]])
    scene = _with_colours(tried, colours)
    true = PathTracer(scene, None, RenderSettings(144, 1)).object_pass(tried.light, seed=9, spp=144)[0][0]
    cover = data.cover[0].float() / 255
    cover = torch.stack([*cover[:3], cover[4], 1 - cover.sum(0)])
    made = torch.einsum("khw,kc->chw", cover, torch.from_numpy(colours).float()) * decode(data.diffuse[0]) + decode(
        data.gloss[0])
    # Mirrored lamps are cut off.
    usual = functional.max_pool2d((data.diffuse > 235).float(), 5, 1, 2)[0] == 0
    unit = (true * made)[:, usual].sum() / (made * made)[:, usual].sum()
    for k in range(5):
        inside = (cover[k] > 0.99) & usual
        assert inside.sum() > 30
        error = ((unit * made - true)[:, inside].mean(1) / true[:, inside].mean(1)).abs()
        assert error.max() < 0.06, (k, error)
        assert (unit * made - true)[:, inside].abs().mean() < 0.15 * true[:, inside].mean()


def test_a_recording_is_whole():
    seed = next(seed for seed in range(100) if len(random_scene(seed).shapes) == 3)
    made, data = random_scene(seed), record(seed, replace(TINY, spp=16, depth=2))
    assert {name: tuple(getattr(data, name).shape) for name in LayoutSet.__dataclass_fields__} == {
        "diffuse": (1, 64, 64), "gloss": (1, 64, 64), "cover": (1, MOST + 1, 64, 64), "boxes": (1, MOST, 4),
        "shape": (1, MOST), "material": (1, MOST)}
    assert all(getattr(data, name).dtype == torch.uint8 for name in LayoutSet.__dataclass_fields__)
    assert [SHAPES[k] for k in data.shape[0, :3]] == list(made.shapes) and data.shape[0, 3] == NONE
    assert [MATERIALS[k] for k in data.material[0, :3]] == list(made.materials) and data.material[0, 3] == NONE
    cover = data.cover[0].float() / 255
    assert cover.sum(0).max() < 1.01 and cover[3].max() == 0 and cover[4].mean() > 0.1
    for k in range(3):
        # A box holds what covers anything, and nothing less.
        box = data.boxes[0, k].float() / 4
        rows, columns = (torch.nonzero(cover[k].amax(axis))[:, 0] for axis in (1, 0))
        assert box.floor().tolist() == [columns[0], rows[0], columns[-1], rows[-1]]
    plain = (cover[4] > 0.95)
    assert 0.2 < decode(data.diffuse[0])[plain].median() < 1.3
    bare = squares()
    assert bare.shape.tolist() == [[NONE] * 4] and len(bare.part(slice(0, 1))) == 1


def test_light_survives_its_storage():
    light = torch.linspace(0, 8, 3000)
    error = (decode(encode(light)) - light).abs()
    assert error.max() < 0.05 and error[light < 1].max() < 0.013 and decode(encode(light))[-1] == 8
    assert torch.equal(encode(decode(torch.arange(256).byte())), torch.arange(256).byte())


def test_noise_is_calmed_and_edges_stay():
    cover = torch.zeros(MOST + 1, 32, 32)
    cover[0, :, :12], cover[MOST, :, 12:] = 1, 1
    light = torch.where(cover[0] > 0, 1.0, 0.9)
    light[20:, 20:] = 0.3
    assert torch.allclose(calm(light, cover), light, atol=0.01)
    noisy = light * (0.05 * torch.randn(32, 32, generator=torch.Generator().manual_seed(0))).exp()
    flat = calm(noisy, cover) / light
    for area in (flat[:, :12], flat[:20, 12:], flat[20:, 20:]):
        assert area.std() < 0.02 and area.mean() == pytest.approx(1, abs=0.01)
    noisy[5, 5], noisy[5, 25], noisy[5, 26] = 30, 30, 30
    flat = calm(noisy, cover)
    assert flat[5, 5] < 1.4 and flat[5, 25] < 1.5 and flat[5, 26] < 1.5
    spot = light.clone()
    spot[3:6, 3:6] = 3.0  # A highlight on a thing.
    assert calm(spot, cover)[4, 4] == pytest.approx(3, rel=0.02)


# ---- pictures --------------------------------------------------------------------------------------------------------

def test_a_picture_by_hand():
    data = squares(("cube", "matte", 4, 20, 20, 44), ("mug", "metal", 16, 30, 40, 46))
    pictures = draw(np.random.default_rng(0), data, 20, PLAIN)
    for image, things, ground, boxes, masks in zip(pictures.image, pictures.things, pictures.grounds, pictures.boxes,
                                                   pictures.masks, strict=True):
        assert image[:, 60, 60].tolist() == pytest.approx(GROUNDS[ground], abs=0.01)
        assert sorted(t.shape for t in things) == ["cube", "mug"] and boxes.shape == (2, 4)
        for k, thing in enumerate(things):
            x, y, box = (10, 25, (4, 20, 20, 44)) if thing.shape == "cube" else (18, 40, (16, 30, 40, 46))
            assert image[:, y, x].tolist() == pytest.approx(COLOURS[thing.colour], abs=0.01)
            assert thing.material == ("matte" if thing.shape == "cube" else "metal")
            assert (boxes[k] * SIZE).tolist() == pytest.approx(box) and masks[k, y, x] == 1
        assert masks[2:].max() == 0 and masks.sum(0).max() == 1
    half = squares(("cube", "matte", 4, 20, 20, 44), light=0.5, gloss=0.2)
    one = draw(np.random.default_rng(1), half, 1, PLAIN)
    colour = torch.tensor(COLOURS[one.things[0][0].colour])
    shown = linear_to_srgb(0.5 * srgb_to_linear(colour) + 0.2)
    assert one.image[0, :, 30, 10].tolist() == pytest.approx(shown.tolist(), abs=0.01)


def test_pictures_are_whole(drawn):
    assert drawn.image.shape == (600, 3, SIZE, SIZE) and drawn.masks.shape == (600, MOST, SIZE, SIZE)
    assert drawn.image.min() >= 0 and drawn.image.max() <= 1 and drawn.image.isfinite().all()
    assert {len(t) for t in drawn.things} == {0, 1, 2, 3, 4}
    for things, boxes, masks in zip(drawn.things, drawn.boxes, drawn.masks, strict=True):
        assert len(things) == len(boxes) and masks[len(things):].max() == 0 if len(things) < 4 else True
        for box, mask in zip(boxes, masks, strict=False):
            rows, columns = (torch.nonzero(mask.amax(axis))[:, 0] for axis in (1, 0))
            assert (box * SIZE).tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_mirrored_half_of_the_time(drawn):
    left = [float(b[[t.shape for t in things].index("mug")][0]) * SIZE
            for things, b in zip(drawn.things, drawn.boxes, strict=True) if "mug" in [t.shape for t in things]]
    assert set(left) == {24.0} and len(left) > 200  # 24 to 40 is its own mirror image.
    cubes = Counter(float(b[k, 0]) * SIZE for things, b in zip(drawn.things, drawn.boxes, strict=True)
                    for k, t in enumerate(things) if (t.shape, t.material) == ("cube", "matte"))
    assert set(cubes) == {4.0, 44.0} and cubes[4.0] / cubes.total() == pytest.approx(0.5, abs=0.1)
    still = draw(np.random.default_rng(0), several(), 50, PLAIN)
    assert {float(b[k, 0]) * SIZE for things, b in zip(still.things, still.boxes, strict=True)
            for k, t in enumerate(things) if (t.shape, t.material) == ("cube", "matte")} == {4.0}


def test_captions_say_the_truth_and_leave_some_out(drawn):
    said, named, orders = [], [], Counter()
    for text, things, ground in zip(drawn.captions, drawn.things, drawn.grounds, strict=True):
        told = captions.things(text)
        assert [t.shape for t in told] == [t.shape for t in things] and len(captions.tokens(text)) == captions.LONGEST
        for a, b in zip(told, things, strict=True):
            assert a.colour in (None, b.colour) and a.material in (None, b.material)
            said += [a.colour is not None, a.material is not None]
        named.append("floor" in text and f"{ground} floor" in text)
        assert named[-1] == text.endswith(f"{ground} floor") and ground in GROUNDS
        orders[tuple(t.shape for t in things)] += 1
    assert np.mean(said) == pytest.approx(0.7, abs=0.03) and np.mean(named) == pytest.approx(0.5, abs=0.06)
    assert orders["cube", "mug"] > 20 and orders["mug", "cube"] > 20
    full = draw(np.random.default_rng(2), several(), 40, DrawConfig(said=1, ground=1))
    assert [captions.things(text) for text in full.captions] == full.things
    assert all(text == captions.caption(t, g) for text, t, g in zip(full.captions, full.things, full.grounds,
                                                                     strict=True))
    none = draw(np.random.default_rng(2), several(), 40, DrawConfig(said=0, ground=0))
    assert all(t.phrase == t.shape for text in none.captions for t in captions.things(text))
    assert "an empty floor" in none.captions and not any(g + " floor" in t for t in none.captions for g in GROUNDS)


def test_colours_keep_apart(drawn):
    for things, ground in zip(drawn.things, drawn.grounds, strict=True):
        assert ground not in {t.colour for t in things}
        assert len({(t.shape, t.colour) for t in things}) == len(things)
    shown, floors = Counter(t.colour for things in drawn.things for t in things), Counter(drawn.grounds)
    assert set(shown) == set(COLOURS) and set(floors) == set(GROUNDS)
    assert max(shown.values()) < 1.6 * min(shown.values())
    assert floors["grey"] / 600 == pytest.approx(2 / 12, abs=0.05)


def test_a_generator_is_a_batch():
    a, b, c = (draw(np.random.default_rng(seed), several(), 8) for seed in (1, 1, 2))
    assert torch.equal(a.image, b.image) and a.captions == b.captions and torch.equal(a.masks, b.masks)
    assert not torch.equal(a.image, c.image)


@pytest.mark.parametrize("make", [lambda: draw(np.random.default_rng(0), several(), 0), lambda: DrawConfig(said=1.2),
                                  lambda: draw(np.random.default_rng(0), several().part(slice(0, 0)), 1),
                                  lambda: DrawConfig(ground=-0.1), lambda: LayoutSettings(spp=0),
                                  lambda: LayoutSettings(shard=0), lambda: generate(0, "x"),
                                  lambda: generate(1, "x", workers=0)])
def test_bad_numbers(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"at least 1|from 0 to 1"):
        make()
    assert not list(tmp_path.iterdir())


# ---- on disk ---------------------------------------------------------------------------------------------------------

def test_sets_go_on_where_they_stopped(tmp_path):
    steps = []
    folder = generate(3, tmp_path / "set", settings=TINY, on_event=lambda event: steps.append(event.step))
    names = ["layouts_000000.safetensors", "layouts_000002.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == names and steps == [2, 3]
    whole, times = load(folder), [(folder / name).stat().st_mtime_ns for name in names]
    (folder / names[1]).unlink()
    generate(3, folder, settings=TINY)
    assert (folder / names[0]).stat().st_mtime_ns == times[0]
    again = load(folder)
    assert len(again) == 3 and len(load(folder, limit=1)) == 2
    for name in LayoutSet.__dataclass_fields__:
        a, b = (getattr(x, name).int() for x in (whole, again))
        assert (a - b).abs().max() <= (2 if name in ("diffuse", "gloss") else 0), name
    with pytest.raises(ConfigError, match="another set"):
        generate(3, folder, seed=layouts.VALIDATION_SEED, settings=TINY)


def test_what_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))
    assert layouts.default_dir() == tmp_path / "cache" / "layouts" / "v1"
    assert layouts.validation_folder() == tmp_path / "cache" / "layouts" / "val_v1"
    with pytest.raises(ConfigError, match="dipir synth layouts"):
        load()
    path = tmp_path / "layouts_000000.safetensors"
    path.write_bytes(b"no")
    with pytest.raises(ConfigError, match="generate again"):
        load(tmp_path)
    one = {name: getattr(squares(), name).contiguous() for name in LayoutSet.__dataclass_fields__}
    shards.save(path, one, {})
    assert len(load(tmp_path)) == 1
    save_file({name: x for name, x in load_file(path).items() if name != "cover"}, path)
    with pytest.raises(ConfigError, match="generate again"):
        load(tmp_path)
