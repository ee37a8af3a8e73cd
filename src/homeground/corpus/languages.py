"""Which files are read, as what, and with which grammar.

A language with a grammar is one row and one query: the row names the module of its tree-sitter wheel, the query
(`grammars/NAME.scm`, see `grammar.py`) says what defines, calls and imports something. A language without one is cut at
headings (`section`) or at blank lines (`lines`).
"""

from __future__ import annotations

import re
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
    Language(
        "python",
        (".py", ".pyi", ".pyw", ".bzl"),
        ("SConstruct", "SConscript", "wscript", "BUILD", "BUILD.bazel", "WORKSPACE", "WORKSPACE.bazel", "Tiltfile"),
        grammar="tree_sitter_python",
    ),
    Language("markdown", (".md", ".markdown"), headings="markdown"),
    Language("rst", (".rst",), headings="rst"),
    Language("notebook", (".ipynb",)),
    Language("html", (".html", ".htm", ".xhtml")),
    Language("pdf", (".pdf",)),
    Language(
        "text",
        (".txt", ".text"),
        (
            "LICENSE",
            "README",
            "NOTICE",
            "AUTHORS",
            "CHANGELOG",
            "CHANGES",
            "CODEOWNERS",
            "CONTRIBUTING",
            "CONTRIBUTORS",
            "COPYING",
            "HISTORY",
            "INSTALL",
            "MAINTAINERS",
            "NEWS",
            "THANKS",
            "TODO",
            "VERSION",
            "Procfile",
        ),
    ),
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
    Language(
        "ruby",
        (".rb", ".rake", ".gemspec", ".ru"),
        (
            "Rakefile",
            "Gemfile",
            "Vagrantfile",
            "Guardfile",
            "Podfile",
            "Fastfile",
            "Appfile",
            "Brewfile",
            "Capfile",
            "Thorfile",
            "Berksfile",
            "Dangerfile",
            "Puppetfile",
            "Buildfile",
        ),
        grammar="tree_sitter_ruby",
    ),
    Language("php", (".php",), grammar="tree_sitter_php", entry="language_php"),
    Language("swift", (".swift",), grammar="tree_sitter_swift"),
    Language("lua", (".lua",), grammar="tree_sitter_lua"),
    Language(
        "bash",
        (".sh", ".bash", ".zsh", ".ksh"),
        (".bashrc", ".bash_profile", ".bash_aliases", ".profile", ".zshrc", ".zshenv", ".zprofile", "PKGBUILD"),
        grammar="tree_sitter_bash",
    ),
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
    Language("docker", (".dockerfile",), ("Dockerfile", "Containerfile")),
    Language("groovy", (".groovy", ".gradle"), ("Jenkinsfile",)),
    Language("just", (".just",), ("justfile", "Justfile", ".justfile")),
)

LANGUAGE_BY_NAME = {language.name: language for language in LANGUAGES}
_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
_BY_NAME = {name: language for language in LANGUAGES for name in language.names}


