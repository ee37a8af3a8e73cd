"""What the page shows of the index: what is in it, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from homeground.corpus import Skip, nfc
from homeground.index import Index

PAGE = 200
"""Rows in one answer."""

WHY = {
    Skip.IGNORED: "ignored by git or .homegroundignore",
    Skip.EXCLUDED: "excluded by the recipe, or by default (build folders, caches)",
    Skip.UNSUPPORTED: "of a kind that is not read",
    Skip.TOO_LARGE: "too large (corpus.max_file_kb)",
    Skip.BINARY: "binary",
    Skip.UNDECODABLE: "text in no known encoding",
    Skip.MINIFIED: "minified",
    Skip.GENERATED: "generated",
    Skip.LOCK_FILE: "a lock file",
    Skip.EMPTY: "empty",
    Skip.UNREADABLE: "could not be read",
    Skip.NOT_A_FILE: "not a plain file",
    Skip.LINK: "a link to what is indexed anyway",
    Skip.OUTSIDE: "a link that leads out of the folder",
    Skip.DUPLICATE: "indexed below another root",
    Skip.DAMAGED: "damaged",
}


def facts(index: Index) -> dict[str, Any]:
    """Roots, counts, languages, settings, and how many files and folders were left out for which reason."""
    listed = index.listed()
    languages: dict[str, Counter[str]] = {}
    for one in listed:
        languages.setdefault(one.language, Counter()).update(files=1, chunks=one.chunks, bytes=one.size)
    config = index.config
    left_out = index.left_out()
    return {
        "roots": [str(root) for root in index.roots],
        "files": len(listed),
        "chunks": sum(one.chunks for one in listed),
        "bytes": sum(one.size for one in listed),
        "languages": [
            {"language": name, **counted}
            for name, counted in sorted(languages.items(), key=lambda item: -item[1]["chunks"])
        ],
        "settings": {
            "embedder": config.embedder,
            "tokens of a chunk": config.max_tokens,
            "weight of meaning": config.dense_weight,
            "weight of words": config.lexical_weight,
            "reranker": config.rerank or "none",
        },
        "skipped": None
        if left_out is None
        else [
            {"reason": reason, "why": WHY.get(Skip(reason), reason), "count": count}
            for reason, count in sorted(left_out.counts.items(), key=lambda item: -item[1])
        ],
    }


def files(index: Index, like: str, language: str, skip: int) -> dict[str, Any]:
    """`{"files", "total"}`: those whose path holds `like`, in any case of letters, from the `skip`-th on."""
    wanted = nfc(like).casefold()
    found = [
        one
        for one in index.listed()
        if wanted in nfc(one.path).casefold() and (not language or one.language == language)
    ]
    return {"files": [one._asdict() for one in found[skip : skip + PAGE]], "total": len(found)}


def left_out(index: Index, like: str, reason: str, skip: int) -> dict[str, Any]:
    """`{"left_out", "total", "whole"}`, in the same way; `whole` is False where the index keeps only a part of them."""
    kept = index.left_out()
    if kept is None:
        return {"left_out": [], "total": 0, "whole": False}
    wanted = nfc(like).casefold()
    found = [
        {"root": root, "path": path, "reason": why}
        for root, path, why in kept.listed
        if wanted in nfc(path).casefold() and (not reason or why == reason)
    ]
    whole = len(kept.listed) == sum(kept.counts.values())
    return {"left_out": found[skip : skip + PAGE], "total": len(found), "whole": whole}
