"""Pictures of a session: the shadow is where the sun puts it, nothing else changes, better pictures follow."""
from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from dipir.image.tone import ToneCurve
from dipir.studio.document.edits import edited
from dipir.studio.document.state import Document, Known
from dipir.studio.pictures import easel as easels
from dipir.studio.pictures.easel import plate_jpeg, with_contrast
from dipir.studio.worker import Superseded
from tests.support.studio import SIZE, set_up


class Shown:
    """A session's easel, worked by this thread; what it showed and said."""

    def __init__(self, session) -> None:
        self.session, self.pictures, self.frames, self.said = session, session.pictures, [], []
        self.pictures._tell = lambda about, jpeg: self.frames.append((about, decoded(jpeg)))
        self.pictures._say = lambda *what: self.said.append(what)

    def show(self, document: Document | None = None, moving: bool = False, longest: int = 512) -> np.ndarray:
        wish = replace(self.session.wish(document or self.session.document), moving=moving, longest=longest)
        self.pictures.show(wish, lambda: False)
        return self.frames[-1][1]

    def rest(self, newer=lambda: False) -> list[str]:
        """All idle work; the kinds of pictures that came of it."""
        before = len(self.frames)
        self.pictures._since = -1e9
        while self.pictures.rest(newer) is not None:
            pass
        return [about["kind"] for about, _ in self.frames[before:]]


