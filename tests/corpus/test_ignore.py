"""The ignore rules against git itself."""

import contextlib
import os
import random
import re
import shutil
import subprocess
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.base.errors import UsageError
from homeground.corpus import CorpusConfig, Skip, Walk
from homeground.corpus.ignore import Patterns, _expression

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=folder, input=given.encode("utf-8", "surrogateescape"), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.decode("utf-8", "surrogateescape")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


def write(root: Path, path: str, text: str = "x = 1\n") -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")


def read(root: Path, **options) -> set[str]:
    return {file.path for file in Walk(root, CorpusConfig(**options))}


def of_git(root: Path) -> set[str]:
    """Source files that git does not ignore, tracked or not."""
    listed = git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    return {path for path in listed if path.endswith(".py")}


TREE = [
    "a.py", "b.py", "build/a.py", "build/keep/a.py", "src/a.py", "src/build/a.py", "src/deep/down/b.py", "src/gen/a.py",
    "docs/a.py", "docs/api/b.py", "x/y/z/a.py", "x/y/b.py", "[a]/a.py", "sp ace /a.py", "#c/a.py", "!n/a.py", "ü/b.py",
    "foo.d/a.py", "foo.d/bar/b.py", "logs/debug/b.py", "logs/a.py", "new\nline.py",
]  # fmt: skip


@pytest.mark.parametrize("rules", [
    {".gitignore": "build/\n/b.py\n!build/keep/\n"},
    {".gitignore": "build/*\n!build/keep\n"},
    {".gitignore": "*.py\n!src\n!/a.py\n", "src/.gitignore": "!a.py\n"},
    {".gitignore": "/*\n!/src/\n/src/*\n!/src/deep/\n"},
    {".gitignore": "!src/gen\n*.py\n"},
    {".gitignore": "foo.d\n", "foo.d/.gitignore": "!*\n"},
    {".gitignore": "foo.d/*\n", "foo.d/.gitignore": "!bar\n"},
    {".gitignore": "*.py\n", "src/.gitignore": "!deep\n!build/\n"},
    {".gitignore": "**/b.py\nx/**/a.py\n"},
    {".gitignore": "docs/**\n!docs/api/**\n"},
    {".gitignore": "docs/**\n!docs/**/\n!docs/api/*\n"},
    {".gitignore": "\\#c/\n\\!n/\n# a comment\n\n"},
    {".gitignore": "\\[a\\]/\n"},
    {".gitignore": "[ab].py\n![!b].py\n"},
    {".gitignore": "sp ace\\ /\nbuild/  \n"},
    {".gitignore": "src/\r\nx/\r\n"},
    {".gitignore": "\ufeffsrc/\nx\n"},
    {".gitignore": "a.py/\nb.py\n"},
    {".gitignore": "src/build\ny/z\n/y\n"},
    {".gitignore": "*/b.py\n?/y\n"},
    {".gitignore": "[z-a].py\n[\nfoo\\\n/\n//\n"},
    {".gitignore": "*\n!*/\n!a.py\n"},
    {".gitignore": "new\nline.py\n"},
    {".gitignore": "*/**\n"},
    {".gitignore": "x[!z]y\n*[!o]*z\n[[:lower:]].py\n?/b.py\n"},
    {"src/.gitignore": "/a.py\ndown/\n", "src/deep/.gitignore": "!down/\n"},
    {".git/info/exclude": "x/\n!a.py\n", ".gitignore": "!x\n"},
], ids=lambda rules: "; ".join(rules.values())[:40].replace("\n", " "))  # fmt: skip
def test_a_tricky_tree_reads_as_git_reads_it(tmp_path, rules):
    git(tmp_path, "init", "-q")
    for path in TREE:
        write(tmp_path, path)
    for path, text in rules.items():
        write(tmp_path, path, text)
    assert read(tmp_path) == of_git(tmp_path)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab/*?[]!^-\\.# ü"), max_size=12), max_size=6),
    st.lists(st.text(st.sampled_from("ab/.-]ü"), min_size=1, max_size=8), max_size=8),
)
def test_patterns_match_as_the_regular_expressions_of_python_do(patterns, paths):
    expressions = []
    for pattern in patterns:
        with contextlib.suppress(re.error), warnings.catch_warnings(action="ignore"):
            expressions.append(re.compile(_expression(pattern).replace(rb"\z", rb"\Z"), re.DOTALL))
            continue
        expressions.append(re.compile(rb"(?!)"))
    compiled = Patterns((pattern, True) for pattern in patterns)
    for path in paths:
        for is_folder in (True, False):
            text = (b"d" if is_folder else b"f") + path.encode()
            expected = [number for number, one in enumerate(expressions) if one.match(text)]
            assert sorted(compiled.matching(path, is_folder=is_folder)) == expected


@pytest.mark.parametrize("pattern", [
    "*?" * 14 + "ZZ", "*?" * 500 + "ZZ", "*a" * 500 + "ZZ", "**/a/" * 200 + "ZZ", "a/**/" * 200 + "ZZ", "[!ab]*" * 170,
    "[!a-c]?*" * 125 + "ZZ", "ü*?" * 330, "*" * 1024,
])  # fmt: skip
@pytest.mark.parametrize("path", ["a" * 250, "a" * 4000, "ab/" * 1300 + "a", "ü" * 2000])
def test_no_pattern_takes_long(pattern, path):
    begun = time.monotonic()
    several = Patterns([(pattern, True), (pattern[1:], True), (f"/{pattern}"[:1024], False)])
    assert several.matching(path, is_folder=False) == several.matching(path, is_folder=True)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_long_pattern_of_the_caller_is_refused(tmp_path, option):
    with pytest.raises(UsageError, match="a pattern has 1,025 characters") as caught:
        Walk(tmp_path, CorpusConfig(**{option: ["a", "b" * 1025]}))
    assert "at most 1,024" in str(caught.value.hint)


