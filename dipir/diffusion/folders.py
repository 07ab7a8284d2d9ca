"""Folders in diffusers format: found, and looked over before anything is loaded."""
from __future__ import annotations

import json
import re
from pathlib import Path

from dipir.errors import PriorError, raise_all

PIPELINES = {"StableDiffusionPipeline": False, "StableDiffusionXLPipeline": True}  # class in model_index.json -> XL?


def _remedy(name: str, target: str) -> str:
    return (f"Download it once with\n    huggingface-cli download {name} --local-dir {target} --exclude '*.bin' "
            f"'*.ckpt' '*.msgpack'\nand give the folder:  --prior {target}")


def find_folder(path: str | Path) -> Path:
    """The folder itself. PriorError for a file (where one is not accepted), a hub name or nothing at all, with what to
    do."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise PriorError(f"prior '{path}' is a file; accepted is a diffusers folder (with model_index.json, unet/, "
                         "vae/, text_encoder/, tokenizer/, scheduler/). Convert single weight files first.")
    name = str(path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "~")):
        raise PriorError(f"prior '{name}' is no local folder; it looks like a hub name; nothing is fetched.\n"
                         + _remedy(name, "priors/" + name.split("/")[1]))
    raise PriorError(f"prior '{name}': there is no such folder.\n"
                     + _remedy("stable-diffusion-v1-5/stable-diffusion-v1-5", name))


def is_xl(folder: Path) -> bool:
    """Whether ``model_index.json`` names SD XL. PriorError for any other kind of model than SD 1.x, 2.x and XL."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise PriorError(f"{folder}: no model_index.json, so this is no diffusers folder. Give the folder that holds "
                         "model_index.json, unet/, vae/, text_encoder/, tokenizer/ and scheduler/.")
    try:
        kind = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise PriorError(f"{index}: not readable as JSON with a _class_name; download the folder again.") from error
    if kind not in PIPELINES:
        raise PriorError(f"{folder} holds a {kind}; accepted: {', '.join(PIPELINES)} (SD 1.x, 2.x and XL).")
    return PIPELINES[kind]


def check_parts(folder: Path, xl: bool, weights: bool = True) -> None:
    """PriorError with all that is missing at once, each with its remedy; without ``weights`` only configurations,
    tokenizers and schedule have to be there."""
    problems, second = [], ["text_encoder_2", "tokenizer_2"] if xl else []
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler", *second]:
        here = folder / part
        if not here.is_dir():
            problems.append(f"{part}/ is missing: huggingface-cli download OWNER/MODEL --include '{part}/*' "
                            f"--local-dir {folder}")
        elif part.startswith("tokenizer"):
            absent = [n for n in ("vocab.json", "merges.txt") if not (here / n).is_file()]
            if absent and not (here / "tokenizer.json").is_file():
                problems.append(f"{part}/ lacks {' and '.join(absent)}: download {part}/ again.")
        elif part == "scheduler":
            if not (here / "scheduler_config.json").is_file():
                problems.append("scheduler/ lacks scheduler_config.json: download scheduler/ again.")
        else:
            problems += _weight_problem(here, weights)
    raise_all(PriorError, f"prior {folder}", problems)


def _weight_problem(here: Path, weights: bool) -> list[str]:
    if not (here / "config.json").is_file():
        return [f"{here.name}/ lacks config.json: download {here.name}/ again."]
    try:
        variant_of(here) if weights else None
    except PriorError as error:
        return [str(error)]
    return []


def variant_of(folder: Path) -> str | None:
    """None or "fp16": which safetensors of a part are there. PriorError when there are none."""
    for variant in (None, "fp16"):
        dot = f".{variant}" if variant else ""
        for stem in ("diffusion_pytorch_model", "model"):
            if any((folder / f"{stem}{end}").is_file() for end in (
                    f"{dot}.safetensors", f".safetensors.index{dot}.json")):
                return variant
    pickles = [p.name for p in sorted(folder.glob("*")) if p.suffix in (".bin", ".ckpt", ".pt", ".pth")]
    if pickles:
        raise PriorError(f"{folder.name}/ holds only pickled weights ({pickles[0]}), which can run code and are not "
                         f"loaded: huggingface-cli download OWNER/MODEL --include '{folder.name}/*.safetensors' "
                         f"--local-dir {folder.parent}")
    raise PriorError(f"{folder.name}/ holds no safetensors weights: huggingface-cli download OWNER/MODEL --include "
                     f"'{folder.name}/*' --local-dir {folder.parent}")
