"""Many images of any size as full batches of one shape: lazy, in order, with bounded memory."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Numbered = tuple[int, Item]
"""An item with its place in the input, from 0."""


def map_ahead(
    executor: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`map(function, items)` in order, with up to `ahead` items in work beyond the one that is asked for."""
    pending = deque()
    for item in items:
        pending.append(executor.submit(function, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def group(
    items: Iterable[Item], key: Callable[[Item], Hashable | None], batch_size: int, look_ahead: int
) -> Iterator[list[Numbered[Item]]]:
    """Lists of up to `batch_size` items that agree in their key; the items of a list are in order.

    No item waits for its batch to fill while more than `look_ahead` later ones are read: the batch then goes out as it
    is. Items whose key is None go out at once and alone.
    """
    groups: dict[Hashable, list[Numbered[Item]]] = {}
    for position, item in enumerate(items):
        if (group_key := key(item)) is None:
            yield [(position, item)]
        else:
            members = groups.setdefault(group_key, [])
            members.append((position, item))
            if len(members) == batch_size:
                yield groups.pop(group_key)
        # A dict keeps the order of insertion, and a group is removed whole: its first entry has waited longest.
        while groups and position - (oldest := next(iter(groups.items())))[1][0][0] >= look_ahead:
            yield groups.pop(oldest[0])
    yield from groups.values()


def in_order(items: Iterable[Numbered[Item]]) -> Iterator[Item]:
    """The items by rising number, each as soon as all before it have come."""
    waiting: dict[int, Item] = {}
    position = 0
    for number, item in items:
        waiting[number] = item
        while position in waiting:
            yield waiting.pop(position)
            position += 1
