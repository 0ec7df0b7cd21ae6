"""Results, read back: several files as one, which checkpoint fills which row, and what is refused."""

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.stored_results import evaluation, tree
from zoe_jax.evaluate.result_files import Results, assign_methods, read_results
from zoe_jax.evaluate.results import METRICS, Evaluation, EvaluationError, ImageOutcome, write_results

# ---- reading results


def test_results_of_several_files_come_together(stored: Callable[..., Path], tmp_path: Path) -> None:
    first = stored([evaluation("zoed_n", "nyu"), evaluation("zoed_n", "ibims", rmse="nan")])
    second = stored([evaluation("zoed_n", "ibims", rmse="nan"), evaluation("zoed_k", "ddad")], "second")
    results = read_results([tmp_path, second, first])
    assert list(results.sources) == [first, second]
    assert list(results.measurements) == [("zoed_n", "nyu"), ("zoed_n", "ibims"), ("zoed_k", "ddad")]
    assert results.of("zoed_k", "nyu") is None


def test_what_evaluate_writes_is_read(tmp_path: Path) -> None:
    outcomes = [ImageOutcome("a", "evaluated", metrics=dict.fromkeys(METRICS, 0.25)), ImageOutcome("b", "no truth")]
    facts = {part: value for part, value in tree([]).items() if part not in ("format", "evaluations")}
    facts["checkpoints"], facts["data_sets"] = {"zoed_n": {"preset": "zoed_n"}}, {"nyu": {"title": "NYU"}}
    write_results(tmp_path, facts, [Evaluation("zoed_n", "nyu", outcomes)])
    found = read_results([tmp_path]).of("zoed_n", "nyu")
    assert found is not None
    assert (found.images, found.metrics["abs_rel"], found.is_part) == (1, 0.25, True)


def test_contradictions_are_named(stored: Callable[..., Path]) -> None:
    first = stored([evaluation("zoed_n", "nyu")])

    def fails(message: str, evaluations: Sequence[dict[str, Any]], **changes: Any) -> None:
        second = stored(evaluations, "second", **changes)
        with pytest.raises(EvaluationError, match=message) as caught:
            read_results([first, second])
        assert str(first) in str(caught.value)
        assert str(second) in str(caught.value)

    others = [evaluation("zoed_k", "ddad")]
    fails("was made with rules released, .* with rules paper; a table mixes no such numbers", others, rules="paper")
    fails("protocol evaluate, .* with protocol infer", others, protocol="infer")
    fails("flip True, .* with flip False", others, flip=False)
    fails("contradict each other about zoed_n on nyu", [evaluation("zoed_n", "nyu", rmse=0.3)])
    fails("contradict each other", [evaluation("zoed_n", "nyu", images=3)])
    fails("call different checkpoints 'zoed_n'", [evaluation("zoed_n", "ibims")], preset="zoed_n")
    other_rule = {"nyu": {"rule": {"min_depth_m": 0.0}}}
    fails("evaluate nyu by different rules of the name released", [evaluation("zoed_n", "nyu")], data_sets=other_rule)


def test_the_same_parameters_are_the_same_checkpoint(stored: Callable[..., Path]) -> None:
    paths = [
        stored([evaluation("a", key)], key, checkpoints={"a": {"source": key, "parameters_sha256": digest}})
        for key, digest in (("nyu", "12"), ("ibims", "12"), ("ddad", "34"))
    ]
    assert len(read_results(paths[:2]).measurements) == 2
    with pytest.raises(EvaluationError, match="call different checkpoints 'a'"):
        read_results(paths)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is no results.json of zoe-jax evaluate: rules, protocol, flip, checkpoints, data_sets, evaluations"),
        ({"rules": 3}, "rules is missing, or of another kind"),
        ({"checkpoints": {"zoed_n": 1}}, "checkpoints is missing, or of another kind"),
        ({"format": 2}, "has the format 2; this version reads 1"),
        ({"evaluations": [{}]}, "evaluation 1 is damaged (KeyError: 'checkpoint')"),
        ({"evaluations": [evaluation("zoed_n", "nyu", rmse="much")]}, "evaluation 1 is damaged (ValueError"),
        ({"evaluations": [evaluation("zoed_n", "nyu", rmse=None)]}, "evaluation 1 is damaged (TypeError"),
        ({"evaluations": [evaluation("x", "nyu")]}, "evaluation 1 is of the checkpoint 'x', which is not described"),
        ({"evaluations": [evaluation("zoed_n", "ddad")]}, "of the data_set 'ddad', which is not described"),
    ],
)
def test_damaged_and_foreign_files_are_named(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "some.json"
    if not isinstance(content, str):
        content = json.dumps(tree([evaluation("zoed_n", "nyu")]) | content)
    path.write_text(content)
    with pytest.raises(EvaluationError, match=re.escape(message)) as caught:
        read_results([path])
    assert str(path) in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no results are given"):
        read_results([])
    with pytest.raises(EvaluationError, match=r"has no results\.json; it should be an output folder"):
        read_results([tmp_path])
    with pytest.raises(EvaluationError, match=r"none\.json cannot be read"):
        read_results([tmp_path / "none.json"])


def test_results_are_frozen(stored: Callable[..., Path]) -> None:
    results: Results = read_results([stored([evaluation("zoed_n", "nyu")])])
    with pytest.raises(dataclasses.FrozenInstanceError):
        results.rules = "paper"  # type: ignore[misc]


# ---- which checkpoint fills which row


def rows_of(stored: Callable[..., Path], names: Sequence[str], given: Sequence[str] = (), **changes: Any) -> Any:
    return assign_methods(read_results([stored([evaluation(name, "nyu") for name in names], **changes)]), given)


def test_rows_are_those_of_names_presets_and_the_user(stored: Callable[..., Path]) -> None:
    assert rows_of(stored, ["first"], preset="zoed_nk") == {"first": "ZoeD-M12-NK"}
    given = ["a=ZoeD-X-N", "b = 1=bts", "c=own"]
    names = ["a", "b = 1", "c", "zoed_n"]
    assert rows_of(stored, names, given) == {"a": "ZoeD-X-N", "b = 1": "BTS", "c": None, "zoed_n": "ZoeD-M12-N"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a"], "--row 'a' should be CHECKPOINT=ROW"),
        (["a="], "should be CHECKPOINT=ROW"),
        (["x=ZoeD-M12-N"], "there is no checkpoint 'x'; there are a, b"),
        (["a=ZoeD"], "no table of the paper has a row 'ZoeD'"),
        (["a=BTS", "b=BTS"], "the checkpoints 'a' and 'b' both fill the row BTS"),
        ([], "the checkpoints 'a' and 'b' both fill the row ZoeD-M12-N; say by --row 'b=ROW' which"),
    ],
)
def test_rows_that_cannot_be_are_named(stored: Callable[..., Path], given: list[str], message: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(message)):
        rows_of(stored, ["a", "b"], given, preset=None if given else "zoed_n")
