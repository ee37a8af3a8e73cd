import json
import re

import pypdf
import pytest

from homeground.cli import main
from homeground.corpus import stdlib_root

from .test_documents import check

EMAIL = str(stdlib_root() / "email")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    home = str(folder / "home")
    arguments = ["documentation", "completion", "--root", EMAIL, "--train", "50", "--heldout", "20", "--home", home]
    assert main(["data", *arguments, "--out", str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["documentation", "completion"])
def test_train_and_held_out_rows_share_no_module_and_no_run_of_words(made, kind):
    train, heldout = rows(made / kind / "train.jsonl"), rows(made / kind / "heldout.jsonl")
    assert len(train) == 50
    assert 10 <= len(heldout) <= 20
    modules = [{row["source"].partition("::")[0] for row in part} for part in (train, heldout)]
    assert not modules[0] & modules[1]

    def grams(row):
        said = row.get("continuation") or row["messages"][-1]["content"]
        words = re.findall(r"\w+", said.lower())
        return {tuple(words[at : at + 13]) for at in range(len(words) - 12)}

    known = set().union(*map(grams, heldout))
    assert known
    assert not [row["source"] for row in train if grams(row) & known]


def test_the_report_counts_what_was_written(made):
    report = json.loads((made / "report.json").read_text())
    check("own_data", report)
    assert list(report["kinds"]) == ["documentation", "completion"]
    assert report["kinds"]["documentation"]["train"] == len(rows(made / "documentation" / "train.jsonl"))
    assert 0 < report["heldout_modules"] < report["modules"]


def test_a_kind_that_needs_an_index_says_so(tmp_path, capsys):
    arguments = ["--root", EMAIL, "--home", str(tmp_path / "home"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["data", "answers", *arguments]) == 1
    assert "homeground index" in capsys.readouterr().err


def test_a_corpus_that_gives_nothing_says_why(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# A\n\nText.")
    arguments = ["--root", str(tmp_path / "notes"), "--home", str(tmp_path / "home"), "--quiet"]
    assert main(["data", *arguments]) == 1
    told = capsys.readouterr().err
    assert "no kind of rows could be made" in told
    assert "no train rows of documentation" in told or "no held-out rows of documentation" in told


def test_a_kind_has_its_former_name_too_and_one_that_does_not_exist_is_refused(tmp_path, capsys):
    arguments = ["--root", EMAIL, "--home", str(tmp_path / "home"), "--dry-run", "--json"]
    assert main(["data", "docstrings", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == ["documentation"]
    assert main(["data", "poems", *arguments]) == 2
    assert "choose among trajectories, documentation" in capsys.readouterr().err


def test_a_document_without_text_is_left_out(tmp_path):
    (tmp_path / "code").mkdir()
    for name, does in (("a", "Turn the lamp on when it gets dark."), ("b", "Close every window before it rains.")):
        (tmp_path / "code" / f"{name}.py").write_text(f'def {name}():\n    """{does}"""\n    return {name!r} * 3\n')
    arguments = ["--root", str(tmp_path / "code"), "--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]
    document = pypdf.PdfWriter()
    document.add_blank_page(100, 100)
    document.write(tmp_path / "code" / "blank.pdf")
    assert main(["data", "documentation", *arguments, "--quiet"]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["modules"] == 2


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert main(["data", "--root", EMAIL, "--home", str(tmp_path / "home"), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kinds"] == ["trajectories", "documentation", "completion", "answers"]
    assert not (tmp_path / "home").exists()
