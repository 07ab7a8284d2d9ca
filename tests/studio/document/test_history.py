"""Undo, redo, drags; and the file that a session goes on from."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dipir.errors import ConfigError
from dipir.studio.document import history as histories
from dipir.studio.document.history import LONGEST, History
from dipir.studio.document.state import CameraNumbers, Document, Item, LampNumbers, LightNumbers

FULL = Document("f1", CameraNumbers(55.5, 12.25, -1.0, 1.6), "f3", None,
                (Item("o1", "f2", "Väse", (0.1, 70.0), 0.5, None, 20.0, {"*": {"base_color": [0.1, 0.2, 0.3]}}),
                 Item("o2", "f2", "b", (1.0, 2.0), None, 2.0)), "o1",
                LightNumbers("guess 2", "b3", 2, 10.0, -1.0, 0.5, 0.25, (LampNumbers("sun", 1.0, 2.0, 0.53, 0.7),),
                             ("ambient",), "light: a sun"), "a vase", "r1", "yard")


def prompted(text: str) -> Document:
    return replace(FULL, prompt=text)


def test_undo_and_redo():
    history = History(FULL).done(prompted("1")).done(prompted("2"))
    assert history.undone().present == prompted("1")
    assert history.undone().undone().present == FULL
    assert history.undone().undone().redone().redone().present == prompted("2")
    assert history.undone().done(prompted("3")).future == ()
    with pytest.raises(ConfigError, match="nothing to undo"):
        History(FULL).undone()
    with pytest.raises(ConfigError, match="nothing to redo"):
        history.redone()


def test_a_drag_is_one_step():
    history = History(FULL)
    for text in ("a", "b", "c"):
        history = history.dragged(prompted(text))
    assert history.present == prompted("c") and history.past == ()
    ended = history.done(prompted("d"))
    assert ended.past == (FULL,) and ended.undone().present == FULL
    # Given up in the middle, or ended where it began: no step.
    assert history.undone() == History(FULL)
    assert history.done(FULL) == History(FULL)


def test_a_change_to_the_same_is_no_step():
    assert History(FULL).done(FULL).past == ()


def test_what_was_found_out_is_no_step():
    history = History(FULL).done(prompted("1")).amended(prompted("2"))
    assert history.present == prompted("2") and history.undone().present == FULL


def test_undo_keeps_what_is_selected_where_it_is_there():
    history = History(FULL).done(prompted("1")).amended(replace(prompted("1"), selected="o2")).undone()
    assert history.present == replace(FULL, selected="o2")
    fewer = replace(FULL, objects=FULL.objects[:1])
    back = History(fewer).done(replace(FULL, selected="o2")).undone()
    assert back.present.selected == "o1"


def test_steps_end_somewhere():
    history = History(FULL)
    for k in range(LONGEST + 5):
        history = history.done(prompted(str(k)))
    assert len(history.past) == LONGEST and history.past[0] == prompted("4")


def test_the_file_gives_everything_back(tmp_path):
    history = History(FULL).done(prompted("1")).done(prompted("2")).undone()
    histories.write(tmp_path / "s.json", history, {"files": {"f1": {"x": 1}}})
    assert histories.load(tmp_path / "s.json") == (history, {"files": {"f1": {"x": 1}}})


def test_a_drag_is_saved_as_it_was_before(tmp_path):
    histories.write(tmp_path / "s.json", History(FULL).dragged(prompted("1")), {})
    assert histories.load(tmp_path / "s.json")[0] == History(FULL)


@pytest.mark.parametrize("damage", [lambda t: t[:-20], lambda t: "[]", lambda t: "",
                                    lambda t: t.replace("fov_deg", "x"),
                                    lambda t: json.dumps({**json.loads(t), "format": 99})])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "s.json"
    histories.write(path, History(FULL), {})
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError, match="s.json.*--new"):
        histories.load(path)
