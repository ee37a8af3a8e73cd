import pytest

from homeground.base.errors import RecipeError
from homeground.recipe import load_recipe


@pytest.mark.parametrize(("text", "line", "message", "hint"), [
    ("data:\n  sources:\n    - source: a\n      wieght: 2", 4, "unknown key 'data.sources.0.wieght'",
     "did you mean 'data.sources.0.weight'?"),
    ("data:\n  sources:\n    - source: a\n      weight: 0", 4,
     "'data.sources.0.weight' must be greater than 0, not 0", "relative share of this source"),
    ("data:\n  sources:\n    - source: a\n      weight: -1.5", 4,
     "'data.sources.0.weight' must be greater than 0, not -1.5", "relative share"),
    ("data:\n  sources:\n    - source: a\n      max_samples: 0", 4,
     "'data.sources.0.max_samples' must be greater than or equal to 1, not 0", "largest number of rows"),
    ("data:\n  sources:\n    - source: a\n      epochs: 0", 4,
     "'data.sources.0.epochs' must be greater than 0", "times that each row is used"),
    ("data:\n  sources:\n    - weight: 2", 3, "'data.sources.0.source' is missing", "data set OWNER/NAME"),
    ("data:\n  sources: [a.jsonl]", 2, "'data.sources.0' must be a mapping of keys, not 'a.jsonl'", "keys"),
    ("data:\n  sources: a.jsonl", 2, "'data.sources' must be a list, not 'a.jsonl'", "sources that `sft` trains on"),
    ("data:\n  mixing: weight", 2, "'data.mixing' must be 'all', 'weights' or 'temperature'", "exact shares"),
    ("data:\n  temperature: 0.5", 2, "'data.temperature' must be greater than or equal to 1", "shares by size"),
    ("data:\n  heldout: {share: 1}", 2, "'data.heldout.share' must be less than 1", "share of the rows"),
    ("data:\n  sources: [{source: a, weight: 2}]", 1, "a weight is given, but mixing is 'all'", "change"),
    ("data:\n  sources: [{source: a}, {source: a}]", 1, "the source 'a' is named twice", "change"),
    ("data:\n  rows: 5", 1, "rows is given, but mixing is 'all'", "change"),
    ("data:\n  heldout: {share: 0.1, source: a}", 2, "share and source both say what is held out", "change"),
])  # fmt: skip
def test_a_mistake_in_the_data_section_names_line_key_and_what_to_do(tmp_path, text, line, message, hint):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert caught.value.where == f"{file}:{line}"
