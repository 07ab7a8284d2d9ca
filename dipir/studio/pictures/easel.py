"""Pictures of a session, made in the worker's thread: previews while a person drags, better ones when nobody does."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dipir import device
from dipir.errors import DipirError
from dipir.event import stoppable
from dipir.image.color import linear_to_srgb
from dipir.image.tone import ToneCurve
from dipir.insert.preview import Preview
from dipir.priors.light import LightPrior
from dipir.report.figures import show_light
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.load import load_asset
from dipir.scene.light import SphericalGaussians
from dipir.scene.photo_camera.estimate import CameraOptions, resolve_camera
from dipir.scene.plate import Plate, PlateColours, read_plate
from dipir.scene.proxy import Proxy
from dipir.scene.rig import Rig
from dipir.scene.scene import Scene
from dipir.scene.scene_file import ProxySpec, load_proxy, texture_space
from dipir.studio.document.state import Document, PlateFacts
from dipir.studio.geometry import Setting, camera_of, hull_of, numbers_of, stand
from dipir.studio.pictures.lights import Base, Bases, Seen, look, parts_of, rig_of
from dipir.studio.pictures.pixels import as_bytes, reduced, shrunk, within
from dipir.studio.pictures.traced import traced
from dipir.studio.worker import Superseded

SMALLEST_VIEW, USUAL_VIEW, LARGEST_VIEW = 128, 512, 1024
MOVING_VIEW = 256
"""While an object is dragged: every step is a recording."""
SETTLED_S, PAUSED_S, RESTED_S = 0.15, 0.8, 1.2
"""Of rest before what is coarse is recorded anew: after a change, during a drag; and before the path tracer begins."""
Tones = tuple[ToneCurve | None, ToneCurve | None]


@dataclass(frozen=True)
class Wish:
    """A picture that is wanted."""

    document: Document
    size: tuple[int, int]
    """Of the plate's file, pixels."""
    rev: int
    n: int | None = None
    """The page's number for the edit."""
    moving: bool = False
    """A drag goes on."""
    longest: int = USUAL_VIEW


@dataclass(frozen=True, eq=False)
class _View:
    geometry: Document
    preview: Preview | None
    """None = no object can be seen."""
    coarse: bool = False


