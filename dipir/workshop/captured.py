"""A whole training step as one CUDA graph: batch, forward, backward, clipping, optimiser, moving average.

Launching thousands of small kernels from Python costs more than they take. A graph of them is launched at once; what
changes from step to step are numbers in one row of memory, drawn on the CPU and copied there.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

Columns = Mapping[str, np.ndarray]
_BUFFERS = 4  # Rows of pinned memory that copies may be reading from.


@dataclass(frozen=True)
class Staged:
    """A batch loss in two halves, so that the second can be captured; called like one, it does both."""

    numbers: Callable[[int], Columns]
    """Step -> random numbers, arrays of the same shapes at every step."""
    loss: Callable[[nn.Module, Mapping[str, Tensor]], tuple[Tensor, Mapping[str, Tensor]]]
    """From the model and those numbers on its device to (loss, scalars), without reading anything back."""
    ship: Callable[[Columns], Mapping[str, Tensor]]
    before: Callable[[int], None] = lambda step: None
    """Called before every step, not captured: renews what the loss reads."""

    def __call__(self, model: nn.Module, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        self.before(step)
        return self.loss(model, self.ship(self.numbers(step)))


class Captured:
    """Takes steps by replaying a graph of ``body``, after ``WARM`` ordinary ones.

    body(numbers) : one step from numbers on the GPU, all in place; gives scalars that live in the graph's memory
    """

    WARM = 4

    def __init__(self, body: Callable[[Mapping[str, Tensor]], dict[str, Tensor]], where: torch.device) -> None:
        self.body, self.where = body, where
        self.taken, self.possible = 0, True
        self.graph: torch.cuda.CUDAGraph | None = None
        self.row: Tensor | None = None
        self.scalars: dict[str, Tensor] = {}
        self.pinned: list[tuple[Tensor, torch.cuda.Event]] = []

    def step(self, columns: Columns, clear: Callable[[], None]) -> dict[str, Tensor]:
        """One step. ``clear`` lets gradients of ordinary steps go before the capture."""
        self._load(columns)
        numbers = unpacked(columns, self.row)
        if self.graph is None and self.possible and self.taken >= self.WARM:
            clear()
            self._capture(numbers)
        if self.graph is None:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                clear()
                self.scalars = self.body(numbers)
            torch.cuda.current_stream().wait_stream(side)
        else:
            self.graph.replay()
        self.taken += 1
        return self.scalars

    def _capture(self, numbers: Mapping[str, Tensor]) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.scalars = self.body(numbers)
            self.graph = graph
        except RuntimeError as problem:
            self.possible = False
            sys.stderr.write(f"training: a step cannot be captured here ({str(problem).splitlines()[0]}); goes on "
                             "kernel by kernel, slower\n")

    def _load(self, columns: Columns) -> None:
        flat = packed(columns)
        if self.row is None:
            self.row = torch.empty(len(flat), device=self.where)
            self.pinned = [(torch.empty(len(flat)).pin_memory(), torch.cuda.Event()) for _ in range(_BUFFERS)]
        buffer, free = self.pinned[self.taken % _BUFFERS]
        free.synchronize()
        buffer.numpy()[:] = flat
        self.row.copy_(buffer, non_blocking=True)
        free.record()


def packed(columns: Columns) -> np.ndarray:
    """All columns in one row of float32."""
    return np.concatenate([np.asarray(c, np.float32).ravel() for c in columns.values()])


def unpacked(columns: Columns, flat: Tensor) -> dict[str, Tensor]:
    """Views into the row ``flat``, in the shapes of the columns."""
    parts = flat.split([np.asarray(c).size for c in columns.values()])
    return {key: part.reshape(np.asarray(c).shape) for (key, c), part in zip(columns.items(), parts, strict=True)}


def averaged(averages: Sequence[Tensor], values: Sequence[Tensor], part: Tensor) -> None:
    """Moves ``averages`` by ``part``, one number on their device, towards ``values``, in place."""
    steps = torch._foreach_sub(values, averages)
    torch._foreach_mul_(steps, part)
    torch._foreach_add_(averages, steps)
