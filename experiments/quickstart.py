"""From a checkpoint as it is released to depth in metres, in three commands, with the true-size model.

    make quickstart

No trained weights can be shipped, so the parameters of this ZoeD_NK are random: the pipeline is the real one, the depth
means nothing. The photograph is `coffee` of scikit-image (Rachel Michetti, CC0).
"""

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

import jax
import skimage.data
from PIL import Image

import zoe_jax
from zoe_jax import cli
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin


def main() -> int:
    """Writes `RUNS/quickstart/` and prints each command that it runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--preset", default="zoed_nk", help="zoed_n, zoed_k, zoed_nk, or a small reference_*")
    options = parser.parse_args()
    output_dir: Path = options.output_dir
    output_dir.mkdir(parents=True, exist_ok=True)
    photograph = output_dir / "coffee.png"
    Image.fromarray(skimage.data.coffee()).save(photograph)
    with tempfile.TemporaryDirectory(dir=output_dir) as folder:
        released, converted = Path(folder) / "released.pt", Path(folder) / "converted"
        say(f"writing {options.preset} with RANDOM parameters in the layout of the released checkpoints")
        write_random_checkpoint(options.preset, released)
        status = (
            run("convert", released, converted, "--verify")
            or run("inspect", released)
            or run(
                *("predict", converted, photograph, "--output-dir", output_dir),
                *("--format", "npy,png16,color,panel,json", "--colormap", "magma_r"),
            )
        )
    say(f"results in {output_dir}; the parameters were RANDOM, so the depth means nothing")
    return status


def write_random_checkpoint(preset: str, path: Path) -> None:
    """A `.pt` file as the original's trainer writes it, of random parameters."""
    config = zoe_jax.preset(preset)
    path.unlink(missing_ok=True)
    checkpoint = Checkpoint(config, zoe_jax.init(config, jax.random.key(0)), {}, Origin())
    write_checkpoint(checkpoint, path, "official")


def run(*arguments: object) -> int:
    """One command of zoe-jax, shown as it would be typed."""
    words = [str(argument) for argument in arguments]
    say(f"$ zoe-jax {shlex.join(words)}")
    return cli.main(words)


def say(text: str) -> None:
    """A line for the human, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
