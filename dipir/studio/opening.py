"""What comes into a session: photos, meshes, light probes, cameras, earlier results; and the light of a photo."""
from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from dipir.errors import ConfigError, DipirError, SceneError
from dipir.image.files import read_envmap
from dipir.insert.result import load_result
from dipir.scene.assets.asset import Asset
from dipir.scene.photo_camera.estimate import CameraOptions
from dipir.scene.photo_camera.placement import suggest_placement
from dipir.scene.rig import probed
from dipir.scene.scene_file import SceneFile, load_scene_file, object_names
from dipir.settings.yaml import to_dict
from dipir.studio.document.edits import with_item
from dipir.studio.document.state import Document, Item, LightNumbers, PlateFacts
from dipir.studio.geometry import stand
from dipir.studio.pictures.easel import Pictures
from dipir.studio.pictures.lights import numbers_of
from dipir.studio.session import Session, fact_key
from dipir.studio.uploads import Kept, Refusal, clean

SETTLED_S = 1.5
"""After a camera was changed: a look at the plate takes seconds, and nobody shall wait for it while dragging."""
_MOST_MAP_ROWS = 1536
_STEPS = (0.0, 0.14, -0.14, 0.28, -0.28, 0.42, -0.42)
"""Of the plate's width: where another object is tried, beside the place that is suggested."""