def decoded(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(float)


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Shown:
    folder = tmp_path_factory.mktemp("easel")
    return Shown(set_up(folder / "session", folder))


def lit_from(shown: Shown, azimuth: float) -> Document:
    return edited(shown.session.document, {"op": "lamp", "name": "sun", "azimuth_deg": azimuth, "elevation_deg": 30})


def darkness(picture: np.ndarray, bare: np.ndarray) -> tuple[float, float]:
    """(left, right) of the object's foot: how much darker the ground became there."""
    y = slice(int(0.7 * picture.shape[0]), int(0.8 * picture.shape[0]))
    lost, width = (bare - picture).clip(0)[y], picture.shape[1]
    return lost[:, :int(0.38 * width)].sum(), lost[:, int(0.62 * width):].sum()


def test_the_shadow_falls_away_from_the_sun_and_the_rest_stays(shown):
    bare = shown.show(replace(shown.session.document, objects=()))
    assert shown.frames[-1][0]["kind"] == "drag" and bare.shape == (SIZE[1], SIZE[0], 3)
    left = darkness(shown.show(lit_from(shown, 90)), bare)
    right = darkness(shown.show(lit_from(shown, -90)), bare)
    assert left[0] > 5 * left[1] + 50 and right[1] > 5 * right[0] + 50
    sky = slice(0, 12)
    assert abs(shown.frames[-1][1][sky] - bare[sky]).max() <= 6


def test_better_pictures_follow_and_agree(shown):
    first = shown.show(lit_from(shown, 90))
    kinds = shown.rest()
    assert kinds == ["refined", "traced"] and shown.said == []
    refined, traced = (picture for _, picture in shown.frames[-2:])
    for picture in (refined, traced):
        assert picture.shape == first.shape and abs(picture - first).mean() < 4
    # The traced one left the preview's scene as it was.
    assert abs(shown.show(lit_from(shown, 90)) - first).max() < 1


def test_a_moved_object_is_shown_at_once_coarse_then_well(shown):
    document = lit_from(shown, 90)
    old = shown.show(document)
    moved = edited(document, {"op": "place", "object": "o1", "at": [70, 60]})
    quick = shown.show(moved, moving=True)
    assert abs(quick - old).max() > 50
    assert shown.rest() == ["drag", "refined", "traced"]
    assert abs(shown.frames[-3][1] - quick).mean() < 6
    assert abs(shown.show(document) - old).mean() < 2


def test_a_changed_camera_and_material_are_shown(shown):
    document = lit_from(shown, 90)
    old = shown.show(document)
    red = shown.show(edited(document, {"op": "material", "object": "o1", "part": "*", "values": {
        "base_color": [0.9, 0.0, 0.0]}}))
    difference = red - old
    assert difference[..., 0].max() > 20 and difference[..., 1].min() < -20
    tall = shown.show(edited(document, {"op": "camera", "height_m": 0.9}))
    box = (abs(tall - shown.show(replace(document, objects=()))).max(-1) > 40)
    assert box.sum() > 1.5 * (abs(old - shown.show(replace(document, objects=()))).max(-1) > 40).sum()


def test_idle_work_gives_way_and_goes_on(shown):
    shown.show(lit_from(shown, 20))
    shown.pictures._since = -1e9
    shown.pictures._todo = ["record", "traced"]
    with pytest.raises(Superseded):
        shown.pictures.rest(lambda: True)
    assert shown.pictures._todo == ["record", "traced"]
    assert shown.rest() == ["drag", "traced"]


def test_what_is_asked_for_is_made_at_the_size_that_is_there(shown):
    shown.show(lit_from(shown, 90))
    preview = shown.pictures._view.preview
    wish = replace(shown.session.wish(lit_from(shown, 90)), longest=48)
    frame = decoded(shown.pictures.frame(wish))
    assert frame.shape == (36, 48, 3) and shown.pictures._view.preview is preview
    guess = decoded(shown.pictures.guess(wish, shown.session.fact.lights["1"]))
    assert guess.shape == frame.shape and abs(guess - frame).max() > 20
    layers = {name: decoded(shown.pictures.layer(wish, name)) for name in ("object", "shadow", "difference")}
    assert layers["shadow"].max() > 250 > 200 > layers["shadow"].min()
    assert layers["object"][:6].max() < 10 and layers["object"].max() > 60
    assert abs(layers["difference"][:6] - 127.5).max() < 6 and layers["difference"].min() < 110
    bare = replace(wish, document=replace(wish.document, objects=()))
    assert decoded(shown.pictures.layer(bare, "shadow")).min() > 250


def test_plate_and_light(shown):
    known = shown.pictures.loaded(shown.session.document)
    other = replace(shown.session.document, plate="f9")
    assert known is shown.pictures.plate(shown.session.document) and shown.pictures.loaded(other) is None
    plate = decoded(plate_jpeg(known, 48))
    assert plate.shape == (36, 48, 3)
    light = decoded(shown.pictures.light_jpeg(shown.session.document))
    assert light.shape == (256, 512, 3)
    # Without the lamp: even.
    assert light.std() < 10


def test_what_cannot_be_read_is_said(shown, tmp_path):
    session = set_up(tmp_path / "s", tmp_path)
    (tmp_path / "photo.png").write_bytes(b"broken")
    other = Shown(session)
    other.pictures._plate = None
    wish = session.wish()
    for _ in range(5):
        other.pictures.show(wish, lambda: False)
    assert other.frames == [] and len(other.said) == 1
    assert other.said[0][0] == "error" and "photo.png" in other.said[0][1]


def test_a_contrast_replaces_the_object_s_curve():
    own = (ToneCurve.identity(), ToneCurve.identity())
    assert with_contrast(own, 0.0) is own
    hard = with_contrast(own, 1.0)
    assert hard[1] is own[1] and float(hard[0](torch.tensor([0.3]))) < 0.3


def test_large_plates_are_reduced_before_anything_else(shown, monkeypatch, tmp_path):
    from dipir.studio.pictures import pixels

    monkeypatch.setattr(pixels, "LARGEST", 48)
    session = set_up(tmp_path / "s", tmp_path)
    facts = session.pictures.open_plate(session.document.plate)
    assert facts.size == SIZE and session.pictures.plate(session.document).size == (48, 36)
    scene = session.pictures.scene(session.document, SIZE)
    assert scene.plate.size == (scene.camera.width, scene.camera.height) == (48, 36)
    whole = shown.pictures.scene(shown.session.document, SIZE)
    assert np.allclose(scene.objects[0].to_world, whole.objects[0].to_world)
    assert easels.USUAL_VIEW <= easels.LARGEST_VIEW and Known().size == (1, 1)
