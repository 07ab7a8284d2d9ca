"""The real program: a process, HTTP and sockets; killed and gone on with; downloads equal to the command's."""
from __future__ import annotations

import asyncio
import configparser
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading

import cv2
import numpy as np
import psutil
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("websockets")

import httpx
import websockets

from dipir.errors import ConfigError
from dipir.studio.server import STATIC, TYPES, bound
from tests.support.studio import ROOT, SIZE, Studio, make_files, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
SMALL = {"kind": "render", "size": list(SIZE), "spp": 4}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    studio = Studio(folder / "home", *make_files(folder))
    yield studio
    studio.end()


@pytest.fixture(scope="module")
def client(studio):
    client = studio.client()
    wait_for(lambda: client.get("/api/state").json(), lambda s: s["light"] and s["objects"] and not s["job"])
    yield client
    client.close()


def edit(client, **op) -> dict:
    answer = client.post("/api/edit", json=op)
    assert answer.status_code == 200, answer.text
    return answer.json()["state"]


def picture(answer) -> np.ndarray:
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg", answer.text[:300]
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).astype(float)


def when_over(client) -> dict:
    over = ("done", "failed", "cancelled")
    return wait_for(lambda: client.get("/api/state").json(), lambda s: s["job"] and s["job"]["state"] in over)


# ----------------------------------------------------------------------------------------------------- page and API
def test_the_page_and_its_files_are_served(client, studio):
    assert client.get("/").text == (STATIC / "index.html").read_text()
    for name in ("nothing.js", "..%2f..%2fserver.py", "%2e%2e/server.py", "__init__.py", "server.py"):
        assert client.get(f"/static/{name}").status_code == 404, name
    for file in STATIC.glob("*.js"):
        answer = client.get(f"/static/{file.name}")
        assert answer.text == file.read_text() and answer.headers["content-type"].startswith("text/javascript")
    assert httpx.get(f"{studio.base}/api/state").status_code == 403
    assert client.get("/api/state", headers={"host": "evil.example"}).status_code == 403


def test_pictures_of_a_real_scene(client):
    state = client.get("/api/state").json()
    assert [g["n"] for g in state["guesses"]] == [1, 2, 3] and state["objects"][0]["error"] is None
    frame, plate = (picture(client.get(f"/api/{name}.jpg?longest=96")) for name in ("frame", "plate"))
    assert frame.shape == plate.shape == (SIZE[1], SIZE[0], 3)
    x0, y0, x1, y1 = map(int, state["objects"][0]["box"])
    assert abs(frame - plate)[y0:y1, x0:x1].mean() > 3 * abs(frame - plate)[:12].mean() + 3
    assert picture(client.get("/api/guess/2.jpg")).shape == frame.shape
    assert picture(client.get("/api/light.jpg")).shape == (256, 512, 3)
    assert picture(client.get("/api/layer/shadow.jpg")).max() > 250
    for path in ("guess/9.jpg", "layer/secret.jpg", "results/x/thumb", "download/session.json"):
        answer = client.get(f"/api/{path}")
        assert answer.status_code == 404 and answer.json()["error"]


def test_edits_undo_and_errors_over_http(client):
    before = client.get("/api/state").json()
    changed = edit(client, op="lamp", name="window", azimuth_deg=-60, elevation_deg=20, share=0.2)
    assert changed["light"]["lamps"][-1]["name"] == "window" and changed["undo"] == before["undo"] + 1
    back = client.post("/api/undo").json()["state"]
    assert back["light"] == before["light"] and back["redo"] == 1 and back["rev"] > before["rev"]
    assert client.post("/api/redo").json()["state"]["light"] == changed["light"]
    client.post("/api/undo")
    bad = ((b"{", "no JSON"), (b"[1]", "a list"), (b'{"op": "plce"}', "Did you mean"), (b"[" * 5000, "JSON"))
    for body, says in bad:
        answer = client.post("/api/edit", content=body)
        assert answer.status_code == 400 and says in answer.json()["error"], body[:20]
    assert client.post("/api/edit", content=b"x" * (2 << 20)).status_code == 400
    assert client.get("/api/edit").status_code == 405


