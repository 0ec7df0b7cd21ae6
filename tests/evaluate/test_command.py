"""The command: what it prints and leaves behind, its errors and exit status; and the same digits on many devices."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.evaluate.little import odd_scenes, scene, scenes, write
from tests.evaluate.prepared import prepare
from tests.synthetic import tiny_config, tiny_params
from zoe_jax.cli import main
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.evaluate import command, examples
from zoe_jax.evaluate.command import EvaluateOptions, checkpoint_names, evaluate, parameters_sha256, summary_table
from zoe_jax.evaluate.results import METRICS, EvaluationError
from zoe_jax.input.summary import SUMMARY_FILE

PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
"""Eight devices on two busy cores may wait for each other longer than XLA's 40 s."""


@pytest.fixture(scope="module", autouse=True)
def _quick_to_compile():
    """The arithmetic is the same; tests/evaluate/test_end_to_end.py runs the machine code that a user gets."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """Other hosts are looked for before anything is computed; here the tests before have computed."""
    monkeypatch.setattr("zoe_jax.input.hosts.join_other_hosts", lambda options: None)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """KITTI in miniature, and two data sets of one's own: four images of a size and three of another, and odd ones."""
    folder = tmp_path_factory.mktemp("data")
    data_dir = prepare(["kitti"], folder)
    write(data_dir, "mixed", scenes(7))
    write(data_dir, "odd", odd_scenes())
    return data_dir


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A `.pt` file of the tiny N."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny_n.pt"
    write_checkpoint(Checkpoint(tiny_config("N"), tiny_params("N"), {}, Origin()), path, "official")
    return path


