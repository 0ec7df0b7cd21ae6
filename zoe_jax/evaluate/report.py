"""The page of an evaluation: numbers beside the paper's, where the errors are, what the best and worst images show."""

import bisect
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from zoe_jax.evaluate import paper
from zoe_jax.evaluate.in_words import (
    PROBLEMS_IN_WORDS,
    PROTOCOLS_IN_WORDS,
    RULES_IN_WORDS,
    bracketed,
    rule_in_a_sentence,
    rule_in_words,
)
from zoe_jax.evaluate.report_tables import (
    Published,
    improvement_sections,
    number_text,
    results_section,
    router_sections,
    title_of,
)
from zoe_jax.evaluate.results import DAMAGED, Evaluation
from zoe_jax.view.comparison import comparison, error_scale
from zoe_jax.view.report import (
    Cell,
    Number,
    Picture,
    Report,
    Section,
    Strip,
    Table,
    histogram_figure,
    line_figure,
    write_report,
)

PROBLEMS_SHOWN = 50
"""Images named of one kind of problem."""
PROBLEMS_OPEN = 10
"""Up to that many are in sight; more are folded away."""
PAPER_MADE_WITH = {"rules": "released", "protocol": "evaluate", "flip": True}
"""Behind the numbers of the paper: what its code does."""


@dataclass(frozen=True)
class PicturedImage:
    """One image of an evaluation, to be looked at."""

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    truth_m: Float[np.ndarray, "height width"]
    valid_mask: Bool[np.ndarray, "height width"]
    """The pixels that are evaluated."""
    depth_m: Float[np.ndarray, "height width"]
    """The prediction in metres, at the truth's size."""
    metrics: Mapping[str, float]
    """By the names of `METRICS`."""


def write_evaluation_report(
    output_dir: Path,
    facts: Mapping[str, Any],
    evaluations: Sequence[Evaluation],
    pictures: Mapping[tuple[str, str], Sequence[PicturedImage]],
    published: Published = paper.published,
) -> Path:
    """Writes `report.html`, which needs no other file.

    Args:
        output_dir: where to.
        facts: as in `results.json`: zoe_jax, rules, protocol, flip, checkpoints, data_sets.
        evaluations: in the order of the tables; where there are several checkpoints, the first is the reference.
        pictures: by checkpoint and data set, the best and the worst images of the evaluation.
        published: what the paper says of a checkpoint on a data set.

    Returns:
        Its path.

    Raises:
        ZoeJaxError: it cannot be written.
    """
    data_sets = list(dict.fromkeys(evaluation.data_set for evaluation in evaluations))
    sections = [
        Section("What was evaluated", _deviations(facts), numbers=_numbers(facts, evaluations)),
        results_section(facts, evaluations, published),
        *improvement_sections(facts, evaluations),
        *router_sections(facts, evaluations),
        _problems(facts, evaluations),
        *(_data_set(facts, key, [e for e in evaluations if e.data_set == key], pictures) for key in data_sets),
        _rules(facts, data_sets),
    ]
    path = output_dir / "report.html"
    title = f"Depth evaluation, rules: {facts['rules']}"
    write_report(Report(title, _summary(facts, evaluations), sections, _foot(facts), contents=True), path)
    return path


