"""Convert a file's bytes to the lines that all other packages count, cite, embed and train on.

Only this module converts files to text: it decodes bytes, extracts the text of documents (notebooks, HTML, PDF), and
replaces secrets. A citation `path:start-end` refers to the lines that `read_text` returns: for source and plain text
the lines of the file as an editor numbers and shows them, for a document the lines of its extracted text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from homeground.base.errors import HomegroundError
from homeground.corpus.config import CorpusConfig
from homeground.corpus.documents import read_html, read_notebook, read_pdf
from homeground.corpus.encoding import decode
from homeground.corpus.languages import Language, language_of
from homeground.corpus.prose import Section
from homeground.corpus.secrets import Secret, redact_lines
from homeground.corpus.skip import LeftOutError, Skip

_MOST_BYTES = 64 * 1024 * 1024  # of a file that somebody asks for by name, whatever the recipe's limits were


@dataclass(frozen=True, slots=True)
class Text:
    """What is read of a file.

    Attributes:
        lines: without terminators, secrets replaced.
        secrets: what was replaced, by line.
        sections: where a document is cut; None where its language says how.
    """

    lines: list[str]
    secrets: tuple[Secret, ...] = ()
    sections: tuple[Section, ...] | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file to be indexed: its root, its posix path below that root, its language and its bytes."""

    root: Path
    path: str
    language: Language
    data: bytes

    @cached_property
    def text(self) -> Text:
        """Lines, secrets and sections of the file; read at first use, which is slow for a PDF.

        Raises:
            LeftOutError: it is a document that cannot be read, or no text in any known encoding.
        """
        return text_of(self.path, self.data, self.language)

    def lines(self) -> list[str]:
        """Its lines without terminators and without secrets."""
        return self.text.lines


Reader = Callable[[bytes], tuple[list[str], tuple[Section, ...]]]


def _from_text(reader: Callable[[str], tuple[list[str], tuple[Section, ...]]]) -> Reader:
    return lambda data: reader(decode(data))


DOCUMENTS: Mapping[str, Reader] = {
    "notebook": _from_text(read_notebook),
    "html": _from_text(read_html),
    "pdf": read_pdf,
}
"""By language: how to get at the text of files that are not read as they are."""


def text_of(path: str, data: bytes, language: Language) -> Text:
    """Extract the text of a file's bytes.

    Raises:
        LeftOutError: it is a document that cannot be read, or no text in any known encoding.
    """
    reader = DOCUMENTS.get(language.name)
    lines, sections = reader(data) if reader is not None else (split_lines(decode(data)), None)
    lines, secrets = redact_lines(lines, path)
    return Text(lines, tuple(secrets), sections)


def read_text(file: Path) -> list[str]:
    """The lines of a file that citations count: decoded, extracted and without secrets.

    Raises:
        HomegroundError: the file is missing, no plain file, too large, binary or damaged.
    """
    language = language_of(file.as_posix()) or Language("text")
    try:
        data = read_bytes(file, _MOST_BYTES)
        return text_of(file.as_posix(), data, language).lines
    except LeftOutError as error:
        reason = str(error.reason)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise HomegroundError(
        f"this file cannot be read: {reason}", where=str(file), hint="see which files are left out with index --dry-run"
    )


def most_bytes(language: Language, rules: CorpusConfig) -> int:
    """The size above which a file of the language is left out."""
    return 1024 * (rules.max_document_kb if language.name in DOCUMENTS else rules.max_file_kb)


def read_bytes(file: Path, most: int) -> bytes:
    """The content of a plain file. Nothing else is opened: a pipe may never end, a device may act.

    Raises:
        LeftOutError: it is something else, or has more than `most` bytes, however much it grows meanwhile.
        OSError: it is gone, or may not be read.
    """
    with _plain(file) as opened:
        size = os.fstat(opened.fileno()).st_size
        data = opened.read(most + 1) if size <= most else b""
    if len(data) > most or size > most:
        raise LeftOutError(Skip.TOO_LARGE)
    return data


def read_head(file: Path, most: int) -> bytes:
    """Read the first bytes of a regular file.

    Raises:
        LeftOutError: it is not a regular file.
        OSError: it is gone, or may not be read.
    """
    with _plain(file) as opened:
        return opened.read(most)


def _plain(file: Path) -> BinaryIO:
    if not stat.S_ISREG(file.stat().st_mode):
        raise LeftOutError(Skip.NOT_A_FILE)
    opened = open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")  # noqa: PTH123, SIM115
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):  # another file may have taken its place
        opened.close()
        raise LeftOutError(Skip.NOT_A_FILE)
    return opened


def split_lines(text: str) -> list[str]:
    r"""Lines without terminators; \r\n, \n and \r all end a line, as editors and Python count."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
