"""A session: edits, undo, what pages are told, what is saved. The worker's thread does not run here."""
from __future__ import annotations

import asyncio
import json

import pytest

from dipir.errors import ConfigError, SceneError
from dipir.studio import session as sessions
from dipir.studio.document.state import Document
from dipir.studio.folders import SAVED
from dipir.studio.pictures.easel import LARGEST_VIEW
from dipir.studio.session import Session
from dipir.studio.uploads import Refusal
from tests.support.studio import SIZE, set_up

SUN = {"op": "lamp", "name": "sun"}


@pytest.fixture
def session(tmp_path):
    return set_up(tmp_path / "session", tmp_path)


def wished(session: Session):
    return session.worker._wish


# ------------------------------------------------------------------------------------------------------- the state
def test_the_state_is_what_the_page_was_promised(session):
    state = session.public()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert set(state) == {"version", "rev", "session", "undo", "redo", "saved", "plate", "camera", "objects",
                          "selected", "light", "guesses", "base_result", "prompt", "notes", "job", "finished"}
    assert state["plate"] == {"id": session.document.plate, "name": "photo.png", "width": SIZE[0], "height": SIZE[1],
                              "notes": []}
    assert set(state["camera"]) == {"fov_deg", "pitch_deg", "roll_deg", "height_m", "confidence", "source", "estimate",
                                    "horizon", "grid"}
    (cube,) = state["objects"]
    assert set(cube) == {"id", "name", "at", "height_m", "yaw_deg", "parts", "material", "box", "error"}
    x0, y0, x1, y1 = cube["box"]
    assert 0 <= x0 < 48 < x1 <= SIZE[0] and y0 < 52 and cube["parts"] == ["geometry"] and cube["error"] is None
    (sun,) = state["light"]["lamps"]
    assert sun["name"] == "sun" and sun["left_in_shadow"] == pytest.approx(1 - sun["share"], abs=1e-3)
    assert "base_id" not in state["light"] and state["guesses"] == [{"n": 1, "azimuth_deg": -90.0}]


def test_an_empty_session_has_a_state_too(tmp_path):
    state = Session(tmp_path).public()
    assert state["plate"] is state["camera"] is state["light"] is None and state["objects"] == []
    with pytest.raises(Refusal, match="no photo") as caught:
        asyncio.run(Session(tmp_path).picture("frame", {}))
    assert caught.value.status == 404


# ----------------------------------------------------------------------------------------------------- edits, undo
def test_a_drag_is_one_step_back_and_pictures_follow_at_once(session):
    for azimuth in (10, 20, 30):
        session.said({"n": azimuth, "transient": True, "edit": {**SUN, "azimuth_deg": azimuth}})
        assert wished(session).n == azimuth and wished(session).moving
        assert wished(session).document.light.lamps[0].azimuth_deg == azimuth
    assert session.public()["undo"] == 1 and not session.public()["saved"]
    session.said({"n": 31, "edit": {**SUN, "azimuth_deg": 31}})
    assert not wished(session).moving and session.public()["undo"] == 1
    session.undo()
    assert session.document.light.lamps[0].azimuth_deg == pytest.approx(90, abs=1e-3)
    session.redo()
    assert session.document.light.lamps[0].azimuth_deg == 31


def test_selecting_is_no_step_and_needs_no_picture(session):
    session.worker._wish = None
    session.edit({"op": "select", "object": None})
    assert session.public()["selected"] is None and session.public()["undo"] == 0 and wished(session) is None


def test_an_object_does_not_leave_the_ground(session):
    before = session.document
    with pytest.raises(SceneError, match="outside the plate"):
        session.edit({"op": "place", "object": "o1", "at": [500, 10]})
    with pytest.raises(SceneError, match="camera is inside it"):
        session.edit({"op": "size", "object": "o1", "height_m": 9000})
    assert session.document is before and session.public()["undo"] == 0


def test_a_camera_that_leaves_an_object_without_ground_says_so(session):
    session.edit({"op": "camera", "pitch_deg": -40})
    assert "horizon" in session.public()["objects"][0]["error"]
    session.edit({"op": "camera_snap"})
    assert session.public()["objects"][0]["error"] is None


def test_a_camera_edit_asks_for_the_light_again_when_it_is_over(session):
    asked = []
    session.changed_geometry = lambda: asked.append(session.document.camera.pitch_deg)
    session.edit({"op": "camera", "pitch_deg": 21}, transient=True)
    session.edit({"op": "camera", "pitch_deg": 22})
    session.edit({"op": "turn", "object": "o1", "yaw_deg": 5})
    assert asked == [22.0]


