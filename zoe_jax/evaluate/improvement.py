"""Mean relative improvement, mRI: how much better a method is than a reference, over metrics or over data sets.

Source: section 4.3 of the paper (arXiv 2302.12288). Results are shares; the tables print percent.
"""

import math
from collections.abc import Iterable, Mapping

HIGHER_IS_BETTER = frozenset({"delta1", "delta2", "delta3"})
"""Of all other metrics the lower is the better."""

OVER_METRICS = ("delta1", "abs_rel", "rmse")
"""What mRI_theta of Tables 3 and 4 goes over."""


def relative_improvement(metric: str, value: float, reference: float) -> float:
    """RI: the share of `reference` by which `value` is better, negative where it is worse.

    Args:
        metric: by the name of `zoe_jax.evaluate.metrics.DepthMetrics`; it says which way is better.
        value: of the method.
        reference: of the method that it is compared with.

    Returns:
        nan where a number is not finite, or the reference is 0.
    """
    if not (math.isfinite(value) and math.isfinite(reference)) or reference == 0:
        return math.nan
    gain = value - reference if metric in HIGHER_IS_BETTER else reference - value
    return gain / reference


def improvement_over_metrics(
    values: Mapping[str, float], reference: Mapping[str, float], metrics: Iterable[str] = OVER_METRICS
) -> float:
    """mRI_theta: the mean of RI over metrics, on one data set; nan where one of them is missing."""
    return _mean(
        relative_improvement(metric, values.get(metric, math.nan), reference.get(metric, math.nan))
        for metric in metrics
    )


def improvement_over_data_sets(
    values: Mapping[str, float], reference: Mapping[str, float], metric: str = "abs_rel"
) -> float:
    """mRI_D: the mean of RI of one metric over the reference's data sets; nan where one of them is missing."""
    return _mean(
        relative_improvement(metric, values.get(data_set, math.nan), of_reference)
        for data_set, of_reference in reference.items()
    )


def _mean(improvements: Iterable[float]) -> float:
    values = list(improvements)
    return sum(values) / len(values) if values else math.nan
