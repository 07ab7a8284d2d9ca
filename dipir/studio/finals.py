"""Final renders and fits of a session, and what can be downloaded."""
from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dipir.errors import ConfigError, DipirError
from dipir.image.files import read_image
from dipir.insert.result import load_result, write_light
from dipir.scene.scene_file import write_scene_file
from dipir.studio import keep
from dipir.studio.document.state import Document, LightNumbers, number
from dipir.studio.jobs import Job, Jobs, Order
from dipir.studio.live import frame
from dipir.studio.pictures.easel import Pictures
from dipir.studio.pictures.lights import numbers_of, rig_of
from dipir.studio.session import Session
from dipir.studio.uploads import Refusal

MOST_KEPT = 8
"""Finished renders in a session's folder."""
FIT_STEPS, MOST_STEPS, MOST_SPP, LONGEST = 150, 2000, 4096, 16384
_KEYS = {"render": ("kind", "size", "spp"), "fit": ("kind", "steps")}
_THUMB = 320


class Finals:
    """The session's jobs. Every job has a folder of its own: the scene and light that it was given, and ``out``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.jobs = Jobs(self._told, self._ended)
        self._documents: dict[str, Document] = {}
        self._preview_seen = 0
        session.job = self._shown

    # ---- jobs ----
    async def start(self, asked: Mapping[str, Any]) -> None:
        """A final render or a fit of the document as it is now. DipirError for what cannot be done."""
        kind = asked.get("kind")
        if kind not in _KEYS or any(key not in _KEYS[kind] for key in asked):
            raise ConfigError(f"a job of {str(dict(asked))[:120]}; accepted are kind render with size [w, h] and spp, "
                              "and kind fit with steps.")
        document = self._document()
        size = _size(asked.get("size"), self._session.fact.size)
        spp = None if asked.get("spp") is None else int(number(asked, "spp", 1, MOST_SPP))
        steps = int(number({"steps": FIT_STEPS, **asked}, "steps", 1, MOST_STEPS))
        # ---- its folder ----
        taken = [int(f.name[1:]) for f in (self._session.folder / "jobs").glob("j*") if f.name[1:].isdecimal()]
        id = f"j{max(taken, default=0) + 1}"
        folder = self._session.folder / "jobs" / id
        await self._write(document, folder)
        words = keep.fit_words(document, folder, folder / "out", steps)
        if kind == "render":
            words = keep.render_words(self._words(document, folder, folder / "out"), size, spp)
        if kind == "fit" and len(document.light.lamps) > 1:
            others = ", ".join(lamp.name for lamp in document.light.lamps[1:])
            self._session.note(f"a fit has one lamp: {others} become part of the soft light")
        self._documents[id] = document
        self.jobs.add(Order(Job(id, kind), [*words, "--log", "json"], folder))

    def cancel(self) -> None:
        """The running job, and those that wait."""
        self.jobs.cancel()

    def _document(self) -> Document:
        document = self._session.document
        keep.scene_file_of(document, self._session.store)
        if document.light is None:
            raise ConfigError("the photo's light is still being guessed; wait until it is there.")
        return document

    def _words(self, document: Document, folder: Path, out: Path) -> list[str]:
        return keep.command_words(document, self._session.opened.get(document.result or ""), folder, out)

    def _told(self, job: Job, event: Mapping[str, Any]) -> None:
        session = self._session
        session.pages.tell({"event": "job", "job": asdict(job)})
        preview = event.get("preview")
        if job.kind == "fit" and isinstance(preview, str):
            self._show_preview(session.folder / "jobs" / job.id / "out" / "preview.png")

    def _show_preview(self, path: Path) -> None:
        """The fit's own picture, when it is another one."""
        try:
            written = path.stat().st_mtime_ns
            if written == self._preview_seen:
                return
            picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        except OSError:
            return
        if picture is not None:
            self._preview_seen = written
            height, width = picture.shape[:2]
            jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            self._session.pages.show(frame({"n": None, "kind": "fit", "w": width, "h": height, "ms": 0,
                                            "rev": self._session.rev}, jpeg))

    def _shown(self) -> dict[str, Any] | None:
        job = self.jobs.shown
        return job and asdict(job)

    async def _ended(self, job: Job, folder: Path) -> None:
        session, document = self._session, self._documents.pop(job.id)
        if job.state != "done":
            shutil.rmtree(folder, ignore_errors=True)
            return
        files = [name for name in keep.FILES if name in keep.MADE or (folder / "out" / name).is_file()]
        session.finished.append({"id": job.id, "kind": job.kind, "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                                 "files": files})
        if job.kind == "fit":
            try:
                light = await session.worker.call(_fitted, session.pictures, folder / "out", f"fit {job.id[1:]}")
            except DipirError as problem:
                session.note(str(problem))
                return
            session.opened[job.id] = folder / "out"
            if session.document.plate == document.plate:
                session.done(replace(session.document, light=_still_held(light, document.light), result=job.id))
        self._make_room()
        session.save()
        session.tell_state()

    def _make_room(self) -> None:
        """Forgets the oldest renders and fits; not those whose tone curves a document may have."""
        session = self._session
        old = [entry for entry in session.finished if entry["id"] not in session.opened][:-MOST_KEPT]
        for entry in old:
            session.finished.remove(entry)
            shutil.rmtree(session.folder / "jobs" / entry["id"], ignore_errors=True)
        if old:
            session.note(f"{len(old)} old renders were removed: the newest {MOST_KEPT} are kept")

    # ---- files ----
    async def _write(self, document: Document, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_scene_file(keep.scene_file_of(document, self._session.store), folder / "scene.yaml")
        await self._session.worker.call(_write_light, self._session.pictures, document, folder)

    async def _now(self) -> Path:
        """The folder with scene.yaml and light.json of the document as it is."""
        folder = self._session.folder / "now"
        await self._write(self._document(), folder)
        return folder

    def _newest(self) -> Path | None:
        """Of the final renders; a fit ends with one too."""
        for entry in reversed(self._session.finished):
            folder = self._session.folder / "jobs" / str(entry["id"]) / "out"
            if (folder / "composite.png").is_file():
                return folder
        return None

    async def command(self) -> str:
        """The command line that renders the document as it is."""
        document = self._document()
        return keep.command_text(self._words(document, await self._now(), Path("out") / "studio"))

    async def download(self, name: str) -> tuple[Path, str, str]:
        """(file, its name for the person, media type). Refusal for one that is not there."""
        newest = self._newest()
        if name == "result.zip":
            now = await self._now()
            target = self._session.folder / "result.zip"
            await asyncio.to_thread(keep.write_zip, target, self._session.document, self._session.store, now, newest)
            return target, name, keep.FILES[name]
        now = await self._now() if name in ("scene.yaml", "light.json") else self._session.folder
        return keep.find(name, now, newest), name, keep.FILES[name]

    async def thumb(self, id: str) -> bytes:
        """A small picture of an earlier result. Refusal for another id."""
        folder = self._session.listed.get(id)
        if folder is None or not (folder / "composite.png").is_file():
            raise Refusal("there is no picture of that result.", 404)
        return await asyncio.to_thread(_thumb, folder / "composite.png")


def _size(value: Any, plate: tuple[int, int]) -> tuple[int, int] | None:
    """(width, height) of a final render, the plate's aspect. ConfigError for another."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(
            isinstance(v, int) and not isinstance(v, bool) and 16 <= v <= LONGEST for v in value):
        raise ConfigError(f"size: {str(value)[:80]} given; accepted is [width, height], 16 to {LONGEST} pixels.")
    if abs(value[0] / value[1] - plate[0] / plate[1]) > 0.01 * plate[0] / plate[1] + 1 / value[1]:
        raise ConfigError(f"size: {value[0]} x {value[1]} given, the photo is {plate[0]} x {plate[1]}; give the same "
                          f"aspect, for example {value[0]} x {round(value[0] * plate[1] / plate[0])}.")
    return value[0], value[1]


def _write_light(pictures: Pictures, document: Document, folder: Path) -> None:
    """In the worker's thread."""
    write_light(folder, rig_of(document.light, pictures.base(document)))


def _fitted(pictures: Pictures, folder: Path, name: str) -> LightNumbers:
    """In the worker's thread: the light of a finished fit."""
    saved = load_result(folder)
    return numbers_of(saved.light, name, pictures.keep_base(saved.light), told=f"light: {saved.light.describe()}")


def _still_held(light: LightNumbers, before: LightNumbers) -> LightNumbers:
    """What was held stays so."""
    held = {lamp.name for lamp in before.lamps if lamp.held}
    lamps = tuple(replace(lamp, held=lamp.name in held) for lamp in light.lamps)
    return replace(light, lamps=lamps, held=before.held)


def _thumb(path: Path) -> bytes:
    try:
        # In the colours that pages show, whatever space the picture is in.
        codes = (read_image(path).pixels[0].permute(1, 2, 0) * 255).round().byte()
        picture = np.ascontiguousarray(codes.numpy()[..., ::-1])
    except DipirError:
        raise Refusal("the picture of that result cannot be read.", 404) from None
    factor = min(1.0, _THUMB / max(picture.shape[:2]))
    size = tuple(max(1, round(side * factor)) for side in picture.shape[1::-1])
    return cv2.imencode(".jpg", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))[1].tobytes()
