"""Training and judging the light prior: ``python -m dipir.workshop.light.train --help``."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from dipir import device, disk
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.priors.light import DEFAULT_PATH, LightPrior
from dipir.priors.nets.light_unet import LightUNet
from dipir.workshop import backbone
from dipir.workshop.light import cases, pack
from dipir.workshop.light.places import Places
from dipir.workshop.light.sources import LightPriorConfig, sources_of, staged, timed
from dipir.workshop.runner import choose_device, reporter
from dipir.workshop.stored import part
from dipir.workshop.trainer import Trained, folder, train

FEW = 26
"""Environments of the part ``train``, which come first; for the ablation of data."""


def train_on(config: LightPriorConfig, data: pack.Pack, *, name: str = "light", on_event: Notify = None,
             start: LightUNet | None = None) -> tuple[LightPrior, Trained]:
    """Trains on what a pack holds, on this run's device; keeps the weights best on its validation environments.

    Resumes the run ``name`` if it was begun before; ``start`` gives the first weights otherwise, else the pack's
    backbone, if it holds one.
    """
    torch.manual_seed(config.seed)
    where = device.current().torch
    net = start or backbone.begun(LightUNet(config.net), data.backbone or None)
    net = net.to(where)
    places, val = device.moved((data.train, data.val), where)
    placed = None if data.dressed is None else data.dressed.raw(places)
    watched = {"": cases.validation_cases(val, yaws=4)}
    if data.dressed_val is not None:
        watched["dressed_"] = cases.photographed(data.dressed_val.raw(val))

    def validate(model: LightUNet) -> dict[str, float]:
        return {prefix + key: value for prefix, known in watched.items()
                for key, value in cases.judged(cases.looks(LightPrior(model), known), known).items()}

    trained = train(net, staged(config, sources_of(config, places, placed)), config.train, on_event=on_event, name=name,
                    validate=validate)
    best = LightUNet(config.net)
    best.load_state_dict(trained.best)
    return LightPrior(best), trained


def collected(pretrained: bool = True) -> pack.Pack:
    """All that training reads, from the data folder and from the dressed plates that ``dipir synth dressed`` has made
    (none is fine; a line says so)."""
    # Imported here: training from a pack needs neither the renderer nor readers of files.
    from dipir.workshop.dressed import data as dressed_plates

    def dressed(where: Path | None) -> pack.Dressed | None:
        try:
            made = dressed_plates.load(where)
        except ConfigError as problem:
            sys.stderr.write(f"light prior: trains without plates with rendered meshes ({problem})\n")
            return None
        return pack.Dressed(made["plate"], made["camera"], pack.place_towards(made["point"], made["height"]),
                            made["panorama"], made["turn"], made["gain"])

    places, names = zip(*(environments(held_out) for held_out in (False, True)), strict=True)
    return pack.Pack(*places, {"train": names[0], "val": names[1]}, dressed(None),
                     dressed(dressed_plates.held_out_dir()), backbone.pretrained() if pretrained else {})


def environments(held_out: bool) -> tuple[Places, list[str]]:
    """The photographed environments of the data folder to train on, or to choose on, and their files' names."""
    from dipir.workshop.data import TRAIN, VAL, panorama_files, real_panoramas

    splits = VAL if held_out else TRAIN
    return Places.of(real_panoramas(*splits)), [f.name for f in panorama_files(*splits)]


def few(data: pack.Pack) -> pack.Pack:
    """With the first ``FEW`` training environments only."""
    dressed = None if data.dressed is None else part(data.dressed, data.dressed.panorama < FEW)
    return replace(data, train=part(data.train, slice(0, FEW)), dressed=dressed)


def evaluated(prior: LightPrior, known: cases.Cases) -> dict[str, float]:
    """:func:`cases.judged` of a prior."""
    return cases.judged(cases.looks(prior, known), known)


def calibrated(prior: LightPrior, known: cases.Cases) -> LightPrior:
    """With ``trust`` so that first guesses are right as often as they say (as it was where no place has hard light),
    and ``lean`` so that as many places are said to have hard light as have it."""
    said = cases.looks(prior, known)
    found = cases.judged(said, known)
    trust = min(1.0, found.get("within", 1.0) / max(found.get("stated", 1.0), 1e-6))
    truth = device.moved(known.truth, torch.device("cpu"))
    share = float((cases.hardness(truth.share()) > 0.5).float().mean())
    logits = torch.tensor([look.hard for look in said]).logit(1e-6)
    return LightPrior(prior.net, prior.hash, prior.sharpness, prior.trust * trust,
                      prior.lean - float(logits.quantile(1 - share)))


