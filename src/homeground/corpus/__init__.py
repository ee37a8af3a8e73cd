"""Folders of code and documents as chunks with names and line numbers."""

from homeground.corpus.chunker import Chunk, approximate_tokens, breadcrumb, chunk_lines, digest
from homeground.corpus.encoding import decode, nfc
from homeground.corpus.languages import LANGUAGES, Language, language_of, language_of_head
from homeground.corpus.names import own_name, spellings, split_symbol
from homeground.corpus.outline import Definition, Import, Outline, Reference, outline
from homeground.corpus.pieces import TokenCounter
from homeground.corpus.prose import Section
from homeground.corpus.reading import MAX_BYTES, MAX_DOCUMENT_BYTES, SourceFile, Text, read_text, text_of
from homeground.corpus.roots import STDLIB_EXCLUDES, Corpus, below, stdlib_root
from homeground.corpus.secrets import PLACEHOLDER, FoundSecret, Secret, find_secrets, redact, redact_lines
from homeground.corpus.skip import LeftOutError, Skip
from homeground.corpus.walk import DEFAULT_EXCLUDES, Walk

__all__ = [
    "DEFAULT_EXCLUDES",
    "LANGUAGES",
    "MAX_BYTES",
    "MAX_DOCUMENT_BYTES",
    "PLACEHOLDER",
    "STDLIB_EXCLUDES",
    "Chunk",
    "Corpus",
    "Definition",
    "FoundSecret",
    "Import",
    "Language",
    "LeftOutError",
    "Outline",
    "Reference",
    "Secret",
    "Section",
    "Skip",
    "SourceFile",
    "Text",
    "TokenCounter",
    "Walk",
    "approximate_tokens",
    "below",
    "breadcrumb",
    "chunk_lines",
    "decode",
    "digest",
    "find_secrets",
    "language_of",
    "language_of_head",
    "nfc",
    "outline",
    "own_name",
    "read_text",
    "redact",
    "redact_lines",
    "spellings",
    "split_symbol",
    "stdlib_root",
    "text_of",
]
