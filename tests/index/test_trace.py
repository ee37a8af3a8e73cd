"""Symbols, traces, skeletons and reading, over one index of small files in several languages."""

import pytest

from homeground.base.errors import UsageError
from homeground.index import Index, Tools
from homeground.index.symbols import lines_of

FILES = {
    "shop/__init__.py": "from shop.stock import count\n",
    "shop/stock.py": '''"""Stock."""


def count(things):
    """Count things."""
    return len(things)


def close():
    """Close the shop."""
''',
    "shop/till.py": '''import shop.stock
from shop import count as tally
from shop.stock import close
from . import stock as store


class Till:
    """Holds money."""

    def open(self):
        return self.check(count_all([1]))

    def check(self, coins):
        """Check the coins."""
        return tally(coins)

    def close(self):
        close()
        shop.stock.count([])
        store.count([])
        print("closed")


def count_all(things):
    def one(thing):
        return count(thing)

    return [one(thing) for thing in things]


def end(till, count):
    till.close()
''',
    "other/stock.py": "def count(things):\n    return 0\n",
    "go/shelf/shelf.go": "package shelf\n\nfunc New() int { return helper() }\n",
    "go/shelf/helper.go": "package shelf\n\nfunc helper() int { return 1 }\n",
    "go/main.go": 'package main\n\nimport "example.com/go/shelf"\n\nfunc main() { shelf.New() }\n',
    "web/util.js": "export function twice(x) { return x + x }\n",
    "web/app.js": "import { twice as double } from './util.js';\n\nexport function run() { return double(2) }\n",
    "bells.py": "".join(f"class Bell{n}:\n    def ring(self):\n        pass\n\n\n" for n in range(4))
    + "def rush(bell):\n    bell.ring()\n",
    "notes.md": "# Notes\n\nNothing here.\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(scope="module")
def tools(folder, tmp_path_factory):
    return Tools(Index.build(tmp_path_factory.mktemp("index"), [folder])[0], folder / "shop")


def callers(tools, symbol):
    return [(one.path, one.symbol, one.line, one.via) for one in tools.trace(symbol).callers]


def callees(tools, symbol):
    return {(one.path, one.symbol, one.via) for one in tools.trace(symbol).callees}


def test_callers_come_through_imports_renames_and_packages(tools):
    assert callers(tools, "shop/stock.py:count") == [
        ("shop/till.py", "Till.close", 19, "import"),
        ("shop/till.py", "Till.close", 20, "import"),
        ("shop/till.py", "Till.check", 15, "import"),
    ]
    assert callers(tools, "other/stock.py:count") == []


def test_a_method_is_reached_by_self_and_a_function_by_its_file(tools):
    assert callers(tools, "Till.check") == [("shop/till.py", "Till.open", 11, "local")]
    assert callees(tools, "Till.open") == {
        ("shop/till.py", "Till.check", "local"),
        ("shop/till.py", "count_all", "local"),
    }


def test_what_only_the_name_says_is_marked(tools):
    assert callers(tools, "Till.close") == [("shop/till.py", "end", 32, "name")]
    assert callers(tools, "shop/stock.py:close") == [("shop/till.py", "Till.close", 18, "import")]


def test_what_the_index_does_not_define_is_named_only(tools):
    assert tools.trace("Till.close").external == ["print"]


def test_a_name_that_many_have_is_counted_not_listed(tools):
    found = tools.trace("rush")
    assert found.to_json()["unclear"] == [{"name": "bell.ring", "candidates": 4}]
    assert found.callees == []


def test_go_sees_its_package_and_what_it_imports(tools):
    assert callees(tools, "New") == {("go/shelf/helper.go", "helper", "name")}
    assert callers(tools, "New") == [("go/main.go", "main", 5, "import")]


def test_javascript_is_resolved_through_relative_imports(tools):
    assert callers(tools, "twice") == [("web/app.js", "run", 3, "import")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Till.check", "shop/till.py"), ("check()", "shop/till.py"), ("shop.till.Till.check", "shop/till.py"),
        ("till::check", "shop/till.py"), ("other.stock.count", "other/stock.py"), ("count_ALL", "shop/till.py"),
        ("till.py:Till", "shop/till.py"),
    ],
)  # fmt: skip
def test_a_symbol_is_found_by_any_name_that_is_clear(tools, name, path):
    assert tools.find(name).path == path


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("count", "'count' is ambiguous", "other/stock.py:count (line 1), shop/stock.py:count (line 4)"),
        ("chekc", "no symbol is called 'chekc'", "Till.check"),
        ("", "no symbol is called ''", ""),
        ("shop/tall.py:Till", "the index holds no file 'shop/tall.py'", "near: shop/till.py"),
    ],
)
def test_an_unclear_symbol_is_answered_with_what_there_is(tools, name, message, hint):
    with pytest.raises(UsageError) as caught:
        tools.trace(name)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_symbols_match_by_part_or_glob_exact_names_first(tools):
    def names(*arguments, **options):
        return [one.symbol for one in tools.symbols(*arguments, **options).symbols]

    assert names("count") == ["count", "count", "count_all", "count_all.one"]
    assert names("Till.*") == ["Till.open", "Till.check", "Till.close"]
    assert names("CLOSE", kinds=["method"]) == ["Till.close"]
    assert names("count", paths=["other/"]) == ["count"]
    listed = tools.symbols("", limit=2)
    assert len(listed.symbols) == 2 < listed.total
    for arguments, message in [
        (("zzzz",), "no symbol matches 'zzzz'"),
        (("close", ["class"]), "no symbol that matches is a class"),
        (("close", [], ["web/"]), "no symbol that matches lies in web/"),
    ]:
        with pytest.raises(UsageError, match=message):
            tools.symbols(*arguments)


