"""Folders of code and documents as chunks with names and line numbers."""

from homeground.corpus.chunk import Chunk, digest
from homeground.corpus.chunker import approximate_tokens, breadcrumb, chunk_lines
from homeground.corpus.languages import LANGUAGES, Language, language_of
from homeground.corpus.pieces import TokenCounter
from homeground.corpus.secrets import PLACEHOLDER, Secret, find_secrets, redact
from homeground.corpus.stdlib import STDLIB_EXCLUDES, stdlib_root
from homeground.corpus.walk import DEFAULT_EXCLUDES, Skip, SourceFile, Walk

__all__ = [
    "DEFAULT_EXCLUDES",
    "LANGUAGES",
    "PLACEHOLDER",
    "STDLIB_EXCLUDES",
    "Chunk",
    "Language",
    "Secret",
    "Skip",
    "SourceFile",
    "TokenCounter",
    "Walk",
    "approximate_tokens",
    "breadcrumb",
    "chunk_lines",
    "digest",
    "find_secrets",
    "language_of",
    "redact",
    "stdlib_root",
]
