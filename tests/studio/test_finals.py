"""Final renders and fits: what they are given, what comes of them, what can be downloaded."""
from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dipir.errors import ConfigError
from dipir.insert.result import load_light, save
from dipir.scene.scene_file import load_scene
from dipir.studio import finals
from dipir.studio.finals import Finals
from dipir.studio.jobs import Job
from dipir.studio.live import Page
from dipir.studio.uploads import Refusal
from tests.support.small_result import small_result
from tests.support.studio import SIZE, set_up, sunny_rig


@pytest.fixture
def session(tmp_path):
    return set_up(tmp_path / "session", tmp_path)


def with_worker(session, work):
    """What ``await work(finals, orders)`` gives; nothing is really started."""
    async def run():
        session.loop = asyncio.get_running_loop()
        session.worker.start()
        finals, orders = Finals(session), []
        finals.jobs.add = orders.append
        try:
            return await work(finals, orders)
        finally:
            session.worker.stop()

    return asyncio.run(run())


def test_a_render_is_given_the_scene_and_light_that_are_shown(session):
    session.edit({"op": "lamp", "name": "sun", "azimuth_deg": -40, "share": 0.5})

    async def work(finals, orders):
        await finals.start({"kind": "render", "size": [48, 36], "spp": 4})
        session.edit({"op": "turn", "object": "o1", "yaw_deg": 90})
        await finals.start({"kind": "render"})
        return orders

    one, two = with_worker(session, work)
    assert (one.job.id, two.job.id, one.job.kind) == ("j1", "j2", "render")
    assert list(one.words)[:2] == ["insert", str(one.folder / "scene.yaml")] and "final.size=48" in one.words
    assert "final.spp=4" in one.words and list(one.words)[-2:] == ["--log", "json"]
    light = load_light(one.folder / "light.json")
    assert light.share("sun") == pytest.approx(0.5, abs=0.01)
    # Each has a scene of its own: what is changed afterwards does not reach into a job.
    yaws = [load_scene(order.folder / "scene.yaml").objects[0].to_world[0, 0] for order in (one, two)]
    assert abs(yaws[0] - yaws[1]) > 0.1 and load_scene(one.folder / "scene.yaml").plate.size == SIZE


@pytest.mark.parametrize("asked, says", [
    ({}, "kind render"), ({"kind": "burn"}, "kind render"), ({"kind": "render", "steps": 3}, "kind render"),
    ({"kind": "render", "size": [48, 48]}, "for example 48 x 36"), ({"kind": "render", "size": [8, 6]}, "16 to"),
    ({"kind": "render", "size": "48,36"}, "width, height"), ({"kind": "render", "spp": 0}, "1 to 4096"),
    ({"kind": "fit", "steps": 10**6}, "1 to 2000"), ({"kind": "render", "size": [True, 36]}, "width, height")])
def test_wrong_jobs_are_refused_before_anything_is_written(session, asked, says):
    with pytest.raises(ConfigError, match=says):
        with_worker(session, lambda finals, orders: finals.start(asked))
    assert not (session.folder / "jobs").exists()


def test_nothing_is_rendered_without_a_scene_or_its_light(session):
    async def work(finals, orders):
        session.history = session.history.amended(replace(session.document, light=None))
        with pytest.raises(ConfigError, match="still being guessed"):
            await finals.start({"kind": "render"})
        session.history = session.history.amended(replace(session.document, objects=()))
        with pytest.raises(ConfigError, match="add an object"):
            await finals.command()
        assert orders == []

    with_worker(session, work)


def finish(session, finals, kind: str, id: str = "j1"):
    """As if the job had ended well: its result, and what the session makes of it."""
    folder = session.folder / "jobs" / id
    rig = replace(sunny_rig(), lamps=(replace(sunny_rig().lamps[0], name="sun"),))
    save(small_result(*SIZE, light=rig), folder / "out")
    finals._documents[id] = session.document
    return finals._ended(Job(id, kind, "done"), folder)


