"""What comes into a session: good files, bad files, earlier results; and the photo's light."""
from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipir.errors import ConfigError, DipirError, PriorError
from dipir.image.files import write_exr
from dipir.insert.result import save
from dipir.priors.light import LightPrior
from dipir.scene.camera import Camera
from dipir.scene.plate import PlateColours
from dipir.scene.scene_file import ObjectSpec, SceneFile, load_scene_file, write_scene_file
from dipir.studio import opening as openings
from dipir.studio.opening import Opening, listed, result_id, results_in, untouched
from dipir.studio.session import Session
from dipir.studio.uploads import Refusal
from tests.support.asset_samples import gltf
from tests.support.fspy_files import parameters, project
from tests.support.ocio import write_config
from tests.support.small_result import small_result
from tests.support.studio import make_files, set_up, sunny_rig


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    """The photo's light is its mean colour: quick, and known."""
    def missing():
        raise PriorError("light.safetensors: no such file")

    monkeypatch.setattr(LightPrior, "load", missing)


@pytest.fixture
def session(tmp_path):
    (tmp_path / "session").mkdir()
    return Session(tmp_path / "session")


def with_worker(session: Session, work) -> None:
    """``await work(opening)`` while the session's worker runs."""
    async def run():
        await session.begin()
        opening = Opening(session)
        try:
            await work(opening)
            if opening._guessing is not None:
                await asyncio.wait([opening._guessing])
        finally:
            session.worker.stop()

    asyncio.run(run())


async def send(opening: Opening, kind: str, path: Path, name: str | None = None) -> None:
    async def pieces():
        yield path.read_bytes()

    await opening.upload(kind, name or path.name, pieces(), None)


async def refused(opening: Opening, kind: str, path: Path, *says: str) -> None:
    before = opening._session.public()
    with pytest.raises(DipirError) as caught:
        await send(opening, kind, path)
    for text in (path.name, *says):
        assert text in str(caught.value)
    assert str(opening._session.folder) not in str(caught.value)
    after = opening._session.public()
    assert {k: v for k, v in after.items() if k not in ("rev", "job")} == {
        k: v for k, v in before.items() if k not in ("rev", "job")}


def kept(session: Session) -> list[str]:
    return sorted(str(f.relative_to(session.folder)) for f in (session.folder / "files").rglob("*") if f.is_file())


# ------------------------------------------------------------------------------------------------------------ photos
def test_photo_and_mesh_become_a_scene_with_a_light(session, tmp_path):
    photo, cube = make_files(tmp_path)

    async def work(opening):
        await send(opening, "plate", photo, "Hof/../Foto.png")
        assert session.document.camera == session.fact.estimate and session.public()["plate"]["name"] == "Foto.png"
        await send(opening, "asset", cube)
        await send(opening, "asset", cube, "second.obj")

    with_worker(session, work)
    state = session.public()
    one, two = state["objects"]
    assert (one["name"], two["name"], state["selected"]) == ("cube", "second", "o2")
    assert one["error"] is two["error"] is None and one["at"] != two["at"]
    assert state["light"]["base"] == "ambient" and "no such file" in " ".join(state["notes"])
    assert state["undo"] == 3 and state["job"] is None
    assert kept(session) == ["files/f1/f1.png", "files/f2/f2.obj", "files/f3/f3.obj"]
    session.undo()
    session.undo()
    assert session.document.objects == () and session.document.light == session.fact.lights["0"]


def test_another_photo_begins_anew_and_can_be_undone(session, tmp_path):
    photo, cube = make_files(tmp_path)
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "other.jpg")

    async def work(opening):
        await send(opening, "plate", photo)
        await send(opening, "asset", cube)
        await send(opening, "plate", tmp_path / "other.jpg")

    with_worker(session, work)
    assert session.document.objects == () and session.public()["plate"]["width"] == 60
    session.undo()
    assert session.public()["plate"]["width"] == 96 and len(session.public()["objects"]) == 1


