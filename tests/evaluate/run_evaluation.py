"""A process of a small evaluation on simulated devices, started by the tests of the runner; not a test itself.

python -m tests.evaluate.run_evaluation DATA_DIR OUTPUT_DIR --devices 8 [--process 0 --processes 2 --port 12345]
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.processes import begin
from tests.synthetic import tiny_config, tiny_params
from zoe_jax.evaluate.command import EvaluateOptions, evaluate

DATA_SETS = ("zoe_little/mixed", "zoe_little/odd")
BATCH_SIZE = 8


def main() -> None:
    """Evaluates the tiny NK; `--die-after` ends the process without a word once so many batches were started."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--die-after", type=int)
    arguments = begin(parser)
    options = EvaluateOptions(
        datasets=DATA_SETS, data_dir=arguments.data_dir, output_dir=arguments.output_dir, batch_size=BATCH_SIZE
    )

    def progress(items: Iterable[Any], task: str, total: int | None = None) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == arguments.die_after:
                os._exit(9)
            yield item

    evaluate([("tiny", "synthetic")], lambda source: (tiny_config("NK"), tiny_params("NK")), options, progress)


if __name__ == "__main__":
    main()
