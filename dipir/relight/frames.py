"""relight_frames(): the frames of a shot under one light, without flicker; one after the other, so that memory holds
one or two of them, and resumed where it was stopped."""
from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch

from dipir.disk import prepare_out, write_bytes, write_text, written_aside
from dipir.errors import ConfigError, ImageError
from dipir.event import Event, Notify, Remark, is_warning, warn, warnings_in
from dipir.export.layered_exr import write_layers
from dipir.fit.checkpoint import run_hash
from dipir.insert.result import history_csv
from dipir.relight.config import RelightConfig
from dipir.relight.method import Engine, Picture, RelightRequest, RelightResult, find_engine, relight
from dipir.relight.numbered import FoundFrames, Numbered, spans
from dipir.relight.page import relight_html
from dipir.relight.reading import read_picture
from dipir.relight.result import COMMENTS, exr_layers, page_of, write_relit
from dipir.relight.steady import Memory, Steady
from dipir.scene.plate import PlateColours
from dipir.settings.yaml import dump_yaml, to_dict
from dipir.tensors import read_tensors

STATE = "state"
"""Folder for what one frame keeps for the next, and by which a frame is known to be whole."""
_HEADER, _REPORT = "dipir_frame", ("config.yaml", "result.json", "history.csv", "report.html")
_ACCEPTED = ("for frames of a shot accepted are --engine layers with guidance.kind none (or auto) and no --prior, "
             "and --engine net, which guess the change of light")


@dataclass(frozen=True)
class Frames:
    """What is to be relit."""

    shot: FoundFrames
    mask: Path | Numbered | None = None  # one for all frames, or one for each
    premultiplied: bool = False  # premultiplied, colours: see :func:`read_picture`
    colours: PlateColours = PlateColours()

    def read(self, number: int) -> Picture:
        """A frame. ImageError."""
        return read_picture(self.shot.files.path(number), self._mask(number), self.premultiplied, self.colours)

    def digest(self, number: int) -> str:
        """Names the bytes of its files. ImageError."""
        digest = hashlib.sha256()
        for path in filter(None, (self.shot.files.path(number), self._mask(number))):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as problem:
                raise ImageError(f"{path}: cannot be read ({problem.strerror or problem}); accepted are frames and "
                                 "masks that are all there.") from problem
        return digest.hexdigest()

    def _mask(self, number: int) -> Path | None:
        return self.mask.path(number) if isinstance(self.mask, Numbered) else self.mask


@dataclass(frozen=True)
class FramesResult:
    """What a run did."""

    out: Path
    made: tuple[int, ...]  # frames of this run
    skipped: tuple[int, ...]  # that were whole
    rows: tuple[dict, ...]  # numbers of every frame
    cuts: tuple[int, ...]  # first frames of new shots


def refuse_fitted(config: RelightConfig, request: RelightRequest) -> None:
    """ConfigError for what is fitted to each picture by itself, or drawn by a model: its frames would flicker."""
    what = ("--colourise" if request.palette is not None
            else None if config.engine == "net" or config.guided_by(colours=False) == "none"
            else f"prior '{config.prior}' with engine 'layers', guidance.kind '{config.guided_by(colours=False)}' and "
                 f"layers.kind '{config.layers.kind}'")
    if what:
        raise ConfigError(f"{what}: is fitted to every picture by itself, and a shot would flicker; {_ACCEPTED}.")


