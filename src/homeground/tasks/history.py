"""Commit tasks: what a commit says asks for the files and definitions that the commit changed.

A file of which no definition changed is an answer of its own, without a symbol. The history is read by
`homeground.corpus.git`, which runs nothing that a repository configures.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from homeground.corpus import Chunk, below, chunk_lines, digest, language_of, language_of_head
from homeground.corpus.git import Repository, git_installed
from homeground.corpus.languages import HEAD_BYTES
from homeground.tasks.queries import Answer, QueryKind, SearchTask, answer_of

_DEFINITIONS = ("function", "method", "class")
_MOST_FILES = 5
_MOST_DEFINITIONS = 10
_LEAST_WORDS = 3
_MOST_CHARS = 400
_COMMITS = 600
_LOG_SECONDS = 60
_HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")
_BOT = re.compile(r"\[bot\]|\bbot\b|dependabot|renovate|pre-commit-ci|github-actions|greenkeeper|snyk", re.IGNORECASE)
_MERGE = re.compile(r"merge\b", re.IGNORECASE)
_REVERT = re.compile(r"(revert|reapply|back out)\b", re.IGNORECASE)
_VERSION = re.compile(
    r"bump\b|(prepare |cut |make |new )?releas(e|ing)\b|\w+\(release\)|\w+\((deps|deps-dev)\)|deps:"
    r"|v?\d+(\.\d+)+\S*$|(set |update |increment )?version\b|update (dependency|dependencies)\b"
    r"|(prepare|start|begin)\b.*\b(version|release|v?\d+\.\d+)",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"(fixup|squash|amend)!|(wip|work in progress)\b", re.IGNORECASE)
_SPELLING = re.compile(
    r"(\w+: *)?(fix|correct)\w* .*\b(typos?|spelling|misspell\w*|lint\w*|whitespace|grammar)\b"
    r"|run (gofmt|prettier|black)\b",
    re.IGNORECASE,
)
_TYPE = re.compile(r"(feat|fix|docs?|style|refactor|perf|tests?|build|ci|chore)(\([^()]*\))?!?: *(?=\S)", re.IGNORECASE)
_TRAILER = re.compile(
    r"([A-Z][\w]*(-[A-Za-z][\w]*)*-(by|to|Id|from|with|on)|Change-Id|PiperOrigin-RevId|Bug|Cc|Link|Issue|Ticket|Refs?"
    r"|See|Fix(es|ed)?|Close[sd]?|Resolve[sd]?|BREAKING[ -]CHANGE): ",
    re.IGNORECASE,
)
_ISSUE = (
    r"(?:[\w.-]+/[\w.-]+)?#\d+|\bGH-\d+|\b[A-Z][A-Z0-9]+-\d+\b(?!-)|https?://\S+/(?:issues?|pull|merge_requests)/\d+\S*"
)
_CLOSES = re.compile(
    rf"[(\[]?\b(?:(?:part of|fix(?:e[sd])?|close[sd]?|resolve[sd]?|refs?|references|see(?: also)?|re)\b:? *)"
    rf"(?:issue |pr )?(?:{_ISSUE})(?:(?:,| and|, and) *(?:{_ISSUE}))*[)\]]?[.;,]?",
    re.IGNORECASE,
)
_NUMBER = re.compile(rf"\( *(?:{_ISSUE})(?:, *(?:{_ISSUE}))* *\)|\[(?:{_ISSUE})\]:?|(?:{_ISSUE}):?")
_STANDARD = re.compile(r"(UTF|ISO|SHA|RFC|CVE|IEEE|ASCII|MD|HTTP|UTC|GMT|BASE|AES|RSA|PEP|PSR|X)-\d+")
_CHANGELOG = re.compile(
    r"(change|history|news|release)[\w.-]*\.(md|rst|txt|adoc)$|changelog\b|changes$|news$|history$", re.IGNORECASE
)
_CHANGELOG_FOLDERS = frozenset({"changelog", "changelogs", "changes", ".changeset", "newsfragments", "changelog.d"})


@dataclass
class _Commit:
    hash: str
    parents: str
    author: str
    subject: str
    body: str
    lines: defaultdict[str, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[int, int]]](list)
    )
    """Changed lines of each file as the commit left it: first and last, by path below the root."""

    @property
    def unusable(self) -> str:
        """Reason why the commit asks for nothing, or ""."""
        if " " in self.parents:
            return "a merge"
        return next((why for pattern, why in _LEFT_OUT if pattern.match(self.subject)), "") or (
            "by a bot" if _BOT.search(self.author) else ""
        )


_LEFT_OUT = (
    (_MERGE, "a merge"),
    (_REVERT, "a revert"),
    (_VERSION, "a version or dependency bump"),
    (_UNFINISHED, "unfinished work"),
    (_SPELLING, "a typo or formatting"),
)


def commit_question(subject: str, body: str = "") -> str:
    """Text of a commit without its type, issue numbers and trailers, the paragraphs of its body as far as they fit.

    Lists are left out: they are the subjects of commits that were squashed.
    """
    said = [_plain(_TYPE.sub("", subject, count=1) if _TYPE.match(subject) else subject)]
    for paragraph in re.split(r"\n\s*\n", body.replace("\r\n", "\n")):
        lines = paragraph.split("\n")
        if any(re.match(r"\s*([-*+>|]|\d+[.)]|#+|```|---)\s*\S?|    |\t|diff ", line) for line in lines):
            continue
        text = _plain(" ".join(line for line in lines if not _TRAILER.match(line.strip())))
        if len(text.split()) < _LEAST_WORDS:
            continue
        if len(" ".join([*said, text])) > _MOST_CHARS:
            break
        said.append(text)
    first, *rest = said
    return " ".join([first if not rest or first.endswith((".", "!", "?", ":")) else first + ".", *rest])


def _plain(text: str) -> str:
    text = _CLOSES.sub("", text)
    text = _NUMBER.sub(lambda found: found[0] if _STANDARD.fullmatch(found[0]) else "", text)
    return re.sub(r" +(?=[.,;:!?)](?:\s|$))", "", " ".join(text.split())).strip(" -:;,")


def is_changelog(path: str) -> bool:
    """True for a file that repeats what commits say."""
    *folders, name = path.split("/")
    return _CHANGELOG.match(name) is not None or not _CHANGELOG_FOLDERS.isdisjoint(folder.lower() for folder in folders)


def changelog_masks(chunks: Iterable[Chunk]) -> dict[str, Chunk]:
    """Empty chunks in place of those of changelogs, which repeat what commits say."""
    return {
        chunk.id: replace(
            chunk, id=digest("unsaid", chunk.id), symbol="", header=chunk.path, text="\n" * chunk.text.count("\n")
        )
        for chunk in chunks
        if is_changelog(chunk.path)
    }


def newest(tasks: Sequence[SearchTask], share: float) -> list[SearchTask]:
    """The newest tasks, which are held out; the rest, which are older, may be trained on.

    Args:
        tasks: of `commit_tasks`, the newest first.
        share: of them that is held out, rounded up.
    """
    return list(tasks[: math.ceil(share * len(tasks))])


def is_repository(root: Path) -> bool:
    """Whether git knows the folder's history."""
    return git_installed() and Repository.around(root) is not None


