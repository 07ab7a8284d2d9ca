"""Files that a session works with: received from the page under names of our own, or named on the command line."""
from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipir.errors import ConfigError, nearest
from dipir.scene.assets.files import EXTENSIONS

MOST_BYTES = 200 * 10**6
KINDS = {"plate": (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dpx", ".exr", ".hdr"), "asset": EXTENSIONS,
         "hdri": (".exr", ".hdr"), "camera": (".yaml", ".yml", ".json", ".fspy")}
"""What may be sent -> suffixes of its files."""


class Refusal(ConfigError):
    """An error with an HTTP status of its own."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Kept:
    """One file."""

    id: str
    kind: str
    name: str
    """As it was called where it came from; only shown, never opened."""
    file: str
    """Where it lies: a name of ours in the session's folder, or an absolute path that was given on this machine."""


class Store:
    """The files of one session, by id."""

    def __init__(self, folder: Path, files: Mapping[str, Kept] | None = None) -> None:
        self.folder = folder
        self.files: dict[str, Kept] = dict(files or {})

    def path(self, id: str) -> Path:
        """Where a file lies. Refusal for one that is not there."""
        if id not in self.files:
            raise Refusal(f"this session has no file '{str(id)[:60]}'.", 404)
        # An absolute path stays as it is.
        return self.folder / self.files[id].file

    def name(self, id: str) -> str:
        """As it is called, without its suffix: what objects and scenes are named by."""
        return Path(self.files[id].name).stem or self.files[id].kind

    def adopt(self, kind: str, path: Path) -> Kept:
        """A file that was named on this machine, not by a page."""
        kept = Kept(self._free(), kind, path.name, str(path.resolve()))
        self.files[kept.id] = kept
        return kept

    async def receive(self, kind: str, name: str, pieces: AsyncIterator[bytes], length: int | None) -> Kept:
        """A file from a page; what is in it is not looked at. Refusal for an unknown kind or suffix, nothing, or too
        much; then nothing of it is left."""
        suffix, told = self._suffix(kind, name), clean(name)
        if length is not None and length > MOST_BYTES:
            raise _too_large(told)
        # A folder for each: what a mesh refers to is looked for beside it, and nothing of others is there.
        folder = self._new_folder()
        path, count = folder / f"{folder.name}{suffix}", 0
        try:
            with open(path, "wb") as file:
                async for piece in pieces:
                    count += len(piece)
                    if count > MOST_BYTES:
                        raise _too_large(told)
                    file.write(piece)
            if not count:
                raise Refusal(f"{told} is empty (0 bytes); send a file with something in it.", 400)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Kept(folder.name, kind, told, f"files/{folder.name}/{path.name}")

    def keep(self, kept: Kept) -> None:
        """A received file that proved good."""
        self.files[kept.id] = kept

    def drop(self, kept: Kept) -> None:
        """One that did not; a file of this machine is only forgotten."""
        self.files.pop(kept.id, None)
        if not Path(kept.file).is_absolute():
            shutil.rmtree((self.folder / kept.file).parent, ignore_errors=True)

    def _free(self) -> str:
        number = 1
        while f"f{number}" in self.files or (self.folder / "files" / f"f{number}").exists():
            number += 1
        return f"f{number}"

    def _new_folder(self) -> Path:
        folder = self.folder / "files" / self._free()
        folder.mkdir(mode=0o700, parents=True)
        return folder

    def _suffix(self, kind: str, name: str) -> str:
        if kind not in KINDS:
            raise Refusal(f"kind: '{kind[:60]}' given; accepted are {', '.join(KINDS)}.{nearest(kind, KINDS)}", 400)
        suffix = Path(clean(name)).suffix.lower()
        if suffix not in KINDS[kind]:
            raise Refusal(f"{clean(name)} is no file that can be a {kind}; accepted are {', '.join(KINDS[kind])}.", 415)
        return suffix

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """For the session's file."""
        return {id: vars(kept) for id, kept in self.files.items()}


def clean(name: str) -> str:
    """A file's name to be shown: its last part, printable, at most 120 characters."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(c for c in last if c.isprintable()).strip()
    return shown[-120:] or "unnamed"


def _too_large(name: str) -> Refusal:
    return Refusal(f"{name} is larger than {MOST_BYTES // 10**6} MB; accepted are smaller files. Reduce the "
                   "picture, or decimate the mesh and its textures.", 413)
