from types import SimpleNamespace

from homeground.cli.complete import recipe_completion


def test_a_name_that_a_terminal_would_obey_is_not_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "mi\x1b[2J.yaml", "mi\u202e.yaml", "mi\n.yaml"):
        (tmp_path / name).write_text("seed: 1")
    assert recipe_completion(SimpleNamespace(params={}), "mi") == ["mine.yaml"]