def test_the_sun_of_a_shadow(session):
    session.edit({"op": "match", "foot": [48, 52], "tip": [70, 52], "top": None})
    # The shadow falls to the picture's right: the sun stands on the left.
    assert -120 < session.document.light.lamps[0].azimuth_deg < -60
    with pytest.raises(SceneError, match="no length"):
        session.edit({"op": "match", "foot": [48, 52], "tip": [48, 52]})


def test_steps_from_before_the_light_was_known_get_it(session):
    session.history = session.history.amended(Document(session.document.plate, session.document.camera))
    session.changed()
    assert session.document.light == session.fact.lights["0"]


@pytest.mark.parametrize("message", [{}, {"edit": 3}, {"view": 5}, {"view": {"longest": "5"}},
                                     {"view": {"longest": True}}])
def test_other_messages_are_refused(session, message):
    with pytest.raises(ConfigError):
        session.said(message)


def test_the_view_has_limits(session):
    session.said({"view": {"longest": 256}})
    assert wished(session).longest == 256
    session.said({"view": {"longest": 10**6}})
    assert wished(session).longest == LARGEST_VIEW


def test_states_during_a_drag_are_not_told_every_time(session, monkeypatch):
    told = []
    monkeypatch.setattr(session.pages, "tell", told.append)
    monkeypatch.setattr(sessions, "_BETWEEN_STATES_S", 1000)

    async def drag():
        session.loop = asyncio.get_running_loop()
        for azimuth in range(50):
            session.edit({**SUN, "azimuth_deg": azimuth}, transient=True)
        session.edit({**SUN, "azimuth_deg": 60})

    session.tell_state()
    asyncio.run(drag())
    states = [message["state"] for message in told if message["event"] == "state"]
    assert len(states) == 2 and states[-1]["light"]["lamps"][0]["azimuth_deg"] == 60


# ----------------------------------------------------------------------------------------------------------- saving
def test_another_program_goes_on_where_this_one_was(session):
    session.edit({**SUN, "azimuth_deg": 10})
    session.edit({"op": "turn", "object": "o1", "yaw_deg": 5})
    session.undo()
    session.edit({"op": "turn", "object": "o1", "yaw_deg": 7}, transient=True)
    again = Session(session.folder)
    assert again.document.light.lamps[0].azimuth_deg == 10 and again.document.objects[0].yaw_deg == 0
    assert again.facts == session.facts and again.store.files == session.store.files
    assert len(again.history.past) == 1 and len(again.history.future) == 1
    again.undo()
    assert again.document.light.lamps[0].azimuth_deg == pytest.approx(90, abs=1e-3)
    assert again.pictures.base(again.document).rig.lamps[0].name == "sun"


def test_a_mesh_that_is_gone_is_said_at_its_object(session, tmp_path):
    (tmp_path / "cube.obj").unlink()
    again = Session(session.folder)

    async def begin():
        await again.begin()
        again.worker.stop()

    asyncio.run(begin())
    assert "cube.obj does not exist" in again.public()["objects"][0]["error"]


def test_a_full_disk_is_said_and_work_goes_on(session, monkeypatch):
    def full(*given):
        raise ConfigError("cannot write: No space left on device")

    monkeypatch.setattr(sessions.histories, "write", full)
    session.edit({**SUN, "azimuth_deg": 10})
    state = session.public()
    assert not state["saved"] and "No space left" in state["notes"][0] and state["undo"] == 1
    monkeypatch.undo()
    session.edit({**SUN, "azimuth_deg": 11})
    assert session.public()["saved"]


def test_a_damaged_session_is_named(session):
    (session.folder / SAVED).write_text("{")
    with pytest.raises(ConfigError, match="--new"):
        Session(session.folder)


def test_notes_are_kept_once_each(session):
    for k in range(40):
        session.note(f"n{k % 30}")
    notes = session.public()["notes"]
    assert len(notes) == len(set(notes)) == 20 and notes[-1] == "n9"


def test_what_the_worker_is_busy_with_is_told_where_no_job_runs(session):
    session.prepare("light")
    assert session.public()["job"]["stage"] == "light"
    session.job = lambda: {"id": "j1", "state": "running"}
    assert session.public()["job"]["id"] == "j1"
    session.job = lambda: {"id": "j1", "state": "done"}
    assert session.public()["job"]["stage"] == "light"
    session.prepare(None)
    assert session.public()["job"]["id"] == "j1"
