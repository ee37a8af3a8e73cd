import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus.ignore import Patterns
from homeground.index import Index
from homeground.tasks import LookupTask, Split, TasksConfig, TaskSet, build_lookup_tasks, rank_of
from homeground.tasks.config import TESTS
from homeground.tasks.lookup import LEAST_A_FILE
from homeground.tasks.questions import says_its_name

DOC = '"""{}"""'


def index_of(tmp_path, files):
    for path, functions in files.items():
        file = tmp_path / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f'def {name}(x):\n    """{doc}"""\n    return x\n\n\n' for name, doc in functions))
    return Index.build(tmp_path / "index", [tmp_path / "src"])[0]


def test_the_gold_is_the_symbol_whose_docstring_asks(village_index):
    tasks = build_lookup_tasks(village_index)
    everything = {task.gold: task for task in (*tasks.train, *tasks.heldout)}
    task = everything["bakery/oven.py::count_crumbs"]
    assert task.question == "Tell how many crumbs are left lying on the table after breakfast."
    assert (task.path, task.symbol) == ("bakery/oven.py", "count_crumbs")
    assert "bakery/oven.py::Oven.put_in" in everything
    assert len(everything) == 11
    assert "smithy/forge.py::bend_iron" in everything
    known = {(chunk.path, chunk.symbol) for chunk in village_index.chunks()}
    assert {(task.path, task.symbol) for task in everything.values()} <= known
    assert len({task.id for task in everything.values()}) == len(everything)


def test_the_splits_share_no_file(village_index):
    for seed in range(5):
        tasks = build_lookup_tasks(village_index, TasksConfig(heldout_share=0.5), seed=seed)
        assert {task.path for task in tasks.train}.isdisjoint(task.path for task in tasks.heldout)
        assert {task.split for task in tasks.train} == {Split.TRAIN}
        assert {task.split for task in tasks.heldout} == {Split.HELDOUT}


def test_the_same_seed_gives_the_same_tasks_and_another_one_others(village_index):
    first = build_lookup_tasks(village_index, seed=3)
    assert build_lookup_tasks(village_index, seed=3) == first
    assert any(build_lookup_tasks(village_index, seed=seed).heldout != first.heldout for seed in range(4, 9))


def test_limits_are_kept(village_index):
    tasks = build_lookup_tasks(village_index, TasksConfig(train=2, heldout=1, min_chars=60, max_chars=80))
    assert (len(tasks.train), len(tasks.heldout)) == (2, 1)
    assert all(60 <= len(task.question) <= 80 for task in (*tasks.train, *tasks.heldout))
    assert tasks.removed["too short or too long"] > 0


def test_the_masked_view_no_longer_holds_the_question(village_index, tmp_path):
    tasks = build_lookup_tasks(village_index)
    masked = village_index.masked(tmp_path / "masked", tasks.masks)
    text = " ".join(" ".join(chunk.text.split()) for chunk in masked.chunks())
    full = " ".join(" ".join(chunk.text.split()) for chunk in village_index.chunks())
    for task in (*tasks.train, *tasks.heldout):
        assert task.question in full
        assert task.question not in text
        hits = masked.search(task.question, 30)
        (hit,) = [hit for hit in hits if (hit.path, hit.symbol) == (task.path, task.symbol)]
        (original,) = [c for c in village_index.chunks() if (c.path, c.symbol) == (task.path, task.symbol)]
        assert (hit.start, hit.end) == (original.start, original.end)
        assert len(hit.text.split("\n")) == len(original.text.split("\n"))
    assert len(masked.chunks()) == len(village_index.chunks())


def test_near_duplicates_of_heldout_questions_leave_the_train_split_and_are_counted(tmp_path):
    doc = "Read the next byte of the stream and return it as a number between zero and two hundred fifty five{}"
    index = index_of(
        tmp_path,
        {
            "a.py": [("first", doc.format(".")), ("other", "Wait until the kettle on the stove has boiled dry.")],
            "b.py": [("second", doc.format(" now.")), ("more", "Paint the fence of the garden green or white.")],
        },
    )
    tasks = build_lookup_tasks(index, TasksConfig(heldout_share=0.5))
    assert tasks.removed_near_duplicates == 1
    assert (len(tasks.train), len(tasks.heldout)) == (1, 2)
    assert "Read the next byte" not in tasks.train[0].question
    lenient = build_lookup_tasks(index, TasksConfig(heldout_share=0.5, near_duplicate=1.0))
    assert (lenient.removed_near_duplicates, len(lenient.train)) == (0, 2)