class Opening:
    """The session's door for files."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._guessing: asyncio.Task | None = None
        session.changed_geometry = lambda: self.guess_again(SETTLED_S)

    # ---- uploads ----
    async def upload(self, kind: str, name: str, pieces: AsyncIterator[bytes], length: int | None) -> None:
        """A file from a page. DipirError when it cannot be used; then nothing of it is left."""
        if kind in ("asset", "hdri", "camera") and self._session.fact is None:
            raise ConfigError(f"{clean(name)}: open a photo first; then meshes, light probes and cameras.")
        store = self._session.store
        kept = await store.receive(kind, name, pieces, length)
        store.keep(kept)
        try:
            await self.take(kept)
        except BaseException as problem:
            path = str(store.path(kept.id))
            store.drop(kept)
            if not isinstance(problem, DipirError):
                raise
            # Where it lies is nobody's business, and says nothing to a person.
            said = str(problem).replace(path, kept.name).replace(Path(path).name, kept.name)
            raise ConfigError(said) from None

    async def take(self, kept: Kept) -> None:
        """Make a file part of the session."""
        await {"plate": self._plate, "asset": self._asset, "hdri": self._hdri, "camera": self._camera}[kept.kind](kept)

    async def _plate(self, kept: Kept) -> None:
        session = self._session
        session.prepare("photo")
        try:
            facts = await session.worker.call(session.pictures.open_plate, kept.id)
        finally:
            session.prepare(None)
        session.facts[kept.id] = facts
        name = session.store.name(kept.id)
        session.done(Document(kept.id, facts.estimate, name=name if name.isprintable() else "scene"))
        self.guess_again()

    async def _asset(self, kept: Kept) -> None:
        session = self._session
        hull = await session.read_asset(kept.id)
        document = session.document
        item, remark = self._suggested(document, hull, Item("", kept.id, session.store.name(kept.id)[:60], (0.0, 0.0)))
        session.done(with_item(document, item))
        for note in (remark, *hull.notes):
            session.note(f"{kept.name}: {note}")
        if len(session.document.objects) == 1:
            self.guess_again()

    def _suggested(self, document: Document, hull: Asset, item: Item) -> tuple[Item, str]:
        """Where another object fits, its size, and where that is from."""
        setting = self._session.setting(document)
        width, height = setting.camera.width, setting.camera.height
        try:
            placement = suggest_placement(hull, setting.camera)
        except SceneError as problem:
            middle = replace(item, at=(width / 2, 0.8 * height), height_m=1.0)
            return middle, f"{problem} It is put into the middle, 1 m high."
        (x, y), found = placement.at, replace(item, height_m=placement.height_m, scale=placement.scale)
        for step in _STEPS:
            found = replace(found, at=(x + step * width, float(y)))
            near = any(math.dist(found.at, other.at) < 0.07 * width for other in document.objects)
            with contextlib.suppress(SceneError):
                stand(found, hull, setting)
                if not near:
                    return found, placement.note
        return replace(found, at=(float(x), float(y))), placement.note

    async def _hdri(self, kept: Kept) -> None:
        session = self._session
        light = await session.worker.call(_probe, session.pictures, session.document, session.store.path(kept.id),
                                          f"hdri {session.store.name(kept.id)[:40]}")
        old = session.document.light
        kept_values = {} if old is None else {"contrast": old.contrast}
        session.done(replace(session.document, light=replace(light, **kept_values)))
        session.note(f"{kept.name}: made as bright as the photo's ground is thought to be; exposure corrects it. The "
                     "preview shows its lights 11 degrees wide, finer pictures as they are")

    async def _camera(self, kept: Kept) -> None:
        session, document = self._session, self._session.document
        options = CameraOptions(file=session.store.path(kept.id))
        facts = await session.worker.call(session.pictures.open_plate, document.plate, options, document.colour)
        guessed = session.fact
        session.facts[fact_key(document.plate, kept.id)] = replace(
            facts, source=f"file {kept.name}", guesses=guessed.guesses, lights=guessed.lights)
        session.done(replace(document, camera_file=kept.id, camera=facts.estimate))
        self.guess_again()

    # ---- what was named on this machine ----
    async def adopt(self, kind: str, path: Path) -> None:
        """A file of the command line."""
        await self.take(self._session.store.adopt(kind, path))

    async def result(self, id: str) -> None:
        """An earlier result of the list: its photo, camera, objects, light and tones. Refusal for another id."""
        session = self._session
        folder = session.listed.get(id)
        if folder is None:
            raise Refusal(f"result: '{id[:60]}' is not in the list of earlier results.", 404)
        scene, light, base_id = await session.worker.call(_read_result, session.pictures, folder)
        given = scene.camera
        if given.up is not None:
            raise ConfigError(f"{scene.name}: its camera file is of fSpy, with {given.up} up; the studio takes those "
                              "with z up. Use `dipir render` and `dipir light` for this result.")
        plate = session.store.adopt("plate", scene.plate)
        camera_file = session.store.adopt("camera", given.file).id if given.file else None
        facts = await session.worker.call(session.pictures.open_plate, plate.id, given, scene.colour)
        proxy = session.store.adopt("asset", scene.proxy.mesh).id if scene.proxy.mesh else None
        # ---- its objects ----
        document = Document(plate.id, facts.estimate, camera_file, proxy, prompt=scene.prompt, name=scene.name,
                            result=id, colour=scene.colour)
        if proxy is not None:
            session.keep_proxy(proxy, await session.worker.call(session.pictures.proxy, proxy))
        for spec, name in zip(scene.objects, object_names(scene.objects), strict=True):
            asset = session.store.adopt("asset", spec.asset)
            await session.read_asset(asset.id, spec.unit, spec.up)
            material = {part: {k: v for k, v in to_dict(change).items() if v is not None}
                        for part, change in spec.material.items()}
            document = with_item(document, Item("", asset.id, name, spec.at, spec.height_m, spec.scale, spec.yaw_deg,
                                                material, spec.unit, spec.up, spec.texture_colourspace))
        # ---- its light ----
        session.facts[fact_key(plate.id, camera_file)] = facts
        session.opened[id] = folder
        light = replace(light, base_id=base_id)
        session.done(replace(document, light=light))
        self.guess_again()

    # ---- the light of the photo ----
    def guess_again(self, wait_s: float = 0.0) -> None:
        """Ask the plate for its light in the background. It becomes the document's light while nobody has changed
        that; the guesses are kept in any case. wait_s : for something that may still change"""
        if self._guessing is not None:
            self._guessing.cancel()
        self._guessing = asyncio.get_running_loop().create_task(self._guess(wait_s))

    async def _guess(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        session = self._session
        asked, before, size = session.document, session.fact, session.fact.size
        session.prepare("light")
        try:
            seen, ids = await session.worker.call(session.pictures.look, asked, size)
            lights = {str(n): numbers_of(rig, f"guess {n}" if n else "prior", ids[n], n, seen.told[n])
                      for n, rig in seen.rigs.items()}
            if seen.notes:
                lights = {n: replace(light, base="ambient") for n, light in lights.items()}
            key = fact_key(asked.plate, asked.camera_file)
            guesses = tuple(dict(guess) for guess in seen.guesses)
            session.facts[key] = replace(session.facts[key], guesses=guesses, lights=lights)
            for note in seen.notes:
                session.note(note)
            if session.document.plate == asked.plate and untouched(session.document, before):
                session.amended(replace(session.document, light=lights["0"]))
            else:
                session.save()
        except DipirError as problem:
            session.pages.tell({"event": "error", "text": str(problem), "n": None})
        finally:
            session.prepare(None)


def untouched(document: Document, facts: PlateFacts) -> bool:
    """Whether the light is as the plate said, or not there yet."""
    return document.light is None or document.light == facts.lights.get("0")


def _probe(pictures: Pictures, document: Document, path: Path, name: str) -> LightNumbers:
    """In the worker's thread: a light probe made a base light."""
    envmap = read_envmap(path)
    times = -(-len(envmap) // _MOST_MAP_ROWS)
    if times > 1 and len(envmap) % times == 0:
        from dipir.image import latlong

        envmap = latlong.resize(envmap, len(envmap) // times, 2 * len(envmap) // times)
    rig = probed(envmap, pictures.base(document).ground)
    return numbers_of(rig, name, pictures.keep_base(rig), told=f"light: {name}")


def _read_result(pictures: Pictures, folder: Path) -> tuple[SceneFile, LightNumbers, str]:
    """In the worker's thread: a saved result."""
    saved = load_result(folder)
    # By whole paths, for a session outlives the folder that the studio was started in.
    scene = load_scene_file((folder / "scene.yaml").absolute(), whole=True)
    base_id = pictures.keep_base(saved.light)
    return scene, numbers_of(saved.light, "result", base_id, told=f"light: {saved.light.describe()}"), base_id


# ---- earlier results -------------------------------------------------------------------------------------------------

def results_in(folder: Path | None) -> dict[str, Path]:
    """Earlier results by id: a result's folder itself, or those in it, the newest first. ConfigError for none."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError(f"--result {folder}: no such folder; accepted is the --out folder of a finished `dipir "
                          "insert`, or a folder of such folders.")
    whole = [f for f in (folder, *sorted(p for p in folder.iterdir() if p.is_dir()))
             if (f / "result.json").is_file() and (f / "scene.yaml").is_file()]
    if not whole:
        raise ConfigError(f"--result {folder}: no result in it (result.json and scene.yaml); accepted is the --out "
                          "folder of a finished `dipir insert`, or a folder of such folders.")
    whole.sort(key=lambda f: (f / "result.json").stat().st_mtime, reverse=True)
    return {result_id(path): path.resolve() for path in whole}


def result_id(path: Path) -> str:
    """The same for the same folder, whatever else is in the list."""
    return "r" + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:10]


def listed(results: dict[str, Path]) -> Sequence[dict[str, str]]:
    """For the page."""
    return [{"id": id, "name": path.name} for id, path in results.items()]