def commit_tasks(
    root: Path, chunks: Iterable[Chunk], before: str = "", removed: Counter[str] | None = None
) -> list[SearchTask]:
    """A task for each of the newest commits that changed a few files and definitions which the index still has.

    Left out are merges, reverts, bots, releases, more than five files or ten definitions, questions of fewer than three
    words, and a question of two commits, which asks for two things.

    Args:
        root: indexed folder, in a git repository.
        chunks: of the index.
        before: what stands before paths relative to `root` in those of the chunks.
        removed: counts the commits that are left out, by reason.

    Returns:
        The newest first.
    """
    known: defaultdict[tuple[str, str], list[Chunk]] = defaultdict(list)
    ends: Counter[str] = Counter()
    for chunk in chunks:
        ends[chunk.path] = max(ends[chunk.path], chunk.end)
        if chunk.kind in _DEFINITIONS:
            known[chunk.path, chunk.symbol].append(chunk)
    repository = Repository.around(root)
    if repository is None:
        return []
    removed = Counter() if removed is None else removed
    way = below(repository.top, root)
    commits = [(commit, commit_question(commit.subject, commit.body)) for commit in _commits(repository, way)]
    times = Counter(question.lower() for _, question in commits)
    found: list[SearchTask] = []
    for commit, question in commits:
        why = commit.unusable
        if not why and len(commit_question(commit.subject).split()) < _LEAST_WORDS:
            why = f"says fewer than {_LEAST_WORDS} words"
        if not why and times[question.lower()] > 1:
            why = "says what another commit says"
        if not why and len(commit.lines) > _MOST_FILES:
            why = f"changed more than {_MOST_FILES} files"
        answers: list[Answer] = []
        if not why:
            for path, spans in sorted(commit.lines.items()):
                file = before + path
                if file not in ends or is_changelog(path):
                    continue
                symbols = sorted(_changed_symbols(repository, commit.hash, way + path, spans))
                kept = [answer_of(known[file, symbol], file, symbol) for symbol in symbols if (file, symbol) in known]
                answers += kept or [Answer(file, "", ((1, ends[file]),))]
            if not answers:
                why = "changed nothing that the index still has"
            elif len(answers) > _MOST_DEFINITIONS:
                why = f"changed more than {_MOST_DEFINITIONS} definitions"
        if why:
            removed[why] += 1
        else:
            found.append(SearchTask(digest(QueryKind.COMMIT, commit.hash), QueryKind.COMMIT, question, tuple(answers)))
    return found