def relight_frames(frames: Frames, request: RelightRequest, config: RelightConfig | None = None, *, out: str | Path,
                   engine: Engine | None = None, on_event: Notify = None, resume: bool = False) -> FramesResult:
    """Light every frame as asked and write ``relit.####.png``, ``layers.####.exr`` and one report into ``out``.
    resume : frames that are whole there, of the same files and settings, stay as they are
    Raises ConfigError for engines that fit, ImageError for frames that cannot be used or differ in size."""
    config = config or RelightConfig()
    refuse_fitted(config, request)
    engine, out, began = engine or find_engine(config, request), prepare_out(out), time.monotonic()
    if not engine.guesses:
        raise ConfigError(f"a network that is asked for every picture anew, and a shot would flicker; {_ACCEPTED}.")
    numbers, names = frames.shot.numbers, _Names(frames.shot.files, out)
    tell = _Told(on_event, frames.shot)
    if request.light is not None:
        tell.notes(request.notes_for(config, engine), request.light.name)

    made, rows, result, steady, behind = [], [], None, Steady(), False
    reported = all((out / name).is_file() for name in _REPORT)
    for k, (number, key) in enumerate(_keys(frames, request, config, engine)):
        # ---- whole already ----
        about = names.whole(number, key) if resume and (reported or number != numbers[-1]) else None
        if about is not None:
            rows.append(about["row"])
            tell.notes([Remark(*note) for note in about["notes"]], frames.shot.files.name(number))
            behind = True
            continue

        # ---- made ----
        if behind:
            steady, behind = Steady(names.memory(numbers[k - 1])), False
        picture = frames.read(number)
        _same_size(picture, frames.shot.files.path(number), rows)
        tell.notes(picture.notes, frames.shot.files.name(number))
        result = relight(picture, request, config, engine=engine, steady=steady)
        rows.append({"step": k + 1, "frame": number, "width": picture.image.shape[3], "height": picture.image.shape[2],
                     "carried": round(steady.kept, 4), "cut": float(steady.cut),
                     **dict(zip(("stops_5", "stops_95"), result.provenance["stops"], strict=True))})
        names.write(result, number, key, rows[-1], steady.memory)
        made.append(number)
        tell.frame(k + 1, len(numbers), (time.monotonic() - began) / len(made) * (len(numbers) - k - 1), result)

    # ---- one report for all ----
    cuts = tuple(int(row["frame"]) for row in rows if row["cut"])
    tell.end(cuts, len(numbers) - len(made))
    if result is not None:
        spent = {**result.provenance, "seconds": round(time.monotonic() - began, 2)}
        _report(replace(result, provenance=spent), frames.shot, rows, tell, out)
    skipped = tuple(n for n in numbers if n not in set(made))
    return FramesResult(out, tuple(made), skipped, tuple(rows), cuts)


def _keys(frames: Frames, request: RelightRequest, config: RelightConfig, engine: Engine) -> Iterator[tuple[int, str]]:
    """(number, what its files belong to): settings, weights and all frames up to it, since each is carried on."""
    weights = hashlib.sha256()
    for nets in (engine.geometry.nets, engine.network):
        for value in () if nets is None else nets.state_dict().values():
            weights.update(value.detach().cpu().numpy().tobytes())
    light = None if request.light is None else request.light.digest
    key = run_hash(to_dict(config), to_dict(request.key), light, frames.premultiplied, to_dict(frames.colours),
                   weights.hexdigest())
    for number in frames.shot.numbers:
        key = run_hash(key, number, frames.digest(number))
        yield number, key