_INTERPRETERS = {
    "python": "python pypy jython ipython uv pipx",
    "bash": "sh bash dash ash ksh mksh zsh busybox bats",
    "javascript": "node nodejs bun jsc gjs qjs zx",
    "typescript": "deno tsx ts-node",
    "ruby": "ruby jruby rbx macruby rake",
    "php": "php",
    "lua": "lua luajit texlua",
    "elixir": "elixir",
    "haskell": "runhaskell runghc runhugs stack cabal",
    "julia": "julia",
    "ocaml": "ocaml ocamlrun ocamlscript",
    "scala": "scala scala-cli amm",
    "kotlin": "kotlin kotlinc",
    "swift": "swift",
    "rust": "rust-script",
    "csharp": "dotnet dotnet-script csi",
    "make": "make gmake",
    "just": "just",
    "groovy": "groovy",
    "sql": "sqlite3 psql",
}
_BY_INTERPRETER = {
    program: LANGUAGE_BY_NAME[name] for name, programs in _INTERPRETERS.items() for program in programs.split()
}
_ALSO_CALLED = {
    "sh": "bash", "zsh": "bash", "shell": "bash", "js": "javascript", "ts": "typescript", "typescriptreact": "tsx",
    "py": "python", "starlark": "python", "bzl": "python", "rb": "ruby", "c++": "cpp", "cs": "csharp", "c#": "csharp",
    "terraform": "hcl", "dockerfile": "docker", "makefile": "make", "gnumakefile": "make", "conf": "ini", "cfg": "ini",
    "dosini": "ini", "gfm": "markdown", "md": "markdown", "restructuredtext": "rst", "tuareg": "ocaml", "yml": "yaml",
}  # fmt: skip
_MODELINE = re.compile(
    r"(?:^|\s)(?:vim?|ex)(?:[<=>]?\d+)?:\s*(?:.*[\s:])?(?:ft|filetype|syntax)=([\w+#-]+)"
    r"|-\*-\s*(?:.*\bmode:\s*)?([\w+#-]+)(?:\s*;.*)?\s*-\*-",
    re.IGNORECASE,
)
_VERSION = re.compile(r"[-\d.]+\Z")
_TAKES_VALUE = frozenset({"-u", "-C", "-P", "--unset", "--chdir"})
_HEAD_LINES = 5
HEAD_BYTES = 1024
"""Number of bytes that `language_of_head` needs of a file."""


def language_of_head(head: bytes) -> Language | None:
    """Language of a file without a telling name: by its `#!` line, else by a modeline of Vim or Emacs near its top."""
    lines = head.removeprefix(b"\xef\xbb\xbf").decode("latin-1").splitlines()[:_HEAD_LINES]
    if lines and lines[0].startswith("#!"):
        found = _BY_INTERPRETER.get(_interpreter(lines[0][2:]))
        if found is not None and found.name == "bash":  # a shell that only starts a program: exec python "$0" "$@"
            for line in lines[1:]:
                handed = re.search(r"\bexec'*\s+(.+?)\s+[\"']?\$0\b", line)
                found = _BY_INTERPRETER.get(_interpreter(handed[1]), found) if handed is not None else found
        if found is not None:
            return found
    for line in lines:
        if (match := _MODELINE.search(line)) is not None:
            name = (match[1] or match[2]).lower().removesuffix("-mode")
            if (found := LANGUAGE_BY_NAME.get(_ALSO_CALLED.get(name, name))) is not None:
                return found
    return None


def _interpreter(command: str) -> str:
    """Program name of a command line, without its version: "python" of `/usr/bin/env -S python3.12`."""
    command = command.replace("\\", "/")
    if (quoted := re.match(r"\s*\"([^\"]+)\"", command)) is not None:
        return _program(quoted[1])
    words = iter(command.split())
    program = _program(next(words, ""))
    if program != "env":
        return program
    for word in words:
        if word in _TAKES_VALUE:
            next(words, None)
        elif word.startswith("--split-string="):
            return _program(word.partition("=")[2])
        elif word.startswith("-"):
            glued = re.fullmatch(r"-[iv0]*S(.+)", word)
            if glued is not None:
                return _program(glued[1])
        elif "=" not in word:
            return _program(word)
    return ""


def _program(path: str) -> str:
    name = path.rpartition("/")[2].removesuffix(".exe").lower()
    return name if name in _BY_INTERPRETER else _VERSION.sub("", name)


def language_of(path: str) -> Language | None:
    """Language of a posix path, by file name and then by suffix; None if neither is known."""
    pure = PurePosixPath(path)
    if pure.name.startswith(".env."):  # .env.local, .env.production, .env.example
        return _BY_NAME[".env"]
    if pure.name.startswith(("Dockerfile.", "Containerfile.")):
        return _BY_NAME["Dockerfile"]
    return _BY_NAME.get(pure.name) or _BY_SUFFIX.get(pure.suffix.lower())
