import pytest

from homeground.base.errors import HomegroundError
from homeground.index import Index
from homeground.tasks import LookupTask, Split, TasksConfig, TaskSet, build_lookup_tasks, rank_of
from homeground.tasks.lookup import MOST_A_FILE, says_its_name

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
    assert tasks.removed == {"says its own name": 1, "shared by several functions": 2}


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
    index = index_of(tmp_path, {"a.py": many, "b.py": [("g", "Look for the keys under the mat at the door.")]})
    tasks = build_lookup_tasks(index, TasksConfig(heldout_share=0.5))
    assert sorted((len(tasks.train), len(tasks.heldout))) == [1, MOST_A_FILE]


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
    assert "25 to 220 characters" in str(caught.value.hint)
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