def strict(path):
    """As a reader that knows no NaN and no Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def table_of(path):
    with (path / "images.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments):
    return main(["evaluate", *map(str, arguments)])


def small(data_dir, output_dir, *datasets, **options):
    return EvaluateOptions(datasets=datasets, data_dir=data_dir, output_dir=output_dir, batch_size=2, **options)


def tiny(source):
    return tiny_config("N"), tiny_params("N")


# ---- what is left behind


def test_the_command_prints_a_table_and_leaves_results(data_dir, checkpoint, tmp_path, capsys):
    output = tmp_path / "results"
    options = ("--data-dir", data_dir, "--output-dir", output, "--batch-size", 2, "--profile")
    assert run(checkpoint, f"again={checkpoint}", "--datasets", "kitti", "zoe_little/mixed", *options) == 0
    printed = capsys.readouterr().out
    for words in ("rules released, protocol evaluate", "tiny_n", "again", "kitti", "zoe_little/mixed", *METRICS):
        assert words in printed
    assert re.search(r"tiny_n on kitti: no truth: 1 \(2011_09_26/\S+\)", printed)
    assert f"results in {output}: report.html, results.json, images.csv" in printed
    assert_shares_add_up(printed, ["tiny_n", "again"])

    tree = strict(output / "results.json")
    assert tree["zoe_jax"].keys() >= {"commit", "versions", "date", "processor"}
    assert (tree["rules"], tree["protocol"], tree["flip"]) == ("released", "evaluate", True)
    assert list(tree["checkpoints"]) == ["tiny_n", "again"]
    facts = tree["checkpoints"]["tiny_n"]
    assert facts["preset"] == "reference_n"
    assert facts["config"]["network_size"] == [64, 96]
    assert facts["parameters_sha256"] == parameters_sha256(tiny_params("N"))
    kitti = tree["data_sets"]["kitti"]
    summary = json.loads(next(data_dir.glob(f"zoe_kitti_eigen/eigen/*/{SUMMARY_FILE}")).read_text())["summary"]
    assert kitti["checksum"] == summary["splits"]["test"]["checksum"]
    assert (kitti["records"], kitti["images_of_the_paper"], kitti["split"]) == (3, 652, "test")
    assert kitti["rule"]["kb_crop"]
    counts = {(e["checkpoint"], e["data_set"]): (e["images"], e["left_out"]) for e in tree["evaluations"]}
    assert counts == {
        (name, key): count
        for name in ("tiny_n", "again")
        for key, count in (("kitti", (2, 1)), ("zoe_little/mixed", (7, 0)))
    }
    rows = table_of(output)
    assert len(rows) == 2 * (3 + 7)
    for evaluation in tree["evaluations"]:
        mine = [
            float(row["abs_rel"])
            for row in rows
            if (row["checkpoint"], row["data_set"]) == (evaluation["checkpoint"], evaluation["data_set"])
            and row["status"] == "evaluated"
        ]
        assert evaluation["metrics"]["abs_rel"] == pytest.approx(np.mean(mine), rel=1e-12)
    page = (output / "report.html").read_text(encoding="utf-8")
    for words in ("KITTI", "zoe_little/mixed", "no truth", kitti["checksum"], facts["parameters_sha256"]):
        assert words in page


def assert_shares_add_up(printed, names):
    for name in names:
        shares = re.findall(rf"{name} +(\w+) +([\d.]+) +([\d.]+ %|once)", printed)
        stages = {"listing", "input", "transfer", "forward", "metrics", "results"}
        assert {stage for stage, *_ in shares} - {"compiling"} == stages
        total = sum(float(share.removesuffix(" %")) for *_, share in shares if share != "once")
        # of six shares, each rounded to a tenth
        assert total == pytest.approx(100, abs=0.3)
        seconds = {stage: float(value) for stage, value, share in shares if share != "once"}
        forward = next(float(share[:-2]) for stage, _, share in shares if stage == "forward")
        assert 100 * seconds["forward"] / sum(seconds.values()) == pytest.approx(forward, abs=5)


def test_a_bad_record_or_prediction_makes_the_exit_status_1(data_dir, checkpoint, tmp_path, capsys):
    options = ("--data-dir", data_dir, "--output-dir", tmp_path, "--no-flip", "--batch-size", 2)
    assert run(checkpoint, "--datasets", "zoe_little/odd", *options) == 1
    printed = capsys.readouterr().out
    for problem in (
        "no truth: 1 (without_truth)",
        "wrong scale: 1 (in_millimetres)",
        "no valid pixel: 1 (all_masked_out)",
    ):
        assert f"tiny_n on zoe_little/odd: {problem}" in printed
    # only the images that were never meant to be evaluated: nobody has to mend anything
    assert run(checkpoint, "--datasets", "zoe_little/odd", "--limit", 2, *options) == 0
    (evaluation,) = strict(tmp_path / "results.json")["evaluations"]
    assert (evaluation["images"], evaluation["left_out"]) == (1, 1)


def test_a_model_that_says_nothing_is_valid_json_all_the_same(data_dir, tmp_path):
    params = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), tiny_params("N"))
    finished = evaluate(
        [("broken", "b")], lambda source: (tiny_config("N"), params), small(data_dir, tmp_path, "zoe_little/mixed")
    )
    assert finished.exit_status == 1
    (evaluation,) = strict(tmp_path / "results.json")["evaluations"]
    assert {kind for _, kind, _ in evaluation["problems"]} == {"prediction not finite"}
    assert np.isfinite(evaluation["metrics"]["abs_rel"])
    text = summary_table(finished, small(data_dir, tmp_path, "zoe_little/mixed"))
    assert "prediction not finite: 7 (scene_00, scene_01, scene_02, scene_03, scene_04 and 2 more)" in text


def test_without_an_image_that_counts_the_report_says_so(tmp_path):
    good = scene(0)
    name = write(tmp_path / "data", "blank", {"a_blank_one": good._replace(depth_m=good.depth_m * 0), "good": good})
    finished = evaluate([("a", "a")], tiny, small(tmp_path / "data", tmp_path, name, limit=1))
    assert finished.exit_status == 0
    (evaluation,) = strict(tmp_path / "results.json")["evaluations"]
    assert (evaluation["images"], evaluation["left_out"], evaluation["metrics"]["rmse"]) == (0, 1, "nan")
    assert evaluation["problems"] == [["a_blank_one", "no truth", "its depth is 0 everywhere"]]
    assert "No image counts" in (tmp_path / "report.html").read_text(encoding="utf-8")


# ---- going on


def without_dates(path):
    tree = strict(path / "results.json")
    tree["zoe_jax"].pop("date")
    return tree


def test_an_interrupted_command_goes_on_to_the_same_files(data_dir, tmp_path, monkeypatch):
    def stopped(items, task, total=None):
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    whole, resumed = (small(data_dir, tmp_path / name, "zoe_little/mixed") for name in ("whole", "resumed"))
    evaluate([("a", "a")], tiny, whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate([("a", "a")], tiny, resumed, stopped)
    (log,) = (tmp_path / "resumed/images").iterdir()
    log.write_text(log.read_text()[:-40])
    before = log.read_text().splitlines()
    read = spied(monkeypatch)
    evaluate([("a", "a")], tiny, resumed)
    finished = {json.loads(line)["id"] for line in before[1:-1]}
    # those of the pictures are read again, once each
    assert len(finished) == 1
    assert read.count(next(iter(finished))) <= 1
    assert without_dates(tmp_path / "resumed") == without_dates(tmp_path / "whole")
    for file in ("images.csv", "report.html"):
        texts = [(tmp_path / name / file).read_text(encoding="utf-8") for name in ("resumed", "whole")]
        assert without_time(texts[0]) == without_time(texts[1])


def without_time(text):
    """Nor the figures, whose parts have names of their own in each file."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00|svg\+xml;base64,[^\"']+", "", text)


