import json

import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk
from homeground.tasks import Answer, QueryKind
from homeground.tasks.own_questions import own_tasks

CHUNKS = [
    Chunk("1", "src/shop.py", 1, 4, "Shop.sell", "method", "python", "", ""),
    Chunk("2", "src/shop.py", 5, 9, "close", "function", "python", "", ""),
    Chunk("3", "village.md", 1, 3, "Village > Bakery", "section", "markdown", "", ""),
]


def written(tmp_path, *rows):
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return file


def test_places_are_files_definitions_and_lines(tmp_path):
    places = ["src/shop.py", "src/shop.py::close", "src/shop.py:2-6", "src/shop.py:3", "./village.md::Village > Bakery",
              "src/shop.py::Shop"]  # fmt: skip
    (task,) = own_tasks(written(tmp_path, "", {"question": " where is it sold? ", "places": places}), CHUNKS)
    assert (task.kind, task.query) == (QueryKind.OWN, "where is it sold?")
    assert task.answers == (
        Answer("src/shop.py", "", ((1, 9),)),
        Answer("src/shop.py", "close", ((5, 9),)),
        Answer("src/shop.py", "", ((2, 6),)),
        Answer("src/shop.py", "", ((3, 3),)),
        Answer("village.md", "Village > Bakery", ((1, 3),)),
        Answer("src/shop.py", "Shop", ((1, 4),)),
    )


@pytest.mark.parametrize(
    ("place", "near"),
    [
        ("src/shp.py", "src/shop.py"),
        ("src/shop.py::clos", "src/shop.py::close"),
        ("src/shop.py::sell", "src/shop.py::Shop.sell"),
        ("src/shop.py:8-12", "src/shop.py:1-9"),
        ("src/shop.py:6-2", "src/shop.py:1-9"),
    ],
)
def test_a_place_that_the_index_lacks_is_named_with_the_nearest(tmp_path, place, near):
    good = {"question": "a", "places": ["village.md"]}
    file = written(tmp_path, good, {"question": "b", "places": [place]})
    with pytest.raises(HomegroundError) as error:
        own_tasks(file, CHUNKS)
    assert error.value.message == f"the index does not have {place}"
    assert (error.value.where, error.value.hint) == (f"{file}:2", f"nearest is {near}")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "no question"),
        ({"question": "a"}, "places: Field required"),
        ({"question": " ", "places": ["x"]}, "question: "),
        ({"question": "a", "places": []}, "places: "),
        ({"question": "a", "places": ["x"], "answer": 1}, "answer: "),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, row, words):
    file = written(tmp_path, row)
    with pytest.raises(HomegroundError, match=words) as error:
        own_tasks(file, CHUNKS)
    assert error.value.where == f"{file}:1"


def test_files_without_questions_and_repeated_ones_are_errors(tmp_path):
    with pytest.raises(HomegroundError, match="cannot be read"):
        own_tasks(tmp_path / "none.jsonl", CHUNKS)
    with pytest.raises(HomegroundError, match="has no question"):
        own_tasks(written(tmp_path, ""), CHUNKS)
    one = {"question": "a", "places": ["village.md"]}
    with pytest.raises(HomegroundError, match="on a line above"):
        own_tasks(written(tmp_path, one, one), CHUNKS)
    with pytest.raises(HomegroundError, match=r"does not have a\.md") as error:
        own_tasks(written(tmp_path, {"question": "a", "places": ["a.md"]}), [])
    assert error.value.hint == "index the files that the places name: homeground index"
