import time

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


PATHS = {
    "README.md", "setup.py", "src/app.py", "src/gen/a.py", "src/gen/keep.py", "src/tests/test_app.py",
    "tests/test_a.py", "tests/data/x.json", "docs/tests/page.md",
}  # fmt: skip


def below(*folders):
    return {path for path in PATHS if path.startswith(folders)}


@pytest.mark.parametrize(("patterns", "expected"), [
    (("!tests/",), {"README.md", "setup.py", "src/app.py", "src/gen/a.py", "src/gen/keep.py"}),
    (("!tests",), {"README.md", "setup.py", "src/app.py", "src/gen/a.py", "src/gen/keep.py"}),
    (("!tests/**",), PATHS - below("tests/")),
    (("!/tests/",), PATHS - below("tests/")),
    (("!tests/", "!docs/"), {"README.md", "setup.py", "src/app.py", "src/gen/a.py", "src/gen/keep.py"}),
    (("!*.py",), {"README.md", "tests/data/x.json", "docs/tests/page.md"}),
    (("src/",), below("src/")),
    (("src",), below("src/")),
    (("/src/",), below("src/")),
    (("tests/",), below("tests/", "src/tests/", "docs/tests/")),
    (("/tests/",), below("tests/")),
    (("src/", "!src/gen/"), below("src/") - below("src/gen/")),
    (("src/", "!src/gen/", "src/gen/keep.py"), below("src/") - {"src/gen/a.py"}),
    (("*.py", "!tests/"), {"setup.py", "src/app.py", "src/gen/a.py", "src/gen/keep.py"}),
    (("/*.py",), {"setup.py"}),
    (("*.py", "!/*/"), {"setup.py"}),
    (("src/*.py",), {"src/app.py"}),
    (("src/**/*.py",), below("src/")),
    (("**/gen/",), below("src/gen/")),
    (("*", "!src/"), PATHS - below("src/")),
])  # fmt: skip
def test_patterns_of_paths_mean_what_they_mean_to_git(patterns, expected):
    assert Filters(paths=patterns).passing(PATHS) == (expected, [])


@pytest.mark.parametrize(("patterns", "warning"), [
    (("!test/",), "the path '!test/' excludes nothing; nearest: 'tests/'"),
    (("!tests/", "*.py"), "the path '!tests/' excludes nothing: a later pattern decides; put it last"),
    (("src/", "!docs/"), "the path '!docs/' excludes nothing: no other pattern takes it in"),
    (("!docs/", "src/"), "the path '!docs/' excludes nothing: no other pattern takes it in"),
    (("src/", "scr/app.py"), "the path 'scr/app.py' adds nothing; nearest: 'src/app.py'"),
    (("src/", "./src/app.py"), "the path './src/app.py' adds nothing; nearest: 'src/app.py'"),
    (("src/", "app.py/"), "the path 'app.py/' adds nothing; nearest: 'src/app.py'"),
    (("src/", ""), "the path '' adds nothing"),
    (("src/gen/", "*.md", "!/src/"), "the path 'src/gen/' adds nothing; nearest: 'src/gen/'"),
])  # fmt: skip
def test_a_pattern_that_changes_nothing_is_warned_of(patterns, warning):
    passed, warnings = Filters(paths=patterns).passing(PATHS)
    assert passed
    assert warnings == [warning]


def test_values_of_every_filter_that_change_nothing_are_warned_of(shared_index):
    filters = Filters(("bakery/", "bakerie/"), ("python", "pyhton"), ("method", "metod"), ("heat*", "Ofen"))
    found = shared_index.explain("bread", filters=filters)
    assert found.hits
    assert found.to_json()["warnings"] == found.warnings == [
        "the path 'bakerie/' adds nothing; nearest: 'bakery/'", "no chunk has the kind 'metod'; nearest: 'method'",
        "no chunk has the language 'pyhton'; nearest: 'python'", "no chunk has the symbol 'Ofen'; nearest: 'Oven'",
    ]  # fmt: skip
    assert "warnings" not in shared_index.explain("bread", filters=Filters(("bakery/",))).to_json()


@pytest.mark.parametrize("filters", [
    Filters(paths=("*?" * 14 + "ZZ",)), Filters(paths=("!" + "*?" * 400 + "ZZ", "*")),
    Filters(symbols=("*?" * 14 + "ZZ", "*")),
    Filters(paths=("*" + "a*" * 500,) * 4), Filters(paths=("*a?b*",) * 800),
    Filters(symbols=("*" + "[a-z]*" * 150 + "!", "*")),
])  # fmt: skip
def test_no_filter_takes_long(filters):
    path = "/".join(["a" * 250] * 10)
    began = time.monotonic()
    filters.passing({path, path + "b"})
    for pattern in filters.symbols:
        symbol_matches(pattern, "a" * 60_000)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(("filters", "message"), [
    (Filters(paths=("a" * 1025,)), "have 1,025 characters"),
    (Filters(symbols=("a" * 60_000,)), "have 60,000 characters"),
    (Filters(paths=("ab",) * 2049), "have 4,098 characters"),
])  # fmt: skip
def test_long_patterns_and_many_are_refused(shared_index, filters, message):
    with pytest.raises(UsageError, match=message):
        shared_index.search("bread", filters=filters)
