"""`zoe-jax evaluate`: checkpoints on data sets, to a table, `results.json`, `images.csv` and `report.html`."""

import hashlib
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from rich import box
from rich.console import Console
from rich.table import Table

from zoe_jax import config as configs
from zoe_jax.config import ZoeDepthConfig
from zoe_jax.convert.source import CHECKPOINT_SUFFIXES
from zoe_jax.evaluate.report import PicturedImage, write_evaluation_report
from zoe_jax.evaluate.results import (
    DAMAGED,
    METRICS,
    Evaluation,
    EvaluationError,
    OutcomeLog,
    extremes,
    write_results,
)
from zoe_jax.evaluate.rules import BENCHMARKS, GROUPS, Benchmark, RuleName, benchmark_names, own_benchmark
from zoe_jax.evaluate.runner import Clock, Evaluator, RunOptions
from zoe_jax.input.prepare import Progress, silent
from zoe_jax.input.reader import PreparedReader
from zoe_jax.models.zoedepth import Params
from zoe_jax.predict.images import eight_bits
from zoe_jax.predict.protocols import ProtocolName, protocol
from zoe_jax.provenance import machine

log = logging.getLogger(__name__)

PROBLEMS_SHOWN = 5
"""Of one kind, on the terminal."""
MAX_COLUMNS = 1000
"""Of a line; a terminal wraps what is too long for it."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What is evaluated, and how."""

    # The docstrings are the words of `zoe-jax evaluate --help`.

    datasets: tuple[str, ...] = ("all",)
    """indoor, outdoor, all, names such as nyu or kitti, or prepared data sets of your own (zoe_folder/mine)."""
    rules: RuleName = "released"
    """released: as the original's code; paper: as the paper's text; corrected: with the known defects mended."""
    protocol: ProtocolName = "evaluate"
    """How an image reaches the network: as for the paper's tables, or as infer and huggingface do for users."""
    flip: bool = True
    """Average with the mirrored image."""
    data_dir: Path | None = None
    """Where prepared data sets lie; by default the environment's TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    output_dir: Path = Path("runs/evaluation")
    """Where results go. Images that are there already, of the same evaluation, are not computed again."""
    split: str | None = None
    """Another split than the benchmark's."""
    batch_size: int | None = None
    """Images at once on all devices; by default 4 a device."""
    limit: int | None = None
    """Only the first so many images of each data set."""
    profile: bool = False
    """Wait for every stage and say where the time goes."""

    def __post_init__(self) -> None:
        """Raises EvaluationError where a value is out of range."""
        for name in ("batch_size", "limit"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise EvaluationError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")


class Checkpoint(NamedTuple):
    """A model to evaluate."""

    name: str
    """In the report."""
    source: str
    """What the user typed."""
    config: ZoeDepthConfig
    params: Params


class Finished(NamedTuple):
    """What an evaluation made."""

    evaluations: Sequence[Evaluation]
    clocks: Mapping[str, Clock]
    """By checkpoint: where the time went."""
    output_dir: Path

    @property
    def exit_status(self) -> int:
        """1 where a record is damaged or a prediction not finite."""
        kinds = {kind for evaluation in self.evaluations for _, kind, _ in evaluation.problems()}
        return int(bool(kinds & {*DAMAGED, "prediction not finite"}))


def checkpoint_names(sources: Sequence[str]) -> list[tuple[str, str]]:
    """(name, source) of each: `NAME=SOURCE`, or the source's own last part; names are made distinct."""
    named: list[tuple[str, str]] = []
    for source in sources:
        name, equals, rest = source.partition("=")
        # a URL may hold the sign too
        if not (equals and re.fullmatch(r"[\w.-]+", name)):
            name, rest = _own_name(source), source
        taken = {taken for taken, _ in named}
        numbered = (f"{name}-{number}" for number in range(2, len(sources) + 2))
        named.append((name if name not in taken else next(n for n in numbered if n not in taken), rest))
    return named


def _own_name(source: str) -> str:
    """The last part of a path, an address (without its query and checksum) or a repository, without a suffix."""
    path = Path(urlsplit(source).path if "://" in source else source)
    if path.is_dir():
        path = path.resolve()  # of `.` too
    return path.stem if path.suffix in CHECKPOINT_SUFFIXES else path.name


def evaluate(
    names: Sequence[tuple[str, str]],
    load: Callable[[str], tuple[ZoeDepthConfig, Params]],
    options: EvaluateOptions,
    progress: Progress = silent,
) -> Finished:
    """Evaluates every checkpoint on every data set; each model is loaded once, and only one is held.

    Every host of a `jax.distributed` job calls it alike, with an output folder that all of them see.

    Args:
        names: (name, source) of the checkpoints.
        load: gives the model of a source.
        options: what and how.
        progress: shows how far it is.

    Raises:
        DataError: a data set is not prepared; the message says what would do it.
        EvaluationError: the output folder has something else, or a model cannot be evaluated on a data set.
    """
    if not names or not options.datasets:
        raise EvaluationError("name checkpoints and data sets to evaluate: zoe-jax evaluate CHECKPOINT --datasets nyu")
    data_dir = None if options.data_dir is None else str(options.data_dir)
    opened = dict(_open_all(options, data_dir))
    facts: dict[str, Any] = {
        "zoe_jax": machine(),
        "rules": options.rules,
        "protocol": options.protocol,
        "flip": options.flip,
        "checkpoints": {},
        "data_sets": {key: _data_facts(benchmark, reader, options) for key, (benchmark, reader) in opened.items()},
    }
    evaluations: list[Evaluation] = []
    pictures: dict[tuple[str, str], Sequence[PicturedImage]] = {}
    clocks = {}
    for name, source in names:
        checkpoint = Checkpoint(name, source, *load(source))
        facts["checkpoints"][name] = _checkpoint_facts(checkpoint)
        run_options = RunOptions(options.batch_size or 4 * jax.device_count(), options.flip, profile=options.profile)
        evaluator = Evaluator(checkpoint.config, checkpoint.params, protocol(options.protocol), run_options)
        clocks[name] = evaluator.clock
        for key, (benchmark, reader) in opened.items():
            rule = benchmark.rules[options.rules]
            made_of = _decides(facts, name, key)
            file = f"{_as_file_name(f'{name}_{key}')}_{_digest(made_of)[:12]}.jsonl"
            writing = jax.process_index() == 0
            outcomes = OutcomeLog(options.output_dir / "images" / file, made_of, writing)
            found = evaluator.run(reader, rule, outcomes, progress, options.limit)
            evaluations.append(Evaluation(name, key, found))
            pictures[name, key] = _pictures(evaluator, reader, benchmark, evaluations[-1], options)
            if writing:
                write_results(options.output_dir, facts, evaluations)
        del checkpoint, evaluator  # before the next is loaded
    if jax.process_index() == 0:
        write_evaluation_report(options.output_dir, facts, evaluations, pictures)
    return Finished(evaluations, clocks, options.output_dir)


def _open_all(options: EvaluateOptions, data_dir: str | None) -> Iterator[tuple[str, tuple[Benchmark, PreparedReader]]]:
    for key in benchmark_names(options.datasets):
        benchmark = BENCHMARKS.get(key)
        if benchmark is None and "/" not in key:
            known = ", ".join([*GROUPS, *BENCHMARKS])
            raise EvaluationError(
                f"there is no data set {key!r}; there are {known}, and prepared ones by zoe_NAME/CONFIG"
            )
        split = options.split or (benchmark.split if benchmark else "test")
        reader = PreparedReader(benchmark.prepared if benchmark else key, split, data_dir)
        yield key, (benchmark or own_benchmark(key, split, *reader.range_m), reader)


def _decides(facts: Mapping[str, Any], name: str, key: str) -> dict[str, Any]:
    """All that has influence on the numbers; outcomes of anything else are not taken for these."""
    checksum = facts["data_sets"][key]["checksum"]
    if not checksum:
        log.warning("%s has no checksum: nothing is taken over from an earlier evaluation", key)
    made_with = facts["zoe_jax"]
    return {
        **{part: made_with[part] for part in ("source_sha256", "versions", *(() if checksum else ("date",)))},
        **{part: facts[part] for part in ("rules", "protocol", "flip")},
        "checkpoint": facts["checkpoints"][name],
        "data_set": facts["data_sets"][key],
    }


def _data_facts(benchmark: Benchmark, reader: PreparedReader, options: EvaluateOptions) -> dict[str, Any]:
    return {
        "title": benchmark.title,
        "prepared": benchmark.prepared,
        "split": reader.split,
        "records": len(reader),
        "images_of_the_paper": benchmark.images,
        "checksum": reader.checksum,
        "rule": asdict(benchmark.rules[options.rules]),
    }


def _checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    preset = next((name for name, config in configs.PRESETS.items() if config == checkpoint.config), None)
    return {
        "source": checkpoint.source,
        "preset": preset,
        "parameters_sha256": parameters_sha256(checkpoint.params),
        "config": configs.to_dict(checkpoint.config),
    }


def parameters_sha256(params: Params) -> str:
    """Of all parameters with their paths, types and shapes, whatever file they came from."""
    digest = hashlib.sha256()
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    for path in sorted(flat):
        array = np.asarray(flat[path])
        digest.update(f"{path} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _pictures(
    evaluator: Evaluator, reader: PreparedReader, benchmark: Benchmark, evaluation: Evaluation, options: EvaluateOptions
) -> list[PicturedImage]:
    """The best images by abs_rel, then the worst."""
    chosen = extremes(evaluation.outcomes)
    depths = evaluator.depth_of(reader, benchmark.rules[options.rules], [outcome.id for outcome in chosen])
    pictures = []
    for outcome in chosen:
        # a record that was read when its line was written may be damaged by now
        if outcome.id in depths:
            example, depth_m = depths[outcome.id]
            image, valid_mask = eight_bits(example.pixels), example.valid_mask
            pictures.append(PicturedImage(outcome.id, image, example.truth_m, valid_mask, depth_m, outcome.metrics))
    return pictures


def summary_table(finished: Finished, options: EvaluateOptions) -> str:
    """The means as text; under `profile` also where the time went."""
    title = f"rules {options.rules}, protocol {options.protocol}"
    metrics = _table(title, ("checkpoint", "data set"), ("images", *METRICS))
    for evaluation in finished.evaluations:
        means = [f"{value:.3f}" for value in evaluation.metrics().values()]
        metrics.add_row(evaluation.checkpoint, evaluation.data_set, str(len(evaluation.evaluated)), *means)
    tables = [metrics]
    if options.profile:
        tables.append(_profile_table(finished.clocks))
    buffer = io.StringIO()
    # names are the user's: a bracket in them is no markup, and a name that is cut tells no model from another
    console = Console(file=buffer, width=MAX_COLUMNS, markup=False, emoji=False, highlight=False)
    for table in tables:
        console.print(table)
    for evaluation in finished.evaluations:
        kinds = Counter(kind for _, kind, _ in evaluation.problems())
        for kind, count in kinds.items():
            names = [name for name, found, _ in evaluation.problems() if found == kind]
            more = f" and {count - PROBLEMS_SHOWN} more" if count > PROBLEMS_SHOWN else ""
            shown = ", ".join(names[:PROBLEMS_SHOWN]) + more
            text = f"{evaluation.checkpoint} on {evaluation.data_set}: {kind}: {count} ({shown})"
            console.print(text)
    console.print(f"results in {finished.output_dir}: report.html, results.json, images.csv")
    return buffer.getvalue().rstrip()


def _profile_table(clocks: Mapping[str, Clock]) -> Table:
    """Seconds and shares of every stage; compiling happens once and has no share."""
    table = _table("where the time went", ("checkpoint", "stage"), ("seconds", "share"))
    for name, clock in clocks.items():
        whole = sum(seconds for stage, seconds in clock.seconds.items() if stage != "compiling")
        for stage, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
            share = "once" if stage == "compiling" else f"{100 * seconds / whole:.1f} %"
            table.add_row(name, stage, f"{seconds:.2f}", share)
    return table


def _table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _as_file_name(key: str) -> str:
    return re.sub(r"[^\w.-]", "_", key)