def test_bad_files_are_named_and_nothing_of_them_is_left(session, tmp_path):
    photo, cube = make_files(tmp_path)
    outside = json.dumps(gltf(buffers=[{"uri": "../f1/f1.png", "byteLength": 4}])).encode()
    bad = {"plate": [("cut.png", photo.read_bytes()[:200], "damaged"), ("text.jpg", b"hello", "image"),
                     ("named.jpg", photo.read_bytes(), "PNG")],
           "asset": [("cut.glb", b"glTF\x02\x00", ""), ("empty.obj", b"# nothing\n", "faces"),
                     ("outside.gltf", outside, "")],
           "hdri": [("photo.hdr", b"#?RADIANCE\n", "damaged")], "camera": [("c.yaml", b"fov: 3\n", "fov")]}

    async def work(opening):
        await refused(opening, "asset", cube, "open a photo first")
        await send(opening, "plate", photo)
        await asyncio.wait([opening._guessing])
        for kind, files in bad.items():
            for name, data, says in files:
                (tmp_path / name).write_bytes(data)
                await refused(opening, kind, tmp_path / name, says)

    with_worker(session, work)
    assert kept(session) == ["files/f1/f1.png"] and list(session.store.files) == ["f1"]


def test_a_photo_without_ground_takes_the_mesh_and_says_what_is_wrong(session, tmp_path):
    photo, cube = make_files(tmp_path)

    async def work(opening):
        await send(opening, "plate", photo)
        session.edit({"op": "camera", "pitch_deg": -60})
        await send(opening, "asset", cube)

    with_worker(session, work)
    assert "horizon" in session.public()["objects"][0]["error"]
    assert "no ground" in " ".join(session.public()["notes"])


# ----------------------------------------------------------------------------------------------------- probe, camera
def test_a_probe_becomes_the_light_as_bright_as_the_ground(tmp_path):
    session = set_up(tmp_path / "session", tmp_path)
    envmap = np.full((16, 32, 3), 7.0, np.float32)
    envmap[4, 8] = 700
    write_exr(tmp_path / "probe.exr", dict(zip("RGB", np.moveaxis(envmap, -1, 0), strict=True)))
    ground = session.pictures.base(session.document).ground
    with_worker(session, lambda opening: send(opening, "hdri", tmp_path / "probe.exr"))
    light = session.public()["light"]
    assert light["base"] == "hdri probe" and light["lamps"] == [] and "exposure corrects it" in session.notes[-1]
    assert session.pictures.base(session.document).ground == pytest.approx(ground, rel=0.01)
    session.undo()
    assert session.public()["light"]["base"] == "prior"


def test_a_camera_file_is_used_and_can_be_gone_back_to(tmp_path):
    session = set_up(tmp_path / "session", tmp_path)
    (tmp_path / "c.yaml").write_text("{width: 96, height: 72, fov_x_deg: 40, height_m: 1.1, pitch_deg: 25}")
    with_worker(session, lambda opening: send(opening, "camera", tmp_path / "c.yaml"))
    camera = session.public()["camera"]
    assert (camera["fov_deg"], camera["height_m"], camera["source"]) == (pytest.approx(40), 1.1, "file c.yaml")
    session.changed_geometry = lambda: None
    session.edit({"op": "camera", "pitch_deg": 30})
    session.edit({"op": "camera_snap"})
    assert session.public()["camera"]["pitch_deg"] == pytest.approx(25)


def test_a_camera_of_fspy_is_taken_and_one_with_a_lens_is_not(tmp_path):
    session = set_up(tmp_path / "session", tmp_path)
    project(tmp_path / "c.fspy", parameters(96, 72, 2.0))
    (tmp_path / "c.yaml").write_text("{width: 96, height: 72, fx: 90, height_m: 1, lens: FOV, distortion: [0.9]}")

    async def both(opening):
        await send(opening, "camera", tmp_path / "c.fspy")
        with pytest.raises(ConfigError, match="has a lens \\(FOV\\), and the photo is not made straight here"):
            await send(opening, "camera", tmp_path / "c.yaml")

    with_worker(session, both)
    camera = session.public()["camera"]
    assert (camera["height_m"], camera["source"]) == (pytest.approx(2.5), "file c.fspy")
    assert camera["fov_deg"] == pytest.approx(2 * math.degrees(math.atan(0.5)))


# --------------------------------------------------------------------------------------------------- earlier results
def make_result(folder: Path, files: Path) -> Path:
    """A saved result of the photo and the cube."""
    photo, cube = make_files(files)
    camera = Camera.looking(96, 72, 50, 1.6, 20)
    save(small_result(96, 72, camera=camera, light=sunny_rig()), folder)
    spec = ObjectSpec(cube, (48.0, 52.0), scale=0.5, yaw_deg=15.0, name="box")
    write_scene_file(SceneFile(photo, (spec,), prompt="a box", name="yard"), folder / "scene.yaml")
    return folder