def test_no_file_of_patterns_takes_long(tmp_path):
    drawn = random.Random(0)
    lines = ["".join(drawn.choices("ab*?", k=60)) for _ in range(2000)]
    write(tmp_path, ".gitignore", "\n".join(lines))
    write(tmp_path, ".gitattributes", "\n".join(f"{line} linguist-generated" for line in lines))
    git(tmp_path, "init", "-q")
    for number in range(10):
        write(tmp_path, "".join(drawn.choices("ab", k=200)) + f"{number}.py")
    begun = time.monotonic()
    list(Walk(tmp_path, CorpusConfig(exclude=lines, include=lines)))
    assert time.monotonic() - begun < 10


NAMES = st.sampled_from(["a", "b", "ab", "a.b", "b c", "ü", "à"])
PARTS = st.sampled_from([
    "a", "b", "ab", "*", "?", "**", "a*", "*b", "[ab]", "[!a]", "a.b", "b c", "a**b", "à", "[[:alpha:]]",
    "*[!.]*", "???",
])  # fmt: skip
PATTERNS = st.builds(
    lambda negated, rooted, parts, ends: negated + rooted + "/".join(parts) + ends,
    st.sampled_from(["", "", "!"]), st.sampled_from(["", "", "/"]), st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", ".py", " "]),
)  # fmt: skip
FILES = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, st.lists(PATTERNS, min_size=1, max_size=5), st.lists(NAMES, max_size=2), st.lists(PATTERNS, max_size=3))
def test_any_tree_reads_as_git_reads_it(tmp_path_factory, files, patterns, nested, inner):
    root = tmp_path_factory.mktemp("tree")
    git(root, "init", "-q")
    for path in files:
        write(root, path + ".py")
    write(root, ".gitignore", "\n".join(patterns))
    write(root, "/".join([*nested, ".gitignore"]) if nested else ".git/info/exclude", "\n".join(inner))
    assert read(root) == of_git(root)


def test_rules_above_the_root_and_the_global_file_hold_too(tmp_path, own_home):
    git(tmp_path, "init", "-q")
    write(tmp_path, ".gitignore", "src/gen\n*_out.py\n")
    write(own_home, ".config/git/ignore", "*.swp.py\nnotes/\n")
    for path in ("src/gen/a.py", "src/a.py", "src/a_out.py", "src/b.swp.py", "src/notes/c.py"):
        write(tmp_path, path)
    assert read(tmp_path / "src") == {"a.py"}
    write(own_home, "elsewhere", "a.py\n")
    git(tmp_path, "config", "core.excludesFile", "~/elsewhere")
    assert read(tmp_path / "src") == {"b.swp.py", "notes/c.py"}
    assert read(tmp_path) == of_git(tmp_path)


def test_a_tracked_file_is_never_ignored(tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, ".gitignore", "vendor/\n*.gen.py\n")
    for path in ("a.gen.py", "b.gen.py", "vendor/lib/c.py", "vendor/lib/d.py", "vendor/e.py"):
        write(tmp_path, path)
    git(tmp_path, "add", "-f", "a.gen.py", "vendor/lib/c.py")
    assert read(tmp_path) == of_git(tmp_path) == {"a.gen.py", "vendor/lib/c.py"}
    assert read(tmp_path / "vendor") == {"lib/c.py", "lib/d.py", "e.py"}, "a root was named: it is not ignored itself"


def test_a_tracked_file_is_still_excluded_where_something_else_than_git_says_so(tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, ".gitignore", "vendor/\n")
    write(tmp_path, ".homegroundignore", "own/\n")
    for path in (
        "a.py",
        "node_modules/m/b.py",
        "own/c.py",
        "vendor/node_modules/d.py",
        "vendor/e.py",
        "vendor/no/f.py",
    ):
        write(tmp_path, path)
    git(tmp_path, "add", "-A", "-f")
    assert read(tmp_path, exclude=["no/"]) == {"a.py", "vendor/e.py"}
    write(tmp_path, "node_modules/m/mine.py")
    assert read(tmp_path, include=["node_modules/m/mine.py"]) == {
        "a.py", "vendor/e.py", "vendor/no/f.py", "node_modules/m/mine.py",
    }  # fmt: skip


