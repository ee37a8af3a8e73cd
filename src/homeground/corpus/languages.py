"""Which files are read, as what, and with which grammar.

A language with a grammar is one row: the module of its tree-sitter wheel and the node types that
define something. A language without one is cut at headings (`section`) or at blank lines (`lines`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Parser


@dataclass(frozen=True)
class Language:
    """One row of the table.

    Attributes:
        name: what `Chunk.language` says.
        suffixes: file suffixes, lower case, with the dot.
        names: whole file names ("Makefile").
        grammar: module of the grammar wheel; None cuts by lines or headings.
        definitions: node type -> "function" or "class".
        wrappers: node types that wrap a definition (decorators).
        comments: how a line that is a comment begins.
        headings: "markdown" or "rst" for prose that is cut at headings.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    grammar: str | None = None
    definitions: Mapping[str, str] = field(default_factory=dict[str, str])
    wrappers: frozenset[str] = frozenset()
    comments: tuple[str, ...] = ("#",)
    headings: str | None = None


LANGUAGES: tuple[Language, ...] = (
    Language(
        "python",
        (".py", ".pyi", ".pyw"),
        grammar="tree_sitter_python",
        definitions={"function_definition": "function", "class_definition": "class"},
        wrappers=frozenset({"decorated_definition"}),
    ),
    Language("markdown", (".md", ".markdown"), headings="markdown"),
    Language("rst", (".rst",), headings="rst"),
    Language("notebook", (".ipynb",)),
    Language("html", (".html", ".htm", ".xhtml")),
    Language("pdf", (".pdf",)),
    Language("text", (".txt", ".text"), ("LICENSE", "README", "NOTICE", "AUTHORS")),
    Language("javascript", (".js", ".mjs", ".cjs", ".jsx")),
    Language("typescript", (".ts", ".mts", ".cts", ".tsx")),
    Language("go", (".go",)),
    Language("rust", (".rs",)),
    Language("java", (".java",)),
    Language("kotlin", (".kt", ".kts")),
    Language("scala", (".scala",)),
    Language("c", (".c", ".h")),
    Language("cpp", (".cc", ".cpp", ".cxx", ".hpp", ".hh")),
    Language("csharp", (".cs",)),
    Language("ruby", (".rb",), ("Rakefile", "Gemfile")),
    Language("php", (".php",)),
    Language("swift", (".swift",)),
    Language("lua", (".lua",)),
    Language("bash", (".sh", ".bash", ".zsh")),
    Language("sql", (".sql",)),
    Language("haskell", (".hs",)),
    Language("elixir", (".ex", ".exs")),
    Language("ocaml", (".ml", ".mli")),
    Language("julia", (".jl",)),
    Language("toml", (".toml",)),
    Language("yaml", (".yaml", ".yml")),
    Language("ini", (".ini", ".cfg")),
    Language("dotenv", (".env",), (".env", ".envrc")),
    Language("make", (".mk",), ("Makefile", "makefile", "GNUmakefile")),
    Language("docker", (".dockerfile",), ("Dockerfile",)),
)

_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
_BY_NAME = {name: language for language in LANGUAGES for name in language.names}


def language_of(path: str) -> Language | None:
    """The row for a posix path, by file name and then by suffix; None when the file is not one we read."""
    pure = PurePosixPath(path)
    if pure.name.startswith(".env."):  # .env.local, .env.production, .env.example
        return _BY_NAME[".env"]
    return _BY_NAME.get(pure.name) or _BY_SUFFIX.get(pure.suffix.lower())


@cache
def _grammar(module: str) -> object | None:
    try:
        return importlib.import_module(module).language()
    except ImportError:
        return None


def parser_for(language: Language) -> Parser | None:
    """A new parser, or None where the language has no grammar or its wheel is not installed."""
    if language.grammar is None:
        return None
    capsule = _grammar(language.grammar)
    if capsule is None:
        return None
    from tree_sitter import Language as Grammar
    from tree_sitter import Parser

    return Parser(Grammar(capsule))
