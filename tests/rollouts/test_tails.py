import torch

from homeground.rollouts.heads import HeadShape
from homeground.rollouts.tails import SMALLEST, Tails

HEADS = HeadShape(2, 1, 3, 5, torch.float32, torch.device("cpu"))


def filled(rows=4, length=10):
    tails = Tails(HEADS, rows)
    tails.reserve(length, 0)
    for row in range(rows):
        tails.keys[:, row] = row + 1
        tails.values[:, row] = -row - 1
        tails.lengths[row] = length
    return tails


def test_room_grows_and_keeps_what_the_rows_hold():
    tails = filled()
    tails.reserve(1000, 4)
    assert tails.capacity >= 1000
    assert (tails.keys[:, 2, :, :10] == 3).all()
    assert (tails.values[:, 3, :, :10] == -4).all()
    assert (tails.keys[:, :, :, SMALLEST:] == 0).all()


def test_room_is_given_back_when_no_row_needs_it():
    tails = filled()
    tails.reserve(4000, 4)
    tails.reserve(10, 2)
    assert tails.capacity == SMALLEST
    assert (tails.keys[:, 1, :, :10] == 2).all()
    tails.reserve(0, 0)
    assert tails.keys.nbytes == tails.values.nbytes == 0


def test_a_little_more_or_less_copies_nothing():
    tails = filled()
    tails.reserve(100, 4)
    keys = tails.keys
    for needed in (90, 110, 128, 40):
        tails.reserve(needed, 4)
    assert tails.keys is keys


def test_a_row_takes_another_s_place():
    tails = filled()
    tails.lengths[3] = 4
    tails.move(3, 0)
    assert tails.lengths[0] == 4
    assert (tails.keys[:, 0, :, :4] == 4).all()
    assert (tails.values[:, 0, :, :4] == -4).all()