def spied(monkeypatch):
    """The ids of the images that are read for evaluation from now on."""
    read = []
    original = examples.make_example

    def make_example(reader, entry, rule):
        read.append(entry.id)
        return original(reader, entry, rule)

    monkeypatch.setattr(examples, "make_example", make_example)
    return read


def test_lines_are_taken_by_the_same_evaluation_alone(data_dir, tmp_path, monkeypatch):
    options = small(data_dir, tmp_path, "zoe_little/mixed", limit=2)
    monkeypatch.setattr(command, "write_evaluation_report", lambda *arguments: None)
    monkeypatch.setattr(command, "_pictures", lambda *arguments: [])
    read = spied(monkeypatch)

    def computed(options=options, load=tiny):
        read.clear()
        evaluate([("a", "a")], load, options)
        return len(read)

    def changed(source):
        params = jax.tree.map(lambda leaf: leaf, tiny_params("N"))
        head = params["metric_head"]["seed_bins"]["fc1"]
        params["metric_head"]["seed_bins"]["fc1"] = head | {"bias": head["bias"] + 1}
        return tiny_config("N"), params

    assert computed() == 2
    assert computed() == 0
    assert computed(replace(options, limit=3)) == 1
    assert computed(replace(options, rules="corrected")) == 2
    assert computed(replace(options, flip=False)) == 2
    assert computed(load=changed) == 2
    assert computed(replace(options, split="test[:4]")) == 2
    # another commit may give other numbers
    monkeypatch.setattr(command, "machine", lambda: {"commit": "other", "versions": {}, "date": "today"})
    assert computed() == 2
    # the same name and the same count, but other records
    monkeypatch.setattr(command.PreparedReader, "checksum", property(lambda self: "another"))
    assert computed() == 2
    assert computed() == 0