def test_questions_without_one_answer_or_that_say_it_are_dropped_and_counted(tmp_path):
    shared = "Close the underlying file and release its lock."
    index = index_of(
        tmp_path,
        {
            "a.py": [("close_a", shared), ("fine", "Turn the page of the book to the next one.")],
            "b.py": [("close_b", shared), ("peel", "Use peel to take the skin off an orange.")],
            "c.py": [("boil", "Heat the water until bubbles rise to its top.")],
        },
    )
    tasks = build_lookup_tasks(index, TasksConfig(heldout_share=0.5))
    assert {task.symbol for task in (*tasks.train, *tasks.heldout)} == {"fine", "boil"}
    assert tasks.removed == {"says its own name": 1, "shared by definitions of several names": 2}


def test_no_file_gives_more_than_its_share(tmp_path):
    words = [
        "red",
        "green",
        "blue",
        "small",
        "large",
        "old",
        "new",
        "wet",
        "dry",
        "warm",
        "cold",
        "soft",
        "hard",
        "sour",
    ]
    many = [
        (f"f{at}", f"Put the {word} apple into the basket of the {word} neighbour.") for at, word in enumerate(words)
    ]
    others = {f"{at}.py": [("g", f"Look for the {word} keys under the mat.")] for at, word in enumerate(words[:6])}
    index = index_of(tmp_path, {"a.py": many, **others})
    tasks = build_lookup_tasks(index, TasksConfig(train=20, heldout=20, heldout_share=0.5))
    assert sum(task.path == "a.py" for task in (*tasks.train, *tasks.heldout)) == LEAST_A_FILE
    more = build_lookup_tasks(index, TasksConfig(train=40, heldout=20, heldout_share=0.5))
    assert sum(task.path == "a.py" for task in (*more.train, *more.heldout)) == 14


def test_files_of_tests_give_no_task_unless_the_setting_says_so(tmp_path):
    words = iter(["red", "last", "slow", "new", "old", "long"])
    files = ["ride.py", "walk.py", "tests/helper.py", "pkg/test_ride.py"]
    index = index_of(
        tmp_path, {path: [(f"go_{at}", f"Take the {next(words)} bus to the town.")] for at, path in enumerate(files)}
    )
    tasks = build_lookup_tasks(index, TasksConfig(heldout_share=0.5))
    assert {task.path for task in (*tasks.train, *tasks.heldout)} == {"ride.py", "walk.py"}
    assert tasks.removed == {"a test": 2}
    tasks = build_lookup_tasks(index, TasksConfig(heldout_share=0.5, exclude=("walk.py",)))
    assert {task.path for task in (*tasks.train, *tasks.heldout)} == {*files} - {"walk.py"}


@pytest.mark.parametrize(
    ("path", "is_test"),
    [
        ("args_test.go", True),
        ("src/a.test.ts", True),
        ("src/__tests__/a.ts", True),
        ("gson/src/test/java/A.java", True),
        ("src/MoneyTest.java", True),
        ("Tests/MoneyTests/Money.swift", True),
        ("spec/models/user.rb", True),
        ("user_spec.rb", True),
        ("conftest.py", True),
        ("src/__mocks__/fs.js", True),
        ("lib/Money.t", True),
        ("src/latest.py", False),
        ("src/Contest.java", False),
        ("unittest/mock.py", False),
        ("src/attest/sign.rs", False),
        ("src/PodSpec.java", False),
        ("docs/specification.md", False),
    ],
)
def test_usual_names_of_tests_are_recognised_and_no_others(path, is_test):
    assert Patterns.of_ignore_file(TESTS).covers(path) is is_test


OTHER_LANGUAGES = {
    "sum.go": "package shop\n\n// Sum adds the prices of everything in a basket.\n"
    "func Sum(b []int) int {\n\treturn 0\n}\n",
    "basket.h": "/** Empties the basket, whatever is in it. */\n"
    "static inline void basket_clear(struct basket *b) {\n  b->n = 0;\n}\n",
    "basket.c": '#include "basket.h"\n\n/** Empties the basket, whatever is in it. */\n'
    "void basket_clear(struct basket *b) {\n  b->n = 0;\n  b->total = 0;\n}\n",
    "count.h": "/** Counts what is left on all the shelves. */\nint shelf_count(void);\n",
    "count.c": '#include "count.h"\n\nint shelf_count(void) {\n  int left = 0;\n  return left;\n}\n',
    "open.ts": "/** Opens the shop on every day but Sunday. */\nexport function openShop() {\n  return 1;\n}\n",
}


