"""Any layout in, any layout out: how the architecture is found, what may not be overwritten, and what verify sees."""

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tests.same import assert_same_tree
from tests.synthetic import tiny_config, tiny_params, tiny_tensors
from zoe_jax import config as configs
from zoe_jax.config import ConfigError
from zoe_jax.convert import checkpoint as checkpoints
from zoe_jax.convert import safetensors_file, torch_file
from zoe_jax.convert.checkpoint import Checkpoint, read_checkpoint, verify, write_checkpoint
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.inspection import inspect
from zoe_jax.convert.orbax_folder import Origin
from zoe_jax.convert.torch_file import write_torch
from zoe_jax.models.zoedepth import parameter_shapes

LAYOUTS = ("orbax", "official", "huggingface")
TOKEN = "core.core.pretrained.model.cls_token"


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The tiny N as a `.pt` file, in a folder of its own."""
    path = tmp_path / "released" / "n.pt"
    path.parent.mkdir()
    write_torch(path, tiny_tensors("N"))
    return path


def tiny_checkpoint(variant: str = "N") -> Checkpoint:
    return Checkpoint(tiny_config(variant), tiny_params(variant), {}, Origin())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_parameters(tmp_path: Path, layout: str) -> None:
    destination = tmp_path / "written"
    write_checkpoint(tiny_checkpoint("NK"), destination, layout)
    read = read_checkpoint(destination)
    assert read.config == tiny_config("NK")
    assert_same_tree(read.params, tiny_params("NK"))
    assert list(tmp_path.iterdir()) == [destination]


def test_what_the_file_says_about_itself(released: Path) -> None:
    read = read_checkpoint(released)
    assert (read.preset, read.origin) == ("reference_n", Origin("official", "model", ""))
    assert read.config == tiny_config("N")
    used = {slot.name for slot in checkpoints.OFFICIAL.slots(read.config)}
    assert read.unused.keys() == tiny_tensors("N").keys() - used


def test_overrides_without_a_preset(released: Path) -> None:
    read = read_checkpoint(released, overrides={"max_depth_m": 20, "network_size": (96, 64), "routing": "label"})
    assert read.config == tiny_config("N", max_depth_m=20.0, network_size=(96, 64), routing="label")


def test_a_preset_with_overrides_describes_what_no_preset_is(tmp_path: Path) -> None:
    config = tiny_config("N", **{"n_bins": 16, "head.n_attractors": (4, 4, 4, 4)})
    zeros = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in parameter_shapes(config).items()}
    made = Checkpoint(config, unflatten_dict(zeros, sep="/"), {}, Origin())
    write_checkpoint(made, tmp_path / "odd.pt", "official")
    with pytest.raises(CheckpointError, match=r"is no known model; the closest are official reference_n \(.* shape"):
        read_checkpoint(tmp_path / "odd.pt")
    overrides = {"n_bins": 16, "n_attractors": [4, 4, 4, 4]}
    with pytest.raises(CheckpointError, match=r"does not fit the configuration as official: .* shape"):
        read_checkpoint(tmp_path / "odd.pt", "reference_n")
    read = read_checkpoint(tmp_path / "odd.pt", "reference_n", overrides)
    assert read.config == config
    assert_same_tree(read.params, made.params)
    write_checkpoint(read, tmp_path / "ours", "orbax")
    assert read_checkpoint(tmp_path / "ours").config == config  # which needs no preset


def test_wrong_presets_and_overrides(released: Path) -> None:
    with pytest.raises(ConfigError, match="no preset 'zoed'; there are zoed_n"):
        read_checkpoint(released, "zoed")
    with pytest.raises(CheckpointError, match=r"does not fit the configuration as official: .* missing, first"):
        read_checkpoint(released, "zoed_nk")
    with pytest.raises(ConfigError, match="no field 'max_deph_m'"):
        read_checkpoint(released, overrides={"max_deph_m": 10})


@pytest.mark.parametrize("param_dtype", ["float32", "bfloat16"])
def test_the_type_of_parameters_can_be_asked_for(released: Path, tmp_path: Path, param_dtype: str) -> None:
    read = read_checkpoint(released, param_dtype=param_dtype)
    write_checkpoint(read_checkpoint(released), tmp_path / "ours", "orbax")
    ours = read_checkpoint(tmp_path / "ours", param_dtype=param_dtype)
    assert read.config.param_dtype == ours.config.param_dtype == param_dtype
    assert {leaf.dtype.name for leaf in jax.tree.leaves(read.params)} == {param_dtype}
    assert_same_tree(ours.params, read.params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {n: x for n, x in t.items() if n != TOKEN}, rf"\(1 tensors missing, first {TOKEN}\)"),
        (lambda t: t | {"stray": t[TOKEN]}, r"\(1 tensors unknown, first stray\)"),
        (lambda t: t | {TOKEN: t[TOKEN][:, :, 1:]}, rf"reference_n \({TOKEN} has shape \(1, 1, 63\) instead of"),
        (lambda t: t | {TOKEN: np.zeros((1, 1, 64), np.int32)}, f"tensor '{TOKEN}' is int32; it should be a float"),
        (lambda t: {"weight": np.zeros((10, 10), np.float32)}, "is no known model; the closest are "),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, change: Callable[[dict], dict], message: str) -> None:
    write_torch(tmp_path / "odd.pt", change(dict(tiny_tensors("N"))))
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_checkpoint(tmp_path / "odd.pt")
    assert str(refusal.value).startswith(f"{tmp_path / 'odd.pt'}: ")


def test_a_tensor_that_comes_twice_is_refused(tmp_path: Path) -> None:
    twice = [*tiny_tensors("N").items(), (TOKEN, tiny_tensors("N")[TOKEN])]
    with pytest.raises(CheckpointError, match=f"tensor '{TOKEN}' comes twice"):
        write_torch(tmp_path / "twice.pt", twice)


@pytest.mark.parametrize("name", ["nothing.pt", "nothing"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name}: does not exist"):
        read_checkpoint(tmp_path / name)


def test_a_folder_of_ours_brings_its_own_configuration(tmp_path: Path) -> None:
    write_checkpoint(tiny_checkpoint(), tmp_path / "ours", "orbax")
    with pytest.raises(CheckpointError, match="carries its own configuration; leave out preset 'reference_n'"):
        read_checkpoint(tmp_path / "ours", "reference_n")
    assert read_checkpoint(tmp_path / "ours", overrides={"max_depth_m": 3}).config == tiny_config("N", max_depth_m=3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_overwritten(tmp_path: Path, layout: str) -> None:
    (tmp_path / "there").write_text("precious")
    with pytest.raises(CheckpointError, match="there: exists already; remove it or choose another name"):
        write_checkpoint(tiny_checkpoint(), tmp_path / "there", layout)
    assert (tmp_path / "there").read_text() == "precious"


def test_there_are_three_layouts(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no layout 'onnx'; there are orbax, official, huggingface"):
        write_checkpoint(tiny_checkpoint(), tmp_path / "x", "onnx")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("storage failed"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("where", ["orbax", "orbax, at its end", "official", "huggingface", "huggingface, at its end"])
def test_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    """Each is interrupted after some of its bytes are on the disk."""
    original_write_text, calls = Path.write_text, []

    def failing(original: Callable) -> Callable:
        def fail(*arguments: object, **options: object) -> object:
            result = original(*arguments, **options)
            calls.append(where)
            if len(calls) == 3 or where != "official":  # a `.pt` is written tensor by tensor
                raise error
            return result

        return fail

    if where.endswith("at its end"):
        monkeypatch.setattr(Path, "write_text", failing(original_write_text))
    else:
        place, name = {
            "orbax": (checkpoints.orbax_folder.ocp.CheckpointManager, "save"),
            "official": (torch_file, "append_entry"),
            "huggingface": (safetensors_file, "save_file"),
        }[where]
        monkeypatch.setattr(place, name, failing(getattr(place, name)))
    with pytest.raises((CheckpointError, KeyboardInterrupt, ValueError)) as failure:
        write_checkpoint(tiny_checkpoint(), tmp_path / "out", where.partition(",")[0])
    assert calls
    assert not list(tmp_path.iterdir())
    if isinstance(error, OSError) or (where == "orbax" and isinstance(error, ValueError)):
        assert isinstance(failure.value, CheckpointError)
        assert str(failure.value).startswith(f"{tmp_path / 'out'}: cannot be written")
        assert error.args[-1] in str(failure.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_verify_counts_and_compares(tmp_path: Path, layout: str) -> None:
    checkpoint = tiny_checkpoint()
    write_checkpoint(checkpoint, tmp_path / "out", layout)
    n_tensors = verify(checkpoint, tmp_path / "out", layout)
    if layout == "orbax":
        n_expected = len(parameter_shapes(checkpoint.config)) + len(checkpoint.unused)
    else:
        n_expected = len(tiny_tensors("N", layout))
    assert n_tensors == n_expected
    changed = jax.tree.map(lambda leaf: leaf, checkpoint.params)
    changed["bottleneck"]["bias"] = changed["bottleneck"]["bias"].at[3].multiply(1 + 2**-23)  # one bit
    name = {"huggingface": "metric_head.conv2.bias", "official": "conv2.bias", "orbax": "bottleneck/bias"}[layout]
    with pytest.raises(CheckpointError, match=f"tensor '{name}' differs from what was converted"):
        verify(dataclasses.replace(checkpoint, params=changed), tmp_path / "out", layout)


def test_verify_sees_what_is_missing_and_what_is_too_many(released: Path, tmp_path: Path) -> None:
    read = read_checkpoint(released)
    some = dict(list(read.unused.items())[1:])
    lost = next(iter(read.unused))
    write_checkpoint(dataclasses.replace(read, unused=some), tmp_path / "less.pt", "official")
    with pytest.raises(CheckpointError, match=f"less.pt: tensor '{lost}' is missing"):
        verify(read, tmp_path / "less.pt", "official")
    with pytest.raises(CheckpointError, match=f"n.pt: tensor '{lost}' is one too many"):
        verify(dataclasses.replace(read, unused=some), released, "official")


def test_inspection_needs_no_parameters(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(read_checkpoint(released), tmp_path / "ours", "orbax")
    monkeypatch.setattr(checkpoints, "to_params", None)
    monkeypatch.setattr(checkpoints.orbax_folder, "read_params", None)
    of_file, of_folder = inspect(released), inspect(tmp_path / "ours")
    assert (of_file.layout, of_file.preset, of_folder.layout, of_folder.preset) == (
        *("official", "reference_n"),
        *("zoe_jax", "reference_n"),
    )
    assert of_file.config == of_folder.config == configs.preset("reference_n")
    assert of_file.parts == of_folder.parts
    assert sum(of_file.parts.values()) == sum(leaf.size for leaf in jax.tree.leaves(tiny_params("N")))
    assert of_file.unused == of_folder.unused
    assert "not known" not in of_file.unused.values()
    assert of_folder.steps == (0,)
    assert "ImageNet classifier of BEiT" in str(of_file)
