"""How a data set is prepared: what each of them offers to `zoe-jax prepare`, and how it is found.

A package announces a data set by an entry point of the group `zoe_jax.datasets`; it names an object that fulfils
`Preparation`. This package knows the group only, no data set.
"""

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from zoe_jax.errors import ZoeJaxError
from zoe_jax.input.summary import Summary

GROUP = "zoe_jax.datasets"
"""The group of entry points."""

Item = TypeVar("Item")
Options = TypeVar("Options", contravariant=True)


class PreparationError(ZoeJaxError):
    """A data set cannot be prepared: something is missing, odd, or in the way."""


@runtime_checkable
class Progress(Protocol):
    """Shows how far a task is: wraps what is gone through, as `tqdm` does."""

    def __call__(self, items: Iterable[Item], task: str, total: int | None = None) -> Iterator[Item]:
        """The same items, in the same order.

        Args:
            items: what is gone through.
            task: a word or two for the human, such as `rooms train`.
            total: how many there are; by default their `len`, where they have one.
        """
        ...


def silent(items: Iterable[Item], task: str, total: int | None = None) -> Iterator[Item]:
    """The progress that shows nothing."""
    yield from items


@runtime_checkable
class Preparation(Protocol[Options]):
    """One entry of `zoe-jax prepare`."""

    @property
    def name(self) -> str:
        """As it is typed, such as `rooms_and_roads`; the name of the entry point."""
        ...

    @property
    def description(self) -> str:
        """One line for the list of data sets."""
        ...

    @property
    def documentation(self) -> str:
        """Paragraphs that `--help` shows behind the description, such as where to get it; may be empty."""
        ...

    @property
    def options(self) -> Any:
        """A frozen dataclass (the class); its fields, each with a docstring of one line, are the command's options."""
        ...

    def prepare(self, options: Options, data_dir: Path, jobs: int, progress: Progress) -> Summary:
        """Writes the data set under `data_dir` as TFDS lays it out: `<builder>/<config>/<version>/`.

        What is finished is left as it is; what was interrupted begins anew; nothing is left half-written
        (`zoe_jax.input.building.build` sees to it).

        Args:
            options: an instance of the class `options`.
            data_dir: the TFDS data directory; it need not exist.
            jobs: processes or threads to work with, at least 1; the result does not depend on it.
            progress: how far it is.

        Raises:
            ZoeJaxError: anything that the user can mend, by name.
        """
        ...


def default_data_dir() -> Path:
    """Where data sets lie unless told otherwise, as TFDS has it: the environment's TFDS_DATA_DIR, else in the home."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def preparation_names() -> list[str]:
    """The data sets that installed packages announce, sorted; nothing is imported."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def find_preparation(name: str) -> Preparation[Any]:
    """The preparation of this name.

    Raises:
        PreparationError: no package announces it, two do, or it cannot be imported.
    """
    entries = list(entry_points(group=GROUP, name=name))
    if not entries:
        known = ", ".join(preparation_names()) or "none; is zoe_jax installed?"
        raise PreparationError(f"there is no data set {name!r} to prepare; there are: {known}")
    if len({entry.value for entry in entries}) > 1:
        values = ", ".join(entry.value for entry in entries)
        raise PreparationError(f"several packages announce a data set {name!r}: {values}; uninstall all but one")
    return _load(entries[0])


def _load(entry: EntryPoint) -> Preparation[Any]:
    try:
        return entry.load()
    # another package's import may fail in any way; its name is what the user needs
    except Exception as error:
        raise PreparationError(f"data set {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