def test_uploads_over_http(client, tmp_path):
    before = client.get("/api/state").json()

    def send(kind, name, data):
        return client.post(f"/api/upload?kind={kind}", content=data, headers={"x-filename": name})

    corrupt = send("plate", "caf%C3%A9.png", b"\x89PNG\r\n\x1a\nx")
    assert corrupt.status_code == 400 and corrupt.json()["error"].startswith("café.png")
    assert "files/" not in corrupt.text
    assert send("asset", "a.exe", b"MZ").status_code == 415 and send("film", "a.png", b"x").status_code == 400
    large = {"x-filename": "a.png", "content-length": str(300 * 10**6)}
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        lines = ["POST /api/upload?kind=plate HTTP/1.1", f"host: {client.base_url.host}:{client.base_url.port}",
                 f"origin: {str(client.base_url).rstrip('/')}", *(f"{k}: {v}" for k, v in large.items()),
                 "cookie: " + "; ".join(f"{k}={v}" for k, v in client.cookies.items())]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 413 " in raw.recv(4096)
    after = client.get("/api/state").json()
    assert {k: after[k] for k in ("plate", "objects", "undo")} == {k: before[k] for k in ("plate", "objects", "undo")}


# ---------------------------------------------------------------------------------------------------------- sockets
def test_two_pages_see_one_session(client, studio):
    cookie = "; ".join(f"{k}={v}" for k, v in client.cookies.items())
    options = {"additional_headers": {"cookie": cookie}, "origin": studio.base, "max_size": None}

    async def until(page, ready):
        while True:
            message = await asyncio.wait_for(page.recv(), 60)
            if isinstance(message, bytes):
                length = int.from_bytes(message[:4], "little")
                message = {**json.loads(message[4:4 + length]), "jpeg": message[4 + length:]}
            else:
                message = json.loads(message)
            if ready(message):
                return message

    async def run():
        address = studio.base.replace("http", "ws") + "/api/live"
        async with websockets.connect(address, **options) as one, websockets.connect(address, **options) as two:
            for page in (one, two):
                await until(page, lambda m: m.get("event") == "state")
            op = {"op": "lamp", "name": "sun", "elevation_deg": 30}
            for n in range(20):
                await one.send(json.dumps({"n": n, "transient": True, "edit": {**op, "azimuth_deg": 5 * n}}))
            await one.send(json.dumps({"n": 20, "edit": {**op, "azimuth_deg": 100}}))
            for page in (one, two):
                frame = await until(page, lambda m: m.get("kind") == "drag" and m["n"] == 20)
                assert frame["jpeg"][:2] == b"\xff\xd8" and (frame["w"], frame["h"]) == SIZE
                await until(page, lambda m: m.get("kind") == "refined" and m["n"] == 20)
            await two.send(json.dumps({"n": 1, "edit": {"op": "nothing"}}))
            error = await until(two, lambda m: m.get("event") == "error")
            assert error["n"] == 1 and "accepted are" in error["text"]

        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await websockets.connect(address, origin="http://evil.example", additional_headers={"cookie": cookie})
        assert refused.value.response.status_code == 403

    before = client.get("/api/state").json()["undo"]
    asyncio.run(run())
    state = client.get("/api/state").json()
    assert state["undo"] == before + 1 and state["light"]["lamps"][0]["azimuth_deg"] == 100
    client.post("/api/undo")


# ------------------------------------------------------------------------------------------------------------- jobs
def test_a_final_render_is_what_the_command_makes(client, tmp_path):
    assert client.get("/api/download/composite.png").status_code == 404
    started = client.post("/api/job", json=SMALL).json()["state"]["job"]
    assert started["kind"] == "render" and started["state"] in ("waiting", "running")
    state = when_over(client)
    assert state["job"]["state"] == "done", state["job"]
    assert [entry["id"] for entry in state["finished"]] == [started["id"]]
    ours = client.get("/api/download/composite.png")
    assert ours.headers["content-type"] == "image/png" and "composite.png" in ours.headers["content-disposition"]
    words = shlex.split(client.get("/api/command").text)
    assert words[:2] == ["dipir", "insert"]
    out = tmp_path / "out"
    words[words.index("--out") + 1] = str(out)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-P", "-m", *words, "--set", "final.spp=4", "--quiet"], check=True, env=environment)
    one = cv2.imdecode(np.frombuffer(ours.content, np.uint8), cv2.IMREAD_COLOR).astype(float)
    other = cv2.imread(str(out / "composite.png")).astype(float)
    assert one.shape == other.shape and abs(one - other).max() <= 2
    archive = client.get("/api/download/result.zip")
    assert archive.content[:2] == b"PK" and len(archive.content) > len(ours.content)


