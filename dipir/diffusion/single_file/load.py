"""Checkpoints of Stable Diffusion in a single file, by diffusers' own converters and configurations that are here.

Nothing is fetched: the configurations, tokenizers and the schedule are those of a diffusers folder, whose weights are
not needed.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dipir.diffusion.folders import check_parts, is_xl
from dipir.diffusion.single_file.kinds import SD1, SD2, UNET, VAE, XL, Held, look
from dipir.errors import PriorError
from dipir.tensors import read_header, read_tensors

_HUB = {SD1: "stable-diffusion-v1-5/stable-diffusion-v1-5", SD2: "stabilityai/stable-diffusion-2-1",
        XL: "stabilityai/stable-diffusion-xl-base-1.0"}
_PREDICTS_V = "v_pred"   # A tensor of that name marks checkpoints that predict v.


@dataclass(frozen=True)
class SingleFile:
    """A checkpoint and the folder of its configurations, both looked over."""

    path: Path
    held: Held
    config: Path

    def networks(self, encoders: tuple[Any, ...], dtypes: tuple[torch.dtype, torch.dtype],
                 guard: Callable[[Path, Callable[[], Any]], Any]) -> tuple[nn.Module, nn.Module, tuple[nn.Module, ...]]:
        """(U-Net, VAE, text encoders). encoders : their classes; dtypes : of all but the VAE, of that; guard : calls
        what it is given and makes one error of whatever is raised. PriorError where a weight is absent."""
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

        def part(prefix: str, dtype: torch.dtype) -> dict[str, Tensor]:
            # One part at a time: the whole, with the averages that some files have as well, fills a memory.
            try:
                state, _ = read_tensors(self.path, prefix)
            except (OSError, ValueError) as problem:
                raise PriorError(f"{self.path}: not a complete safetensors file ({problem}). Fetch it again.") \
                    from problem
            return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                    for name, tensor in state.items()}

        def model(kind: Any, prefix: str, folder: str, dtype: torch.dtype) -> nn.Module:
            state = part(prefix, dtype)

            def load() -> nn.Module | None:
                try:
                    return kind.from_single_file(state, config=str(self.config), subfolder=folder,
                                                 local_files_only=True)
                except NotImplementedError:  # torch's, where something has no data.
                    return None

            return self._whole(folder, guard(self.path, load))

        def encoder(kind: Any, prefix: str, folder: str) -> nn.Module:
            state = part(prefix, dtypes[0])
            return self._whole(folder, guard(self.path, lambda: create_diffusers_clip_model_from_ldm(
                kind, state, subfolder=folder, config=str(self.config), local_files_only=True)))

        texts = tuple(encoder(kind, prefix, folder) for kind, prefix, folder in zip(
            encoders, self.held.text_encoders, ("text_encoder", "text_encoder_2"), strict=False))
        unet = model(UNet2DConditionModel, UNET, "unet", dtypes[0])
        return unet, model(AutoencoderKL, VAE, "vae", dtypes[1]), texts

    def _whole(self, folder: str, model: nn.Module | None) -> nn.Module:
        if model is None or any(p.is_meta for p in model.parameters()):
            raise PriorError(f"{self.path}: weights of {folder} are absent. The "
                             f"file does not belong to {self.config / folder / 'config.json'}; give its own "
                             "configurations with --prior-config.")
        return model

    def check_prediction(self, prediction: str) -> None:
        """PriorError where the file says that it predicts something else than its configurations do."""
        names, metadata = read_header(self.path)
        said = "v_prediction" if _PREDICTS_V in names else {"v": "v_prediction", "epsilon": "epsilon"}.get(
            metadata.get("modelspec.prediction_type", ""), prediction)
        if said != prediction:
            raise PriorError(f"{self.path}: predicts {said}, and {self.config / 'scheduler'} says {prediction}. Give "
                             "the configurations of a model of its kind with --prior-config.")


def find_single_file(path: Path, config: str | Path = "") -> SingleFile:
    """The file and the folder of its configurations: ``config``, else the folder of its name beside it, else that in
    which it lies. PriorError for any other file, named for what it is, and where there is no such folder."""
    if path.suffix.lower() != ".safetensors":
        raise PriorError(f"prior '{path}' is a file; accepted are a diffusers folder and a .safetensors checkpoint. "
                         "Others may be pickled, which can run code, and are not read: convert it to safetensors.")
    held = look(path)
    if not held.whole:
        raise PriorError(f"prior '{path}' is {held.what}. {held.remedy[:1].upper()}{held.remedy[1:]}")
    name = held.what.removeprefix("a single-file ").removesuffix(" checkpoint")
    places = [Path(config).expanduser()] if str(config) else [path.with_suffix(""), path.parent]
    folder = next((place for place in places if (place / "model_index.json").is_file()), None)
    if folder is None:
        raise PriorError(
            f"prior '{path}' is {held.what}: it has weights, and neither configurations nor tokenizer. Looked for in "
            f"{' and '.join(map(str, places))}. Get them once with\n    huggingface-cli download {_HUB[name]} "
            f"--include '*.json' '*.txt' --local-dir {path.with_suffix('')}\nor give a folder of such a model with "
            "--prior-config DIR, or convert the file to a diffusers folder.")
    if is_xl(folder) != held.xl:
        raise PriorError(f"prior '{path}' is {held.what}, and {folder} has the configurations of another kind. Give "
                         f"those of {_HUB[name]} with --prior-config.")
    check_parts(folder, held.xl, weights=False)
    return SingleFile(path, held, folder)