def test_every_language_asks_and_a_header_answers_as_well_as_its_source(tmp_path):
    (tmp_path / "src").mkdir()
    for name, text in OTHER_LANGUAGES.items():
        (tmp_path / "src" / name).write_text(text)
    index, _ = Index.build(tmp_path / "index", [tmp_path / "src"])
    tasks = build_lookup_tasks(index, TasksConfig(heldout_share=0.5))
    asked = {task.question: task for task in (*tasks.train, *tasks.heldout)}
    assert set(asked) == {
        "Adds the prices of everything in a basket.",
        "Empties the basket, whatever is in it.",
        "Counts what is left on all the shelves.",
        "Opens the shop on every day but Sunday.",
    }
    assert asked["Counts what is left on all the shelves."].gold == "count.c::shelf_count"
    clear = asked["Empties the basket, whatever is in it."]
    assert (clear.gold, clear.also) == ("basket.c::basket_clear", ("basket.h::basket_clear",))
    assert clear.is_answered_by("basket.h", "basket_clear")
    text = "".join(tasks.masks.get(chunk.id, chunk).text for chunk in index.chunks())
    assert "whatever" not in text
    assert "adds the prices" not in text
    assert "on all the shelves" not in text


@pytest.mark.parametrize(
    ("question", "symbol", "says"),
    [
        ("Call splitext on each path.", "os.splitext", True),
        ("Used by __init__ of the class.", "A.__init__", True),
        ("Set the _value of this.", "value", True),
        ("Split the extension off.", "splitext", False),
        ("Reset all values.", "set", False),
    ],
)
def test_a_question_that_says_the_name_is_recognised(question, symbol, says):
    assert says_its_name(question, symbol) is says


def test_too_few_files_say_what_is_missing(tmp_path):
    index = index_of(tmp_path, {"a.py": [("f", "Take the bus to the town in the morning.")]})
    with pytest.raises(HomegroundError, match="only 1 of the indexed files") as caught:
        build_lookup_tasks(index)
    assert "found python: 1 file, 1 definition, 1 with a usable comment" in caught.value.message
    assert "25 to 220 characters" in str(caught.value.hint)
    assert "headings and from the git history" in str(caught.value.hint)
    assert caught.value.where == str(tmp_path / "src")


def test_a_file_that_is_gone_since_indexing_is_counted(tmp_path):
    words = enumerate(["red", "last", "slow"])
    index = index_of(
        tmp_path,
        {f"{at}.py": [(f"ride_{at}", f"Take the {word} bus to the town in the morning.")] for at, word in words},
    )
    (tmp_path / "src" / "1.py").unlink()
    assert build_lookup_tasks(index, TasksConfig(heldout_share=0.5)).removed["file is gone"] == 1


def test_a_set_comes_back_from_its_file_as_it_was(village_index, tmp_path):
    tasks = build_lookup_tasks(village_index, TasksConfig(heldout_share=0.5))
    tasks.save(tmp_path / "tasks.jsonl")
    again = TaskSet.load(tmp_path / "tasks.jsonl")
    assert again == tasks
    assert again.masks
    assert isinstance(again.train[0].split, Split)


@pytest.mark.parametrize("content", ["", '{"question": "x"}\n', '{"removed": {}}\n{"id": 1}\n'])
def test_another_file_is_no_task_file(tmp_path, content):
    (tmp_path / "tasks.jsonl").write_text(content)
    with pytest.raises(HomegroundError, match="not a file of look-up tasks") as caught:
        TaskSet.load(tmp_path / "tasks.jsonl")
    assert "homeground tasks" in str(caught.value.hint)


def test_the_rank_is_by_path_and_symbol_among_the_first_hits(village_index):
    hits = village_index.search("horse", 10)

    def task(path, symbol):
        return LookupTask("id", "?", f"{path}::{symbol}", path, symbol, Split.TRAIN)

    for rank, hit in enumerate(hits, start=1):
        assert rank_of(hits, task(hit.path, hit.symbol)) == rank
    third = task(hits[2].path, hits[2].symbol)
    assert rank_of(hits, third, depth=2) is None
    assert rank_of(hits, task("elsewhere.py", hits[0].symbol)) is None
    assert rank_of([], third) is None
