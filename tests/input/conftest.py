"""Prepared data sets that several test files read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.input import tiny_data


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tiny data sets; not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    tiny_data.prepare(folder)
    return folder


@pytest.fixture
def own_data(tmp_path: Path) -> Callable[..., Path]:
    """`own_data(name)`: the folder of a data set that the test may damage, under the data directory `tmp_path`."""

    def prepare(name: str) -> Path:
        tiny_data.prepare(tmp_path, name)
        return tmp_path / "zoe_tiny" / name / "1.0.0"

    return prepare
