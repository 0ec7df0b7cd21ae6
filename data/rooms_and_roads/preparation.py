"""`zoe-jax prepare rooms_and_roads`: renders both kinds of scenes."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoe_jax.input.building import build
from zoe_jax.input.prepare import PreparationError, Progress
from zoe_jax.input.summary import Summary

from .builder import METADATA, RoomsAndRoadsConfig, ZoeRoomsAndRoads
from .rendering import SMALLEST

Kind = Literal["rooms", "roads"]


@dataclass(frozen=True)
class RoomsAndRoadsOptions:
    """What is rendered."""

    size: tuple[int, int] = (64, 96)
    """Height and width in pixels."""
    train: int = 2000
    """Scenes of each kind to train on."""
    validation: int = 200
    """Scenes of each kind to choose a checkpoint by."""
    test: int = 200
    """Scenes of each kind to report on."""
    seed: int = 0
    """Another seed gives other scenes."""
    kinds: tuple[Kind, ...] = ("rooms", "roads")
    """Which data sets are made."""
    overwrite: bool = False
    """Replace data sets that were rendered with other options."""

    def __post_init__(self) -> None:
        """Raises PreparationError where a value is out of range."""
        if min(self.size) < SMALLEST:
            raise PreparationError(f"--size is {self.size[0]} {self.size[1]}; both must be at least {SMALLEST} pixels")
        for split, count in self.counts.items():
            if count < 0:
                raise PreparationError(f"--{split} is {count}; a number of scenes is 0 or more")
        if not any(self.counts.values()):
            raise PreparationError("--train, --validation and --test are all 0; at least one scene must be rendered")
        if not 0 <= self.seed < 2**64:
            raise PreparationError(f"--seed is {self.seed}; it must be in 0..2^64-1")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise PreparationError(f"--kinds is {' '.join(self.kinds) or 'empty'}; name rooms, roads, or both once")

    @property
    def counts(self) -> dict[str, int]:
        """Scenes in each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class _RoomsAndRoads:
    """The preparation; see `zoe_jax.input.prepare.Preparation`."""

    name = "rooms_and_roads"
    description = "Rendered rooms and roads with exact depth: no download, ready in a minute."
    documentation = (
        "Writes the data sets zoe_rooms_and_roads/rooms (up to 10 m) and zoe_rooms_and_roads/roads (up to 80 m, the "
        "sky without depth)."
    )
    options = RoomsAndRoadsOptions

    def prepare(self, options: RoomsAndRoadsOptions, data_dir: Path, jobs: int, progress: Progress) -> Summary:
        """Prepares `zoe_rooms_and_roads/rooms` and `zoe_rooms_and_roads/roads`.

        Raises:
            PreparationError: a data set is there, rendered with other options.
        """
        source: dict[str, Any] = {
            "size": list(options.size),
            **options.counts,
            "seed": options.seed,
        }
        data_sets = []
        for kind in options.kinds:
            config = RoomsAndRoadsConfig(
                name=kind,
                metadata=METADATA[kind],
                intrinsics=True,
                size=options.size,
                counts=options.counts,
                seed=options.seed,
                jobs=jobs,
            )
            make_builder = functools.partial(_builder, config)
            data_sets.append(
                build(make_builder, data_dir, source, jobs=jobs, progress=progress, overwrite=options.overwrite)
            )
        return Summary(data_sets)


PREPARATION = _RoomsAndRoads()


def _builder(config: RoomsAndRoadsConfig, data_dir: str) -> ZoeRoomsAndRoads:
    return ZoeRoomsAndRoads(data_dir=data_dir, config=config)
