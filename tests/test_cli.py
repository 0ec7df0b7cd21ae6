"""The command as a user types it: what it prints, what it leaves behind, and its exit status."""

import json
import pickle
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

import zoe_jax
from zoe_jax import cli
from zoe_jax.cli import main
from zoe_jax.convert.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.convert.torch_file import read_torch


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A `.pt` file of the reference's tiny two-headed model, with random parameters."""
    path = tmp_path_factory.mktemp("released") / "tiny_nk.pt"
    config = zoe_jax.preset("reference_nk")
    write_checkpoint(Checkpoint(config, zoe_jax.init(config, jax.random.key(0)), {}, Origin()), path, "official")
    return path


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_convert_to_ours_and_back_is_exact(released, tmp_path, capsys):
    assert run("convert", released, tmp_path / "ours", "--verify") == 0
    assert "equal to the bit" in capsys.readouterr().out
    assert run("convert", tmp_path / "ours", tmp_path / "back.pt") == 0
    before, after = read_torch(released).tensors, read_torch(tmp_path / "back.pt").tensors
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert tensor.tobytes() == after[name].tobytes(), name


def test_convert_to_hugging_face(released, tmp_path, capsys):
    assert run("convert", released, tmp_path / "hf", "--to", "huggingface", "--verify") == 0
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["model_type"] == "zoedepth"
    assert read_checkpoint(tmp_path / "hf").config == zoe_jax.preset("reference_nk")


def test_convert_takes_overrides(released, tmp_path):
    assert run("convert", released, tmp_path / "ours", "--set", "max_depth_m=[20, 40]", "routing=batch") == 0
    config = read_checkpoint(tmp_path / "ours").config
    assert config.head.max_depth_m == (20.0, 40.0)
    assert config.routing == "batch"


def test_inspect_names_family_preset_parts_and_unused_tensors(released, tmp_path, capsys):
    assert run("inspect", released) == 0
    report = capsys.readouterr().out
    n_parameters = sum(leaf.size for leaf in jax.tree.leaves(read_checkpoint(released).params))
    for words in ("official", "reference_nk", f"{n_parameters:,}", "encoder", "metric_head", "ImageNet classifier"):
        assert words in report
    run("convert", released, tmp_path / "ours")
    capsys.readouterr()
    assert run("inspect", tmp_path / "ours") == 0
    report = capsys.readouterr().out
    for words in ("zoe_jax", "reference_nk", "steps       0", "ImageNet classifier"):
        assert words in report


def test_predict_writes_every_format(released, tmp_path, capsys):
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (70, 90, 3), np.uint8)).save(tmp_path / "photo.png")
    formats = "npy,png16,color,panel,json"
    assert run("predict", released, tmp_path / "photo.png", "--output-dir", tmp_path / "out", "--format", formats) == 0
    assert "1 predicted" in capsys.readouterr().out
    depth = np.load(tmp_path / "out" / "photo_depth.npy")
    assert depth.shape == (70, 90)
    assert depth.dtype == np.float32
    assert len(list((tmp_path / "out").iterdir())) == 5
    expected = zoe_jax.load(released).predict(tmp_path / "photo.png")
    np.testing.assert_array_equal(depth, expected)


def test_predict_goes_on_after_a_bad_image(released, tmp_path, capsys):
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    assert run("predict", released, tmp_path, "--output-dir", tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert "1 predicted" in printed
    assert "bad.png" in printed
    assert (tmp_path / "out" / "good_depth.npy").exists()


class _RunsCode:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return open, (str(self.sentinel), "w")


def test_hostile_and_damaged_files_are_one_line_and_status_2(tmp_path):
    sentinel = tmp_path / "executed"
    hostile = {"raw.pt": pickle.dumps(_RunsCode(sentinel)), "empty.pt": b"", "text.pt": b"hello", "cut.pt": b"PK\3\4"}
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "reduce.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model": _RunsCode(sentinel)}, protocol=2))
        archive.writestr("archive/version", "3\n")
    for name in (*hostile, "reduce.pt", "missing.pt"):
        # a process of its own, as a traceback would only show there
        command = [sys.executable, "-m", "zoe_jax", "inspect", str(tmp_path / name)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.returncode == 2, finished.stderr
        assert finished.stderr.count("\n") == 1, finished.stderr
        assert finished.stderr.startswith("zoe-jax: ")
        assert name in finished.stderr
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect", "{released}", "--preset", "zoed_n"), "does not fit"),
        (("inspect", "{released}", "--preset", "nonsense"), "there are zoed_n"),
        (("convert", "{released}", "{released}"), "exists already"),
        (("convert", "{released}", "{folder}/x", "--set", "max_deph_m=3"), "no field 'max_deph_m'"),
        (("convert", "{released}", "{folder}/x", "--set", "max_depth_m"), "NAME=VALUE"),
        (("predict", "{released}", "{folder}/none.png"), "none.png"),
    ],
)
def test_mistakes_are_named(released, tmp_path, capsys, arguments, words):
    filled = [argument.format(released=released, folder=tmp_path) for argument in arguments]
    status = run(*filled)
    output = capsys.readouterr()
    assert status in (1, 2)
    assert words in output.err + output.out


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for command in ("convert", "inspect", "predict"):
        assert command in printed


def test_ctrl_c_promises_only_what_a_command_keeps(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_parse", interrupted)
    said = {}
    for command in ("convert", "evaluate", "export-params", "inspect", "predict", "prepare", "tables", "train"):
        assert run(command, "x") == 130
        said[command] = capsys.readouterr().err
    goes_on = "zoe-jax: interrupted; the same command goes on from what is finished\n"
    assert {command for command, words in said.items() if words == goes_on} == {"evaluate", "prepare", "train"}
    assert "--skip-existing" in said.pop("predict")
    assert {words for words in said.values() if words != goes_on} == {"zoe-jax: interrupted\n"}


@pytest.mark.parametrize("arguments", [["--help"], ["prepare", "folder", "--help"]])
def test_a_reader_that_has_gone_is_no_bug(arguments):
    command = [sys.executable, "-m", "zoe_jax", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 141