@dataclass(frozen=True)
class _Names:
    """The files of each frame in the out folder."""

    files: Numbered
    out: Path

    def _path(self, what: str, end: str, number: int) -> Path:
        return self.files.renamed(f"{what}.", end, self.out).path(number)

    def _state(self, number: int) -> Path:
        return self.files.renamed("", ".safetensors", self.out / STATE).path(number)

    def write(self, result: RelightResult, number: int, key: str, row: dict, memory: Memory) -> None:
        """The state comes last: where it is, the frame is whole."""
        picture, layers = self._path("relit", ".png", number), self._path("layers", ".exr", number)
        (self.out / STATE).mkdir(exist_ok=True)
        self._state(number).unlink(missing_ok=True)
        write_relit(picture, result)
        # The frame itself is the input, and the quotient of the others is the shading.
        write_layers(layers, {name: layer for name, layer in exr_layers(result).items()
                              if name not in ("input", "shading")}, comments=COMMENTS)
        about = {"key": key, "row": row, "notes": [[str(n), is_warning(n)] for n in result.picture.notes],
                 "sizes": {p.name: p.stat().st_size for p in (picture, layers)}}
        tensors = {name: x.half().cpu().contiguous() for name, x in vars(memory).items()}
        write_bytes(self._state(number), safetensors.torch.save(tensors, {_HEADER: json.dumps(about)}))

    def whole(self, number: int, key: str) -> dict | None:
        """The frame's row and remarks, where all its files are there, as they were written, by the same run."""
        try:
            about = json.loads(read_tensors(self._state(number))[1][_HEADER])
            same = about["key"] == key and all((self.out / Path(name).name).stat().st_size == size
                                               for name, size in about["sizes"].items())
            return {"row": dict(about["row"]), "notes": list(about["notes"])} if same else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def memory(self, number: int) -> Memory:
        """What a whole frame kept for the next."""
        tensors = read_tensors(self._state(number))[0]
        return Memory(*(tensors[name].float() for name in ("image", "planes", "level")))


class _Told:
    """What is said of a shot, each thing once."""

    def __init__(self, on_event: Notify, shot: FoundFrames) -> None:
        self._send = on_event or (lambda event: None)
        self._known: set[str] = set()
        self.all: list[str] = []
        if shot.missing:
            self._remark(warn(f"{shot.files}: frames {spans(shot.missing)} are not there and left out; the light is "
                              "carried on across the gap"))

    def _remark(self, note: str) -> None:
        self.all.append(note)
        self._send(Event.about([note]))

    def notes(self, notes: Iterable[str], file: str) -> None:
        """Remarks about a frame that were not said of another."""
        for note in notes:
            if note.replace(file, "") not in self._known:
                self._known.add(note.replace(file, ""))
                self._remark(Remark.about(file, note))

    def frame(self, step: int, steps: int, seconds: float, result: RelightResult) -> None:
        self._send(Event("frames", step, steps, seconds, images={"composite": result.image}))

    def end(self, cuts: tuple[int, ...], whole: int) -> None:
        if whole:
            self._send(Event("frames", 0, 0, note=f"{whole} frames are whole, of the same settings, and stay"))
        if cuts:
            self._send(Event("frames", 0, 0, note=f"cuts at frames {spans(cuts)}: the light was guessed anew there"))


def _same_size(picture: Picture, path: Path, rows: list[dict]) -> None:
    height, width = picture.image.shape[2:]
    if rows and (width, height) != (rows[0]["width"], rows[0]["height"]):
        raise ImageError(f"{path}: {width}x{height} pixels, the frames before it {rows[0]['width']}x"
                         f"{rows[0]['height']}; accepted are frames of one size. Scale it, or give the others by "
                         "--frames. What was made so far is kept for --resume.")


def _report(result: RelightResult, shot: FoundFrames, rows: list[dict], told: _Told, out: Path) -> None:
    """Of all frames, with the last one as its picture."""
    about = {**result.provenance, "name": str(shot.files),
             "frames": list(shot.numbers), "missing": list(shot.missing), "notes": list(map(str, told.all)),
             "warnings": warnings_in(told.all),
             "cuts": [row["frame"] for row in rows if row["cut"]]}
    whole = replace(result, history=rows, provenance=about)
    page = page_of(whole)
    facts = {**{name: value for name, value in page.facts.items() if name != "steps"},
             "frames": f"{spans(shot.numbers)} ({len(rows)}); the last one made is shown"}
    curves = [{name: row[name] for name in ("step", "carried", "cut", "stops_5", "stops_95")} for row in rows]
    with written_aside(out) as aside:
        dump_yaml(result.config, aside / "config.yaml")
        write_text(aside / "result.json", json.dumps(about, indent=1) + "\n")
        write_text(aside / "history.csv", history_csv(rows))
        write_text(aside / "report.html", relight_html(replace(page, facts=facts, history=curves)))
