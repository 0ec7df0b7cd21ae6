"""What every test file shares. It is imported before any test, hence before jax and zoe_jax."""

import atexit
import functools
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The stored references were computed on CPUs; a caller who asks for another platform gets it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nothing is compiled by an earlier run, so that compile errors are this run's own; the workers of this run, and the
# commands that they start, share what they compile.
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
if "PYTEST_XDIST_WORKER" not in os.environ:  # they inherit it
    os.environ["ZOE_JAX_CACHE"] = tempfile.mkdtemp(prefix="zoe_jax_tests_")
    atexit.register(shutil.rmtree, os.environ["ZOE_JAX_CACHE"], ignore_errors=True)
# No test may reach a network: a Hugging Face name that is not stubbed fails at once, everywhere alike.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# What the command line prints has one width and no colours, also where a CI asks for them.
os.environ["COLUMNS"] = "100"
for asked in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(asked, None)

# Every annotated shape and type is checked at each call, an int being good where a float is declared (PEP 484). The
# hook wants its checker by the name of a module, and works on modules that are imported afterwards.
type_checker = ModuleType("zoe_jax_type_checker")
type_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[type_checker.__name__] = type_checker
install_import_hook(["zoe_jax", "zoe_jax_data", "zoe_jax_experiments"], f"{type_checker.__name__}.check")


# A deadline a single example measures the machine, not the code; the same examples in every run make a failure that of
# a change. HYPOTHESIS_PROFILE=hunt looks for others.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("hunt", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def _logging_of_its_own() -> Iterator[None]:
    """A command that a test runs in this process logs to standard error, as a command should; its neighbours do not."""
    loggers = [logging.getLogger(), logging.getLogger("zoe_jax")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)


@pytest.fixture
def reference() -> Path:
    """The folder of stored outputs of the original implementation."""
    return Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def full_size_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Path]]:
    """`full_size_file(variant, family)`: a release-size checkpoint as its users have it, until another is asked for.

    Official ones are `.pt` files, those of Hugging Face folders; each has 1.4 GB, so only one is there at a time.
    """
    from tests.synthetic import write_full_size

    folder = tmp_path_factory.mktemp("full_size")

    @functools.lru_cache(maxsize=1)
    def write(variant: str, family: str) -> Path:
        shutil.rmtree(folder)
        folder.mkdir()
        return write_full_size(folder, variant, family)

    yield write
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """Compiling is nearly all of the time of a tiny model, and optimised code is not more exact.

    tests/evaluate/test_end_to_end.py and tests/test_depth_model.py run the machine code that a user gets.
    """
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def x64() -> Iterator[None]:
    """Computes in float64 for the length of one test."""
    import jax

    with jax.enable_x64(True):
        yield
