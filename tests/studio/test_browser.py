"""The studio's page in a browser, against a real server: what docs/studio.md tells a person to do."""
from __future__ import annotations

import io
import math
import shlex
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

for needed in ("starlette", "uvicorn", "websockets"):
    pytest.importorskip(needed)
playwright = pytest.importorskip("playwright.sync_api")

from dipir.image import latlong  # noqa: E402
from dipir.scene.camera import Camera  # noqa: E402
from dipir.scene.light import towards  # noqa: E402
from tests.support.studio_page import CHROMIUM, SIZE, Server, Studio, until, write_inputs  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
FINAL = (96, 72)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as program:
        browser = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser, files):
    """A server with a photo and a post; (server, signed in browser context)."""
    server = Server(tmp_path_factory.mktemp("home"), *files, "--port", "0")
    context = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True)
    page = context.new_page()
    page.goto(server.url)
    page.close()
    yield server, context
    context.close()
    assert server.stop() == 0


def home(url: str) -> str:
    """The address without its token."""
    return url.split("?")[0]


@pytest.fixture
def studio(served):
    """The page, the post in the middle of the ground, a low sun from the right."""
    server, context = served
    studio = Studio(context.new_page())
    studio.open(home(server.url))
    until(lambda: studio.state()["light"], "the light is guessed")
    studio.edit(op="place", object=studio.state()["objects"][0]["id"], at=[160, 170])
    lamp = (studio.state()["light"]["lamps"] or [{"name": "sun"}])[0]["name"]
    studio.edit(op="lamp", name=lamp, azimuth_deg=90, elevation_deg=30, share=0.85, size_deg=0.53, warmth=0)
    yield studio
    assert studio.faults == []
    studio.page.close()


def test_the_page_has_the_conventions_of_the_package(studio):
    """Map, dial, horizon and colours are computed anew in the page."""
    for azimuth, elevation in ((0, 10), (90, 45), (180, 5), (-60, 70), (-135, -20)):
        made = studio.page.evaluate("""async ([a, e]) => {
            const g = await import("/static/geometry.js");
            return {map: g.onMap(a, e), back: g.fromMap(...g.onMap(a, e)), dial: g.fromDial(...g.onDial(a, e))};
        }""", [azimuth, elevation])
        u, v = (float(x) for x in latlong.uv(towards(azimuth, elevation)))
        assert made["map"] == pytest.approx([u, v], abs=1e-5)
        assert made["back"] == pytest.approx([azimuth, elevation])
        if elevation > 1:
            assert made["dial"] == pytest.approx([azimuth, elevation])
    camera = Camera.looking(400, 300, 55, 1.6, 11, 4)
    ends = [camera.horizon_y(0), camera.horizon_y(400)]
    made = studio.page.evaluate("""async () => {
        const g = await import("/static/geometry.js"), camera = {fov_deg: 55, pitch_deg: 11, roll_deg: 4};
        const ends = g.horizonOf(400, 300, camera);
        return {ends, angles: g.anglesOf(400, 300, 55, ...ends), hex: g.hexOf(g.linearOf("#4c9a03"))};
    }""")
    assert made["ends"] == pytest.approx(ends) and made["hex"] == "#4c9a03"
    assert made["angles"] == pytest.approx({"pitch_deg": 11, "roll_deg": 4})


def test_the_field_of_view_by_two_edges(studio):
    """Edges of known ground lines give back the camera that saw them."""
    camera = Camera.looking(400, 300, 48, 1.5, 14, -3)

    def seen(*ground):
        return camera.project(np.array([[x, 0, z] for x, z in ground], float))[0].tolist()

    along, beside, across = seen((-1, 3), (-0.4, 6)), seen((1, 3), (1.6, 6)), seen((-1, 4), (1, 3.6))
    asked = "async (a) => { const g = await import('/static/geometry.js'); return g[a[0]](400, 300, ...a.slice(1)); }"
    wrong = {"fov_deg": 70, "pitch_deg": 14, "roll_deg": -3}
    made = studio.page.evaluate(asked, ["fovOfParallels", wrong, along, beside])
    assert made["fov_deg"] == pytest.approx(48, abs=1e-6)
    horizon = math.tan(math.radians(14)) * camera.focal_px
    pitch = math.degrees(math.atan(horizon / (200 / math.tan(math.radians(35)))))
    wrong = {"fov_deg": 70, "pitch_deg": pitch, "roll_deg": -3}
    made = studio.page.evaluate(asked, ["fovOfRightAngle", wrong, along, across])
    assert made == pytest.approx({"fov_deg": 48, "pitch_deg": 14}, abs=1e-6)
    assert "why" in studio.page.evaluate(asked, ["fovOfRightAngle", wrong, along, beside])


