"""The command: what it prints and leaves behind, its errors and exit status."""

import json
import re

import jax
import numpy as np
import pytest

from tests.evaluate.evaluations import results_of, small, table_of, tiny
from tests.evaluate.little import scene, write
from tests.synthetic import tiny_config, tiny_params
from zoe_jax.cli import main
from zoe_jax.convert.checkpoint import Checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.errors import ZoeJaxError
from zoe_jax.evaluate.command import checkpoint_names, evaluate, parameters_sha256, summary_table
from zoe_jax.evaluate.results import METRICS
from zoe_jax.input.summary import SUMMARY_FILE

pytestmark = pytest.mark.usefixtures("quick_compilation", "alone")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A `.pt` file of the tiny N."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny_n.pt"
    write_checkpoint(Checkpoint(tiny_config("N"), tiny_params("N"), {}, Origin()), path, "official")
    return path


def run(*arguments):
    return main(["evaluate", *map(str, arguments)])


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

    tree = results_of(output)
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
    (evaluation,) = results_of(tmp_path)["evaluations"]
    assert (evaluation["images"], evaluation["left_out"]) == (1, 1)


def test_a_model_that_says_nothing_is_valid_json_all_the_same(data_dir, tmp_path):
    params = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), tiny_params("N"))
    finished = evaluate(
        [("broken", "b")], lambda source: (tiny_config("N"), params), small(data_dir, tmp_path, "zoe_little/mixed")
    )
    assert finished.exit_status == 1
    (evaluation,) = results_of(tmp_path)["evaluations"]
    assert {kind for _, kind, _ in evaluation["problems"]} == {"prediction not finite"}
    assert np.isfinite(evaluation["metrics"]["abs_rel"])
    text = summary_table(finished, small(data_dir, tmp_path, "zoe_little/mixed"))
    assert "prediction not finite: 7 (scene_00, scene_01, scene_02, scene_03, scene_04 and 2 more)" in text


def test_without_an_image_that_counts_the_report_says_so(tmp_path):
    good = scene(0)
    name = write(tmp_path / "data", "blank", {"a_blank_one": good._replace(depth_m=good.depth_m * 0), "good": good})
    finished = evaluate([("a", "a")], tiny, small(tmp_path / "data", tmp_path, name, limit=1))
    assert finished.exit_status == 0
    (evaluation,) = results_of(tmp_path)["evaluations"]
    assert (evaluation["images"], evaluation["left_out"], evaluation["metrics"]["rmse"]) == (0, 1, "nan")
    assert evaluation["problems"] == [["a_blank_one", "no truth", "its depth is 0 everywhere"]]
    assert "No image counts" in (tmp_path / "report.html").read_text(encoding="utf-8")


# ---- names and errors


def test_checkpoints_have_the_names_that_are_given_or_their_own():
    assert checkpoint_names(["runs/a/", "weights/ZoeD_M12_N.pt", "Intel/zoedepth-nyu", "mine=x.pt"]) == [
        ("a", "runs/a/"),
        ("ZoeD_M12_N", "weights/ZoeD_M12_N.pt"),
        ("zoedepth-nyu", "Intel/zoedepth-nyu"),
        ("mine", "x.pt"),
    ]
    url = "https://host.org/files/ZoeD.pth?version=2&raw=1#sha256=ab12"
    assert checkpoint_names([url, "x#1.ckpt"]) == [("ZoeD", url), ("x#1", "x#1.ckpt")]


def test_a_folder_has_its_name_from_inside_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert checkpoint_names(["."]) == [(tmp_path.name, ".")]


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
    assert results_of(tmp_path)["evaluations"][0]["checkpoint"] == name
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
    with pytest.raises(ZoeJaxError, match="cannot be written"):
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
