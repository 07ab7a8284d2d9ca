"""The measures of `dipir bench layout` by hand: boxes, masks, leakage, average precision, Frechet distance, scores."""
from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.layout import __main__ as bench
from benchmarks.layout import measures as layout_measures
from benchmarks.layout.cases import Case
from benchmarks.layout.detector import Seen
from benchmarks.layout.measures import Cloud, Judged, Precision
from tests.support.layout_seen import CUBE, HUES, MUG, case_of, seen_of, square

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
    def one(mean, variance):
        return Cloud(np.array([mean]), np.array([[variance]]))

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

    def entry(s):
        return {"figures": Judged(cases, s, features).figures(truth),
                           "samples": layout_measures.resampled(Judged(cases, s, features), truth, 20)}

    same = bench.difference(entry(seen), entry(seen))
    assert set(same.values()) == {0.0}
    blind = bench.difference(entry(seen), entry([seen_of()] * 4))
    assert blind["iou"] == pytest.approx(entry(seen)["figures"]["iou"]) and blind["iou_error"] > 0.05
