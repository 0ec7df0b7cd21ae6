import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zoe_jax.errors import ZoeJaxError
from zoe_jax.predict import PredictOptions
from zoe_jax.predict.files import FileOptions, predict_files


@pytest.fixture
def folder(tmp_path: Path, photo) -> Path:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for seed, (name, size) in enumerate(
        {"a.png": (75, 101), "b.png": (61, 133), "sub/c.png": (75, 101), "d.png": (64, 96)}.items()
    ):
        Image.fromarray(photo(*size, seed)).save(tmp_path / "in" / name)
    return tmp_path


def test_a_tree_of_images_becomes_a_tree_of_results(folder, make_predictor, photo):
    predictor = make_predictor()
    options = FileOptions(folder / "out", format="npy,json", recursive=True, batch_size=2)
    summary = predict_files(predictor, [str(folder / "in")], options)
    assert (summary.n_predicted, summary.n_skipped, summary.failures, summary.exit_status) == (4, 0, (), 0)
    results = sorted(p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*.npy"))
    assert results == ["a_depth.npy", "b_depth.npy", "d_depth.npy", "sub/c_depth.npy"]
    for name in ("a", "b", "sub/c", "d"):
        expected = predictor.predict(folder / "in" / f"{name}.png").depth_m
        np.testing.assert_allclose(np.load(folder / "out" / f"{name}_depth.npy"), expected, rtol=1e-6)
        assert json.loads((folder / "out" / f"{name}_depth.json").read_text())["protocol"] == "infer"


def test_one_bad_file_does_not_stop_the_rest(folder, make_predictor, photo):
    bad = {"broken.png": (folder / "in/a.png").read_bytes()[:900], "empty.jpg": b"", "text.tif": b"no image"}
    for name, content in bad.items():
        (folder / "in" / name).write_bytes(content)
    Image.fromarray(photo(3, 200)).save(folder / "in" / "tiny.png")
    inputs = [str(folder / "in"), str(folder / "gone.png")]
    summary = predict_files(make_predictor(), inputs, FileOptions(folder / "out", batch_size=2))
    assert summary.n_predicted == 3
    assert summary.exit_status == 1
    assert {Path(name).name for name, _ in summary.failures} == {*bad, "tiny.png", "gone.png"}
    lines = str(summary).splitlines()
    assert lines[0] == "3 predicted, 0 skipped, 5 failed"
    for name in (*bad, "tiny.png", "gone.png"):
        [line] = [line for line in lines[1:] if name in line]
        assert line.count(name) == 1
    assert not list((folder / "out").glob("*tiny*"))


def test_a_bar_is_drawn_on_a_terminal_only(folder, make_predictor, capfd):
    predict_files(make_predictor(), [str(folder / "in/a.png")], FileOptions(folder / "out"))
    assert capfd.readouterr() == ("", "")


def test_a_result_that_cannot_be_written_does_not_stop_the_rest(folder, make_predictor):
    (folder / "out").mkdir()
    (folder / "out" / "a_depth.npy").mkdir()
    summary = predict_files(make_predictor(), [str(folder / "in")], FileOptions(folder / "out"))
    assert summary.n_predicted == 2
    [(name, message)] = summary.failures
    assert name.endswith("a.png")
    assert "a_depth.npy" in message
    assert not list((folder / "out").glob(".*"))


def test_existing_results_are_skipped_only_if_whole(folder, make_predictor):
    options = FileOptions(folder / "out", format="npy,png16", skip_existing=True)
    inputs = [str(folder / "in")]
    assert predict_files(make_predictor(), inputs, options).n_predicted == 3
    (folder / "out" / "a_depth16.png").unlink()
    (folder / "out" / "b_depth.npy").write_bytes(b"mine")
    predictor = make_predictor()
    summary = predict_files(predictor, inputs, options)
    assert (summary.n_predicted, summary.n_skipped, summary.exit_status) == (1, 2, 0)
    assert (folder / "out" / "b_depth.npy").read_bytes() == b"mine"
    assert (folder / "out" / "a_depth16.png").exists()
    assert predict_files(make_predictor(), inputs, options).n_skipped == 3


def test_shards_share_the_images_out(folder, make_predictor):
    for i in range(3):
        options = FileOptions(folder / f"out{i}", recursive=True, shard=f"{i}/3")
        predict_files(make_predictor(), [str(folder / "in")], options)
    results = [sorted(p.name for p in (folder / f"out{i}").rglob("*.npy")) for i in range(3)]
    assert results == [["a_depth.npy", "c_depth.npy"], ["b_depth.npy"], ["d_depth.npy"]]


def test_clipped_pixels_are_reported(folder, make_predictor):
    predictor = make_predictor(lambda params, images, **rest: far(images))
    options = FileOptions(folder / "out", format="png16", png16_scale=1000, pad=False)
    summary = predict_files(predictor, [str(folder / "in" / "d.png")], options)
    assert summary.saturated == ((str(folder / "in" / "d.png"), 64 * 96),)
    assert summary.exit_status == 0
    assert "6144 pixels beyond 65.536 m" in str(summary)


def far(images):
    return SimpleNamespace(metric_depth=images[..., 0] + 80, domain=images[:, 0, 0, 0].astype(int))


def test_options_reach_the_predictor(folder, make_predictor):
    predictor = make_predictor()
    path = folder / "in" / "b.png"
    options = FileOptions(folder / "out", protocol="evaluate", flip=False, domain="bright")
    predict_files(predictor, [str(path)], options)
    expected = predictor.predict(path, PredictOptions("evaluate", flip=False, domain="bright")).depth_m
    np.testing.assert_array_equal(np.load(folder / "out" / "b_depth.npy"), expected)


def test_few_images_make_small_batches(folder, make_predictor):
    predictor = make_predictor()
    predict_files(predictor, [str(folder / "in" / "a.png")], FileOptions(folder / "out", batch_size=16))
    assert predictor.compiled_shapes == [(1, 64, 96, 3)]


@pytest.mark.parametrize(
    ("inputs", "options", "complaint"),
    [
        ([], {}, "no image was given"),
        (["in"], {"format": "npy,jpg"}, "no output format 'jpg'"),
        (["in"], {"shard": "3/3"}, "shard '3/3'"),
        (["in"], {"domain": "moon"}, "no domain 'moon'"),
        (["in"], {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_impossible_requests_stop_before_any_work(folder, make_predictor, monkeypatch, inputs, options, complaint):
    monkeypatch.chdir(folder)
    with pytest.raises(ZoeJaxError, match=complaint):
        predict_files(make_predictor(), inputs, FileOptions(folder / "out", **options))
    assert not (folder / "out").exists()
