"""The progress bar of every command but training."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from zoe_jax.input.prepare import Item


def progress_bar(items: Iterable[Item], task: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """A bar on standard error, for as long as the items last; nothing where that is no terminal.

    Args:
        items: what is gone through.
        task: a word or two for the human.
        total: how many there are; by default their `len`, where they have one.
        unit: what one of them is called; their rate is shown where it is given.
    """
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore[reportArgumentType]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([_RateColumn(unit)] if unit else []),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=task)


class _RateColumn(ProgressColumn):
    """Items a second from the start, compilation included, or seconds an item where that reads better."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("")
        speed = task.completed / task.elapsed
        return Text(f"{speed:.1f} {self._unit}s/s" if speed >= 1 else f"{1 / speed:.1f} s/{self._unit}")
