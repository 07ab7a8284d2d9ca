"""The training of a prior as a command: options, data, training, weights; one recipe for each prior."""
from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dipir import device
from dipir.arrays import split_seed
from dipir.event import Event, Notify
from dipir.fit.board import Board
from dipir.workshop.trainer import TrainConfig, Trained

Net = TypeVar("Net", bound=nn.Module)
Outcome = tuple[Mapping[str, Tensor], dict[str, str]]
"""Weights and notes for their file."""


def initial(build: Callable[[], Net], seed: int, start: nn.Module | None = None) -> Net:
    """A network to train: with random weights of the seed, or those of ``start``."""
    torch.manual_seed(split_seed(seed, "weights"))
    model = build()
    if start is not None:
        model.load_state_dict(start.state_dict())
    return model


def outcome(trained: Trained, config: TrainConfig) -> Outcome:
    """The best weights, and how they came about."""
    return trained.best, {"steps": str(trained.step), "score": f"{trained.best_score:.4f}",
                          "training": json.dumps(asdict(config))}


@dataclass(frozen=True)
class Recipe:
    """How one prior is trained: what ``dipir prior train NAME`` does."""

    name: str
    data: str  # what is made first, in the command's description
    config: Any  # a dataclass with ``batch`` and ``train``; its ``net`` is replaced by that of weights to begin with
    path: Path  # where the weights that ship lie
    build: Callable[[Any], nn.Module]  # the network of a config
    read: Callable[[Path], nn.Module]
    write: Callable[[nn.Module, Path, dict[str, str]], None]
    train: Callable[[Any, nn.Module | None, str, int, Notify], Outcome]  # config, start, name, workers, on_event
    judge: Callable[[Path, int], Mapping[str, float]]  # weights, workers
    options: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Fields of ``config``, ``a`` or ``a.b`` -> their option and what argparse is told about it."""
    collect: Callable[[Path], int] | None = None
    """Writes all that training reads into one file; returns its bytes."""
    adjust: Callable[[Any, Any], Any] = lambda config, start: config
    """Refuses settings before any work, or completes them. start : path or None."""

    def run(self, minutes: float, config: Any = None, out: Path | None = None, name: str = "", *,
            on_event: Notify = None, start: Path | None = None, workers: int = 1) -> Path:
        """Data, training (resumed if begun) for at most ``minutes``, weights written to ``out``. ConfigError for
        numbers out of range, before any work."""
        config = self.config if config is None else config
        config = replace(config, train=replace(config.train, minutes=minutes))
        config = self.adjust(config, start)
        first = self.read(start) if start else None
        if first is not None and hasattr(config, "net"):
            config = replace(config, net=first.config)
        weights, notes = self.train(config, first, name or self.name, workers, on_event)
        net = self.build(config)
        net.load_state_dict(weights)
        self.write(net, out or self.path, notes)
        return out or self.path

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Data, training, weights; log lines on stdout. With --evaluate, only judges."""
        parser = argparse.ArgumentParser(
            prog=f"dipir prior train {self.name}",
            description=f"``dipir prior train {self.name}``: {self.data}, training, weights; log lines on stdout. With "
                        "--evaluate, only judges.")
        add_options(parser, self.config.train, self.config.batch, self.name, self.path)
        for path, (flag, about) in self.options.items():
            default = functools.reduce(getattr, path.split("."), self.config)
            parser.add_argument(flag, dest=path, **{"type": int, "default": default, **about})
        if self.collect is not None:
            parser.add_argument("--pack", type=Path, metavar="FILE",
                                help="only write one file with all that training reads")
        args = parser.parse_args(arguments)
        choose_device(args)
        if self.collect is not None and args.pack:
            sys.stdout.write(f"{args.pack} {self.collect(args.pack) / 2**20:.1f} MiB\n")
            return
        if args.evaluate:
            figures = self.judge(args.evaluate, args.workers)
            width = max(12, 1 + max(map(len, figures)))
            sys.stdout.write("".join(f"{key:{width}s} {value:.4f}\n" for key, value in figures.items()))
            return
        train = replace(self.config.train, steps=args.steps, rate=args.rate, bf16=args.bf16,
                        validate_every=args.validate_every)
        config = replace(self.config, batch=args.batch, train=train)
        for path in self.options:
            config = _with(config, path, getattr(args, path))
        written = self.run(args.minutes, config, args.out, args.name, on_event=reporter(args.tensorboard),
                           start=args.start, workers=args.workers)
        sys.stdout.write(f"{written}\n")


def _with(config: Any, path: str, value: Any) -> Any:
    """``config`` with another value at ``a.b``."""
    first, _, rest = path.partition(".")
    return replace(config, **{first: _with(getattr(config, first), rest, value) if rest else value})


# ------------------------------------------------------------------------------------------------------------- options
def add_options(parser: argparse.ArgumentParser, config: TrainConfig, batch: int, name: str, path: Path) -> None:
    """The options that the trainers have in common; ``path`` : where the weights that ship lie."""
    parser.add_argument("--minutes", type=float, default=60, help="wall time of training (resumes next time)")
    parser.add_argument("--steps", type=int, default=config.steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=config.rate, help="learning rate at the start")
    parser.add_argument("--validate-every", type=int, default=config.validate_every, help="steps")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=None,
                        help="bfloat16 autocast (default: on a GPU; for processors that have it)")
    device.add_option(parser)
    parser.add_argument("--start", type=Path, help="weights that a new run begins with")
    parser.add_argument("--name", default=name, help="checkpoint folder below $DIPIR_CACHE/training")
    parser.add_argument("--workers", type=int, default=1, help="processes that make missing data; on a GPU one is best")
    parser.add_argument("--out", type=Path, default=None, help="weights file (default: the one that ships)")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there for TensorBoard")
    parser.add_argument("--evaluate", type=Path, nargs="?", const=path, help="only judge these weights")


def choose_device(args: argparse.Namespace) -> None:
    """Decides the device by ``--device`` and says so on stderr. ConfigError when it cannot be had."""
    device.use_option(args)
    sys.stderr.write(f"device: {device.current().describe()}\n")


def reporter(board: Path | None) -> Callable[[Event], None]:
    """:func:`report`, with a folder for TensorBoard too. ConfigError without the extra."""
    return report if board is None else _Both(Board(board))


@dataclass(frozen=True)
class _Both:
    board: Board

    def __call__(self, event: Event) -> None:
        report(event)
        self.board(event)

    def close(self) -> None:
        self.board.close()


def report(event: Event) -> None:
    """One line on stdout."""
    scalars = " ".join(f"{k}={v:.4g}" for k, v in event.scalars.items())
    sys.stdout.write(f"{event.stage} {event.step}/{event.steps} {scalars}\n")
    sys.stdout.flush()
