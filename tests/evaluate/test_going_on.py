"""What an evaluation takes over from an earlier one, and what it never does: nothing is computed twice, nor mixed."""

import json
import re
from dataclasses import replace

import jax
import pytest

from tests.evaluate.evaluations import results_of, seen_by, small, stopped_after, tiny
from tests.synthetic import tiny_config, tiny_params
from zoe_jax.evaluate import command
from zoe_jax.evaluate.command import evaluate
from zoe_jax.evaluate.runner import Evaluator
from zoe_jax.input.reader import PreparedReader

pytestmark = pytest.mark.usefixtures("quick_compilation", "alone")


def without_dates(path):
    tree = results_of(path)
    tree["zoe_jax"].pop("date")
    return tree


def test_an_interrupted_command_goes_on_to_the_same_files(data_dir, tmp_path, monkeypatch):
    whole, resumed = (small(data_dir, tmp_path / name, "zoe_little/mixed") for name in ("whole", "resumed"))
    evaluate([("a", "a")], tiny, whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate([("a", "a")], tiny, resumed, stopped_after(2))
    (log,) = (tmp_path / "resumed/images").iterdir()
    log.write_text(log.read_text()[:-40])
    before = log.read_text().splitlines()
    read = seen_by(monkeypatch)
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


def test_lines_are_taken_by_the_same_evaluation_alone(data_dir, tmp_path, monkeypatch):
    options = small(data_dir, tmp_path, "zoe_little/mixed", limit=2)
    monkeypatch.setattr(command, "write_evaluation_report", lambda *arguments: None)
    monkeypatch.setattr(command, "_pictures", lambda *arguments: [])
    read = seen_by(monkeypatch)

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
    # edited code may give other numbers
    made_with = {"commit": "c-dirty", "source_sha256": "edited", "versions": {}, "date": "today"}
    monkeypatch.setattr(command, "machine", lambda: made_with)
    assert computed() == 2
    # a commit of the same code gives the same
    made_with["commit"] = "d"
    assert computed() == 0
    # the same name and the same count, but other records
    monkeypatch.setattr(command.PreparedReader, "checksum", property(lambda self: "another"))
    assert computed() == 2
    assert computed() == 0


def test_pictures_are_of_the_depth_that_was_evaluated(data_dir, tmp_path, monkeypatch):
    """The network runs for them again only where the lines are those of an earlier evaluation, and in whole batches."""
    batches = []
    predicted = Evaluator._predicted

    def counted(self, batch, head):
        batches.append(batch.entries)
        return predicted(self, batch, head)

    monkeypatch.setattr(Evaluator, "_predicted", counted)
    pages = []
    for _ in range(2):
        batches.clear()
        evaluate([("a", "a")], tiny, replace(small(data_dir, tmp_path, "zoe_little/mixed"), batch_size=4))
        pages.append((tmp_path / "report.html").read_text(encoding="utf-8"))
        # of two sizes
        assert len(batches) == 2
    assert sum(map(len, batches)) == 6
    assert without_time(pages[0]) == without_time(pages[1])
    assert pages[0].count("data:image/jpeg") == 6 * 4


def test_records_are_looked_through_once_for_all_checkpoints(data_dir, tmp_path, monkeypatch):
    looked_at = []
    header = PreparedReader.header
    monkeypatch.setattr(PreparedReader, "header", lambda self, index: (looked_at.append(index), header(self, index))[1])
    monkeypatch.setattr(command, "_pictures", lambda *arguments: [])
    evaluate([("a", "a"), ("b", "b")], tiny, small(data_dir, tmp_path, "zoe_little/mixed", limit=1))
    assert sorted(looked_at) == list(range(7))


def test_without_a_checksum_nothing_is_taken_over(data_dir, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(command.PreparedReader, "checksum", property(lambda self: ""))
    dates = iter(("yesterday", "today"))
    monkeypatch.setattr(command, "machine", lambda: {"source_sha256": "s", "versions": {}, "date": next(dates)})
    read = seen_by(monkeypatch)
    for _ in range(2):
        evaluate([("a", "a")], tiny, small(data_dir, tmp_path, "zoe_little/mixed", limit=2))
    assert len(read) == 4
    assert "zoe_little/mixed has no checksum" in caplog.text
