"""One session: the document and its history, what is known of its files, and all that pages ask for."""
from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipir.errors import ConfigError, DipirError
from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera
from dipir.scene.proxy import Proxy
from dipir.settings import read
from dipir.settings.yaml import to_dict
from dipir.studio.document import history as histories
from dipir.studio.document.edits import edited
from dipir.studio.document.history import History
from dipir.studio.document.state import Document, Item, Known, PlateFacts
from dipir.studio.folders import SAVED
from dipir.studio.geometry import Setting, camera_of, camera_view, seen, stand
from dipir.studio.live import Pages, frame
from dipir.studio.pictures.easel import LARGEST_VIEW, SMALLEST_VIEW, USUAL_VIEW, Pictures, Tones, Wish, plate_jpeg
from dipir.studio.pictures.lights import Bases, left_in_shadow
from dipir.studio.pictures.pixels import LARGEST
from dipir.studio.uploads import Kept, Refusal, Store
from dipir.studio.worker import Worker

_BETWEEN_STATES_S = 0.1
_MOST_NOTES = 20


class Session:
    """Lives in the event loop's thread, but for ``pictures``, which is the worker's."""

    def __init__(self, folder: Path, results: Mapping[str, Path] | None = None) -> None:
        """folder : of the session; goes on with what is saved there.  results : earlier results by id. ConfigError when
        what is saved cannot be read."""
        self.folder, self.listed = folder, dict(results or {})
        self.history, saved = (histories.load(folder / SAVED) if (folder / SAVED).is_file() else (History(), {}))
        files = {id: Kept(**kept) for id, kept in saved.get("files", {}).items()}
        self.store = Store(folder, files)
        self.facts = {key: read.from_dict(PlateFacts, value) for key, value in saved.get("facts", {}).items()}
        self.opened = {id: Path(path) for id, path in saved.get("opened", {}).items()}
        """Results whose tone curves a document has: earlier ones, and fits of this session."""
        self.finished: list[dict[str, Any]] = list(saved.get("finished", []))
        self.hulls: dict[str, Asset] = {}
        self.broken: dict[str, str] = {}
        """Assets that could not be read again: why."""
        self.rev, self.saved, self.notes, self.preparing = 0, True, [], None
        self.pages, self.longest = Pages(), USUAL_VIEW
        self.loop: asyncio.AbstractEventLoop | None = None
        self.pictures = Pictures(self.store.path, Bases(folder), self._show, self._hear, self._tones)
        self.worker = Worker(self.pictures)
        self.job: Callable[[], Any] = lambda: None
        """What the page is told of jobs; ``finals`` puts its own here."""
        self.changed_geometry: Callable[[], None] = lambda: None
        self._proxies: dict[str, Proxy] = {}
        self._cameras: tuple[tuple, Camera] | None = None
        self._known_tones: dict[str, Tones] = {}
        self._told, self._telling = 0.0, False

    async def begin(self) -> None:
        """Starts the worker; reads the assets of a session that goes on."""
        self.loop = asyncio.get_running_loop()
        self.worker.start()
        for item in sorted(self.document.objects, key=lambda item: item.asset):
            try:
                await self.read_asset(item.asset, item.unit, item.up)
            except DipirError as problem:
                self.broken[item.asset] = str(problem)
        if self.document.proxy is not None:
            self.keep_proxy(self.document.proxy, await self.worker.call(self.pictures.proxy, self.document.proxy))
        if self.document.plate is not None:
            self.changed()

    async def read_asset(self, id: str, unit: str | None = None, up: str | None = None) -> Asset:
        """An asset's hull, by what was stated of its file; kept."""
        if id not in self.hulls:
            self.hulls[id] = await self.worker.call(self.pictures.hull, id, unit, up)
        return self.hulls[id]

    # ---- what is there ----
    @property
    def document(self) -> Document:
        """As it is shown."""
        return self.history.present

    @property
    def fact(self) -> PlateFacts | None:
        """What is known of the document's photo and camera."""
        document = self.document
        return self.facts.get(fact_key(document.plate, document.camera_file)) if document.plate else None

    def setting(self, document: Document) -> Setting:
        """The camera and the ground of a document."""
        size = self.facts[fact_key(document.plate, document.camera_file)].size
        key = (document.plate, document.camera_file, document.camera)
        if self._cameras is None or self._cameras[0] != key:
            self._cameras = (key, camera_of(document, size, self.store.path))
        return Setting(self._cameras[1], self._proxies.get(document.proxy or "", Proxy()))

    def keep_proxy(self, id: str, proxy: Proxy) -> None:
        """The ground of an opened result."""
        self._proxies[id] = proxy

    def wish(self, document: Document | None = None, longest: int | None = None, n: int | None = None,
             moving: bool = False) -> Wish:
        """A picture of a document. Refusal while there is no photo."""
        if self.fact is None:
            raise Refusal("there is no photo yet; open one first.", 404)
        return Wish(document or self.document, self.fact.size, self.rev, n, moving, longest or self.longest)

    # ---- changes ----
    def edit(self, op: Mapping[str, Any], transient: bool = False, n: int | None = None) -> None:
        """One change, a step of undo unless a drag goes on. DipirError for what cannot be done."""
        document = edited(self.document, op, self._known())
        if op.get("op") == "select":
            self.history = self.history.amended(document)
        else:
            self.history = self.history.dragged(document) if transient else self.history.done(document)
        self.changed(n, transient, picture=op.get("op") not in ("select", "hold", "prompt"))
        if op.get("op") in ("camera", "camera_snap") and not transient:
            self.changed_geometry()

    def undo(self) -> None:
        """ConfigError when there is nothing to undo."""
        self.history = self.history.undone()
        self.changed()

    def redo(self) -> None:
        """ConfigError when there is nothing to redo."""
        self.history = self.history.redone()
        self.changed()

    def done(self, document: Document) -> None:
        """A change that is no edit of a page: one step of undo."""
        self.history = self.history.done(document)
        self.changed()

    def amended(self, document: Document) -> None:
        """What was found out meanwhile: no step of undo."""
        self.history = self.history.amended(document)
        self.changed()

    def changed(self, n: int | None = None, moving: bool = False, picture: bool = True) -> None:
        """Pages are told, a picture is wanted, and what is finished is saved."""
        self.rev += 1
        fact = self.fact
        if self.document.light is None and fact is not None and "0" in fact.lights:
            # Steps from before the light was known.
            self.history = self.history.amended(replace(self.document, light=fact.lights["0"]))
        if not moving:
            self.save()
        self.tell_state(moving)
        if picture and fact is not None:
            self.worker.wish(self.wish(n=n, moving=moving))

    def save(self) -> None:
        """The autosave. A full disk is said, not raised: work goes on."""
        more = {"files": self.store.to_dict(), "facts": {k: to_dict(f) for k, f in self.facts.items()},
                "opened": {id: str(path) for id, path in self.opened.items()}, "finished": self.finished}
        try:
            histories.write(self.folder / SAVED, self.history, more)
            self.saved = True
        except DipirError as problem:
            self.saved = False
            self.note(f"not saved: {problem}")

    def said(self, message: Mapping[str, Any]) -> None:
        """A text message of the live socket. DipirError for what cannot be done."""
        if "view" in message:
            view = message["view"] if isinstance(message["view"], dict) else {}
            longest = view.get("longest")
            if isinstance(longest, bool) or not isinstance(longest, int):
                raise ConfigError(f"view: {str(view)[:80]} given; accepted is {{\"longest\": pixels}}.")
            self.longest = min(max(longest, SMALLEST_VIEW), LARGEST_VIEW)
            if self.fact is not None:
                self.worker.wish(self.wish())
        elif isinstance(message.get("edit"), dict):
            n = message.get("n")
            self.edit(message["edit"], message.get("transient") is True, n if isinstance(n, int) else None)
        else:
            raise ConfigError("a message has neither an edit nor a view; reload the page.")

    def _known(self) -> Known:
        fact = self.fact
        if fact is None:
            return Known()
        return Known(fact.size, fact.estimate, {int(n): light for n, light in fact.lights.items()}, self._parts,
                     self._check, self._match)

    def _parts(self, asset: str) -> tuple[str, ...]:
        return tuple(part.name for part in self.hulls[asset].parts) if asset in self.hulls else ()

    def _check(self, document: Document, item: Item) -> None:
        if item.asset in self.hulls:
            stand(item, self.hulls[item.asset], self.setting(document))

    def _match(self, document: Document, op: Mapping[str, Any]) -> tuple[float, float | None]:
        from dipir.scene.direction import sun_of_shadow

        setting = self.setting(document)
        return sun_of_shadow(setting.camera, op["foot"], op["tip"], op["top"], setting.proxy)

    # ---- what pages are told ----
    def public(self) -> dict[str, Any]:
        """The state, as in the page's contract."""
        document, fact, history = self.document, self.fact, self.history
        setting = self.setting(document) if fact else None
        objects = [{"id": i.id, "name": i.name, "at": list(i.at), "yaw_deg": i.yaw_deg, "material": i.material,
                    **seen(i, self.hulls.get(i.asset), setting, self.broken.get(i.asset, ""))}
                   for i in document.objects]
        plate = fact and {"id": document.plate, "name": self.store.files[document.plate].name,
                          "width": fact.size[0], "height": fact.size[1], "notes": list(fact.notes)}
        return {"version": 1, "rev": self.rev, "session": self.folder.name,
                "undo": len(history.past) + (history.begun is not None), "redo": len(history.future),
                "saved": self.saved and history.begun is None, "plate": plate,
                "camera": fact and camera_view(document, setting.camera, fact), "objects": objects,
                "selected": document.selected, "light": light_view(document),
                "guesses": [{"n": k + 1, **guess} for k, guess in enumerate(fact.guesses)] if fact else [],
                "base_result": self._base_result(document), "prompt": document.prompt, "notes": list(self.notes),
                "job": self._busy(), "finished": list(reversed(self.finished))}

    def _busy(self) -> dict[str, Any] | None:
        job = self.job()
        return job if self.preparing is None or (job and job["state"] in ("waiting", "running")) else self.preparing

    def _base_result(self, document: Document) -> dict[str, str] | None:
        path = self.opened.get(document.result or "")
        return path and {"id": document.result, "name": path.name}

    def tell_state(self, moving: bool = False) -> None:
        """The state to all pages; during a drag not more often than is of use."""
        if moving and time.monotonic() - self._told < _BETWEEN_STATES_S:
            if not self._telling and self.loop is not None:
                self._telling = True
                self.loop.call_later(_BETWEEN_STATES_S, self.tell_state)
            return
        self._told, self._telling = time.monotonic(), False
        self.pages.tell({"event": "state", "state": self.public()})

    def note(self, text: str) -> None:
        """A remark to all pages, kept in the state."""
        self.notes = [*[old for old in self.notes if old != text], text][-_MOST_NOTES:]
        self.pages.tell({"event": "note", "text": text})

    def prepare(self, stage: str | None) -> None:
        """What the worker is busy with before pictures can be made; None = no longer."""
        self.preparing = stage and {"id": "prepare", "kind": "prepare", "stage": stage, "step": 0, "steps": 1,
                                    "seconds_left": None, "state": "running", "error": None}
        self.tell_state()

    # ---- pictures ----
    async def picture(self, what: str, given: Mapping[str, Any]) -> bytes:
        """JPEG of plate, light, guess, frame or layer. Refusal for one that is not there."""
        wish, pictures = self.wish(), self.pictures
        usual = {"plate": LARGEST, "guess": 256}.get(what, self.longest)
        longest = min(max(given.get("longest") or usual, 16), LARGEST)
        if what == "plate":
            # Not behind what the worker is busy with: the page shows it first.
            plate = pictures.loaded(wish.document) or await self.worker.call(pictures.plate, wish.document)
            return await asyncio.to_thread(plate_jpeg, plate, longest)
        if what == "light":
            return await self.worker.call(pictures.light_jpeg, wish.document)
        wish = replace(wish, longest=min(longest, LARGEST_VIEW))
        if what == "guess":
            light = self.fact.lights.get(str(given["n"]))
            if light is None:
                raise Refusal(f"there is no guess {given['n']} at this photo's light (yet).", 404)
            return await self.worker.call(pictures.guess, wish, light)
        if what == "layer":
            if given["name"] not in ("object", "shadow", "difference"):
                raise Refusal("that layer is unknown; accepted are object, shadow and difference.", 404)
            return await self.worker.call(pictures.layer, wish, given["name"])
        return await self.worker.call(pictures.frame, wish)

    # ---- from the worker's thread ----
    def _show(self, about: Mapping[str, Any], jpeg: bytes) -> None:
        with contextlib.suppress(RuntimeError):
            # The loop may have ended.
            self.loop.call_soon_threadsafe(self.pages.show, frame(about, jpeg))

    def _hear(self, event: str, text: str, n: int | None) -> None:
        message = {"event": event, "text": text, **({"n": n} if event == "error" else {})}
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.pages.tell, message)

    def _tones(self, result: str | None) -> Tones:
        from dipir.insert.result import load_result

        if result is None or result not in self.opened:
            return None, None
        if result not in self._known_tones:
            saved = load_result(self.opened[result])
            self._known_tones[result] = (saved.tone_fg, saved.tone_shadow)
        return self._known_tones[result]


def fact_key(plate: str, camera_file: str | None) -> str:
    """Under which facts of a photo are kept."""
    return plate if camera_file is None else f"{plate}+{camera_file}"


def light_view(document: Document) -> dict[str, Any] | None:
    """What the page is told of the light."""
    light = document.light
    if light is None:
        return None
    left = left_in_shadow(light)
    lamps = [{**vars(lamp), "left_in_shadow": round(left[lamp.name], 4)} for lamp in light.lamps]
    return {**{key: value for key, value in vars(light).items() if key != "base_id"}, "lamps": lamps,
            "held": list(light.held)}
