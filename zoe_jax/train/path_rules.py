"""Rules on parameter paths: one notation for sharding, learning-rate groups, freezing and skipped parameters.

The path of a parameter is its names joined by "/", as in `decoder/head/conv1/kernel`. A rule is a regular expression
that must match the whole path; of several rules the first that matches wins. A rule that decides nothing is an error,
so that a renamed parameter cannot silently leave its group.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
from jaxtyping import PyTree

from zoe_jax.errors import ZoeJaxError

T = TypeVar("T")


class PathRuleError(ZoeJaxError):
    """A path rule is not a regular expression, or no parameter follows it."""


def paths(tree: PyTree) -> list[str]:
    """The path of every leaf, in the order of `jax.tree.leaves`."""
    return [jax.tree_util.keystr(keys, simple=True, separator="/") for keys, _ in jax.tree.leaves_with_path(tree)]


def match(rules: Sequence[tuple[str, Any]], names: Sequence[str], *, purpose: str) -> list[int | None]:
    """For every path the index of the rule that decides it, or None.

    Args:
        rules: pairs (regular expression, value); the first that matches a whole path wins.
        names: the paths.
        purpose: what the rules are for ("learning-rate groups"); errors name it.

    Raises:
        PathRuleError: a rule is not a regular expression, matches no path, or only paths that earlier rules decide.
    """
    patterns = [_compile(pattern, purpose) for pattern, _ in rules]
    deciding = [next((i for i, p in enumerate(patterns) if p.fullmatch(name)), None) for name in names]
    for i, pattern in enumerate(patterns):
        if i in deciding:
            continue
        if any(pattern.fullmatch(name) for name in names):
            raise PathRuleError(f"{purpose}: earlier rules decide all that {pattern.pattern!r} matches: move it up")
        raise PathRuleError(f"{purpose}: {pattern.pattern!r} matches no parameter path; one is {_example(names)}")
    return deciding


def assign(rules: Sequence[tuple[str, T]], tree: PyTree, default: T, *, purpose: str) -> PyTree:
    """A tree of the structure of `tree` whose leaves are the values of the deciding rules.

    Args:
        rules: pairs (regular expression, value); the first that matches a whole path wins.
        tree: parameters, or anything of their structure.
        default: the value of paths that no rule matches.
        purpose: what the rules are for; errors name it.

    Raises:
        PathRuleError: as `match`.
    """
    deciding = match(rules, paths(tree), purpose=purpose)
    return jax.tree.unflatten(jax.tree.structure(tree), [default if i is None else rules[i][1] for i in deciding])


def select(patterns: Sequence[str], tree: PyTree, *, purpose: str) -> PyTree:
    """A tree of bools of the structure of `tree`: whether any of the patterns matches the whole path.

    Patterns may overlap here, since all of them say the same.

    Raises:
        PathRuleError: a pattern is not a regular expression or matches no path.
    """
    names = paths(tree)
    for pattern in patterns:
        match([(pattern, True)], names, purpose=purpose)
    chosen = [any(re.fullmatch(pattern, name) for pattern in patterns) for name in names]
    return jax.tree.unflatten(jax.tree.structure(tree), chosen)


def explain(rules: Sequence[tuple[str, Any]], tree: PyTree, *, purpose: str) -> dict[str | None, list[str]]:
    """The paths that each rule decides, by its pattern; under None those that no rule matches.

    Raises:
        PathRuleError: as `match`.
    """
    names = paths(tree)
    decided: dict[str | None, list[str]] = {pattern: [] for pattern, _ in rules}
    decided[None] = []
    for name, i in zip(names, match(rules, names, purpose=purpose), strict=True):
        decided[None if i is None else rules[i][0]].append(name)
    return decided


def _compile(pattern: str, purpose: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise PathRuleError(f"{purpose}: {pattern!r} is not a regular expression: {error}") from error


def _example(names: Sequence[str]) -> str:
    return repr(names[0]) if names else "none, the tree is empty"
