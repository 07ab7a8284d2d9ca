"""Edits: pure functions of the document; whatever is done can be undone."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipir.errors import ConfigError, DipirError, SceneError
from dipir.studio.document.edits import EDITS, MOST_LAMPS, MOST_OBJECTS, edited, with_item
from dipir.studio.document.history import History
from dipir.studio.document.state import CameraNumbers, Document, Item, Known, LampNumbers, LightNumbers

SUN = LampNumbers("sun", 50.0, 40.0, 0.53, 0.7)
LIGHT = LightNumbers("prior", "b1", lamps=(SUN,))
GUESS = LightNumbers("guess 2", "b2", 2, lamps=(replace(SUN, azimuth_deg=-80.0),))
CAMERA = CameraNumbers(55.0, 12.0, 0.0, 1.6)
START = Document("f1", CAMERA, light=LIGHT, objects=(Item("o1", "f2", "vase", (60.0, 70.0), 0.5),), selected="o1")
KNOWN = Known((128, 96), replace(CAMERA, fov_deg=60.0), {0: LIGHT, 2: GUESS}, lambda asset: ("body",))


def do(document: Document, op: str, **more) -> Document:
    return edited(document, {"op": op, **more}, KNOWN)


def shares(document: Document) -> dict[str, float]:
    return {lamp.name: lamp.share for lamp in document.light.lamps}


# ------------------------------------------------------------------------------------------------------- each edit
def test_camera_and_back():
    changed = do(START, "camera", pitch_deg=5)
    assert changed.camera == replace(CAMERA, pitch_deg=5.0)
    assert do(changed, "camera_snap").camera == KNOWN.estimate


def test_objects():
    assert do(START, "place", object="o1", at=[1, 2.5]).objects[0].at == (1.0, 2.5)
    assert do(START, "turn", object="o1", yaw_deg=270).objects[0].yaw_deg == -90.0
    sized = do(replace(START, objects=(replace(START.objects[0], height_m=None, scale=2.0),)), "size", object="o1",
               height_m=0.8).objects[0]
    assert (sized.height_m, sized.scale) == (0.8, None)
    twice = do(START, "duplicate", object="o1")
    assert [(i.id, i.name) for i in twice.objects] == [("o1", "vase"), ("o2", "vase_2")] and twice.selected == "o2"
    assert twice.objects[1].at != START.objects[0].at
    gone = do(twice, "remove", object="o2")
    assert gone.objects == START.objects and gone.selected == "o1"
    assert do(gone, "remove", object="o1").selected is None
    assert do(START, "select", object=None).selected is None


def test_materials_are_merged_and_taken_back():
    red = do(START, "material", object="o1", part="*", values={"base_color": [1, 0, 0], "roughness": 0.2})
    glass = do(red, "material", object="o1", part="*", values={"transmission": 1, "roughness": None})
    assert glass.objects[0].material == {"*": {"base_color": [1.0, 0.0, 0.0], "transmission": 1.0}}
    back = do(glass, "material", object="o1", part="*", values={"base_color": None, "transmission": None})
    assert back == START
    assert do(START, "material", object="o1", part="body", values={"metallic": 1}).objects[0].material["body"]


def test_a_stronger_lamp_dims_the_others_in_proportion():
    two = do(START, "lamp_add")
    assert shares(two) == pytest.approx({"sun": 0.7 * 0.7, "lamp": 0.3})
    strong = do(two, "lamp", name="lamp", share=0.9)
    assert shares(strong)["lamp"] == 0.9
    # The rest around the lamps keeps its proportion to the sun: 0.21 of what is not the lamp's before, and after.
    rest = 1 - sum(shares(strong).values())
    assert rest / shares(strong)["sun"] == pytest.approx((1 - 0.79) / 0.49)


def test_a_lamp_that_goes_leaves_its_light_to_the_others():
    assert shares(do(do(START, "lamp_add"), "lamp_remove", name="lamp")) == pytest.approx({"sun": 0.7})


def test_what_a_person_changes_is_held():
    assert not START.light.lamps[0].held
    assert do(START, "lamp", name="sun", azimuth_deg=10).light.lamps[0].held
    dimmed = do(START, "light", ambient_stops=-1)
    assert dimmed.light.held == ("ambient",) and not dimmed.light.lamps[0].held
    assert do(dimmed, "hold", name="ambient", held=False).light.held == ()
    assert do(START, "hold", name="sun", held=True).light.lamps[0].held


def test_rotate_turns_the_lamps_with_what_is_around():
    turned = do(START, "light", rotate_deg=150)
    assert turned.light.rotate_deg == 150 and turned.light.lamps[0].azimuth_deg == pytest.approx(-160)
    back = do(turned, "light", rotate_deg=0)
    assert back.light.lamps[0].azimuth_deg == pytest.approx(50)


def test_a_guess_keeps_exposure_and_contrast():
    changed = do(do(START, "light", exposure_stops=1, contrast=0.5, ambient_stops=2), "guess", n=2)
    assert changed.light == replace(GUESS, exposure_stops=1.0, contrast=0.5)
    assert do(changed, "guess", n=0).light.base == "prior"


def test_a_shadow_is_matched_by_the_first_lamp():
    known = replace(KNOWN, match=lambda document, op: (33.0, None if op["top"] is None else 20.0))
    op = {"op": "match", "foot": [1, 2], "tip": [3, 4], "top": None}
    sun = edited(START, op, known).light.lamps[0]
    assert (sun.azimuth_deg, sun.elevation_deg, sun.share) == (33.0, 40.0, 0.7)
    assert edited(START, {**op, "top": [1, 1]}, known).light.lamps[0].elevation_deg == 20.0
    dark = replace(START, light=replace(LIGHT, lamps=()))
    made = edited(dark, op, known).light.lamps[0]
    assert (made.name, made.azimuth_deg, made.elevation_deg, made.share) == ("sun", 33.0, 45.0, 0.7)


def test_the_prompt():
    assert do(START, "prompt", text="a vase").prompt == "a vase"


# -------------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize("op, says", [
    ({"op": "plce"}, "Did you mean 'place'"), ({}, "accepted are camera"), ({"op": ["place"]}, "accepted are camera"),
    ({"op": "place", "object": "o1", "at": [1, 2], "z": 3}, "'z' is unknown"),
    ({"op": "place", "object": "o9", "at": [1, 2]}, "accepted are o1"),
    ({"op": "place", "object": "o1", "at": [1, float("nan")]}, "[x, y]"),
    ({"op": "place", "object": "o1", "at": "12"}, "[x, y]"), ({"op": "place", "object": "o1"}, "nothing given"),
    ({"op": "turn", "object": "o1", "yaw_deg": float("inf")}, "yaw_deg"),
    ({"op": "turn", "object": "o1", "yaw_deg": True}, "yaw_deg"),
    ({"op": "size", "object": "o1", "height_m": 0}, "height_m"),
    ({"op": "camera", "pitch_deg": 90}, "-89 to 89"), ({"op": "lamp", "name": "sun", "share": 1}, "0.98"),
    ({"op": "lamp", "name": "a" * 61}, "at most 60"), ({"op": "lamp", "name": "ambient"}, "a name of its own"),
    ({"op": "lamp", "name": "a\nb"}, "one line"), ({"op": "lamp_remove", "name": "snu"}, "Did you mean 'sun'"),
    ({"op": "light", "contrast": 2}, "-1 to 1"), ({"op": "guess", "n": 1}, "accepted are 0, 2"),
    ({"op": "guess", "n": False}, "accepted are 0, 2"), ({"op": "hold", "name": "sun", "held": 1}, "true and false"),
    ({"op": "material", "object": "o1", "part": "lid", "values": {}}, "accepted are *, body"),
    ({"op": "material", "object": "o1", "part": "*", "values": {"rough": 1}}, "Did you mean 'roughness'"),
    ({"op": "material", "object": "o1", "part": "*", "values": {"base_color": [1, 2, 0]}}, "0 to 1"),
    ({"op": "prompt", "text": "x" * 1001}, "at most 1000")])
def test_wrong_edits_say_what_is_accepted(op, says):
    with pytest.raises(ConfigError) as caught:
        edited(START, op, KNOWN)
    assert says in str(caught.value)


@pytest.mark.parametrize("op", [{"op": "lamp_add"}, {"op": "light", "contrast": 0.1}, {"op": "camera", "fov_deg": 50},
                                {"op": "camera_snap"}])
def test_nothing_is_there_before_a_photo(op):
    with pytest.raises(ConfigError, match="open a photo"):
        edited(Document(), op)


def test_an_object_stays_where_it_can_stand():
    def check(document, item):
        if item.at[1] < 50:
            raise SceneError("above the horizon")

    known = replace(KNOWN, check=check)
    with pytest.raises(SceneError):
        edited(START, {"op": "place", "object": "o1", "at": [10, 20]}, known)
    assert edited(START, {"op": "place", "object": "o1", "at": [10, 60]}, known).objects[0].at == (10.0, 60.0)


def test_there_is_an_end_to_lamps_and_objects():
    document = START
    for _ in range(MOST_LAMPS - 1):
        document = do(document, "lamp_add")
    with pytest.raises(ConfigError, match="at most 12"):
        do(document, "lamp_add")
    for k in range(MOST_OBJECTS - 1):
        document = with_item(document, replace(START.objects[0], name=f"v{k}"))
    with pytest.raises(ConfigError, match="24 objects"):
        do(document, "duplicate", object="o1")


# ----------------------------------------------------------------------------------------------------- any sequence
NUMBER = st.floats(-200, 200)
OPS = st.one_of(
    st.fixed_dictionaries({"op": st.just("camera"), "pitch_deg": NUMBER}),
    st.fixed_dictionaries({"op": st.sampled_from(["camera_snap", "lamp_add"])}),
    st.fixed_dictionaries({"op": st.just("place"), "object": st.sampled_from(["o1", "o2", "o3"]),
                           "at": st.tuples(NUMBER, NUMBER)}),
    st.fixed_dictionaries({"op": st.just("turn"), "object": st.sampled_from(["o1", "o2"]), "yaw_deg": NUMBER}),
    st.fixed_dictionaries({"op": st.sampled_from(["remove", "duplicate", "select"]),
                           "object": st.sampled_from(["o1", "o2", "o3"])}),
    st.fixed_dictionaries({"op": st.just("lamp"), "name": st.sampled_from(["sun", "lamp", "window"])},
                          optional={"share": st.floats(0, 0.98), "azimuth_deg": NUMBER, "elevation_deg": NUMBER}),
    st.fixed_dictionaries({"op": st.just("lamp_remove"), "name": st.sampled_from(["sun", "lamp"])}),
    st.fixed_dictionaries({"op": st.just("light"), "rotate_deg": NUMBER, "ambient_stops": st.floats(-4, 4)}),
    st.fixed_dictionaries({"op": st.just("guess"), "n": st.sampled_from([0, 1, 2])}),
    st.fixed_dictionaries({"op": st.just("hold"), "name": st.sampled_from(["sun", "ambient"]), "held": st.booleans()}),
    st.fixed_dictionaries({"op": st.just("material"), "object": st.just("o1"), "part": st.just("*"), "values":
                           st.fixed_dictionaries({"roughness": st.one_of(st.none(), st.floats(0, 1))})}))


@given(st.lists(st.tuples(OPS, st.booleans()), max_size=30))
def test_any_sequence_of_edits_undone_gives_the_start(steps):
    history, seen = History(START), []
    for op, dragging in steps:
        try:
            document = edited(history.present, op, KNOWN)
        except DipirError:
            continue
        before = history
        history = (history.amended(document) if op["op"] == "select" else
                   history.dragged(document) if dragging else history.done(document))
        if len(history.past) > len(before.past):
            seen.append(history.present)
        total = sum(lamp.share for lamp in document.light.lamps)
        assert 0 <= total < 1 and len({lamp.name for lamp in document.light.lamps}) == len(document.light.lamps)
        assert len({item.id for item in document.objects}) == len(document.objects)
    while history.past or history.begun:
        history = history.undone()
    assert replace(history.present, selected=None) == replace(START, selected=None)
    for document in seen:
        history = history.redone()
        assert replace(history.present, selected=None) == replace(document, selected=None)
    assert not history.future


def test_every_edit_is_tried_here():
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    assert [name for name in EDITS if f'"{name}"' not in text] == []