def test_results_are_found_by_folder_and_chosen_by_id(tmp_path):
    one, two = (make_result(tmp_path / "out" / name, tmp_path) for name in ("a", "b"))
    (tmp_path / "out" / "unfinished").mkdir()
    found = results_in(tmp_path / "out")
    assert set(found.values()) == {one, two} and set(found) == {result_id(one), result_id(two)}
    assert results_in(one) == {result_id(one): one} and results_in(None) == {}
    assert {entry["name"] for entry in listed(found)} == {"a", "b"}
    assert "/" not in json.dumps(listed(found))
    for folder in (tmp_path / "none", tmp_path / "out" / "unfinished"):
        with pytest.raises(ConfigError, match="--result"):
            results_in(folder)


def test_an_earlier_result_is_opened_as_it_was(tmp_path):
    folder = make_result(tmp_path / "out", tmp_path)
    (tmp_path / "session").mkdir()
    id = result_id(folder)
    session = Session(tmp_path / "session", {id: folder})

    async def work(opening):
        for wrong in ("r0", str(folder), "../out", ""):
            with pytest.raises(Refusal, match="not in the list"):
                await opening.result(wrong)
        await opening.result(id)

    with_worker(session, work)
    state = session.public()
    assert (state["prompt"], state["base_result"], state["light"]["base"]) == (
        "a box", {"id": id, "name": "out"}, "result")
    (box,) = state["objects"]
    assert (box["name"], box["at"], box["yaw_deg"], box["height_m"]) == ("box", [48.0, 52.0], 15.0, 0.5)
    assert state["light"]["lamps"][0]["share"] == pytest.approx(0.7, abs=0.01)
    tones = session._tones(id)
    assert tones[0].to_dict() == small_result().tone_fg.to_dict()
    # Another program goes on with it, without the list.
    again = Session(tmp_path / "session")
    assert again.public()["base_result"]["name"] == "out" and again._tones(id)[0].to_dict() == tones[0].to_dict()


# ---------------------------------------------------------------------------------------------------------- the light
def test_a_light_that_somebody_changed_is_not_replaced(tmp_path):
    session = set_up(tmp_path / "session", tmp_path)
    assert untouched(session.document, session.fact)

    async def work(opening):
        session.edit({"op": "lamp", "name": "sun", "azimuth_deg": 10})
        opening.guess_again()

    with_worker(session, work)
    assert session.document.light.lamps[0].azimuth_deg == 10 and not untouched(session.document, session.fact)
    assert session.fact.lights["0"].base == "ambient"


def test_a_light_that_nobody_changed_is_guessed_anew_without_a_step(tmp_path, monkeypatch):
    session = set_up(tmp_path / "session", tmp_path)

    async def work(opening):
        monkeypatch.setattr(openings, "SETTLED_S", 0.01)
        session.edit({"op": "camera", "pitch_deg": 25})

    with_worker(session, work)
    assert session.public()["light"]["base"] == "ambient" and session.public()["undo"] == 1


def test_colour_spaces_of_a_result_are_opened_with_it(tmp_path, monkeypatch):
    folder = make_result(tmp_path / "out", tmp_path)
    scene = load_scene_file(folder / "scene.yaml")
    config = write_config(tmp_path / "show")
    write_scene_file(replace(scene, colour=PlateColours("ap1", ocio=str(config)), objects=(
        replace(scene.objects[0], texture_colourspace="film"),)), folder / "scene.yaml")
    (tmp_path / "session").mkdir()
    monkeypatch.chdir(tmp_path)
    session = Session(tmp_path / "session", {"r1": Path("out")})

    async def work(opening):
        await opening.result("r1")

    with_worker(session, work)
    assert session.document.colour.colourspace == "ap1" and Path(session.document.colour.ocio).is_absolute()
    assert session.document.objects[0].texture_colourspace == "film"
    assert any("converted from ap1" in note for note in session.fact.notes)
    # Another program goes on with it.
    assert Session(tmp_path / "session").document.colour == session.document.colour