def _summary(facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> str:
    rules, protocol = facts["rules"], facts["protocol"]
    names = list(dict.fromkeys(evaluation.checkpoint for evaluation in evaluations))
    titles = list(dict.fromkeys(title_of(facts, evaluation.data_set) for evaluation in evaluations))
    what = f"{', '.join(names)} on {', '.join(titles)}." if evaluations else "Nothing was evaluated."
    mirrored = "averaged with the prediction of the mirrored image" if facts["flip"] else "without the mirrored image"
    types = sorted({checkpoint["config"]["dtype"] for checkpoint in facts["checkpoints"].values()})
    return (
        f"{what} Rules: {rules}{bracketed(RULES_IN_WORDS, rules)}. "
        f"Protocol: {protocol}{bracketed(PROTOCOLS_IN_WORDS, protocol)}, {', '.join([mirrored, *types])}."
    )


def _numbers(facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> list[Number]:
    counted = sum(len(evaluation.evaluated) for evaluation in evaluations)
    left_out = sum(len(evaluation.outcomes) for evaluation in evaluations) - counted
    kinds = {kind for evaluation in evaluations for _, kind, _ in evaluation.problems()}
    return [
        Number("rules", facts["rules"], "of every number here"),
        Number("protocol", facts["protocol"], "with mirrored images" if facts["flip"] else "without mirrored images"),
        Number("predictions evaluated", str(counted), f"{left_out} left out"),
        Number("kinds of problems", str(len(kinds)), "named below" if kinds else "every image counts"),
    ]


def _deviations(facts: Mapping[str, Any]) -> str:
    """How the paper's numbers were made, and whether these were made so."""
    words = {
        "rules": "other rules",
        "protocol": "another protocol",
        "flip": "no average with the mirrored image",
    }
    differing = [words[name] for name, value in PAPER_MADE_WITH.items() if facts[name] != value]
    made = "The paper's numbers were made under the rules released, by the protocol evaluate, with mirrored images"
    relative = [name for name, checkpoint in facts["checkpoints"].items() if checkpoint["config"]["head"] is None]
    aligned = f"{', '.join(relative)}: relative depth, brought to the truth of each image by a scale and a shift."
    same = "; so were these." if not differing else f". These were not ({', '.join(differing)}): expect differences."
    return "\n\n".join([made + same, *([aligned] if relative else [])])


def _problems(facts: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> Section:
    by_kind = defaultdict(list)
    for evaluation in evaluations:
        for image_id, kind, detail in evaluation.problems():
            by_kind[kind].append((image_id, title_of(facts, evaluation.data_set), evaluation.checkpoint, detail))
    if not by_kind:
        return Section("Problems", "None: every image counts, and every number is finite.")
    parts = []
    for kind, rows in sorted(by_kind.items(), key=lambda item: (item[0] not in DAMAGED, item[0])):
        text = PROBLEMS_IN_WORDS.get(kind, "")
        if len(rows) > PROBLEMS_SHOWN:
            text += f" The first {PROBLEMS_SHOWN} of {len(rows)}; images.csv has all."
        table = Table(("image", "data set", "checkpoint", "detail"), rows[:PROBLEMS_SHOWN], prose=True)
        parts.append(Section(f"{kind}: {len(rows)}", text, tables=[table], folded=len(rows) > PROBLEMS_OPEN))
    return Section("Problems", "By kind, an image once for each checkpoint.", parts=parts)


def _data_set(
    facts: Mapping[str, Any],
    key: str,
    evaluations: Sequence[Evaluation],
    pictures: Mapping[tuple[str, str], Sequence[PicturedImage]],
) -> Section:
    parts = [
        part
        for evaluation in evaluations
        for part in _pictured(evaluation, pictures.get((evaluation.checkpoint, key), ()))
    ]
    counts = any(evaluation.evaluated for evaluation in evaluations)
    text = rule_in_a_sentence(facts["data_sets"][key])
    return Section(
        title_of(facts, key),
        text if counts else f"{text}\n\nNo image counts; Problems says why.",
        pictures=_figures(evaluations) if counts else (),
        parts=parts,
    )


def _figures(evaluations: Sequence[Evaluation]) -> list[Picture]:
    def of_images(metric: str) -> dict[str, list[float]]:
        return {e.checkpoint: [outcome.metrics[metric] for outcome in e.evaluated] for e in evaluations}

    by_depth = {evaluation.checkpoint: evaluation.abs_rel_by_depth() for evaluation in evaluations}
    centers_m = {name: [_center_m(low, high) for low, high, *_ in rows] for name, rows in by_depth.items()}
    errors = {name: (centers_m[name], [abs_rel for _, _, abs_rel, _ in rows]) for name, rows in by_depth.items()}
    fullest = max(by_depth, key=lambda name: sum(pixels for *_, pixels in by_depth[name]))
    pixels = np.array([pixels for *_, pixels in by_depth[fullest]], np.float64)
    shares = {"truth": (centers_m[fullest], (100 * pixels / max(pixels.sum(), 1)).tolist())}
    depth_axis = {"log_x": True, "markers": True}
    return [
        histogram_figure(of_images("abs_rel"), "abs_rel of an image", "images", "abs_rel, image by image"),
        histogram_figure(of_images("rmse"), "rmse of an image (m)", "images", "rmse, image by image"),
        line_figure(
            errors,
            "true depth (m)",
            "abs_rel",
            "abs_rel over true depth: mean over all pixels of a range of depth, which stands at its centre",
            **depth_axis,
        ),
        line_figure(
            shares,
            "true depth (m)",
            "pixels (%)",
            "How much truth there is: the share of pixels in each of these ranges",
            **depth_axis,
        ),
    ]


def _center_m(low_m: float, high_m: float) -> float:
    """Where a range of depth stands on a logarithmic axis, the first and the last having no end there."""
    if low_m == 0:
        return high_m / 2
    return low_m * 2 if math.isinf(high_m) else math.sqrt(low_m * high_m)


def _pictured(evaluation: Evaluation, images: Sequence[PicturedImage]) -> Iterator[Section]:
    """The best images, best first, and the worst, worst first."""
    errors = sorted(_orderly(outcome.metrics["abs_rel"]) for outcome in evaluation.evaluated)
    best, worst = [], []
    for image in sorted(images, key=lambda image: _orderly(image.metrics["abs_rel"])):
        rank = bisect.bisect_left(errors, _orderly(image.metrics["abs_rel"])) + 1
        strip = _strip(image, f"rank {rank} of {len(errors)}")
        (best if 2 * rank <= len(errors) + 1 else worst).append(strip)
    for title, strips in (("best", best), ("worst", worst[::-1])):
        if strips:
            yield Section(f"{evaluation.checkpoint}: {title} by abs_rel", scale=error_scale(), strips=strips)


def _orderly(value: float) -> float:
    """nan last."""
    return math.inf if math.isnan(value) else value


def _strip(image: PicturedImage, rank: str) -> Strip:
    numbers = ", ".join(f"{name} {number_text(image.metrics[name])}" for name in ("abs_rel", "delta1", "rmse"))
    caption = f"{image.id}: {numbers} m; {rank}"
    return comparison(image.image, image.truth_m, image.valid_mask, image.depth_m, caption)


def _rules(facts: Mapping[str, Any], keys: Sequence[str]) -> Section:
    headers = ("data set", "truth that counts", "crop", "image", "masks of the data set")
    rows = []
    for key in keys:
        data_set = facts["data_sets"][key]
        prepared = f"{data_set['prepared']}, {data_set['split']}"
        rows.append([Cell(data_set["title"], prepared), *rule_in_words(data_set["rule"])])
    text = (
        f"Rules: {facts['rules']}{bracketed(RULES_IN_WORDS, facts['rules'])}. A metric is computed of each image over "
        "its valid pixels: those with truth within the range, in the crop, and not masked out. Predictions are brought "
        "to the truth's size and clipped to the range."
    )
    return Section("Rules in words", text, tables=[Table(headers, rows, prose=True)] if rows else ())


def _foot(facts: Mapping[str, Any]) -> dict[str, str]:
    """Commit, versions and machine, then the checksums."""
    made_by = dict(facts["zoe_jax"])
    versions = made_by.pop("versions", {})
    foot = {name.replace("_", " "): str(value) for name, value in made_by.items()}
    foot["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    for name, checkpoint in facts["checkpoints"].items():
        preset = checkpoint["preset"] or "a configuration of its own"
        checksum = checkpoint["parameters_sha256"]
        foot[f"checkpoint {name}"] = f"{checkpoint['source']}, {preset}, SHA-256 of its parameters {checksum}"
    for key, data_set in facts["data_sets"].items():
        checksum = data_set["checksum"] or "unknown"
        foot[f"data set {key}"] = f"{data_set['prepared']}, {data_set['split']}, SHA-256 of its records {checksum}"
    return foot
