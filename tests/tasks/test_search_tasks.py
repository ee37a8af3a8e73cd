import subprocess

import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk
from homeground.index import Index
from homeground.tasks import Answer, QueryKind, SearchTask, TasksConfig, build_search_tasks, ranks_of
from homeground.tasks.headings import heading_tasks
from homeground.tasks.history import commit_tasks, is_repository


def chunk(path, start, end, symbol, kind="function", text="x = 1", header=None):
    return Chunk(f"{path}:{start}", path, start, end, symbol, kind, "python", header or f"{path} {symbol}", text)


def test_an_answer_is_shown_by_any_of_its_lines():
    answer = Answer("a.py", "f", ((3, 5), (9, 9)))
    shown = [answer.shown_by(chunk("a.py", *span, "")) for span in ((1, 2), (5, 6), (6, 8), (9, 20))]
    assert shown == [False, True, False, True]
    assert not answer.shown_by(chunk("b.py", 3, 5, "f"))


def test_ranks_are_those_of_each_answers_first_hit():
    answers = tuple(Answer(path, "", ((1, 9),)) for path in ("a.py", "b.py", "c.py"))
    hits = [chunk(path, 1, 1, "") for path in ("x.py", "b.py", "a.py", "b.py")]
    assert ranks_of(hits, SearchTask("t", QueryKind.COMMIT, "?", answers)) == [3, 2, None]


def test_a_docstring_asks_for_the_lines_of_its_function(village_index):
    made = build_search_tasks(village_index, TasksConfig(heldout_share=0.6), each=160)
    chunks = {(one.path, one.symbol): one for one in village_index.chunks()}
    asked = [task for task in made.tasks if task.kind is QueryKind.DOCSTRING]
    assert len(asked) >= 3
    for task in asked:
        (answer,) = task.answers
        found = chunks[answer.path, answer.symbol]
        assert answer.spans == ((found.start, found.end),)
        assert task.query in " ".join(found.text.split())
        assert task.query not in " ".join(made.masks[found.id].text.split())


def test_names_ask_only_when_no_other_definition_has_them(village_index):
    made = build_search_tasks(village_index, TasksConfig(heldout_share=0.6), each=160)
    names = {task.query for task in made.tasks if task.kind is QueryKind.IDENTIFIER}
    assert names & {"bend_iron", "heat_up", "shoe_horse", "total_price"}
    assert "__init__" in {one.symbol.rpartition(".")[2] for one in village_index.chunks()} or "init" not in names
    assert made.missing[QueryKind.COMMIT].startswith("no git history")


def test_files_of_tests_ask_for_nothing(village_index):
    config = TasksConfig(heldout_share=0.6)
    asked = build_search_tasks(village_index, config, each=160).tasks
    path = next(task.answers[0].path for task in asked if task.kind is QueryKind.IDENTIFIER)
    fewer = build_search_tasks(village_index, config.model_copy(update={"exclude": (path,)}), each=160).tasks
    assert path not in {answer.path for task in fewer for answer in task.answers}


def test_a_heading_leaves_its_chunk_and_its_breadcrumb():
    long = "bread is sold here from five in the morning until noon, every day but Sunday"
    section = chunk("a.md", 5, 7, "Village > The bakery shop", "section", f"## The bakery shop\n\n{long}")
    outer = chunk("a.md", 1, 3, "Village", "section", f"# Village\n\n{long}")
    ((task, masks),) = heading_tasks([outer, section])
    assert task.query == "The bakery shop"
    assert task.answers == (Answer("a.md", "Village > The bakery shop", ((5, 7),)),)
    (masked,) = masks.values()
    assert "shop" not in masked.indexed_text
    assert masked.text.split("\n") == ["", "", long]
    assert masked.header == "a.md Village"


def test_sections_that_nothing_could_find_ask_nothing():
    text = "word " * 30
    twice = [chunk(f"{n}.md", 1, 2, "How it works", "section", text) for n in range(2)]
    short = chunk("c.md", 1, 2, "Quite short", "section", "## Quite short\nyes")
    single = chunk("d.md", 1, 2, "Usage", "section", text)
    assert heading_tasks([*twice, short, single]) == []


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        name = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(tmp_path), *name, *arguments], check=True, capture_output=True)

    git("init", "-q")
    file = tmp_path / "grüße" / "shop.py"
    file.parent.mkdir()
    body = "def sell(bread):\n    return bread.price\n\n\ndef close(shop):\n    shop.door.lock()\n"
    steps = [
        (body, "Open the shop in the village"),
        (body.replace("bread.price", "round(bread.price, 2)"), "Round the price of a bread"),
        (body.replace("bread.price", "round(bread.price, 1)"), "Revert the price of a bread"),
        (body.replace("lock()", "lock(twice=True)"), "Lock the door twice at night"),
    ]
    for text, subject in steps:
        file.write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", subject)
    return tmp_path


def test_a_commit_asks_for_the_definitions_that_it_changed(repository):
    path = "grüße/shop.py"
    chunks = [chunk(path, 1, 2, "sell"), chunk(path, 5, 6, "close")]
    tasks = commit_tasks(repository, chunks)
    found = {task.query: [answer.symbol for answer in task.answers] for task in tasks}
    assert found == {
        "Open the shop in the village": ["close", "sell"],
        "Round the price of a bread": ["sell"],
        "Lock the door twice at night": ["close", "sell"],
    }
    assert tasks[-1].answers[0].spans == ((5, 6),)


def test_a_repository_runs_no_program_of_its_own(repository):
    trap = repository / "trap"
    for key in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand"):
        subprocess.run(["git", "-C", str(repository), "config", key, f"touch {trap}"], check=True)
    assert commit_tasks(repository, [chunk("grüße/shop.py", 1, 2, "sell")])
    assert not trap.exists()


def test_a_folder_without_history_gives_no_commits(tmp_path):
    assert not is_repository(tmp_path)


def test_a_corpus_that_asks_nothing_is_an_error_that_says_so(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "note.txt").write_text("nothing here\n")
    index, _ = Index.build(tmp_path / "index", [tmp_path / "src"])
    with pytest.raises(HomegroundError, match="nothing in this corpus asks for anything"):
        build_search_tasks(index, each=160)
