"""Which files are read, as what, and with which grammar.

A language with a grammar is one row and one query: the row names the module of its tree-sitter wheel, the query
(`grammars/NAME.scm`, see `grammar.py`) says what defines, calls and imports something. A language without one is cut at
headings (`section`) or at blank lines (`lines`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Language:
    """One row of the table.

    Attributes:
        name: what `Chunk.language` says.
        suffixes: file suffixes, lower case, with the dot.
        names: whole file names ("Makefile").
        grammar: module of the grammar wheel; None cuts by lines or headings.
        entry: the module's function that gives the grammar.
        query: name of the query, where it is not that of the language.
        fallback: the language to try where this one's grammar finds errors (a header may be C or C++).
        headings: "markdown" or "rst" for prose that is cut at headings.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    grammar: str | None = None
    entry: str = "language"
    query: str | None = None
    fallback: str | None = None
    headings: str | None = None


LANGUAGES: tuple[Language, ...] = (
    Language("python", (".py", ".pyi", ".pyw"), grammar="tree_sitter_python"),
    Language("markdown", (".md", ".markdown"), headings="markdown"),
    Language("rst", (".rst",), headings="rst"),
    Language("notebook", (".ipynb",)),
    Language("html", (".html", ".htm", ".xhtml")),
    Language("pdf", (".pdf",)),
    Language("text", (".txt", ".text"), ("LICENSE", "README", "NOTICE", "AUTHORS")),
    Language("javascript", (".js", ".mjs", ".cjs", ".jsx"), grammar="tree_sitter_javascript"),
    Language("typescript", (".ts", ".mts", ".cts"), grammar="tree_sitter_typescript", entry="language_typescript"),
    Language("tsx", (".tsx",), grammar="tree_sitter_typescript", entry="language_tsx", query="typescript"),
    Language("go", (".go",), grammar="tree_sitter_go"),
    Language("rust", (".rs",), grammar="tree_sitter_rust"),
    Language("java", (".java",), grammar="tree_sitter_java"),
    Language("kotlin", (".kt", ".kts"), grammar="tree_sitter_kotlin"),
    Language("scala", (".scala",), grammar="tree_sitter_scala"),
    Language("c", (".c", ".h"), grammar="tree_sitter_c", fallback="cpp"),
    Language("cpp", (".cc", ".cpp", ".cxx", ".hpp", ".hh"), grammar="tree_sitter_cpp"),
    Language("csharp", (".cs",), grammar="tree_sitter_c_sharp"),
    Language("ruby", (".rb",), ("Rakefile", "Gemfile"), grammar="tree_sitter_ruby"),
    Language("php", (".php",), grammar="tree_sitter_php", entry="language_php"),
    Language("swift", (".swift",), grammar="tree_sitter_swift"),
    Language("lua", (".lua",), grammar="tree_sitter_lua"),
    Language("bash", (".sh", ".bash", ".zsh"), grammar="tree_sitter_bash"),
    Language("sql", (".sql",), grammar="tree_sitter_sql"),
    Language("haskell", (".hs",), grammar="tree_sitter_haskell"),
    Language("elixir", (".ex", ".exs"), grammar="tree_sitter_elixir"),
    Language("ocaml", (".ml",), grammar="tree_sitter_ocaml", entry="language_ocaml"),
    Language("ocaml", (".mli",), grammar="tree_sitter_ocaml", entry="language_ocaml_interface"),
    Language("zig", (".zig",), grammar="tree_sitter_zig"),
    Language("julia", (".jl",), grammar="tree_sitter_julia"),
    Language("css", (".css",), grammar="tree_sitter_css"),
    Language("hcl", (".tf", ".hcl"), grammar="tree_sitter_hcl"),
    Language("toml", (".toml",), grammar="tree_sitter_toml"),
    Language("yaml", (".yaml", ".yml"), grammar="tree_sitter_yaml"),
    Language("ini", (".ini", ".cfg")),
    Language("dotenv", (".env",), (".env", ".envrc")),
    Language("make", (".mk",), ("Makefile", "makefile", "GNUmakefile")),
    Language("docker", (".dockerfile",), ("Dockerfile",)),
)

LANGUAGE_BY_NAME = {language.name: language for language in LANGUAGES}
_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
_BY_NAME = {name: language for language in LANGUAGES for name in language.names}


def language_of(path: str) -> Language | None:
    """The row for a posix path, by file name and then by suffix; None when the file is not one we read."""
    pure = PurePosixPath(path)
    if pure.name.startswith(".env."):  # .env.local, .env.production, .env.example
        return _BY_NAME[".env"]
    return _BY_NAME.get(pure.name) or _BY_SUFFIX.get(pure.suffix.lower())
