"""Reads the collectives out of a compiled program's text: what moves between devices, how much and how often."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SHAPE = re.compile(r"([a-z]+\d*\w*)\[([\d,]*)\]")
_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "s8": 1, "u8": 1, "s32": 4, "u32": 4, "s64": 8, "u64": 8}


@dataclass(frozen=True)
class Collective:
    """One instruction, once for each way it is reached."""

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    """(type, shape) of each array of the result, on one device."""
    group_size: int
    """Devices that exchange."""
    times: int
    """How often a step runs it: the product of the trip counts of the loops around it."""
    op_name: str
    """Where in the model it comes from."""

    @property
    def payload_bytes(self) -> int:
        """Size of the result on one device, all runs of a step together."""
        return self.times * sum(_BYTES[dtype] * math.prod(shape) for dtype, shape in self.shapes)

    @property
    def sent_bytes(self) -> float:
        """What one device sends in a step where collectives run around a ring."""
        others = self.group_size - 1
        factor = {
            "all-gather": others / self.group_size,
            "all-reduce": 2 * others / self.group_size,
            "reduce-scatter": others,
            "all-to-all": others / self.group_size,
            "collective-permute": 1.0,
        }
        return factor[self.kind] * self.payload_bytes


def collectives(hlo: str, devices: int) -> list[Collective]:
    """Every collective of a program.

    Args:
        hlo: `compiled.as_text()`.
        devices: how many the program runs on.
    """
    lines, entry = _computations(hlo)
    return list(_walk(lines, entry, 1, devices))


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    lines: dict[str, list[str]] = {}
    entry = name = ""
    for line in hlo.splitlines():
        if match := _COMPUTATION.match(line):
            name = match[1]
            lines[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name:
            lines[name].append(line)
    return lines, entry


def _walk(lines: dict[str, list[str]], computation: str, times: int, devices: int) -> Iterator[Collective]:
    for line in lines.get(computation, ()):
        if match := _COLLECTIVE.search(line):
            shapes = [
                (dtype, tuple(map(int, filter(None, sides.split(","))))) for dtype, sides in _SHAPE.findall(match[1])
            ]
            op_name = re.search(r'op_name="([^"]*)"', line)
            yield Collective(match[2], tuple(shapes), _group_size(line, devices), times, op_name[1] if op_name else "")
        trips = _TRIP_COUNT.search(line) if " while(" in line else None
        if " while(" in line and trips is None:
            raise ValueError(f"a loop without a known trip count: {line.strip()[:200]}")
        called = _CALLED.findall(line) + [n.strip(" %") for group in _BRANCHES.findall(line) for n in group.split(",")]
        for name in called:
            yield from _walk(lines, name, times * (int(trips[1]) if trips else 1), devices)


def _group_size(line: str, devices: int) -> int:
    """Replica groups are written as axes of a mesh, as an iota [groups, size]<=[...], or one by one."""
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\].*? \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([^}]*)\}", line):
        return len(match[1].split(","))
    return devices
