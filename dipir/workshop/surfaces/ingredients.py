"""What scenes with known surfaces are made of: meshes, photographed patches, what stands behind; from the data folder
or from elsewhere (``workshop.surfaces.pack``)."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from dipir.errors import ConfigError
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.load import load_asset
from dipir.workshop import backbone, photo_textures
from dipir.workshop.data import TRAIN, VAL, panorama_files, real_panoramas, training_meshes
from dipir.workshop.relight.data import solid
from dipir.workshop.surfaces import backdrops
from dipir.workshop.surfaces.backdrops import Backdrops

SIZE_PX = 128
"""Of a side of scenes and backdrops."""


class Ingredients(Protocol):
    """What the scenes of one part are made of. Every process that makes scenes gets a copy: it is small, and reads
    what it is asked for."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the files of meshes."""
        ...

    @property
    def patched(self) -> str:
        """What tells the patches from others; ``none`` where there are none."""
        ...

    def assets(self, rows: Sequence[int]) -> list[Asset]:
        """Of these meshes, those that let no light through."""
        ...

    def patches(self) -> Sequence[np.ndarray] | None:
        """Of photographs (``photo_textures``), each (S, S, 3), for grounds and walls."""
        ...

    def behind(self) -> Backdrops:
        """What may stand behind the scenes."""
        ...


class Supplier(Protocol):
    """Where a training takes what it needs from."""

    def ingredients(self, held_out: bool, folder: Path) -> Ingredients:
        """Of the scenes to train on, or to choose on. What has to be made first is kept in ``folder``."""
        ...

    def backbone(self) -> dict[str, Tensor]:
        """Weights of ``EfficientNetLite`` to begin with."""
        ...


@dataclass(frozen=True)
class Files:
    """Ingredients in files of their own."""

    meshes: tuple[Path, ...] = ()
    patch_file: Path | None = None  # as ``photo_textures.stored`` writes it
    backdrop_file: Path | None = None  # as ``backdrops.stored`` writes it

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`Ingredients`."""
        return tuple(path.name for path in self.meshes)

    @property
    def patched(self) -> str:
        """See :class:`Ingredients`."""
        return "none" if self.patch_file is None else self.patch_file.stem

    def assets(self, rows: Sequence[int]) -> list[Asset]:
        """See :class:`Ingredients`. AssetError for a broken file."""
        return [asset for asset in (load_asset(self.meshes[row]) for row in rows) if solid(asset)]

    def patches(self) -> Sequence[np.ndarray] | None:
        """See :class:`Ingredients`. ConfigError for a broken file."""
        return None if self.patch_file is None else photo_textures.load(self.patch_file)

    def behind(self) -> Backdrops:
        """See :class:`Ingredients`. ConfigError without a file of them."""
        if self.backdrop_file is None:
            raise ConfigError("no backdrops were given; take the ingredients of the data folder.")
        return Backdrops(**load_file(self.backdrop_file))


@dataclass(frozen=True)
class DataFolder:
    """The data folder (``$DIPIR_DATA``) and the installed weights of the backbone."""

    def ingredients(self, held_out: bool, folder: Path) -> Files:
        """See :class:`Supplier`. AssetError or ConfigError without the data folder."""
        splits = VAL if held_out else TRAIN
        meshes, names = training_meshes(*splits), [file.name for file in panorama_files(*splits)]
        panoramas, behind = real_panoramas(*splits), folder / "backdrops.safetensors"
        backdrops.stored(panoramas, names, SIZE_PX, behind)
        return Files(tuple(meshes), photo_textures.stored(panoramas, folder), behind)

    def backbone(self) -> dict[str, Tensor]:
        """See :class:`Supplier`. ConfigError when they are not installed."""
        return backbone.pretrained()
