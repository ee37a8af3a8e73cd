import pytest

from homeground.base.errors import UsageError
from homeground.index import Filters, Index
from homeground.index.filters import symbol_matches


def plain(index, query, filters, k):
    """What filters mean: search everything, then throw away what does not pass."""
    everything = index.search(query, len(index.chunks()))
    return [(hit.path, hit.symbol) for hit in everything if passes(hit, filters)][:k]


def passes(hit, filters):
    return (
        (not filters.paths or any(hit.path.startswith(one) for one in filters.paths))
        and (not filters.languages or hit.language in filters.languages)
        and (not filters.kinds or hit.kind in filters.kinds)
        and (not filters.symbols or any(symbol_matches(one, hit.symbol) for one in filters.symbols))
    )


@pytest.mark.parametrize(
    "filters",
    [
        Filters(paths=("smithy/",)),
        Filters(languages=("python",), kinds=("method",)),
        Filters(kinds=("function", "class")),
        Filters(symbols=("give_*", "Oven.*")),
        Filters(paths=("bakery/",), kinds=("method", "function"), symbols=("*a*",)),
    ],
)
def test_as_many_hits_pass_as_would_pass_of_everything(shared_index, filters):
    for query in ("bread in the oven", "iron"):
        found = shared_index.search(query, 4, filters=filters)
        assert found
        assert all(passes(hit, filters) for hit in found)
        assert {(hit.path, hit.symbol) for hit in found} <= set(plain(shared_index, query, filters, 10**6))
        assert len(found) == len(plain(shared_index, query, filters, 4))


def test_a_filter_reaches_what_a_search_without_it_would_never_rank(tmp_path):
    """A hundred and fifty better hits, and still the one that passes is found."""
    source = tmp_path / "src"
    source.mkdir()
    for number in range(150):
        (source / f"loaf_{number}.py").write_text(f"def bake_bread_{number}():\n    return 'bake bread'\n")
    (source / "saddle.md").write_text("# Saddles\n\nGirth and stirrup.\n")
    index, _ = Index.build(tmp_path / "index", [source])
    assert [hit.path for hit in index.search("bake bread", 3, filters=Filters(languages=("markdown",)))] == [
        "saddle.md"
    ]
    everything = index.search("bake bread", 10**9)
    assert len(everything) == 151
    assert [hit.score for hit in everything] == sorted((hit.score for hit in everything), reverse=True)
    assert [hit.id for hit in index.search("bake bread", 20)] == [hit.id for hit in everything[:20]]


def test_patterns_of_paths_are_those_of_a_gitignore(shared_index):
    def paths(*patterns):
        return {hit.path for hit in shared_index.search("village", 10**6, filters=Filters(paths=patterns))}

    everything = paths("*")
    assert paths("bakery/") == {path for path in everything if path.startswith("bakery/")}
    assert paths("*.py", "!till.py") == {path for path in everything if path.endswith(".py")} - {"bakery/till.py"}
    assert paths("!*.py") == {path for path in everything if not path.endswith(".py")}
    assert paths("bakery/**/oven.py") == {"bakery/oven.py"}


@pytest.mark.parametrize(
    ("pattern", "symbol", "matches"),
    [
        ("Oven.heat_up", "Oven.heat_up", True),
        ("heat_up", "Oven.heat_up", True),
        ("heat_*", "Oven.heat_up", True),
        ("Oven.*", "bakery.Oven.heat_up", True),
        ("eat_up", "Oven.heat_up", False),
        ("Oven", "Oven.heat_up", False),
        ("*", "", False),
    ],
)
def test_globs_match_a_name_or_its_end(pattern, symbol, matches):
    assert symbol_matches(pattern, symbol) is matches


@pytest.mark.parametrize(
    ("filters", "message", "hint"),
    [
        (Filters(paths=("bakerie/",)), "no chunk has the path 'bakerie/'", "bakery/ ("),
        (Filters(languages=("rust", "go")), "no chunk has the language 'rust' or 'go'", "python ("),
        (Filters(kinds=("procedure",)), "no chunk has the kind 'procedure'", "method ("),
        (Filters(symbols=("Ofen.*",)), "no chunk has the symbol 'Ofen.*'", "homeground symbols"),
        (Filters(paths=("smithy/",), symbols=("Oven",)), "no chunk passes all filters", "each of them alone matches"),
    ],
)
def test_a_filter_that_matches_nothing_says_what_there_is(shared_index, filters, message, hint):
    with pytest.raises(UsageError) as caught:
        shared_index.search("bread", filters=filters)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