def write_outcome(out: Path, prior: LightPrior, trained: Trained, name: str, figures: Mapping[str, float]) -> None:
    """Best weights, curves and figures into a folder; or the weights alone into a .safetensors file."""
    notes = {"steps": str(trained.step), "score": f"{trained.best_score:.4f}"}
    if out.suffix == ".safetensors":
        prior.save(out, notes)
        return
    out.mkdir(parents=True, exist_ok=True)
    prior.save(out / "light.safetensors", notes)
    disk.write_text(out / "figures.json", json.dumps(figures, indent=1))
    log = folder(name) / "log.jsonl"
    if log.is_file():
        disk.write_text(out / "log.jsonl", log.read_text())


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=40.0, help="wall time of this call")
    parser.add_argument("--steps", type=int, default=10_000,
                        help="steps of the whole run; with --from-pack the minutes decide")
    parser.add_argument("--rate", type=float, default=LightPriorConfig().train.rate)
    parser.add_argument("--name", default="light", help="name of the run; the same name resumes")
    parser.add_argument("--start", type=Path, help="weights to begin a new run from")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="only write one file with all that training reads")
    parser.add_argument("--from-pack", type=Path, metavar="FILE", help="train from such a file")
    parser.add_argument("--few", action="store_true", help="only the 26 environments of the part `train`")
    parser.add_argument("--backbone", choices=("imagenet", "none"), default="imagenet",
                        help="what the plate's encoder starts from")
    parser.add_argument("--ground", action=argparse.BooleanOptionalAction, default=True,
                        help="whether the network looks at the ground from above")
    parser.add_argument("--batch", type=int, default=None, help="plates a step (default: 24, on a GPU 96)")
    parser.add_argument("--pool", type=int, default=None, help="dressed plates kept (default: 512, on a GPU 16384)")
    parser.add_argument("--validate-every", type=int, default=1000, help="steps")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=None,
                        help="bfloat16 (default: on a GPU; for processors that have it, avx512_bf16 or amx)")
    device.add_option(parser)
    parser.add_argument("--export", type=Path, metavar="OUT",
                        help="write the best weights here: a .safetensors file, or a folder that gets curves and "
                             "figures too")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there for TensorBoard")
    parser.add_argument("--evaluate", type=Path, nargs="?", const=DEFAULT_PATH, help="only judge these weights")
    parser.add_argument("--yaws", type=int, default=8, help="plates of each environment when judging")
    parser.add_argument("--seed", type=int, default=7, help="of the plates when judging; 7 is what training watches")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, exports and evaluates; or, with --evaluate, only evaluates; with --pack, only collects."""
    parser = argparse.ArgumentParser(prog="dipir prior train light", description=__doc__)
    _options(parser)
    args = parser.parse_args(arguments)
    choose_device(args)
    if args.pack:
        size = pack.write(args.pack, collected())
        sys.stdout.write(f"{args.pack} {size / 2**20:.1f} MiB\n")
        return
    if args.evaluate:
        known = cases.validation_cases(environments(held_out=True)[0], args.yaws, args.seed)
        sys.stdout.write(_text(evaluated(LightPrior.load(args.evaluate), known)))
        return
    gpu = device.current().gpu
    config = LightPriorConfig(batch=args.batch or (96 if gpu else 24), pool=args.pool or (16384 if gpu else 512))
    schedule = replace(config.train, steps=args.steps, rate=args.rate, minutes=args.minutes, bf16=args.bf16,
                       validate_every=args.validate_every)
    config = replace(config, train=schedule, net=replace(config.net, ground=args.ground))
    config = timed(config, args.minutes) if args.from_pack else config
    data = pack.read(args.from_pack) if args.from_pack else collected(args.backbone == "imagenet")
    data = replace(few(data) if args.few else data, **({"backbone": {}} if args.backbone == "none" else {}))
    start = LightPrior.load(args.start).net.requires_grad_(True) if args.start else None
    prior, trained = train_on(config, data, name=args.name, on_event=reporter(args.tensorboard), start=start)
    known = cases.validation_cases(data.val, args.yaws, args.seed)
    prior = calibrated(prior, known)
    figures = evaluated(prior, known)
    if args.export:
        write_outcome(args.export, prior, trained, args.name, figures)
    sys.stdout.write(_text(figures))


def _text(figures: Mapping[str, float]) -> str:
    return "".join(f"{key:16s} {value:.4f}\n" for key, value in figures.items())


if __name__ == "__main__":
    main()
