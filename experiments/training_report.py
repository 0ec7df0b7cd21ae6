"""The page about a small training run: curves, numbers beside the baselines, the router, pictures, times."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from zoe_jax.predict.images import eight_bits
from zoe_jax.provenance import machine
from zoe_jax.view.colormap import colorize
from zoe_jax.view.report import Number, Picture, Report, Section, Table, line_figure, picture_of, write_report

from .held_out import BASELINES, BATCH_SIZE, METRICS, HeldOut

PICTURES_PER_DOMAIN = 4
ENLARGEMENT = 3
SMOOTHING_STEPS = 25


def write_training_report(
    output_dir: Path, run_dir: Path, held_out: HeldOut, seconds: Mapping[str, float], photograph: Path
) -> None:
    """Writes `OUTPUT_DIR/report.html`.

    Args:
        output_dir: it also holds what `zoe-jax predict` made of the photograph.
        run_dir: the run, with its logs.
        held_out: the model's results and the baselines'.
        seconds: wall time by stage.
        photograph: what was predicted.
    """
    sections = [
        Section("In one line", numbers=_numbers(held_out)),
        Section(
            "Scenes it has not seen",
            "Means over images. The baselines look at no image: the constant of least abs_rel on the training scenes, "
            "and the median of each pixel over them.",
            tables=[_table(held_out, domain) for domain in held_out.datasets],
        ),
        *_router(held_out),
        Section("Training", pictures=_curves(run_dir)),
        *(
            Section(
                f"Held-out {domain}",
                "Image, truth, prediction, and relative error from 0 (dark) to 50 % (bright). Truth and prediction "
                "share their colours; grey has no truth.",
                pictures=list(_pictures(held_out, domain)),
            )
            for domain in held_out.datasets
        ),
        Section(
            "A photograph",
            "The model has seen nothing but rendered scenes of 64x96 pixels: what it says of a table from above is a "
            "guess of its shape.",
            pictures=[_file(output_dir / f"{photograph.stem}_panel.png", photograph.stem)],
        ),
        Section(
            "Time",
            tables=[Table(("stage", "seconds"), [(name, f"{value:.1f}") for name, value in seconds.items()])],
        ),
    ]
    facts = machine()
    versions = ", ".join(f"{name} {version}" for name, version in facts.pop("versions").items())
    summary = (
        "A small ZoeDepth with two metric heads and a router, trained from random parameters on rendered rooms and "
        "roads; one image in, metres out."
    )
    page = Report(
        "zoe_jax quickstart", summary, sections, {k: str(v) for k, v in facts.items()} | {"versions": versions}
    )
    write_report(page, output_dir / "report.html")


def _numbers(held_out: HeldOut) -> list[Number]:
    numbers = []
    for domain in held_out.datasets:
        model, baseline = held_out.metrics("model", domain), held_out.best_baseline(domain)
        numbers += [
            Number(f"{domain}: abs_rel", f"{model.abs_rel:.3f}", f"{baseline['abs_rel']:.3f} without looking"),
            Number(f"{domain}: delta1", f"{model.delta1:.3f}", f"{baseline['delta1']:.3f} without looking"),
        ]
    accuracy = held_out.router_accuracy
    return numbers if accuracy is None else [*numbers, Number("router accuracy", f"{100 * accuracy:.1f} %")]


def _table(held_out: HeldOut, domain: str) -> Table:
    units = {"rmse": "rmse (m)"}
    rows = [
        [name, *(f"{getattr(held_out.metrics(name, domain), metric):.3f}" for metric in METRICS)]
        for name in ("model", *BASELINES)
    ]
    return Table((domain, *(units.get(metric, metric) for metric in METRICS)), rows, strong_rows=(0,))


def _router(held_out: HeldOut) -> list[Section]:
    if held_out.router_accuracy is None:
        return []
    rows = [[name, *counts] for name, counts in zip(held_out.datasets, held_out.confusion().tolist(), strict=True)]
    text = "Images by data set (rows) and by the head that the router chose."
    return [Section("Router", text, tables=[Table(("data set", *held_out.heads), rows)])]


def _curves(run_dir: Path) -> list[Picture]:
    steps = _lines(run_dir / "metrics.jsonl")
    curves = {}
    for name in steps[0]["losses"]:
        values = np.array([step["losses"][name] for step in steps])
        kernel = np.ones(min(SMOOTHING_STEPS, len(values)))
        smooth = np.convolve(values, kernel, "valid") / len(kernel)
        curves[name] = ([step["step"] for step in steps][len(kernel) - 1 :], smooth.tolist())
    figures = [
        line_figure({name: curve}, "step", f"{name} loss", f"{name} loss, mean of {SMOOTHING_STEPS} steps")
        for name, curve in curves.items()
    ]
    validations = _lines(run_dir / "validation.jsonl")
    if validations:
        at = [line["step"] for line in validations]
        for name in ("abs_rel", "delta1"):
            curve = (at, [line[name] for line in validations])
            figures.append(line_figure({name: curve}, "step", name, f"validation {name}, both domains"))
    return figures


def _pictures(held_out: HeldOut, domain: str) -> Iterator[Picture]:
    """Every so many scenes of a domain, with the abs_rel of each."""
    index = held_out.datasets.index(domain)
    results = {result.id: result for result in held_out.by_model}
    shown = 0
    for batch in held_out.scenes.source.validation_batches(BATCH_SIZE, np.arange(BATCH_SIZE)):
        arrays = jax.tree.map(np.asarray, dict(batch.arrays))
        rows = np.flatnonzero((arrays["domain"] == index) & arrays["example_mask"])
        if not rows.size:
            continue
        depths_m, _ = held_out.network(batch.arrays)
        for row in rows:
            if shown == PICTURES_PER_DOMAIN:
                return
            shown += 1
            valid, truth_m = arrays["valid_mask"][row], arrays["depth_m"][row]
            pixels = _strip(arrays["image"][row], truth_m, np.asarray(depths_m[row]), valid)
            metrics = results[batch.ids[row]].metrics
            yield picture_of(pixels, f"{batch.ids[row]}: abs_rel {metrics.abs_rel:.3f}, delta1 {metrics.delta1:.3f}")


def _strip(image: np.ndarray, truth_m: np.ndarray, depth_m: np.ndarray, valid: np.ndarray) -> np.ndarray:
    limits = {"vmin": float(truth_m[valid].min()), "vmax": float(truth_m[valid].max()), "colormap": "magma_r"}
    everywhere = np.zeros_like(valid)
    error = np.abs(depth_m - truth_m) / np.where(valid, truth_m, 1)
    parts = [
        eight_bits(image),
        colorize(truth_m, invalid_mask=~valid, **limits)[..., :3],
        colorize(depth_m, invalid_mask=everywhere, **limits)[..., :3],
        colorize(error, vmin=0, vmax=0.5, colormap="inferno", invalid_mask=~valid)[..., :3],
    ]
    return np.concatenate([part.repeat(ENLARGEMENT, 0).repeat(ENLARGEMENT, 1) for part in parts], axis=1)


def _file(path: Path, caption: str) -> Picture:
    with Image.open(path) as picture:
        return picture_of(np.asarray(picture.convert("RGB")), caption, format="jpeg")


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