def test_without_a_checksum_nothing_is_taken_over(data_dir, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(command.PreparedReader, "checksum", property(lambda self: ""))
    dates = iter(("yesterday", "today"))
    monkeypatch.setattr(command, "machine", lambda: {"commit": "c", "versions": {}, "date": next(dates)})
    read = spied(monkeypatch)
    for _ in range(2):
        evaluate([("a", "a")], tiny, small(data_dir, tmp_path, "zoe_little/mixed", limit=2))
    assert len(read) == 4
    assert "zoe_little/mixed has no checksum" in caplog.text


# ---- names and errors


def test_checkpoints_have_the_names_that_are_given_or_their_own():
    assert checkpoint_names(["runs/a/", "weights/ZoeD_M12_N.pt", "Intel/zoedepth-nyu", "mine=x.pt"]) == [
        ("a", "runs/a/"),
        ("ZoeD_M12_N", "weights/ZoeD_M12_N.pt"),
        ("zoedepth-nyu", "Intel/zoedepth-nyu"),
        ("mine", "x.pt"),
    ]
    url = "https://host.org/ZoeD.pt?version=2&raw=1"
    assert checkpoint_names([url]) == [("ZoeD.pt?version=2&raw=1", url)]


def test_names_that_clash_are_numbered():
    named = checkpoint_names(["a-2=x", "runs/a", "other/a", "a=third", "a-2=y"])
    assert [name for name, _ in named] == ["a-2", "a", "a-3", "a-4", "a-2-2"]
    assert [source for _, source in named] == ["x", "runs/a", "other/a", "third", "y"]


def test_names_of_any_signs_are_shown_as_they_are(data_dir, tmp_path):
    name = "[red]odd/../:smile: name?x=1"
    options = small(data_dir, tmp_path, "zoe_little/mixed", limit=1)
    finished = evaluate([(name, "source")], tiny, options)
    assert f"results in {tmp_path}" in summary_table(finished, options)
    assert "[red]odd" in summary_table(finished, options)
    assert ":smile:" in summary_table(finished, options)
    assert strict(tmp_path / "results.json")["evaluations"][0]["checkpoint"] == name
    # nothing is written beside the output folder
    assert {path.name for path in tmp_path.iterdir()} == {"images", "images.csv", "report.html", "results.json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name checkpoints and data sets to evaluate"),
        (("CHECKPOINT", "--datasets"), "name checkpoints and data sets to evaluate"),
        (("CHECKPOINT", "--datasets", "nyu3"), "there is no data set 'nyu3'; there are indoor, outdoor, all, nyu,"),
        (("CHECKPOINT", "--datasets", "ddad"), "`zoe-jax prepare ddad` makes it, or --data-dir"),
        (("CHECKPOINT", "--datasets", "zoe_little/none"), "there is no data set 'zoe_little/none'"),
        (("CHECKPOINT", "--datasets", "kitti", "--split", "nope"), "there is no such split; there are train, test"),
        (("nowhere.pt", "--datasets", "kitti"), "nowhere.pt"),
        (("CHECKPOINT", "--datasets", "kitti", "--limit", "0"), "--limit is 0; it must be at least 1"),
        (("CHECKPOINT", "--datasets", "kitti", "--batch-size", "0"), "--batch-size is 0; it must be at least 1"),
    ],
)
def test_what_the_user_can_mend_is_told_in_one_line(arguments, message, data_dir, checkpoint, tmp_path, capsys):
    given = [str(checkpoint) if argument == "CHECKPOINT" else argument for argument in arguments]
    assert run(*given, "--data-dir", data_dir, "--output-dir", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("zoe-jax: ")
    assert message in line
    assert not (tmp_path / "out/results.json").exists()


def test_an_output_folder_that_cannot_be_written_is_named(data_dir, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be written"):
        evaluate([("a", "a")], tiny, small(data_dir, tmp_path / "file", "zoe_little/mixed"))


def test_the_checksum_of_parameters_is_of_values_names_and_types():
    params = {"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.float32(1)}
    checksum = parameters_sha256(params)
    assert parameters_sha256({"b": np.float32(1), "a": {"kernel": jax.numpy.ones((2, 3))}}) == checksum
    others = [
        {"a": {"kernel": np.ones((3, 2), np.float32)}, "b": np.float32(1)},
        {"a": {"bias": np.ones((2, 3), np.float32)}, "b": np.float32(1)},
        {"a": {"kernel": np.ones((2, 3), np.float16)}, "b": np.float32(1)},
        {"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.float32(2)},
    ]
    assert len({checksum, *map(parameters_sha256, others)}) == 5


# ---- many devices


@pytest.fixture(scope="module")
def started(tmp_path_factory, data_dir):
    """Runs tests.evaluate.run_evaluation in processes of its own; gives the output folder."""

    def start(devices=1, processes=1, output=None, die_after=None):
        output = output or tmp_path_factory.mktemp("evaluation")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["--devices", devices // processes, "--processes", processes, "--port", port]
        options += [] if die_after is None else ["--die-after", die_after]
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.evaluate.run_evaluation", data_dir, output, "--process", str(process)]
                + [str(option) for option in options],
                cwd=Path(__file__).parents[2],
                env=os.environ | {"XLA_FLAGS": PATIENCE},
                stderr=subprocess.PIPE,
                text=True,
            )
            for process in range(processes)
        ]
        for process in running:
            _, errors = process.communicate(timeout=900)
            assert process.returncode == (0 if die_after is None else 9), errors[-4000:]
        return output

    return start


@pytest.fixture(scope="module")
def on_one_device(started):
    return table_of(started())


def assert_same_tables(rows, others):
    assert len(rows) == 7 + 5
    for row, other in zip(rows, others, strict=True):
        for column, value in row.items():
            if column in METRICS and value:
                # another order of the sums over devices there is not, but XLA compiles for other batches
                assert float(value) == pytest.approx(float(other[column]), rel=1e-6, abs=1e-6), (row["id"], column)
            else:
                assert value == other[column], (row["id"], column)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2], ids=["8 devices", "2 processes of 4 devices"])
def test_digits_are_those_of_one_device(processes, started, on_one_device):
    """Batches are of eight, so that the last of each size is filled up; words about odd images come from any host."""
    output = started(8, processes)
    assert_same_tables(table_of(output), on_one_device)
    assert len(list((output / "images").iterdir())) == 2
    assert (output / "report.html").exists()


@pytest.mark.slow
def test_a_killed_process_is_gone_on_from_on_other_devices(started, on_one_device, tmp_path):
    started(output=tmp_path, die_after=1)
    assert not (tmp_path / "results.json").exists()
    started(8, 2, output=tmp_path)
    assert_same_tables(table_of(tmp_path), on_one_device)
