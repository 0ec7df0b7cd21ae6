"""What several test files evaluate on, and what they read of it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.little import odd_scenes, scenes, write
from tests.evaluate.prepared import prepare
from tests.evaluate.stored_results import tree


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KITTI in miniature, and two data sets of one's own: four images of a size and three of another, and odd ones."""
    data_dir = prepare(["kitti"], tmp_path_factory.mktemp("data"))
    write(data_dir, "mixed", scenes(7))
    write(data_dir, "odd", odd_scenes())
    return data_dir


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Path]:
    """Writes a result file and gives its path."""

    def write(evaluations: Sequence[dict[str, Any]], name: str = "results", **changes: Any) -> Path:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(tree(evaluations, **changes)))
        return path

    return write


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hosts are looked for before anything is computed; here the tests before have computed."""
    monkeypatch.setattr("zoe_jax.input.hosts.join_other_hosts", lambda options: None)