def test_a_skeleton_has_heads_and_first_words_but_no_bodies(tools):
    found = tools.skeleton("shop/till.py")
    assert [(one.line, one.depth, one.signature, one.doc) for one in found.entries][:3] == [
        (7, 0, "class Till:", "Holds money."),
        (10, 1, "def open(self):", ""),
        (13, 1, "def check(self, coins):", "Check the coins."),
    ]
    assert tools.skeleton("notes.md").entries == []


def test_lines_are_read_as_they_stand_in_the_file(tools, folder):
    for path in FILES:
        root, name = tools.file(path)
        assert lines_of(tools.index.file_chunks(root, name)) == (folder / path).read_text().rstrip("\n").split("\n")
    found = tools.read("shop/till.py", 7, 8)
    assert (found.text, found.truncated, found.stale) == ('class Till:\n    """Holds money."""', False, False)
    assert tools.read("till.py", 7, 8) == tools.read(str(folder / "shop" / "till.py"), 7, 8) == found


def test_reading_is_bounded_and_says_so(tools):
    found = tools.read("shop/till.py", 2, None, most_lines=3)
    assert (found.start, found.end, found.truncated) == (2, 4, True)
    assert tools.read("shop/till.py", 2, 10**9).truncated is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shop/till.py", 0), "has lines 1 to 32: there is no line 0"),
        (("shop/till.py", 33), "has lines 1 to 32: there is no line 33"),
        (("shop/till.py", 5, 4), "the range 5-4 ends before it begins"),
        (("/etc/passwd",), "lies outside of the indexed folders"),
        (("../../etc/passwd",), "lies outside of the indexed folders"),
        (("shop/safe.py",), "the index holds no file 'shop/safe.py'"),
    ],
)
def test_what_cannot_be_read_is_told(tools, arguments, message):
    with pytest.raises(UsageError, match=message):
        tools.read(*arguments)


def test_a_changed_a_deleted_and_a_linked_file_are_stale(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    for name in ("a.py", "b.py", "c.py", "d.py"):
        (source / name).write_text("def f():\n    return 1\n")
    index, _ = Index.build(tmp_path / "index", [source])
    tools = Tools(index)
    (source / "a.py").write_text("def f():\n    return 2\n")
    (source / "b.py").unlink()
    (source / "c.py").unlink()
    (source / "c.py").symlink_to("/etc/passwd")
    (source / "d.py").write_text("def f():\n    return 1\n\n\n")
    assert [tools.read(name).stale for name in ("a.py", "b.py", "c.py", "d.py")] == [True, True, True, False]
    assert tools.read("c.py").text == "def f():\n    return 1"


def test_only_changed_files_are_outlined_again(tmp_path, monkeypatch):
    from homeground.index import symbols

    outlined = []
    real = symbols.outline
    monkeypatch.setattr(symbols, "outline", lambda lines, language: outlined.append(lines[0]) or real(lines, language))
    source = tmp_path / "src"
    source.mkdir()
    for name in ("one", "two", "three"):
        (source / f"{name}.py").write_text(f"def {name}():\n    pass\n")
    Index.build(tmp_path / "index", [source])[0].close()
    assert len(outlined) == 3
    (source / "one.py").write_text("def uno():\n    pass\n")
    (source / "two.py").unlink()
    index, _ = Index.build(tmp_path / "index", [source])
    assert outlined[3:] == ["def uno():"]
    assert [one.symbol for one in index.symbols.all()] == ["uno", "three"]
    index.close()
    (tmp_path / "index" / "symbols.sqlite").unlink()
    with_none = Index.open(tmp_path / "index")
    assert [one.symbol for one in with_none.symbols.all()] == ["uno", "three"]
