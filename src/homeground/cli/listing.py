"""What `homeground index` says of the files: what it would read, what it leaves out and why, where secrets are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeground.base.terminal import printable
from homeground.cli.verb import Common

if TYPE_CHECKING:
    from rich.text import Text

    from homeground.corpus import Corpus, FoundSecret, Skip

_SHOWN = 20


def list_files(common: Common, corpus: Corpus) -> None:
    """Reads the corpus as indexing would, and says what it found; nothing is written.

    As JSON every file that is left out is listed, and every secret; for people the first of each reason are.
    """
    from homeground.corpus import FoundSecret, LeftOutError

    left_out: list[dict[str, str]] = []

    def note(root: Path, path: str, reason: Skip) -> None:
        left_out.append({"root": str(root), "path": _encodable(path) or "./", "reason": str(reason)})

    corpus.on_skip = note
    files, size = 0, 0
    secrets: list[FoundSecret] = []
    with common.progress() as progress:
        bar = progress.bar("reading files")
        for number, file in corpus:
            bar.advance()
            try:
                secrets += [FoundSecret(file.path, one.line, one.kind) for one in file.text.secrets]
            except LeftOutError as error:
                corpus.leave_out(number, file.path, error.reason)
                continue
            files, size = files + 1, size + len(file.data)
        bar.done(f"{files} files")
    document: dict[str, Any] = {
        "roots": [str(root) for root in corpus.roots],
        "files": files,
        "bytes": size,
        "skipped": {str(reason): count for reason, count in sorted(corpus.skipped.items())},
        "left_out": left_out,
        "secrets": [one.to_json() for one in secrets],
    }
    common.show(
        document,
        f"would index {files} files ({size / 1e6:.1f} MB) of {printable(', '.join(map(str, corpus.roots)))}",
        *_left_out_lines(corpus, left_out),
        *secret_lines(secrets),
    )


def secret_lines(secrets: Sequence[FoundSecret]) -> list[Text]:
    """Where secrets stand, a line each: never what they are."""
    if not secrets:
        return []
    places = [f"{one.path}:{one.line}  {one.kind}" for one in secrets]
    return _listed("secrets, replaced in what is indexed", places)


def _encodable(path: str) -> str:
    """A path that can be printed, whatever bytes its name has."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _left_out_lines(corpus: Corpus, left_out: Sequence[dict[str, str]]) -> list[Text]:
    return [
        line
        for reason, _ in corpus.skipped.most_common()
        for line in _listed(f"left out, {reason}", [one["path"] for one in left_out if one["reason"] == reason])
    ]


def _listed(title: str, places: Sequence[str]) -> list[Text]:
    from rich.text import Text

    more = [f"  and {len(places) - _SHOWN} more (--json lists all)"] if len(places) > _SHOWN else []
    shown = [f"  {printable(place)}" for place in places[:_SHOWN]]
    return [Text(line) for line in (f"{title}: {len(places)}", *shown, *more)]