def _commits(repository: Repository, way: str) -> Iterator[_Commit]:
    """The newest commits with the lines that they added or changed in a folder, whose path ends in "/"."""
    head = repository.head()
    if not head:
        return
    inside = [f"--relative={way}", head, "--", way] if way else [head, "--"]
    text = repository.read(
        "log", f"--max-count={_COMMITS}", "--format=%x00%H%x00%P%x00%an <%ae>%x00%s%x00%b%x00",
        "--patch", "--unified=0", "--diff-merges=off",
        "--no-color", "--no-ext-diff", "--no-textconv", "--no-show-signature", "--no-renames", *inside,
        errors="replace", seconds=_LOG_SECONDS,
    )  # fmt: skip
    _, *parts = text.split("\0")
    for at in range(0, len(parts) - 5, 6):
        name, parents, author, subject, body, patch = parts[at : at + 6]
        commit = _Commit(name, parents, author, subject, body)
        path = ""
        for line in patch.split("\n"):
            if line.startswith("+++ "):
                path = line.removeprefix("+++ ").removeprefix("b/").rstrip("\t")
            elif path and (hunk := _HUNK.match(line)):
                start, count = int(hunk[1]), int(hunk[2] or 1)
                commit.lines[path].append((start, start + max(count, 1) - 1))
        yield commit


def _changed_symbols(repository: Repository, commit: str, path: str, spans: Sequence[tuple[int, int]]) -> set[str]:
    source = repository.read("cat-file", "blob", f"{commit}:{path}", errors="replace")
    language = language_of(path) or language_of_head(source[:HEAD_BYTES].encode())
    if language is None or not source:
        return set()
    return {
        chunk.symbol
        for chunk in chunk_lines(path, source.split("\n"), language)
        if chunk.kind in _DEFINITIONS and any(chunk.start <= last and first <= chunk.end for first, last in spans)
    }
