"""The layout benchmark: cases, the detector and what it sees, measures by hand, pictures that are kept, tables."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from benchmarks.layout import __main__ as bench
from benchmarks.layout import cases as layout_cases
from benchmarks.layout import detector as layout_detector
from benchmarks.layout import edits as layout_edits
from benchmarks.layout import figures as layout_figures
from benchmarks.layout import measures as layout_measures
from benchmarks.layout import run as layout_run
from dipir.errors import ConfigError, RenderError
from dipir.layout.config import LayoutConfig
from dipir.layout.method import check, layouts
from dipir.priors.captions import COLOURS, MATERIALS, SHAPES
from dipir.priors.layout import LayoutPrior
from dipir.workshop.layout.data import MOST, NONE, LayoutSet, encode
from tests.support.layout_seen import CUBE, HUES, MUG, case_of, seen_of, square


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
    leaked = layout_measures.judged_case(case_of(("cube", "red", left | right), MUG), mixed)["leakage_things"]
    assert len(mixed.things) == 1 and leaked[0] == pytest.approx(0.5)


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
    assert configs["constant t0 0.8"].layered_steps == 20
    assert configs["constant at_t0"].layers.composition == "at_t0"
    assert configs["constant strength 0"] == configs["dynamic strength 0"]
    assert configs["constant strength 0.2"] != configs["dynamic strength 0.2"]


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
        "dynamic", "dynamic at_t0", "constant strength 0", "dynamic strength 0", "constant"))}
    assert jobs["dynamic"] == jobs["dynamic at_t0"] != jobs["constant"]
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
    assert "| dynamic " in text and "**Speed.**" in text and "**Editing.**" in text and "**Detector**" in text
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
