"""The layout benchmark: cases, the detector and what it sees, measures by hand, pictures that are kept, tables."""
from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import torch

from benchmarks import layout as bench
from benchmarks import layout_cases, layout_detector, layout_edits, layout_figures, layout_measures, layout_run
from benchmarks.layout_cases import Case
from benchmarks.layout_detector import Found, Seen
from benchmarks.layout_measures import Cloud, Judged, Precision
from dipir.diffusion.layout_prior import LayoutPrior
from dipir.errors import ConfigError, RenderError
from dipir.image.captions import COLOURS, MATERIALS, SHAPES, Thing
from dipir.methods.layout import check, layouts
from dipir.methods.layout_config import LayoutConfig
from dipir.synth.layouts import MOST, NONE, LayoutSet, encode

HUES = list(COLOURS)


@pytest.fixture(scope="module")
def scenes() -> LayoutSet:
    """Twelve scenes without a renderer: one to four squares in flat light, each in a quarter of the picture."""
    rng, count = np.random.default_rng(0), 12
    cover = torch.zeros(count, MOST + 1, 64, 64, dtype=torch.uint8)
    boxes = torch.zeros(count, MOST, 4, dtype=torch.uint8)
    shape, material = torch.full((count, MOST), NONE).byte(), torch.full((count, MOST), NONE).byte()
    for s in range(count):
        for k in range(s % MOST + 1):
            x, y = (int(v) for v in rng.integers(2, 10, 2) + [32 * (k % 2), 32 * (k // 2)])
            cover[s, k, y:y + 18, x:x + 14] = 255
            boxes[s, k] = torch.tensor([4 * x, 4 * y, 4 * (x + 14) - 1, 4 * (y + 18) - 1])
            shape[s, k], material[s, k] = int(rng.integers(len(SHAPES))), int(rng.integers(len(MATERIALS)))
    cover[:, MOST] = 255 - cover[:, :MOST].sum(1)
    light = encode(torch.full((count, 64, 64), 0.8))
    return LayoutSet(light, torch.zeros_like(light), cover, boxes, shape, material)


def square(x: int, y: int, side: int = 16) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[y:y + side, x:x + side] = True
    return mask


def seen_of(*things: tuple[str, str, np.ndarray], score: float = 0.9, material: str = "matte") -> Seen:
    """What a detector without faults says of things (shape, colour, mask), later ones in front."""
    shape, colour = np.full((64, 64), -1), np.zeros((64, 64), int)
    stuff = np.full((64, 64), MATERIALS.index(material))
    for name, hue, mask in things:
        shape[mask], colour[mask] = SHAPES.index(name), HUES.index(hue)
    found = tuple(Found(SHAPES.index(n), HUES.index(h), MATERIALS.index(material), score, m) for n, h, m in things)
    return Seen(shape, colour, stuff, found, tuple(layout_detector.parts(shape >= 0)))


def case_of(*things: tuple[str, str, np.ndarray], material: str | None = None, masks: bool = False) -> Case:
    """The request that :func:`seen_of` the same things answers."""
    return Case(0, tuple(Thing(n, h, material) for n, h, _ in things),
                tuple(layout_cases.box_of(m) for *_, m in things), None,
                np.stack([m for *_, m in things]) if masks else None)


CUBE, MUG = ("cube", "red", square(4, 8)), ("mug", "blue", square(36, 40))


# ---- cases -----------------------------------------------------------------------------------------------------------

def test_cases_are_what_the_layout_accepts(scenes):
    made = layout_cases.cases(24, scenes)
    assert [len(c.things) for c in made[:5]] == [1, 2, 3, 4, 1]
    for case in made:
        hues = [t.colour for t in case.things]
        assert len(set(hues)) == len(hues) and case.ground not in hues
        assert all(0.01 <= v <= 0.99 for box in case.boxes for v in box)
        assert all(layout_cases.shared(a, b) <= layout_cases.OVERLAP
                   for k, a in enumerate(case.boxes) for b in case.boxes[:k])
        request = case.request()
        assert check(request, LayoutConfig()).caption == request.caption == case.caption
        assert case.covers.shape == (len(hues), 64, 64) and case.covers.any((1, 2)).all()
    assert len({c.seed for c in made}) == 24 and {c.ground for c in made} > {None}


def test_a_case_depends_on_its_number_alone(scenes):
    few, many = layout_cases.cases(5, scenes), layout_cases.cases(9, scenes)
    assert layout_cases.digest(few) == layout_cases.digest(many[:5]) != layout_cases.digest(many)
    assert layout_cases.digest(few) != layout_cases.digest(layout_cases.cases(5, scenes, seed=bench.TUNING))


def test_boxes_have_the_size_of_their_shape(scenes):
    """All things are 14 x 18 pixels; boxes differ from that by at most a tenth."""
    for case in layout_cases.cases(16, scenes):
        for x0, y0, x1, y1 in case.boxes:
            assert 0.9 * 14 / 64 - 1e-3 < x1 - x0 < 1.1 * 14 / 64 + 1e-3
            assert 0.9 * 18 / 64 - 1e-3 < y1 - y0 < 1.1 * 18 / 64 + 1e-3


def test_mask_cases_are_held_out_silhouettes(scenes):
    rendered = scenes.cover[:, :MOST].numpy() > 127
    for case in layout_cases.cases(8, scenes, "mask"):
        candidates = [s for s in range(12) for side in (1, -1)
                      if np.array_equal(rendered[s, :len(case.masks), :, ::side], case.masks)
                      and [SHAPES[i] for i in scenes.shape[s, :len(case.masks)]] == [t.shape for t in case.things]]
        assert candidates
        assert np.array_equal(case.covers, case.masks)


def test_truth_shows_what_its_captions_say(scenes):
    images, made = layout_cases.truth(8, scenes)
    assert images.shape == (8, 3, 64, 64) and [len(c.things) for c in made] == [1, 2, 3, 4] * 2
    for image, case in zip(images, made, strict=True):
        assert len({t.colour for t in case.things}) == len(case.things)
        for thing, cover in zip(case.things, case.covers, strict=True):
            shown = image[:, torch.from_numpy(cover)].mean(1)
            nearest = min(COLOURS, key=lambda c, shown=shown: float((shown - torch.tensor(COLOURS[c])).norm()))
            assert nearest == thing.colour
    again = layout_cases.truth(8, scenes)[0]
    assert torch.equal(images, again)


@pytest.mark.parametrize("call", [lambda s: layout_cases.cases(0, s), lambda s: layout_cases.cases(4, s, "dot"),
                                  lambda s: layout_cases.cases(4, s.part(slice(0, 2))),
                                  lambda s: layout_cases.truth(4, s.part(slice(0, 2)))])
def test_unusable_sets(scenes, call):
    with pytest.raises(ConfigError):
        call(scenes)


# ---- detector --------------------------------------------------------------------------------------------------------

def planes(*things: tuple[str, str, np.ndarray, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of (shape, colour, mask, probability of the shape); what is left of it is background."""
    shape, colour, material = np.zeros((9, 64, 64)), np.zeros((10, 64, 64)), np.zeros((3, 64, 64))
    shape[0], colour[HUES.index("green")], material[2] = 1, 0.1, 1
    for name, hue, mask, probability in things:
        shape[0][mask] = 1 - probability
        shape[1 + SHAPES.index(name)][mask] = probability
        colour[HUES.index(hue)][mask] = 0.7
    return shape, colour, material


def test_what_is_seen_by_hand():
    """A cube, a mug with 0.6, a speck below the limit, background elsewhere."""
    cube, mug, speck = square(4, 8), square(36, 40, 8), square(60, 0, 3)
    seen = layout_detector.seen_in(*planes(("cube", "red", cube, 0.9), ("mug", "blue", mug, 0.6),
                                           ("cube", "red", speck, 0.9), ("cone", "red", square(50, 10), 0.4)))
    first, second = seen.things
    assert (first.shape, first.colour, first.score) == (SHAPES.index("cube"), HUES.index("red"), pytest.approx(0.9))
    assert (second.shape, second.colour, second.score) == (SHAPES.index("mug"), HUES.index("blue"), pytest.approx(0.6))
    assert np.array_equal(first.mask, cube) and first.box == (4 / 64, 8 / 64, 20 / 64, 24 / 64)
    assert (seen.shape >= 0).sum() == cube.sum() + mug.sum() + 9 and len(seen.blobs) == 2
    assert first.material == 2


def test_parts_of_one_colour_vote():
    """Left half surely a cube, right half perhaps a mug: one red cube, with the mean of its probabilities. With the
    right half blue the halves vote apart; when both say cube they are one thing in two colours."""
    left, right = square(4, 8), square(20, 8)
    one = layout_detector.seen_in(*planes(("cube", "red", left, 0.9), ("mug", "red", right, 0.6)))
    assert [(t.shape, t.score) for t in one.things] == [(SHAPES.index("cube"), pytest.approx(0.45))]
    assert np.array_equal(one.things[0].mask, left | right)
    two = layout_detector.seen_in(*planes(("cube", "red", left, 0.9), ("mug", "blue", right, 0.6)))
    assert {t.shape for t in two.things} == {SHAPES.index("cube"), SHAPES.index("mug")} and len(two.blobs) == 1
    mixed = layout_detector.seen_in(*planes(("cube", "red", left, 0.9), ("cube", "blue", right, 0.6)))
    assert len(mixed.things) == 1 and judged(case_of(("cube", "red", left | right), MUG), mixed)["leakage_things"][
        0] == pytest.approx(0.5)


def test_parts_touch_at_corners():
    mask = square(0, 0, 8) | square(8, 8, 8) | square(30, 30, 5)
    assert [int(p.sum()) for p in layout_detector.parts(mask)] == [128, 25]


def test_labels_by_hand(scenes):
    drawn = layout_cases.layouts.draw(np.random.default_rng(0), scenes, 6)
    shape, colour, material = layout_detector.labels(drawn)
    for b, things in enumerate(drawn.things):
        for k, thing in enumerate(things):
            inside = drawn.masks[b, k] > 0.5
            assert (shape[b][inside] == 1 + SHAPES.index(thing.shape)).all()
            assert (colour[b][inside] == HUES.index(thing.colour)).all()
            assert (material[b][inside] == MATERIALS.index(thing.material)).all()
        outside = drawn.masks[b].sum(0) < 0.5
        assert (shape[b][outside] == 0).all() and (colour[b][outside] < 0).all()


def test_the_detector_learns_and_is_kept(scenes, monkeypatch, tmp_path):
    """Flat colours are told apart after a few steps; a second call takes the kept weights."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    monkeypatch.setattr(layout_detector, "CHANNELS", (8, 16, 16, 24))
    before = layout_detector.accuracy(layout_detector.Detector().eval(), scenes, 32)
    net = layout_detector.trained(scenes, steps=60, batch=8)
    after = layout_detector.accuracy(net, scenes, 32)
    assert after["colour_pixels"] > 0.35 > 0.2 > before["colour_pixels"]
    assert after["pixels"] > 0.6
    again = layout_detector.trained(scenes, steps=60, batch=8)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    seen, features = layout_detector.look(net, layout_cases.truth(5, scenes)[0])
    assert len(seen) == 5 and features.shape == (5, layout_detector.CHANNELS[-1]) and np.ptp(features, 0).max() > 0


# ---- measures of one picture -----------------------------------------------------------------------------------------

def judged(case: Case, seen: Seen) -> dict[str, list[float]]:
    return layout_measures.judged_case(case, seen)


def test_box_iou_by_hand():
    assert layout_measures.box_iou((0, 0, 0.5, 0.5), (0.25, 0, 0.75, 0.5)) == pytest.approx(1 / 3)
    assert layout_measures.box_iou((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)) == 0
    assert layout_measures.box_iou((0, 0, 1, 1), (0, 0, 1, 1)) == 1


def test_perfect_and_blind():
    right = judged(case_of(CUBE, MUG, material="matte"), seen_of(CUBE, MUG))
    assert {k: v for k, v in right.items() if "leakage" not in k} == {
        k: [1.0, 1.0] for k in layout_measures.MEANS if "leakage" not in k}
    assert right["leakage"] == right["leakage_things"] == [0.0, 0.0]
    blind = judged(case_of(CUBE, MUG), seen_of())
    for name in ("iou", "iou_any", "class_right", "colour_right", "attributes", "text"):
        assert blind[name] == [0.0, 0.0]
    assert np.isnan(blind["leakage"] + blind["leakage_things"] + blind["material_right"]).all()


def test_things_elsewhere_are_text_but_no_layout():
    moved = seen_of(("cube", "red", square(40, 8)), ("mug", "blue", square(4, 40)))
    row = judged(case_of(CUBE, MUG), moved)
    assert row["text"] == [1.0, 1.0] and row["iou"] == [0.0, 0.0] and row["attributes"] == [0.0, 0.0]
    assert row["leakage_things"] == [0.0, 0.0]


def test_exchanged_colours_leak():
    row = judged(case_of(CUBE, MUG), seen_of(("cube", "blue", CUBE[2]), ("mug", "red", MUG[2])))
    assert row["iou"] == row["class_right"] == row["leakage"] == row["leakage_things"] == [1.0, 1.0]
    assert row["colour_right"] == row["attributes"] == row["text"] == [0.0, 0.0]


def test_exchanged_things_are_in_the_wrong_place():
    """Their own colours are kept: the regions show the other's colour, but no thing has it."""
    row = judged(case_of(CUBE, MUG), seen_of(("cube", "red", MUG[2]), ("mug", "blue", CUBE[2])))
    assert row["leakage"] == [1.0, 1.0] and row["leakage_things"] == [0.0, 0.0]
    assert row["iou"] == [0.0, 0.0] and row["iou_any"] == [1.0, 1.0] and row["text"] == [1.0, 1.0]


def test_a_quarter_of_a_thing_leaks():
    seen = seen_of(CUBE, MUG)
    seen.colour[8:12, 4:20] = HUES.index("blue")
    assert judged(case_of(CUBE, MUG), seen)["leakage"] == [0.25, 0.0]
    seen.colour[8:12, 4:20] = HUES.index("green")
    assert judged(case_of(CUBE, MUG), seen)["leakage"] == [0.0, 0.0]


def test_two_of_a_shape_may_stand_for_each_other_on_things_only():
    """Two cubes: the other's colour counts in a region, not on a thing of the same shape."""
    a, b = ("cube", "red", square(4, 8)), ("cube", "blue", square(36, 40))
    row = judged(case_of(a, b), seen_of(("cube", "blue", a[2]), ("cube", "red", b[2])))
    assert row["leakage"] == [1.0, 1.0] and np.isnan(row["leakage_things"]).all() and row["text"] == [1.0, 1.0]


def test_smaller_regions_lie_above():
    """A small mug wholly inside a large cube's region: its pixels are not the cube's."""
    big, small = ("cube", "red", square(8, 8, 40)), ("mug", "blue", square(20, 20, 12))
    parts = layout_measures.own(case_of(big, small))
    assert not (parts[0] & parts[1]).any() and parts[1].sum() == 144 and parts[0].sum() == 1600 - 144
    row = judged(case_of(big, small), seen_of(big, small))
    assert row["attributes"] == [1.0, 1.0] and row["leakage"] == [0.0, 0.0]


def test_a_few_pixels_are_nothing_found():
    little = ("cube", "red", square(4, 8, 5))
    assert 25 < layout_measures.FOUND * 256 < 49
    row = judged(case_of(CUBE), seen_of(little))
    assert row["attributes"] == [0.0] and row["iou"] == [pytest.approx(25 / 256)] and row["text"] == [1.0]
    assert judged(case_of(CUBE), seen_of(("cube", "red", square(4, 8, 7))))["attributes"] == [1.0]


def test_masks_are_compared_by_pixels():
    """Half of the mask shows the thing: IoU 1/2, while the boxes of a diagonal half are the same."""
    half = np.tril(np.ones((16, 16), bool))
    seen_mask = np.zeros((64, 64), bool)
    seen_mask[8:24, 4:20] = half
    seen = seen_of(("cube", "red", seen_mask))
    assert judged(case_of(CUBE, masks=True), seen)["iou"] == [pytest.approx(half.mean())]
    assert judged(case_of(CUBE), seen)["iou"] == [1.0]


def test_pieces_of_several_shapes_are_one_blob():
    top, bottom = ("cube", "red", np.zeros((64, 64), bool)), ("mug", "red", np.zeros((64, 64), bool))
    top[2][8:16, 4:20] = bottom[2][16:24, 4:20] = True
    row = judged(case_of(CUBE), seen_of(top, bottom))
    assert row["iou"] == [0.5] and row["iou_any"] == [1.0]


# ---- measures of many pictures ---------------------------------------------------------------------------------------

def matches(*things: tuple[float, bool], wanted: int = 2) -> layout_measures.Matches:
    hit = np.tile([h for _, h in things], (10, 1)).astype(bool).reshape(10, -1)
    return layout_measures.Matches(np.zeros(len(things), int), np.array([s for s, _ in things]), hit,
                                   np.array([wanted] + [0] * 7))


def test_average_precision_by_hand():
    """Right, wrong, right of two wanted: precision 1 up to recall 1/2, then 2/3. With one never found, 1/2."""
    ones = np.ones(1)
    ap, ap50 = Precision([matches((0.9, True), (0.8, False), (0.7, True))])(ones)
    assert ap == ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert Precision([matches((0.9, True))])(ones)[1] == pytest.approx(51 / 101)
    assert Precision([matches()])(ones) == (0.0, 0.0)
    assert Precision([matches((0.9, True), (0.7, True), (0.5, False))])(ones)[1] == 1
    apart = Precision([matches((0.9, False), wanted=1), matches((0.8, True), wanted=1)])
    assert apart(np.ones(2))[1] == pytest.approx(0.5 * 51 / 101)
    assert apart(np.array([0.0, 1.0]))[1] == 1


def test_ap_is_the_mean_over_thresholds_and_shapes():
    """A cube 12 of 16 columns wide has IoU 0.75: a hit at 6 of 10 thresholds; the mug is exact."""
    narrow = np.zeros((64, 64), bool)
    narrow[8:24, 4:16] = True
    found = layout_measures.matched(case_of(CUBE, MUG), seen_of(("cube", "red", narrow), MUG))
    assert found.hit.sum(1).tolist() == [2] * 6 + [1] * 4
    ap, ap50 = Precision([found])(np.ones(1))
    assert ap50 == 1 and ap == pytest.approx((0.6 + 1) / 2)


def test_one_region_takes_one_thing():
    """Twice the same: the likelier one is right, the other wrong. Other shapes are wrong anywhere."""
    twice = seen_of(CUBE, ("cube", "green", square(5, 8)), ("mug", "red", CUBE[2]))
    twice.things[0].__dict__["score"] = 0.5
    found = layout_measures.matched(case_of(CUBE), twice)
    by_colour = {t.colour: found.hit[0, k] for k, t in enumerate(sorted(twice.things, key=lambda t: -t.score))
                 if t.shape == 0}
    assert by_colour == {HUES.index("green"): True, HUES.index("red"): False}
    assert found.hit[0].sum() == 1


def test_frechet_by_hand():
    one = lambda mean, variance: Cloud(np.array([mean]), np.array([[variance]]))
    assert layout_measures.frechet(one(1, 4), one(3, 9)) == pytest.approx(4 + (2 - 3) ** 2)
    a = Cloud(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]))
    assert layout_measures.frechet(a, a) == pytest.approx(0, abs=1e-12)
    # Eigenvalues 3 and 1 against twice the unit matrix, which commutes with it.
    b = Cloud(np.zeros(2), 2 * np.eye(2))
    assert layout_measures.frechet(a, b) == pytest.approx((math.sqrt(3) - math.sqrt(2)) ** 2 + (math.sqrt(2) - 1) ** 2)
    # Without a common basis: tr sqrt(AB) of 2 x 2 matrices is sqrt(tr AB + 2 sqrt(det AB)).
    c = Cloud(np.zeros(2), np.array([[1.0, 0.0], [0.0, 5.0]]))
    product = a.cov @ c.cov
    cross = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    assert layout_measures.frechet(a, c) == pytest.approx(a.spread + c.spread - 2 * cross)


def test_scores_at_their_ends():
    rng = np.random.default_rng(0)
    truth = Cloud.of(rng.normal(size=(400, 3)))
    assert layout_measures.quality(0, truth) == 1
    average = Cloud(truth.mean, np.zeros((3, 3)))
    assert layout_measures.quality(layout_measures.frechet(average, truth), truth) == pytest.approx(0.5)
    assert layout_measures.image_score(1, 1) == 1 and layout_measures.image_score(0.5, 0) == 0.25
    assert layout_measures.align_score(1, 1, 1, 0) == 1 and layout_measures.align_score(0, 0, 0, 1) == 0
    assert layout_measures.align_score(0, 0, 0, math.nan) == 0
    assert layout_measures.align_score(0.4, 0.6, 0.8, 0.2) == pytest.approx(0.65)


def some_judged() -> tuple[list[Case], list[Seen], np.ndarray]:
    pairs = [(case_of(CUBE, MUG), seen_of(CUBE, MUG)), (case_of(CUBE, MUG), seen_of(MUG, score=0.3)),
             (case_of(CUBE), seen_of(("cube", "blue", square(6, 8)), score=0.8)), (case_of(MUG), seen_of())]
    return [c for c, _ in pairs], [s for _, s in pairs], np.random.default_rng(1).normal(size=(4, 3))


def test_weights_are_repetitions():
    cases, seen, features = some_judged()
    truth = Cloud(np.zeros(3), np.eye(3))
    times = [2, 0, 3, 1]
    rows = [k for k, n in enumerate(times) for _ in range(n)]
    repeated = Judged([cases[k] for k in rows], [seen[k] for k in rows], features[rows]).figures(truth)
    weighted = Judged(cases, seen, features).figures(truth, np.array(times, float))
    for name in layout_measures.FIGURES:
        assert weighted[name] == pytest.approx(repeated[name], nan_ok=True), name


def test_means_are_over_regions():
    cases, seen, features = some_judged()
    got = Judged(cases, seen, features).figures(Cloud(np.zeros(3), np.eye(3)))
    cube = layout_measures.box_iou(CUBE_BOX := cases[2].boxes[0], seen[2].things[0].box)
    assert CUBE_BOX == (4 / 64, 8 / 64, 20 / 64, 24 / 64)
    assert got["iou"] == pytest.approx((1 + 1 + 0 + 1 + cube + 0) / 6)
    assert got["text"] == pytest.approx(3 / 6) and got["attributes"] == pytest.approx(3 / 6)
    assert got["leakage"] == 0 and got["align_score"] == pytest.approx(
        (got["iou"] + got["ap50"] + got["attributes"] + 1) / 4)


def test_differences_are_of_pairs():
    """Against itself exactly nothing, whatever the samples; against blind all that there is."""
    cases, seen, features = some_judged()
    truth = Cloud(np.zeros(3), np.eye(3))
    entry = lambda s: {"figures": Judged(cases, s, features).figures(truth),
                       "samples": layout_measures.resampled(Judged(cases, s, features), truth, 20)}
    same = bench.difference(entry(seen), entry(seen))
    assert set(same.values()) == {0.0}
    blind = bench.difference(entry(seen), entry([seen_of()] * 4))
    assert blind["iou"] == pytest.approx(entry(seen)["figures"]["iou"]) and blind["iou_error"] > 0.05


# ---- methods and their pictures --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("prior") / "layout.safetensors"
    LayoutPrior.untrained().save(path)
    return str(path)


FAST = ("sampler.steps=2", "layers.share=0.5", "guidance.delta=dynamic", "guidance.strength=0.3")


def jobs_of(weights: str, out, names, count: int = 3) -> list[layout_run.Job]:
    return [layout_run.job_of(m, layout_run.config_of(m, FAST, weights), count, out, "hash", 2)
            for m in layout_run.methods(layout_run.PARTS) if m.name in names]


def test_methods_differ_where_they_should():
    listed = layout_run.methods(layout_run.PARTS, ["weak:guidance.strength=0.01,layers.edge=1"])
    assert len({m.name for m in listed}) == len(listed) and {m.part for m in listed} == set(layout_run.PARTS)
    configs = {m.name: layout_run.config_of(m) for m in listed}
    kinds = {n: (configs[n].guidance.kind, configs[n].guidance.delta) for n in layout_run.METHODS}
    assert len(set(kinds.values())) == 5 and kinds["dynamic"] == ("vision", "dynamic")
    assert configs["weak"].guidance.strength == 0.01 and configs["weak"].layers.edge == 1
    assert configs["dynamic t0 0.8"].layered_steps == 40
    assert configs["constant at_t0"].layers.composition == "at_t0"
    assert configs["constant strength 0"] == configs["dynamic strength 0"]
    assert configs["constant strength 0.5"] != configs["dynamic strength 0.5"]


def test_pictures_are_those_of_the_method_and_are_kept(scenes, weights, tmp_path, monkeypatch):
    cases = layout_cases.cases(3, scenes)
    jobs = jobs_of(weights, tmp_path, ("none", "dynamic"))
    layout_run.run(jobs, cases, chunk=2)
    images, seconds = layout_run.pictures(jobs[1], cases, 2)
    config = layout_run.config_of(jobs[1].method, FAST, weights)
    direct = [m.image for part in (cases[:2], cases[2:]) for m in layouts([c.request() for c in part], config)]
    assert (images - torch.cat(direct)).abs().max() <= 0.5 / 255 + 1e-6 and seconds > 0
    monkeypatch.setattr(layout_run, "make_chunk", lambda *_: pytest.fail("made again"))
    layout_run.run(jobs, cases, chunk=2)
    assert torch.equal(layout_run.pictures(jobs[1], cases, 2)[0], images)


def test_a_broken_run_goes_on(scenes, weights, tmp_path, monkeypatch):
    cases, real, made = layout_cases.cases(3, scenes), layout_run.make_chunk, []

    def fails_at_second(path, numbers, given):
        if made:
            raise RenderError("stopped")
        made.append(numbers)
        real(path, numbers, given)

    jobs = jobs_of(weights, tmp_path, ("none",))
    monkeypatch.setattr(layout_run, "make_chunk", fails_at_second)
    with pytest.raises(RenderError):
        layout_run.run(jobs, cases, chunk=2)
    monkeypatch.setattr(layout_run, "make_chunk", lambda *a: (made.append(a[1]), real(*a)))
    layout_run.run(jobs, cases, chunk=2)
    assert made == [range(0, 2), range(2, 3)]


def test_folders_are_shared_by_equal_settings_alone(scenes, weights, tmp_path):
    jobs = {j.method.name: j.folder for j in jobs_of(weights, tmp_path, (
        "dynamic", "dynamic per_step", "constant strength 0", "dynamic strength 0", "constant"))}
    assert jobs["dynamic"] == jobs["dynamic per_step"] != jobs["constant"]
    assert jobs["constant strength 0"] == jobs["dynamic strength 0"] != jobs["dynamic"]
    other = layout_run.job_of(layout_run.methods(["methods"])[0], layout_run.config_of(None, FAST, weights), 3,
                              tmp_path, "other weights", 2)
    assert other.folder not in jobs.values()
    few, many = layout_cases.cases(2, scenes), layout_cases.cases(4, scenes)
    job = jobs_of(weights, tmp_path, ("none",), 2)[0]
    assert layout_run.chunks(job, few, 2) == layout_run.chunks(job, many, 2)
    assert layout_run.chunks(job, few, 2) != layout_run.chunks(job, few[::-1], 2)


# ---- edits -----------------------------------------------------------------------------------------------------------

def test_edits_put_a_new_thing_on_free_ground_or_in_place_of_another(scenes):
    made = layout_edits.edit_cases(8, scenes)
    assert [c.kind for c in made] == ["insert", "replace"] * 4
    for case in made:
        (new,) = case.things
        assert new.colour not in {t.colour for t in case.shown} and new.colour != case.ground
        request = case.request()
        assert check(request, LayoutConfig()).caption == case.caption and request.source == case.source
        assert len(case.caption.split(" and ")[0].split(",")) <= MOST
        assert new.phrase in case.caption and new.phrase not in case.source
        # What stands there before is the thing that goes, and nothing else.
        inside = case.before[0][:, torch.from_numpy(case.covers[0])]
        hues = {min(COLOURS, key=lambda c, p=p: float((p - torch.tensor(COLOURS[c])).norm())) for p in inside.T}
        if case.kind == "replace":
            assert case.shown[case.replaced].phrase not in case.caption and new.shape != case.shown[case.replaced].shape
            assert hues == {case.shown[case.replaced].colour}
        else:
            assert not hues & {t.colour for t in case.shown} - {case.ground}
    again = layout_edits.edit_cases(5, scenes)
    assert layout_cases.digest(again) == layout_cases.digest(made[:5])
    with pytest.raises(ConfigError):
        layout_edits.edit_cases(0, scenes)


def test_measures_of_an_edit_by_hand(scenes):
    case = layout_edits.edit_cases(2, scenes)[1]
    new, old, cover = case.things[0], case.shown[case.replaced], case.covers[0]
    done = seen_of((new.shape, new.colour, cover))
    got = layout_edits.judged(case, done, case.before[0])
    assert got == {"iou": 1, "class_right": 1, "colour_right": 1, "attributes": 1, "text": 1, "placed": 1,
                   "old_colour": 0, "kept": 1}
    undone = layout_edits.judged(case, seen_of((old.shape, old.colour, cover)), case.before[0])
    assert undone["old_colour"] == 1 and undone["attributes"] == undone["iou"] == undone["placed"] == 0
    x, y = (int(64 * v) for v in case.boxes[0][:2])
    near, far = case.before[0].clone(), case.before[0].clone()
    near[:, max(y - 2, 0), x] += 0.1
    assert layout_edits.judged(case, done, near)["kept"] == 1
    far[0, (y + 40) % 64, (x + 40) % 64] += 1 / 255
    assert layout_edits.judged(case, done, far)["kept"] == 0
    figures = layout_edits.figures([got, undone])
    assert figures["figures"]["old_colour"] == 0.5 and figures["error"]["kept"] == 0


# ---- the whole -------------------------------------------------------------------------------------------------------

def test_from_options_to_files(scenes, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(layout_cases, "held_out", lambda *_: scenes)
    monkeypatch.setattr(layout_cases, "training_scenes", lambda *_: scenes)
    monkeypatch.setattr(layout_detector, "trained", lambda *_, **__: layout_detector.Detector().eval())
    monkeypatch.setattr(bench, "REFERENCE", 8)
    monkeypatch.setattr(layout_run, "STRENGTHS", (0.0, 0.4))
    monkeypatch.setattr(layout_run, "SHARES", (0.5,))
    words = ["--cases", "4", "--ablation-cases", "4", "--edit-cases", "3", "--prior", weights, "--draws", "3",
             "--scratch", "--out", str(tmp_path), "--sheet", "2", *(w for s in FAST for w in ("--set", s))]
    assert bench.main(words) == 0
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["schema"] == "dipir.bench.layout.1" and data["cases"]["count"] == 4
    assert set(data["methods"]) == {*layout_run.METHODS, "truth"}
    assert set(data["ablations"]) == {"strength", "t0", "composition"}
    assert set(data["edits"]) == set(layout_edits.METHODS)
    assert all(e["figures"]["kept"] == 1 for e in data["edits"].values())
    assert set(data["methods"]["none"]["figures"]) == set(layout_measures.FIGURES)
    assert set(data["methods"]["none"]["regions"]) == {"1", "2", "3", "4"}
    assert "dynamic to multidiffusion" in data["differences"]
    # Two steps of two calls; one is layered, with a background and regions, and dynamic delta looks once.
    assert data["speed"]["regions"]["0"]["rows"] == 4 and data["speed"]["regions"]["3"]["rows"] == 2 * 4 + 2 + 3
    text = (tmp_path / "table.md").read_text()
    assert "| dynamic |" in text and "**Speed.**" in text and "**Editing.**" in text and "**Detector**" in text
    for name in ("sheet", "seen", "truth", "edits", "layout_curves", "layout_speed"):
        assert cv2.imread(str(tmp_path / f"{name}.png")) is not None, name


def test_the_sheet_shows_what_was_asked():
    tile = layout_figures.asked(case_of(("cube", "red", square(4, 8, 24)), MUG))
    x, y = 2 * 20, 2 * 28
    assert np.abs(tile[y, x] / 255 - COLOURS["red"]).max() < 0.01
    shown = layout_figures.coloured(seen_of(CUBE, MUG))
    assert np.abs(shown[45, 40] / 255 - COLOURS["blue"]).max() < 0.01 and (shown[0, 0] == shown[0, 1]).all()


@pytest.mark.parametrize("words", [
    ["--cases", "0"], ["--workers", "0"], ["--parts", "method"], ["--methods", "dynamik"], ["--add", "dynamic"],
    ["--add", "dynamic:guidance.strength=1"], ["--set", "guidance.strenght=1"], ["--prior", "some/folder"],
    ["--add", "strange:guidance.kind=other"]])
def test_bad_options(words, monkeypatch):
    monkeypatch.setattr(layout_cases, "held_out", lambda *_: pytest.fail("work was started"))
    with pytest.raises(ConfigError):
        bench.main(words)
