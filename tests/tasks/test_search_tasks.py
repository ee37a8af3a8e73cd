import json
import subprocess
from collections import Counter

import pytest

from homeground.base.errors import HomegroundError
from homeground.corpus import Chunk, Walk, chunk_lines
from homeground.index import Index
from homeground.tasks import Answer, QueryKind, SearchTask, TasksConfig, build_search_tasks, ranks_of
from homeground.tasks.headings import heading_tasks
from homeground.tasks.history import changelog_masks, commit_question, commit_tasks, is_changelog, is_repository, newest


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


def sections_of(folder, name, text):
    (folder / name).write_text(text)
    (file,) = Walk(folder)
    return chunk_lines(file.path, file.lines(), file.language, sections=file.text.sections)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "# Village\n\n## The [bakery](b.md) `shop`\n\nBODY\n"),
        ("a.rst", "Village\n=======\n\nThe :doc:`bakery` ``shop``\n-------------------------\n\nBODY\n"),
        ("a.html", "<h1>Village</h1><h2>The <b>bakery</b> shop</h2><p>BODY</p>"),
        ("a.ipynb", json.dumps({"nbformat": 4, "cells": [
            {"cell_type": "markdown", "source": "# Village"},
            {"cell_type": "markdown", "source": "## The bakery shop\n"},
            {"cell_type": "code", "source": "# BODY"},
        ]})),
    ],
)  # fmt: skip
def test_sections_of_every_kind_of_document_ask(tmp_path, name, text):
    long = "bread is sold here from five in the morning until noon, every day but Sunday"
    chunks = sections_of(tmp_path, name, text.replace("BODY", long))
    assert {one.kind for one in chunks} == {"section"}
    ((task, masks),) = heading_tasks(chunks)
    assert task.query == "The bakery shop"
    assert all("bakery" not in one.indexed_text for one in masks.values())
    assert long in "".join(one.text for one in masks.values())
    assert {chunk.id for chunk in chunks if "bakery" in chunk.indexed_text} == set(masks)


def test_pages_versions_and_changelogs_ask_nothing():
    text = "word " * 30
    symbols = [
        ("a.pdf", "page 3"),
        ("a.ipynb", "cell 3"),
        ("a.md", "v1.2.3 - 2024-01-02"),
        ("CHANGES.md", "A nice thing"),
    ]
    assert heading_tasks([chunk(path, 1, 2, symbol, "section", text) for path, symbol in symbols]) == []


def test_a_title_of_two_words_asks_with_the_one_above_and_marks_are_left_out():
    text = "word " * 30
    symbols = [
        "Backends > Setting up",
        "Backends > 1.2. The page \\<title\\> of `Vec<T>`",
        "Backends > <b>Other</b> things",
    ]
    found = heading_tasks([chunk("a.md", at, at, symbol, "section", text) for at, symbol in enumerate(symbols, 1)])
    assert [task.query for task, _ in found] == [
        "Backends: Setting up", "The page <title> of Vec<T>", "Backends: Other things",
    ]  # fmt: skip


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


@pytest.mark.parametrize(
    ("subject", "body", "question"),
    [
        ("feat(cli)!: add a flag for the oven (#123)", "", "add a flag for the oven"),
        ("[GH-12] Sell bread by weight, fixes #4", "", "Sell bread by weight"),
        ("ABC-123: Round the price", "Closes #7.\n\nSigned-off-by: A <a@b.c>\nChange-Id: I1", "Round the price"),
        ("Read UTF-8 names", "", "Read UTF-8 names"),
        ("Fix the door", "It was left open at night.\n\n* wip\n* lint", "Fix the door. It was left open at night."),
        ("Fix the door", "word " * 200, "Fix the door"),
        ("see https://github.com/a/b/issues/12 for the oven", "", "for the oven"),
    ],
)
def test_a_commit_asks_without_numbers_types_and_trailers(subject, body, question):
    assert commit_question(subject, body) == question


def test_changelogs_are_known_by_name_and_emptied():
    paths = ("CHANGELOG.md", "a/CHANGES", "docs/news/x.md", "history.py", "changes/1.md", "HISTORY.rst")
    assert [path for path in paths if is_changelog(path)] == [
        "CHANGELOG.md",
        "a/CHANGES",
        "changes/1.md",
        "HISTORY.rst",
    ]
    log, code = chunk("CHANGELOG.md", 1, 3, "Log > 1.0", "section", "# Log\n\nthe oven"), chunk("a.py", 1, 1, "f")
    ((old, masked),) = changelog_masks([log, code]).items()
    assert (old, masked.text, masked.indexed_text.strip()) == (log.id, "\n\n", "CHANGELOG.md")


def test_commits_that_ask_nothing_are_counted_by_reason(repository):
    def commit(subject, *options, files=1):
        for number in range(files):
            (repository / f"{number}.txt").write_text(subject)
        name = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(repository), "add", "-A"], check=True)
        subprocess.run(["git", "-C", str(repository), *name, "commit", "-qm", subject, *options], check=True)

    commit("Merge the branch of the baker")
    commit("Release 1.2.3 of the village")
    commit("chore(deps): update the flour to 2")
    commit("Say good morning to everyone", "--author=dependabot[bot] <b@example.com>")
    commit("Say it in many places", files=6)
    commit("docs: fix some typos in the oven")
    commit("Short")
    removed = Counter()
    tasks = commit_tasks(
        repository, [chunk("grüße/shop.py", 1, 2, "sell"), chunk("0.txt", 1, 1, "", "lines")], "", removed
    )
    assert removed == {
        "a merge": 1, "a version or dependency bump": 2, "by a bot": 1, "changed more than 5 files": 1,
        "says fewer than 3 words": 1, "a revert": 1, "a typo or formatting": 1,
    }  # fmt: skip
    assert [task.query for task in newest(tasks, 0.5)] == ["Lock the door twice at night", "Round the price of a bread"]


def test_a_file_without_definitions_is_an_answer(repository):
    chunks = [chunk("grüße/shop.py", 1, 4, "", "lines"), chunk("grüße/shop.py", 5, 6, "", "lines")]
    assert commit_tasks(repository, chunks)[0].answers == (Answer("grüße/shop.py", "", ((1, 6),)),)


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
