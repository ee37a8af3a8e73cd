from hypothesis import given
from hypothesis import strategies as st

from homeground.evaluate.foreign import KEPT, draw_line, foreign_questions

scores = st.lists(st.floats(-1, 1), min_size=1, max_size=50)


def test_one_in_twenty_may_be_lost_and_no_more():
    own = [at / 100 for at in range(40, 80)]
    found = draw_line(own, [0.1, 0.2, 0.41, 0.5], [0.3, 0.6])
    assert (found.least, found.own) == (0.42, 40)
    assert (found.kept, found.foreign_refused, found.absent_refused) == (0.95, 0.75, 0.5)


@given(scores, scores, scores)
def test_no_higher_line_would_keep_enough(own, foreign, absent):
    found = draw_line(own, foreign, absent)
    assert found.kept >= KEPT
    assert all(sum(x >= higher for x in own) < KEPT * len(own) for higher in own if higher > found.least)
    assert found.foreign_refused == sum(x < found.least for x in foreign) / len(foreign)


def test_foreign_questions_are_many_and_different():
    asked = foreign_questions()
    assert len(set(asked)) == len(asked) >= 40
    assert all(question.endswith(("?", ".")) for question in asked)