def test_a_walk_started_by_a_hook_of_another_repository_reads_its_own(tmp_path, monkeypatch):
    other, mine = tmp_path / "other", tmp_path / "mine"
    for folder in (other, mine):
        folder.mkdir()
        git(folder, "init", "-q")
        write(folder, "a.py")
        write(folder, ".gitignore", "*.py\n")
    git(mine, "add", "-f", "a.py")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert read(mine) == {"a.py"}
    assert read(other) == set()


def test_a_nested_repository_has_its_own_rules(tmp_path):
    git(tmp_path, "init", "-q")
    write(tmp_path, ".gitignore", "*.py\n!inner/\n!top.py\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    write(inner, ".git/info/exclude", "b.py\n")
    for path in ("top.py", "gone.py", "inner/a.py", "inner/b.py"):
        write(tmp_path, path)
    assert read(inner) == of_git(inner) == {"a.py"}
    assert read(tmp_path) == {"top.py", "inner/a.py"}


def test_a_second_work_tree_shares_the_excludes_of_the_first(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    git(first, "init", "-q")
    write(first, "a.py")
    git(first, "add", ".")
    git(first, "commit", "-q", "-m", "one")
    git(first, "worktree", "add", "-q", str(second))
    write(first, ".git/info/exclude", "mine.py\n")
    write(second, "mine.py")
    assert read(second) == of_git(second) == {"a.py"}


def test_without_git_the_files_of_rules_still_hold(tmp_path, own_home, monkeypatch):
    git(tmp_path, "init", "-q")
    monkeypatch.setattr("homeground.corpus.git.which", lambda name: None)
    write(own_home, ".config/git/ignore", "c.py\n")
    write(tmp_path, ".gitignore", "a.py\n")
    for path in ("a.py", "b.py", "c.py"):
        write(tmp_path, path)
    assert read(tmp_path) == {"b.py"}


def test_own_ignore_file_wins_over_git_in_both_directions(tmp_path):
    write(tmp_path, ".gitignore", "generated/\n*.txt\n")
    write(tmp_path, ".homegroundignore", "!generated/\n!notes.txt\ndrafts/\n")
    write(tmp_path, "pkg/.homegroundignore", "*.py\n!a.py\n")
    for path in ("generated/a.py", "notes.txt", "other.txt", "drafts/a.py", "pkg/a.py", "pkg/b.py"):
        write(tmp_path, path)
    assert read(tmp_path) == {"generated/a.py", "notes.txt", "pkg/a.py"}


@pytest.mark.parametrize(("include", "expected"), [
    ([], set()),
    (["vendor/lib/"], {"vendor/lib/a.py", "vendor/lib/deep/b.py"}),
    (["vendor/lib/*.py"], {"vendor/lib/a.py"}),
    (["vendor/**/b.py"], {"vendor/lib/deep/b.py", "vendor/other/b.py"}),
    (["/vendor"], {"vendor/lib/a.py", "vendor/lib/deep/b.py", "vendor/other/b.py"}),
    (["node_modules/mine/"], {"node_modules/mine/c.py"}),
    (["data.xyz"], {"data.xyz"}),
    (["api_pb2.py"], {"api_pb2.py"}),
    (["b.py"], set()),
])  # fmt: skip
def test_what_is_included_is_read_whatever_rule_leaves_it_out(tmp_path, include, expected):
    write(tmp_path, ".gitignore", "vendor/\n")
    for path in ("vendor/lib/a.py", "vendor/lib/deep/b.py", "vendor/other/b.py", "node_modules/mine/c.py",
                 "node_modules/others/d.py", "data.xyz", "vendor/lib/node_modules/e.py"):  # fmt: skip
        write(tmp_path, path)
    write(tmp_path, "api_pb2.py", "# Generated by protoc. DO NOT EDIT\nx = 1\n")
    assert read(tmp_path, include=include) == expected


def test_a_rule_file_that_is_a_pipe_or_huge_does_not_stop_the_walk(tmp_path):
    os.mkfifo(tmp_path / ".gitignore")
    write(tmp_path, "sub/.gitignore", "a.py\n" + "#" * (3 << 20))
    write(tmp_path, "sub/a.py")
    write(tmp_path, "sub/b.py")
    assert read(tmp_path) == {"sub/b.py"}


def test_git_attributes_tell_what_is_generated(tmp_path):
    write(tmp_path, ".gitattributes", "# a comment\n*.gen.py linguist-generated\nout/** text linguist-generated=true\n")
    write(tmp_path, "out/.gitattributes", "hand.py -linguist-generated\n")
    for path in ("a.gen.py", "b.py", "out/c.py", "out/hand.py"):
        write(tmp_path, path)
    walk = Walk(tmp_path)
    assert {file.path for file in walk} == {"b.py", "out/hand.py"}
    assert walk.skipped == {Skip.GENERATED: 2}
