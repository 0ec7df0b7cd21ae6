"""What every test file shares. It is imported before any test, hence before jax and zoe_jax."""

import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# The stored references were computed on CPUs; a caller who asks for another platform gets it.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nothing is compiled by an earlier run, so that compile times and compile errors are this run's own.
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
# No test may reach a network: a Hugging Face name that is not stubbed fails at once, everywhere alike.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

# Every annotated shape and type is checked at each call, an int being good where a float is declared (PEP 484). The
# hook wants its checker by the name of a module, and works on modules that are imported afterwards.
type_checker = ModuleType("zoe_jax_type_checker")
type_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[type_checker.__name__] = type_checker
install_import_hook(["zoe_jax", "zoe_jax_data", "zoe_jax_experiments"], f"{type_checker.__name__}.check")


# A deadline a single example measures the machine, not the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture
def reference() -> Path:
    """The folder of stored outputs of the original implementation."""
    return Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def full_size_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Path]]:
    """`full_size_file(variant, family)`: a release-size checkpoint as its users have it, made once for all tests.

    Official ones are `.pt` files, those of Hugging Face folders; each has 1.4 GB, so they go when the tests end.
    """
    from tests.synthetic import write_full_size

    folder = tmp_path_factory.mktemp("full_size")
    yield functools.cache(functools.partial(write_full_size, folder))
    shutil.rmtree(folder)


@pytest.fixture
def x64() -> Iterator[None]:
    """Computes in float64 for the length of one test."""
    import jax

    with jax.enable_x64(True):
        yield
