"""Which paths share a forward: groups go into forests by their distinct tokens, longest first."""

from __future__ import annotations

from collections.abc import Sequence

from homeground.policy.forest import TokenPath, common_prefix


def pack(groups: Sequence[Sequence[TokenPath]], budget: int) -> list[list[int]]:
    """Put groups into forests of at most ``budget`` distinct tokens (first fit, decreasing).

    Args:
        groups: paths that belong together because they share prefixes.
        budget: distinct tokens of a forest; a group that is larger alone gets a forest of its own.

    Returns:
        Indices of groups, forest by forest, largest forest first.
    """
    sizes = [distinct_tokens(group) for group in groups]
    forests: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(groups)), key=lambda i: (-sizes[i], i)):
        fit = next((f for f, left in enumerate(room) if sizes[index] <= left), None)
        if fit is None:
            forests.append([])
            room.append(budget)
            fit = len(forests) - 1
        forests[fit].append(index)
        room[fit] -= sizes[index]
    return forests


def distinct_tokens(paths: Sequence[TokenPath]) -> int:
    """Tokens of the forest of some paths: in sorted order, each path adds what follows its prefix shared with the last.

    Equal tokens after equal prefixes count once.
    """
    if len(paths) == 1:
        return len(paths[0].ids)
    total, last = 0, list[int]()
    for ids in sorted(list(path.ids) for path in paths):
        total += len(ids) - common_prefix(last, ids)
        last = ids
    return total
