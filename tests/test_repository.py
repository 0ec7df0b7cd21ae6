"""The repository's own promises: exact pins, the order of imports, short files, and what a wheel holds."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from zoe_jax.ops.resize import resize_bilinear_align_corners

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE_FOLDERS: dict[str, str] = PYPROJECT["tool"]["setuptools"]["package-dir"]
# Read in one sitting is about 300 lines; nothing may pass this.
MAX_LINES = 400
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # the options of a `make` that runs these tests are not for one that they run
    environment = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    command = tuple(str(part) for part in command)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def copy_sources(destination: Path) -> None:
    """What git would check out of the packages and their metadata, without what earlier builds left beside them."""
    for folder in PACKAGE_FOLDERS.values():
        shutil.copytree(ROOT / folder, destination / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, destination / name)


def pinned_requirements() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_requirement_is_pinned_to_one_version():
    names = [canonicalize_name(requirement.name) for requirement in pinned_requirements()]
    assert len(names) > 50
    assert len(set(names)) == len(names)
    for requirement in pinned_requirements():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        assert not specifier.version.endswith("*"), requirement


def test_the_pins_lie_in_the_declared_ranges():
    versions = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in pinned_requirements()}
    declared = PYPROJECT["project"]["dependencies"] + PYPROJECT["project"]["optional-dependencies"]["dev"]
    for requirement in map(Requirement, declared):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_torch_is_no_part_of_the_pinned_set():
    assert not {"torch", "transformers"} & {canonicalize_name(r.name) for r in pinned_requirements()}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_alone_lists_every_target():
    (targets,) = re.findall(r"^\.PHONY: help (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    listed = re.findall(r"^make (\S+)  ", run("make", "--no-print-directory", cwd=ROOT).stdout, re.MULTILINE)
    assert listed == targets.split()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    copy_sources(tmp_path)
    return tmp_path


def check_import_contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", cwd=folder)


def test_the_import_contracts_hold():
    result = check_import_contracts(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        pytest.param("ops/upwards.py", "import zoe_jax.models", id="a lower part imports a higher one"),
        pytest.param("models/rows.py", "import zoe_jax_data", id="the package imports data sets"),
        pytest.param("homeless.py", "import jax", id="a part without a place in the order"),
    ],
)
def test_the_import_contracts_catch_a_breach(sources: Path, module: str, statement: str):
    (sources / "zoe_jax" / module).write_text(statement + "\n", encoding="utf-8")
    result = check_import_contracts(sources)
    assert result.returncode != 0
    assert Path(module).stem in result.stdout


def test_shapes_are_checked_at_every_call():
    with pytest.raises(TypeCheckError):
        resize_bilinear_align_corners(jnp.zeros((4, 4)), (8, 8))


def test_every_file_is_read_in_one_sitting():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "zoe_jax").rglob("*.py")
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(sources: Path):
    expected = {
        f"{package}/{path.relative_to(sources / folder).as_posix()}"
        for package, folder in PACKAGE_FOLDERS.items()
        for pattern in ("*.py", "py.typed", "results/*.json", "evaluate/*.json", "*.j2")
        for path in (sources / folder).rglob(pattern)
    }
    built = run(
        sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", "dist", ".", cwd=sources
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (sources / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
        entry_points = archive.read(metadata + "entry_points.txt").decode()
    assert {name for name in names if not name.startswith(metadata)} == expected
    assert {"zoe_jax/py.typed", "zoe_jax_data/__init__.py", "zoe_jax_experiments/benchmarks/__init__.py"} <= expected
    assert metadata + "licenses/LICENSE" in names
    assert "zoe-jax = zoe_jax.cli:main" in entry_points


def test_the_folders_are_installed_under_their_long_names(tmp_path: Path):
    script = "import zoe_jax_data as d, zoe_jax_experiments as e; print(d.__file__, e.__file__, sep='\\n')"
    result = run(sys.executable, "-c", script, cwd=tmp_path)
    assert result.returncode == 0, f"run `make setup` first: {result.stderr}"
    assert result.stdout.splitlines() == [str(ROOT / f / "__init__.py") for f in ("data", "experiments")]


def test_no_package_is_called_data_or_experiments(tmp_path: Path):
    script = "import importlib.util as u; print([n for n in ('data', 'experiments', 'tests') if u.find_spec(n)])"
    result = run(sys.executable, "-c", script, cwd=tmp_path)
    assert result.stdout.strip() == "[]", result.stderr
