import random

import pytest
import torch

from homeground.rollouts.cache import CacheNode
from homeground.rollouts.heads import HeadShape
from homeground.rollouts.tails import STEP, Tails, room_for

HEADS = HeadShape(2, 1, 3, 5, torch.float32, torch.device("cpu"))
TOKEN = 2 * (3 + 5) * 4
"""Bytes of one."""
PLENTY = 1 << 40


def node(length, value):
    """Cached keys and values: each token's tell whose it is and how far along."""
    told = value + torch.arange(length)[:, None] / 4096
    return CacheNode(None, [0] * length, told.expand(2, 1, -1, 3), -told.expand(2, 1, -1, 5))


def assert_holds(tails, row, length, value):
    assert tails.lengths[row] == length
    keys, values = tails.read(row)
    expected = node(length, value)
    assert torch.equal(keys, expected.keys)
    assert torch.equal(values, expected.values)


def grow(tails, marks):
    """Give every row one more token, as a decode step does."""
    tails.widen()
    for row, mark in enumerate(marks):
        shelf, place = tails.find(row)
        at = tails.lengths[row]
        for keys, values in zip(shelf.keys, shelf.values, strict=True):
            keys[place, :, at], values[place, :, at] = mark + at / 4096, -mark - at / 4096
        tails.lengths[row] += 1


def test_rooms_are_64_and_96_times_powers_of_two():
    assert [room_for(n) for n in (0, 1, 64, 65, 96, 97, 128, 129, 193, 1000, 1537)] == [
        64, 64, 64, 96, 96, 128, 128, 192, 256, 1024, 2048,
    ]  # fmt: skip


def test_whatever_joins_grows_and_leaves_rows_keep_what_they_hold():
    rng = random.Random(0)
    tails, marks, rooms = Tails(HEADS, PLENTY), [], set()
    for mark in range(60):
        joining = [rng.choice([0, 1, 50, 63, 64, 130, 300]) for _ in range(rng.randint(0, 3))]
        new = [100 * mark + i + 1 for i in range(len(joining))]
        tails.add(
            [[node(n, value)] if n else [] for n, value in zip(joining, new, strict=True)], [n + 999 for n in joining]
        )
        marks += new
        for _ in range(rng.randint(0, 40)):
            grow(tails, marks)
        for row in sorted(rng.sample(range(len(marks)), len(marks) // 3), reverse=True):
            tails.remove(row)
            marks[row] = marks[-1]
            marks.pop()
        tails.trim()
        for row, value in enumerate(marks):
            assert_holds(tails, row, tails.lengths[row], value)
        rooms |= {shelf.room for shelf in tails.shelves}
    assert rooms >= {64, 96, 128, 192, 256, 384}


def test_one_long_row_does_not_make_fifteen_short_ones_long():
    tails = Tails(HEADS, PLENTY)
    tails.add([[node(3000, 1)], *([node(20, 2)] for _ in range(15))], [4000] * 16)
    assert tails.bytes == (room_for(3000 + STEP) + 15 * room_for(20 + STEP)) * TOKEN
    assert tails.bytes < 1.6 * (3000 + 15 * 20) * TOKEN, "sixteen long tails would be 64,000 tokens"
    tails.remove(0)
    tails.trim()
    assert tails.bytes <= 2 * 15 * room_for(20 + STEP) * TOKEN
    for _ in range(15):
        tails.remove(0)
    tails.trim()
    assert tails.bytes == 0


def test_rows_that_come_one_by_one_seldom_move_the_others():
    tails, moved = Tails(HEADS, PLENTY), 0
    for row in range(40):
        before = [shelf.keys[0].data_ptr() for shelf in tails.shelves]
        tails.add([[node(30, row)]], [500])
        (shelf,) = tails.shelves
        moved += [shelf.keys[0].data_ptr()] != before
        assert len(shelf.rows) <= shelf.places < 2 * len(shelf.rows) + 1
    assert moved < 20


def test_a_row_that_moved_left_no_bytes_behind():
    tails = Tails(HEADS, PLENTY)
    tails.add([[node(40, row)] for row in range(8)], [2000] * 8)
    for length in range(40, 400):
        grow(tails, range(8))
        assert tails.bytes == 8 * room_for(max(length + 1, 40 + STEP)) * TOKEN
    for row in range(8):
        assert_holds(tails, row, 400, row)


@pytest.mark.parametrize(("needs", "fitting"), [([500, 500], 2), ([512, 512, 1], 2), ([1, 2000, 1], 1), ([3000], 1)])
def test_what_rows_may_need_is_kept_within_the_budget(needs, fitting):
    tails = Tails(HEADS, 1024 * TOKEN)
    assert tails.fits(needs) == fitting


def test_a_promise_ends_with_its_row():
    tails = Tails(HEADS, 1024 * TOKEN)
    tails.add([[]], [700])
    assert tails.fits([300]) == 0
    assert tails.fits([256]) == 1
    tails.remove(0)
    assert tails.fits([300]) == 1
