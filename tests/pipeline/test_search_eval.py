import json

import pytest

from homeground.cli import main
from homeground.index import Index
from tests.corpus.village import write_village
from tests.pipeline.test_documents import check


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search-eval")
    write_village(folder / "village")
    assert main(["index", str(folder / "village"), "--home", str(folder / "home"), "--quiet"]) == 0
    return folder / "home"


def test_every_stage_is_measured_and_kept(home, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("tasks: {heldout_share: 0.6}\neval: {bootstrap: 100}\n")
    assert main(["eval", "search", "--home", str(home), "--recipe", str(recipe), "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    check("search_eval", document)
    metrics = document["metrics"]
    assert list(metrics["stages"]) == ["dense", "lexical", "fused", "search"]
    assert metrics["stages"]["fused"]["docstring"]["recall@50"]["value"] == 1.0
    assert metrics["stages"]["search"]["identifier"]["mrr@10"]["value"] > 0.5
    folder = home / "runs" / "search" / "search"
    assert {file.name for file in folder.iterdir()} == {"metrics.json", "queries.jsonl", "table.md", "search.png"}
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    assert len(queries) == sum(metrics["tasks"].values())
    with_docstrings = Index.open(home / "index")
    assert with_docstrings.search(queries[0]["query"], 1)


def test_a_dry_run_changes_nothing(home, capsys):
    assert main(["eval", "search", "--home", str(home), "--run", "none-yet", "--dry-run"]) == 0
    assert "up to 160 queries of each kind" in capsys.readouterr().out
    assert not (home / "runs" / "none-yet").exists()


def test_without_an_index_it_says_what_to_do(tmp_path, capsys):
    assert main(["eval", "search", "--home", str(tmp_path / "nothing")]) == 1
    assert "homeground index" in capsys.readouterr().err