def test_a_click_places_the_object(studio):
    studio.tab("place")
    old, new = (115, 167, 145, 172), (40, 163, 75, 167)
    until(lambda: studio.brightness(*old) < 110 < 130 < studio.brightness(*new), "its shadow lies where it stands")
    studio.page.mouse.click(*studio.screen(95, 165))
    until(lambda: studio.state()["objects"][0]["at"] == pytest.approx([95, 165], abs=1), "the contact point is there")
    until(lambda: studio.brightness(*new) < 110 < 130 < studio.brightness(*old), "the shadow went along")


def test_the_shadow_follows_the_sun(studio):
    """The sun is dragged on the compass from the right to the left; the shadow goes to the other side of the foot."""
    studio.tab("light")

    def left_is_darker():
        left, right = studio.sides()
        return left < right - 10

    def right_is_darker():
        left, right = studio.sides()
        return right < left - 10

    until(left_is_darker, "the sun is right, the shadow left")
    studio.page.evaluate("performance.clearMeasures()")
    studio.drag_sun((-90, 30))
    assert studio.state()["light"]["lamps"][0]["azimuth_deg"] == pytest.approx(-90, abs=3)
    until(right_is_darker, "the sun is left, the shadow right")
    names = studio.page.evaluate("performance.getEntriesByType('measure').map((entry) => entry.name)")
    assert names.count("picture-drag") >= 2
    assert float(studio.get("sun-azimuth").input_value()) == pytest.approx(-90, abs=3)
    undone = studio.state()["undo"]
    studio.page.keyboard.press("Control+z")
    until(left_is_darker, "one undo takes the whole drag back")
    assert studio.state()["undo"] == undone - 1


def test_the_photo_stays_as_it_is_where_nothing_changes(studio):
    """Frames are smaller than the screen; far from the post the canvas shows the photo."""
    studio.tab("light")
    until(lambda: studio.get("stage").is_visible() and abs(np.subtract(*studio.sides())) > 10, "a picture is shown")
    after = studio.brightness(10, 10, 60, 40)
    studio.page.keyboard.press("b")
    until(lambda: studio.get("before-after").get_attribute("aria-pressed") == "true", "before is shown")
    until(lambda: abs(np.subtract(*studio.sides())) < 5, "the photo alone has no shadow")
    assert studio.brightness(10, 10, 60, 40) == pytest.approx(after, abs=1.5)


def test_a_guess_is_chosen_and_undone(studio):
    studio.tab("light")
    if len(studio.state()["guesses"]) < 2:
        pytest.skip("the light prior's weights are not here")
    before = studio.state()["light"]["lamps"]
    studio.get("guess-2").click()
    until(lambda: studio.state()["light"]["guess"] == 2, "the guess is chosen")
    until(lambda: studio.get("guess-2").get_attribute("aria-pressed") == "true", "its chip is marked")
    assert studio.state()["light"]["lamps"] != before
    studio.get("undo").click()
    until(lambda: studio.state()["light"]["lamps"] == before, "undo takes it back")
    studio.get("redo").click()
    until(lambda: studio.state()["light"]["guess"] == 2, "redo does it again")


def test_numbers_and_keys_change_the_sun(studio):
    studio.tab("light")
    studio.get("strength").fill("0.4")
    studio.get("strength").press("Enter")
    until(lambda: studio.state()["light"]["lamps"][0]["share"] == pytest.approx(0.4), "the share is 0.4")
    for _ in range(3):
        studio.page.keyboard.press("ArrowRight")
    studio.page.keyboard.press("Shift+ArrowUp")
    until(lambda: studio.state()["light"]["lamps"][0]["elevation_deg"] == pytest.approx(40), "it is higher")
    assert studio.state()["light"]["lamps"][0]["azimuth_deg"] == pytest.approx(93)
    assert studio.state()["light"]["lamps"][0]["held"]


def test_the_shadow_is_matched_by_clicks(studio):
    studio.tab("light")
    studio.get("match").click()
    for x, y in ((160, 170), (120, 170)):
        studio.page.mouse.click(*studio.screen(x, y))
    studio.page.keyboard.press("Enter")
    until(lambda: studio.state()["light"]["lamps"][0]["azimuth_deg"] == pytest.approx(90, abs=3),
          "a shadow to the left means a sun on the right")
    studio.get("match").click()
    studio.page.keyboard.press("Escape")
    until(lambda: studio.page.locator("#banner").is_hidden(), "Esc leaves the match")


def test_a_final_picture_is_cancelled(studio):
    studio.tab("keep")
    studio.get("render-spp").fill("4096")
    studio.get("render").click()
    until(lambda: studio.get("job-progress").is_visible(), "the work is shown")
    studio.get("cancel").click()
    until(lambda: (studio.state()["job"] or {"state": "cancelled"})["state"] == "cancelled", "it is cancelled")
    until(lambda: studio.get("job-progress").is_hidden(), "the work is no longer shown")
    assert studio.state()["finished"] == []