def test_a_job_is_cancelled_and_nothing_of_it_goes_on(client, studio):
    client.post("/api/job", json={"kind": "fit", "steps": 2000})
    wait_for(lambda: client.get("/api/state").json(), lambda s: s["job"]["state"] == "running")
    children = psutil.Process(studio.process.pid).children(recursive=True)
    jobs = [c for c in children if "insert" in " ".join(c.cmdline())]
    assert jobs
    assert client.delete("/api/job").status_code == 200
    assert when_over(client)["job"]["state"] == "cancelled"
    assert psutil.wait_procs(jobs, timeout=20)[1] == []
    assert client.delete("/api/job").status_code == 409


# ----------------------------------------------------------------------------------------------------- start and end
def test_a_killed_server_goes_on_where_it_was(tmp_path):
    files = make_files(tmp_path)
    first = Studio(tmp_path / "home", files[0])
    with contextlib.closing(first.client()) as client:
        wait_for(lambda: client.get("/api/state").json(), lambda s: s["plate"] and not s["job"])
        edit(client, op="camera", pitch_deg=33)
        edit(client, op="prompt", text="a yard")
        old = client.get("/api/state").json()
        old_cookies = dict(client.cookies)
    first.end(signal.SIGKILL)
    second = Studio(tmp_path / "home")
    with contextlib.closing(second.client()) as client:
        new = wait_for(lambda: client.get("/api/state").json(), lambda s: not s["job"])
        for key in ("session", "plate", "camera", "prompt", "undo", "redo"):
            assert new[key] == old[key], key
        assert client.post("/api/undo").json()["state"]["prompt"] == ""
        assert httpx.get(second.base + "/", cookies=old_cookies).status_code == 403
    third = Studio(tmp_path / "home", "--new")
    with contextlib.closing(third.client()) as client:
        assert client.get("/api/state").json()["plate"] is None
    assert third.end() == 0 and second.end(signal.SIGTERM) == 0
    said = (tmp_path / "home.err").read_text()
    assert f"going on with session {old['session']}" in said
    assert f"go on with: dipir studio --session {old['session']}" in said and "Traceback" not in said


def test_ctrl_c_is_silent_while_pictures_are_asked_for(tmp_path):
    studio = Studio(tmp_path / "home", *make_files(tmp_path))
    client, answers = studio.client(), []

    def ask(path):
        with contextlib.suppress(httpx.TransportError):
            answers.append(client.get(path).status_code)

    # The photo's light is being looked at: pictures wait.
    wait_for(lambda: client.get("/api/state").json(), lambda s: s["objects"])
    threads = [threading.Thread(target=ask, args=(f"/api/{name}.jpg",)) for name in ("frame", "light", "layer/object")]
    for thread in threads:
        thread.start()
    wait_for(lambda: {"n": len(psutil.Process(studio.process.pid).net_connections())}, lambda s: s["n"] >= 4)
    assert studio.end() == 0
    for thread in threads:
        thread.join()
    said = (tmp_path / "home.err").read_text()
    assert "the session is kept" in said and "Traceback" not in said and "ERROR" not in said, said
    assert set(answers) <= {200, 503}
    client.close()


def test_a_taken_port_is_passed_over():
    with bound("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        one.listen()
        with bound("127.0.0.1", port) as two:
            assert port < two.getsockname()[1] <= port + 19
    with pytest.raises(ConfigError, match="--host 203.0.113.7"):
        bound("203.0.113.7", 0)


def test_what_the_page_is_made_of_ships():
    """All of its folder goes into the wheel; what is in it is served."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["options.package_data"]["dipir.studio"] == "static/*"
    files = [file for file in STATIC.iterdir() if file.is_file()]
    assert files and all(file.suffix in TYPES for file in files)
    wanted = {need.split(">")[0] for need in settings["options.extras_require"]["studio"].split()}
    assert wanted == {"starlette", "uvicorn", "websockets"}
