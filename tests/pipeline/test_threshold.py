import json

import pytest

from homeground.base.progress import Progress
from homeground.index import Index, SentenceEmbedder
from homeground.pipeline.threshold import LEAST, fit_least_confidence, least_confidence
from homeground.runs.workspace import open_workspace
from tests.corpus.village import write_village
from tests.index.fake import FAKED, fake_embedding

ASKED = [
    ("Raise the temperature of the oven until it reaches the target", "bakery/oven.py"),
    ("Place one loaf of bread on a free shelf", "bakery/oven.py"),
    ("Tell how many crumbs are left lying on the table", "bakery/oven.py"),
] * 3


@pytest.fixture
def indexed(tmp_path, monkeypatch):
    for name in FAKED:
        monkeypatch.setattr(SentenceEmbedder, name, getattr(SentenceEmbedder, name))
    fake_embedding()
    workspace = open_workspace(tmp_path / "home")
    index, _ = Index.build(workspace.index, [write_village(tmp_path / "village")])
    yield workspace, index
    index.close()


def test_what_is_fitted_is_kept_with_what_it_does_and_found_again(indexed):
    workspace, index = indexed
    assert least_confidence(workspace, index) == LEAST
    found = fit_least_confidence(workspace, index, ASKED, Progress(quiet=True))
    kept = json.loads(workspace.threshold.read_text())
    assert least_confidence(workspace, index) == found.least == kept["least"] != LEAST
    assert kept["embedder"] == index.config.embedder
    assert (found.own, found.kept) == (len(ASKED), 1)
    # The fake embedder knows equal words alone, and both ask with "the" and "of".
    assert 0 < found.absent_refused < found.foreign_refused


def test_what_was_fitted_for_another_embedder_does_not_count(indexed):
    workspace, index = indexed
    fit_least_confidence(workspace, index, ASKED, Progress(quiet=True))
    kept = json.loads(workspace.threshold.read_text())
    workspace.threshold.write_text(json.dumps(kept | {"embedder": "another"}))
    assert least_confidence(workspace, index) == LEAST


def test_a_handful_of_tasks_fits_nothing(indexed):
    workspace, index = indexed
    assert fit_least_confidence(workspace, index, ASKED[:5], Progress(quiet=True)) is None
    assert not workspace.threshold.exists()