def test_the_download_is_what_the_command_makes(studio, tmp_path):
    """The final picture beside the one that the shown command makes from the files of result.zip."""
    studio.tab("keep")
    studio.get("render-size").select_option("own")
    studio.get("render-width").fill(str(FINAL[0]))
    studio.get("render-spp").fill("64")
    studio.get("render").click()
    until(lambda: studio.state()["finished"], "the final picture is done", 120)
    until(lambda: studio.get("download-composite").count() == 1, "it is offered")
    with studio.page.expect_download() as download:
        studio.get("download-composite").click()
    ours = np.asarray(Image.open(download.value.path()).convert("RGB"), float)
    assert ours.shape == (FINAL[1], FINAL[0], 3)
    with studio.page.expect_download() as download:
        studio.get("download-result-zip").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        archive.extractall(tmp_path)
    until(lambda: "dipir" in studio.get("command").inner_text(), "the command is shown")
    words = [shlex.split(line) for line in studio.get("command").inner_text().splitlines() if line.startswith("dipir ")]
    for line in words:
        made = subprocess.run([sys.executable, "-m", *line], cwd=tmp_path, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr[-2000:]
    (again,) = [path for path in tmp_path.rglob("composite.png") if path.parent != tmp_path]
    theirs = np.asarray(Image.open(again).convert("RGB").resize(FINAL, Image.Resampling.BOX), float)
    assert np.sqrt(((ours - theirs) ** 2).mean()) < 4
    plate = np.asarray(Image.open(tmp_path / "ground.png").convert("RGB").resize(FINAL, Image.Resampling.BOX), float)
    assert np.sqrt(((ours - plate) ** 2).mean()) > 4


def test_two_pages_show_the_same(studio, served):
    server, context = served
    other = Studio(context.new_page()).open(home(server.url))
    try:
        for page in (studio, other):
            page.tab("place")
        height = studio.state()["objects"][0]["height_m"] * 1.25
        studio.get("object-height").fill(f"{height:.3f}")
        studio.get("object-height").press("Enter")
        until(lambda: float(other.get("object-height").input_value()) == pytest.approx(height, abs=2e-3),
              "it is there too")
        assert other.faults == []
    finally:
        other.page.close()


def test_a_reload_finds_the_session(studio):
    before = studio.state()
    studio.page.reload()
    studio.shown()
    after = studio.state()
    for key in ("objects", "light", "camera", "undo"):
        assert after[key] == before[key], key
    until(lambda: abs(np.subtract(*studio.sides())) > 10, "the picture is shown again")


def test_a_broken_file_is_one_message(studio):
    studio.tab("open")
    before = studio.state()
    studio.get("drop-plate").locator("input").set_input_files(
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n no picture"})
    until(lambda: "broken.png" in studio.get("message").inner_text(), "the message names the file")
    assert "error" in studio.get("message").get_attribute("class")
    studio.page.wait_for_timeout(300)
    shown = studio.page.evaluate("[...document.querySelectorAll('#notes .error')].map((line) => line.textContent)")
    assert len([line for line in shown if "broken.png" in line]) == 1
    assert studio.state()["objects"] == before["objects"] and studio.state()["plate"] == before["plate"]


def test_names_of_files_are_never_markup(studio, files):
    name = "<img src=x onerror=document.title=1>.obj"
    studio.tab("open")
    studio.get("drop-asset").locator("input").set_input_files(
        {"name": name, "mimeType": "model/obj", "buffer": files[1].read_bytes()})
    until(lambda: len(studio.state()["objects"]) == 2, "the object is added")
    studio.tab("place")
    until(lambda: "onerror" in studio.get("object-list").inner_text(), "its name is shown as it is")
    assert studio.page.locator("#panel img[src=x]").count() == 0 and "dipir studio" in studio.page.title()
    studio.edit(op="remove", object=studio.state()["objects"][-1]["id"])


def test_the_session_outlives_its_server(tmp_path, browser, files):
    """Killed, not ended: the page says so, and the next server goes on with the session."""
    server = Server(tmp_path, *files, "--port", "0")
    context = browser.new_context(viewport={"width": 390, "height": 844})
    studio = Studio(context.new_page()).open(server.url)
    until(lambda: studio.state()["light"], "the light is guessed")
    studio.edit(op="place", object=studio.state()["objects"][0]["id"], at=[120, 180])
    before = studio.state()
    server.stop(signal.SIGKILL)
    until(lambda: "lost" in studio.get("message").inner_text(), "the page says that the connection is lost")
    port = home(server.url).rsplit(":", 1)[1].strip("/")
    server = Server(tmp_path, "--port", port)
    try:
        until(lambda: "new key" in studio.get("message").inner_text(), "the page says where to go on")
        studio.open(server.url)
        after = studio.state()
        for key in ("objects", "light", "camera", "undo"):
            assert after[key] == before[key], key
        assert any("going on" in line for line in server.said)
        assert after["plate"]["width"] == SIZE[0]
    finally:
        context.close()
        server.stop()
