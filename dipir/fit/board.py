"""Events -> TensorBoard files: scalars of every stage by step, previews as images."""
from __future__ import annotations

from pathlib import Path

from dipir.errors import ConfigError
from dipir.event import Event


def writer() -> type:
    """TensorBoard's writer. ConfigError without the extra."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as problem:
        raise ConfigError("--tensorboard: TensorBoard is not installed. `pip install dipir[bench]` brings "
                          "it.") from problem
    return SummaryWriter


class Board:
    """An ``on_event`` that is closed at the end. ``tensorboard --logdir FOLDER`` shows it. ConfigError without the
    extra."""

    def __init__(self, folder: Path) -> None:
        self._writer = writer()(str(folder))

    def __call__(self, event: Event) -> None:
        for name, value in event.scalars.items():
            self._writer.add_scalar(f"{event.stage}/{name}", value, event.step)
        for name, image in event.images.items():
            self._writer.add_image(f"{event.stage}/{name}", image[0].clamp(0, 1), event.step)

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()