def test_a_fit_becomes_the_light_and_brings_its_tones(session):
    session.edit({"op": "hold", "name": "sun", "held": True})

    async def work(finals, orders):
        await finish(session, finals, "fit")

    with_worker(session, work)
    state = session.public()
    assert state["light"]["lamps"][0]["held"] and state["light"]["held"] == []
    assert (state["light"]["base"], state["base_result"]["id"], state["undo"]) == ("fit 1", "j1", 2)
    (entry,) = state["finished"]
    assert entry["kind"] == "fit" and {"composite.png", "layers.exr", "result.zip"} <= set(entry["files"])
    assert session._tones("j1")[0].to_dict() == small_result().tone_fg.to_dict()
    session.undo()
    assert session.public()["light"]["base"] == "prior" and session.public()["base_result"] is None


def test_a_job_that_failed_or_was_cancelled_changes_nothing(session):
    async def work(finals, orders):
        for state in ("failed", "cancelled"):
            finals._documents["j1"] = session.document
            folder = session.folder / "jobs" / "j1"
            folder.mkdir(parents=True)
            await finals._ended(Job("j1", "fit", state), folder)
            assert not folder.exists()

    before = session.public()
    with_worker(session, work)
    assert session.public() == before


def test_only_the_newest_renders_are_kept_and_fits_that_are_in_use(session, monkeypatch):
    monkeypatch.setattr(finals, "MOST_KEPT", 2)

    async def work(finals, orders):
        await finish(session, finals, "fit", "j1")
        for k in range(2, 6):
            await finish(session, finals, "render", f"j{k}")

    with_worker(session, work)
    assert [entry["id"] for entry in session.finished] == ["j1", "j4", "j5"]
    assert sorted(f.name for f in (session.folder / "jobs").iterdir()) == ["j1", "j4", "j5"]
    assert "newest 2 are kept" in session.notes[-1]


def test_downloads(session, tmp_path):
    (tmp_path / "secret.txt").write_text("x")

    async def work(finals, orders):
        for name in ("composite.png", "layers.exr"):
            with pytest.raises(Refusal, match="make a final render first"):
                await finals.download(name)
        for name in ("../session.json", "session.json", "/etc/passwd", ""):
            with pytest.raises(Refusal, match="no file"):
                await finals.download(name)
        scene, _, kind = await finals.download("scene.yaml")
        light, _, _ = await finals.download("light.json")
        assert kind == "application/yaml" and load_scene(scene).plate.size == SIZE
        assert json.loads(light.read_text())["lobes"]
        await finish(session, finals, "render")
        png, name, kind = await finals.download("composite.png")
        assert png == session.folder / "jobs" / "j1" / "out" / name
        assert (name, kind) == ("composite.png", "image/png")
        archive, _, _ = await finals.download("result.zip")
        assert archive.stat().st_size > png.stat().st_size
        command = await finals.command()
        assert command.startswith("dipir insert ") and str(scene) in command and str(light) in command

    with_worker(session, work)


def test_thumbs_are_of_the_list_only(session, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    cv2.imwrite(str(folder / "composite.png"), np.full((600, 800, 3), 128, np.uint8))
    session.listed = {"r1": folder}

    async def work(finals, orders):
        picture = cv2.imdecode(np.frombuffer(await finals.thumb("r1"), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (240, 320, 3) and abs(int(picture.mean()) - 128) < 3
        with pytest.raises(Refusal):
            await finals.thumb(str(folder))

    with_worker(session, work)


def test_a_fit_shows_its_own_picture_once(session):
    out = session.folder / "jobs" / "j1" / "out"
    out.mkdir(parents=True)
    cv2.imwrite(str(out / "preview.png"), np.full((32, 48, 3), 100, np.uint8))
    shown = []

    async def work(finals, orders):
        with session.pages.opened() as page:
            assert isinstance(page, Page)
            page.show = shown.append
            for _ in range(3):
                finals._told(Job("j1", "fit", "running"), {"event": "progress", "preview": "/etc/passwd"})
            finals._told(Job("j1", "render", "running"), {"event": "progress", "preview": "x"})

    with_worker(session, work)
    (data,) = shown
    about = json.loads(data[4:4 + int.from_bytes(data[:4], "little")])
    assert (about["kind"], about["w"], about["h"]) == ("fit", 48, 32)
