"""What only the release size shows: bfloat16, and the memory of loading."""

import functools
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.synthetic import full_size_images, golden
from zoe_jax import config as configs
from zoe_jax.convert.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from zoe_jax.models.zoedepth import forward, parameter_shapes
from zoe_jax.predict.protocols import protocol

pytestmark = pytest.mark.slow

MAX_MEMORY_FACTOR, MAX_MEMORY_REST_BYTES = 1.3, 300e6
MAX_BFLOAT16_ERROR = 1e-2

FullSizeFile = Callable[[str, str], Path]


def in_a_process(program: str, *arguments: str | Path) -> dict[str, float]:
    """Runs a program that prints one JSON object; a process of its own has nothing compiled, cached or allocated."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def report(record_property: Callable[[str, object], None], **figures: float) -> None:
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value:.3g}")


def bfloat16_errors(variant: str, file: Path) -> np.ndarray:
    """Relative errors of every fourth pixel of the stored images, computed in bfloat16 from float32 parameters."""
    overrides = {"dtype": "bfloat16"} | ({"max_depth_m": 80.0} if variant == "K" else {})
    checkpoint = read_checkpoint(file, overrides=overrides)
    apply = jax.jit(functools.partial(forward, checkpoint.config))
    errors = []
    for name, image in full_size_images(variant).items():
        prepared = protocol("evaluate").plan(image.shape[:2], checkpoint.config.network_size).prepare(image)
        out = apply(checkpoint.params, prepared[None])
        assert out.metric_depth.dtype == np.float32
        assert checkpoint.config.domains[int(out.domain[0])] == (name.rstrip("_") or checkpoint.config.domains[0])
        expected = golden(f"full/golden_{variant}")[f"eval_{name}depth__s4"][0, 0]
        errors.append(np.abs(np.asarray(out.metric_depth[0])[::4, ::4] - expected) / expected)
    return np.stack(errors)


def test_bfloat16_of_k(full_size_file: FullSizeFile, record_property: Callable) -> None:
    errors = bfloat16_errors("K", full_size_file("K", "official"))
    report(record_property, mean=errors.mean(), p99=float(np.percentile(errors, 99)), largest=errors.max())
    # The normed head amplifies rounding where the depth is near the lower end of 1 mm to 80 m, as the synthetic
    # weights have it: float32 alone is off by 1e-2 there. The figures are for the record; being off by the depth
    # itself on average would be a mistake, not rounding.
    assert np.isfinite(errors).all()
    assert errors.mean() < 1


@pytest.mark.parametrize("variant", ["NK", "N"])
def test_bfloat16(full_size_file: FullSizeFile, record_property: Callable, variant: str) -> None:
    errors = bfloat16_errors(variant, full_size_file(variant, "official"))
    report(record_property, mean=errors.mean(), p99=float(np.percentile(errors, 99)), largest=errors.max())
    # bfloat16 rounds each number by up to 4e-3; the mean of many pixels over 24 blocks stays of that order
    assert all(image.mean() <= MAX_BFLOAT16_ERROR for image in errors)


PEAK_OF_LOADING = """
    import json, re, sys, threading, time
    from pathlib import Path
    from zoe_jax.convert.checkpoint import read_checkpoint

    peak_bytes, loaded = 0, threading.Event()

    def sample():
        global peak_bytes
        while not loaded.is_set():
            status = Path("/proc/self/status").read_text()
            peak_bytes = max(peak_bytes, 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]))
            time.sleep(0.005)

    sampler = threading.Thread(target=sample)
    sampler.start()
    started = time.monotonic()
    checkpoint = read_checkpoint(Path(sys.argv[1]))
    seconds = time.monotonic() - started
    loaded.set()
    sampler.join()
    print(json.dumps({"peak_bytes": peak_bytes, "load_s": seconds}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("layout", ["official", "orbax", "huggingface"])
def test_memory_while_loading(
    full_size_file: FullSizeFile, tmp_path: Path, record_property: Callable, layout: str
) -> None:
    path = full_size_file("N", layout if layout != "orbax" else "official")
    if layout == "orbax":
        converted = read_checkpoint(path)
        path = tmp_path / "ours"
        write_checkpoint(Checkpoint(converted.config, converted.params, {}, converted.origin), path, "orbax")
        del converted
    figures = in_a_process(PEAK_OF_LOADING, path)
    # what the tensors take, which a compressed file would understate
    n_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in parameter_shapes(configs.preset("zoed_n")).values())
    report(record_property, peak_gb=figures["peak_bytes"] / 1e9, of_gb=n_bytes / 1e9, load_s=figures["load_s"])
    assert n_bytes <= figures["peak_bytes"] <= MAX_MEMORY_FACTOR * n_bytes + MAX_MEMORY_REST_BYTES