class Pictures:
    """The worker's easel. paths : id of a file -> where it lies;  show : hears of every picture (what it is, JPEG);
    say : hears of errors and remarks, for people;  tones : id of a result -> its tone curves"""

    def __init__(self, paths: Callable[[str], Path], bases: Bases, show: Callable[[dict, bytes], None],
                 say: Callable[[str, str, int | None], None], tones: Callable[[str | None], Tones]) -> None:
        self._paths, self._bases, self._tell, self._say, self._tones = paths, bases, show, say, tones
        self._plate: tuple[tuple[str, PlateColours], Plate] | None = None
        self._assets: dict[tuple[str, str | None, str | None, tuple], Asset] = {}
        self._proxies: dict[str, Proxy] = {}
        self._view: _View | None = None
        self._wish: Wish | None = None
        self._since, self._todo, self._said = 0.0, [], ""
        self._warmed: set[tuple[str, ...]] = set()
        self._prior: LightPrior | None = None

    # ---- what is read ----
    def open_plate(self, id: str, options: CameraOptions = CameraOptions(),
                   colours: PlateColours = PlateColours()) -> PlateFacts:
        """Reads a photo and settles its camera."""
        plate = read_plate(self._paths(id), colours)
        estimate = resolve_camera(plate, options)
        self._plate = ((id, colours), reduced(plate))
        return PlateFacts(plate.size, numbers_of(estimate.camera), estimate.confidence, estimate.source,
                          estimate.heading_deg, (*plate.notes, *estimate.notes))

    def asset(self, id: str, unit: str | None = None, up: str | None = None,
              textures: tuple[str | None, str | None] = (None, None)) -> Asset:
        """By the id of its file, and the unit, up axis and colour space of textures (and the config that has it) that
        were stated; kept."""
        key = (id, unit, up, textures)
        if key not in self._assets:
            self._assets[key] = load_asset(self._paths(id), unit, up, texture_space(*textures))
        return self._assets[key]

    def hull(self, id: str, unit: str | None = None, up: str | None = None) -> Asset:
        """What the session needs of an asset."""
        return hull_of(self.asset(id, unit, up))

    def proxy(self, id: str) -> Proxy:
        """The ground of an opened result."""
        if id not in self._proxies:
            self._proxies[id] = load_proxy(ProxySpec(self._paths(id)))
        return self._proxies[id]

    def plate(self, document: Document) -> Plate:
        """Its photo, reduced; the last one is kept."""
        key = (document.plate, document.colour)
        if self._plate is None or self._plate[0] != key:
            self._plate = (key, reduced(read_plate(self._paths(document.plate), document.colour)))
        return self._plate[1]

    def loaded(self, document: Document) -> Plate | None:
        """The same where it is in memory; may be asked from any thread."""
        known = self._plate
        return known[1] if known is not None and known[0] == (document.plate, document.colour) else None

    def scene(self, document: Document, size: tuple[int, int]) -> Scene:
        """The document's scene on the reduced plate; objects that cannot stand where they are are left out."""
        plate, camera = self.plate(document), camera_of(document, size, self._paths)
        proxy = Proxy() if document.proxy is None else self.proxy(document.proxy)
        placed = []
        for item in document.objects:
            try:
                textures = (item.texture_colourspace, document.colour.ocio if item.texture_colourspace else None)
                asset = self.asset(item.asset, item.unit, item.up, textures)
                placed.append(stand(item, asset, Setting(camera, proxy)))
            except DipirError:
                continue
        return Scene(plate, camera.resized(*plate.size), tuple(placed), proxy, document.prompt, document.name)

    def keep_base(self, rig: Rig) -> str:
        """Another base light; its id."""
        return self._bases.keep(rig)

    def look(self, document: Document, size: tuple[int, int]) -> tuple[Seen, dict[int, str]]:
        """What the plate says of its light; the ids under which the lights are kept."""
        seen = look(self.scene(document, size), self._light_prior)
        return seen, {n: self._bases.keep(rig) for n, rig in seen.rigs.items()}

    def _light_prior(self) -> LightPrior:
        self._prior = self._prior or LightPrior.load()
        return self._prior

    # ---- pictures at once ----
    def show(self, wish: Wish, newer: Callable[[], bool]) -> None:
        """The picture of a document, as fast as it can be made; better ones follow by :meth:`rest`."""
        began, self._wish, self._todo = time.perf_counter(), wish, []
        self._since = time.monotonic()
        if wish.document.plate is None:
            return
        try:
            view = self._viewed(wish)
            self._send("drag", self._picture(view, wish.document, wish.longest), began)
        except DipirError as problem:
            if str(problem) != self._said:
                # Not at every step of a drag.
                self._said = str(problem)
                self._say("error", self._said, wish.n)
            return
        self._said = ""
        self._since = time.monotonic()
        if view.preview is not None:
            self._todo = [*(["sharpen", "record"] if view.coarse else []), "refined", "warm", "traced"]

    def _viewed(self, wish: Wish) -> _View:
        """What shows the document's objects: the last view where it can; a small, coarse one while they are moved; else
        one of the wished size, which takes long where there is none to begin with."""
        geometry, old = _geometry(wish.document), self._view
        longest = self._longest(wish)
        there = old is not None and old.preview is not None and old.geometry.plate == geometry.plate
        if old is not None and old.geometry == geometry and (old.preview is None or old.coarse or (
                max(old.preview.size) == longest)):
            return old
        scene = self.scene(wish.document, wish.size)
        if not scene.objects:
            self._view = _View(geometry, None)
        elif there:
            small = min(MOVING_VIEW, longest) if old.geometry != geometry else longest
            self._view = _View(geometry, old.preview.moved(scene, small), coarse=True)
        else:
            # Both at once would take the memory of two.
            self._view = old = None
            self._view = _View(geometry, Preview.record(scene, longest))
        return self._view

    def _asked(self, wish: Wish) -> _View:
        """The same for one picture: at the size of the view that is there, so that the next drag has it too."""
        there = max(self._view.preview.size) if self._view is not None and self._view.preview is not None else 0
        return self._viewed(replace(wish, longest=there or max(wish.longest, USUAL_VIEW)))

    def _lit(self, document: Document) -> tuple[Tensor, list, Tones]:
        base, light = self.base(document), document.light
        if light is None:
            return base.rest(0.0), [], (None, None)
        return (*parts_of(light, base), with_contrast(self._tones(document.result), light.contrast))

    def base(self, document: Document) -> Base:
        """What the document's light began with."""
        if document.light is not None:
            return self._bases.base(document.light.base_id)
        # Until the light is guessed, the plate's mean colour from everywhere.
        mean = self.plate(document).lin.mean((0, 2, 3))
        return Base(Rig(SphericalGaussians.uniform(mean)))

    def _picture(self, view: _View, document: Document, longest: int, full: bool = False) -> Tensor:
        """uint8 (H, W, 3)."""
        if view.preview is None:
            return as_bytes(within(self.plate(document).disp, longest))
        rest, lamps, tones = self._lit(document)
        return view.preview.picture(rest, lamps, tones, full=full)

    def _send(self, kind: str, picture: Tensor, began: float) -> None:
        wish, (height, width) = self._wish, picture.shape[:2]
        jpeg = Preview.jpeg(picture, 85 if kind == "drag" else 92)
        about = {"n": wish.n, "kind": kind, "w": width, "h": height, "rev": wish.rev,
                 "ms": round(1000 * (time.perf_counter() - began), 1)}
        self._tell(about, jpeg)

    # ---- better pictures when nobody drags ----
    def rest(self, newer: Callable[[], bool]) -> float | None:
        """One step towards the best picture of the last wish, if it is time."""
        if not self._todo or self._view is None or self._view.preview is None:
            return None
        waited = {"traced": RESTED_S}.get(self._todo[0], PAUSED_S if self._wish.moving else SETTLED_S)
        left = self._since + waited - time.monotonic()
        if left > 0:
            return left
        step, began = self._todo.pop(0), time.perf_counter()

        def go_on() -> None:
            if newer():
                raise Superseded

        try:
            with stoppable(go_on):
                getattr(self, f"_{step}")(go_on, began)
        except Superseded:
            self._todo.insert(0, step)
            raise
        except DipirError as problem:
            self._todo = []
            self._say("error", str(problem), None)
        return 0.0

    def _sharpen(self, go_on: Callable[..., None], began: float) -> None:
        """Still coarse, but of full size."""
        preview, longest = self._view.preview, self._longest(self._wish)
        if max(preview.size) < longest:
            self._view = replace(self._view, preview=preview.moved(preview.scene, longest))
            self._send("drag", self._picture(self._view, self._wish.document, longest), began)

    def _record(self, go_on: Callable[..., None], began: float) -> None:
        longest = self._longest(self._wish)
        self._view = replace(self._view, preview=self._view.preview.refined(longest=longest), coarse=False)
        self._send("drag", self._picture(self._view, self._wish.document, longest), began)

    def _longest(self, wish: Wish) -> int:
        """Of the view that is wished."""
        return min(max(wish.longest, SMALLEST_VIEW), LARGEST_VIEW, max(self.plate(wish.document).size))

    def _refined(self, go_on: Callable[..., None], began: float) -> None:
        self._send("refined", self._picture(self._view, self._wish.document, self._wish.longest, full=True), began)

    def _warm(self, go_on: Callable[..., None], began: float) -> None:
        """Once for each set of assets: the first drag of an object shall not wait for kernels."""
        assets = tuple(sorted({item.asset for item in self._wish.document.objects}))
        if assets not in self._warmed:
            self._warmed.add(assets)
            self._view.preview.warm()

    def _traced(self, go_on: Callable[..., None], began: float) -> None:
        document = self._wish.document
        if document.light is None:
            return
        light = device.moved(rig_of(document.light, self.base(document)))
        _, _, tones = self._lit(document)
        picture = traced(self.scene(document, self._wish.size), self._view.preview, light, tones, go_on)
        go_on()
        self._send("traced", as_bytes(picture), began)

    # ---- pictures that are asked for ----
    def frame(self, wish: Wish) -> bytes:
        """The composite, not longer than is wished."""
        picture = self._picture(self._asked(wish), wish.document, wish.longest)
        return Preview.jpeg(shrunk(picture, wish.longest))

    def guess(self, wish: Wish, light: Any) -> bytes:
        """The composite under another light."""
        return self.frame(replace(wish, document=replace(wish.document, light=light)))

    def light_jpeg(self, document: Document) -> bytes:
        """(256, 512) what is around the lamps, latlong, tone mapped."""
        base = self.base(document)
        rig = base.rig if document.light is None else rig_of(document.light, base)
        shown = show_light(rig.around.envmap(64, 128).detach())
        large = functional.interpolate(shown, (256, 512), mode="bilinear", align_corners=False)
        return Preview.jpeg(as_bytes(large), 90)

    def layer(self, wish: Wish, name: str) -> bytes:
        """object (on black), shadow (1 = white), difference (from the plate, on grey)."""
        view = self._asked(wish)
        if view.preview is None:
            black = torch.zeros_like(within(self.plate(wish.document).disp, wish.longest))
            return Preview.jpeg(as_bytes(black if name == "object" else black + (1.0 if name == "shadow" else 0.5)))
        rest, lamps, tones = self._lit(wish.document)
        layers = view.preview.layers(rest, lamps, tones)
        by_name = {layer.name: layer for layer in layers.layers}
        if name == "difference":
            picture = self._picture(view, wish.document, wish.longest).float()
            plate = functional.interpolate(self.plate(wish.document).disp, picture.shape[:2], mode="bilinear",
                                           antialias=True)
            shown = 0.5 + 0.5 * (picture.permute(2, 0, 1)[None] / 255 - plate)
        else:
            shown = linear_to_srgb(by_name[name].image.clamp(0, 1))
        return Preview.jpeg(shrunk(as_bytes(shown), wish.longest))


# ---- helpers ---------------------------------------------------------------------------------------------------------

def plate_jpeg(plate: Plate, longest: int) -> bytes:
    """The photo, reduced as previews reduce it."""
    return Preview.jpeg(as_bytes(within(plate.disp, longest)), 90)


def with_contrast(tones: Tones, contrast: float) -> Tones:
    """A contrast replaces the object's tone curve; 0 = that stays as it is."""
    return (ToneCurve.contrast(contrast), tones[1]) if contrast else tones


def _geometry(document: Document) -> Document:
    """The document without what changes no geometry, to be compared."""
    return replace(document, light=None, selected=None, prompt="", name="", result=None)
