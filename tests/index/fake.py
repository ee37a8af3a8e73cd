"""An embedder that costs nothing: a text's vector is drawn from its words."""

import hashlib
import re
from functools import cache

import numpy as np

DIMENSION = 32
BATCH = 8
FAKED = ("encode", "encode_query", "revision")
_WORD = re.compile(r"[a-z]+")


@cache
def word_vector(word):
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")
    return np.random.default_rng(seed).standard_normal(DIMENSION)


def word_vectors(texts):
    """Sum of a random vector for each word: texts that share words are near each other."""
    found = np.zeros((len(texts), DIMENSION), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in _WORD.findall(text.lower()):
            found[row] += word_vector(word)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def fake_embedding():
    """Puts it in place of the model, for the rest of this process; returns the list of the texts it embeds."""
    from homeground.index import SentenceEmbedder

    texts = []

    def encode(self, batch):
        for at in range(0, len(batch), BATCH):
            some = batch[at : at + BATCH]
            texts.extend(some)
            yield [*range(at, at + len(some))], word_vectors(some)

    def encode_query(self, query):
        texts.append(query)
        return word_vectors([query])[0]

    SentenceEmbedder.encode, SentenceEmbedder.encode_query = encode, encode_query
    SentenceEmbedder.revision = "fake"
    return texts


def state(folder):
    """All that an index is made of, so that two can be compared."""
    from homeground.index import Index

    index = Index.open(folder)
    manifest, view = index._manifest, index._view
    found = {
        "files": manifest.files(),
        "chunks": manifest.chunks(),
        "rows": manifest.rows(),
        "contents": {row[0] for row in manifest._rows("SELECT hash FROM contents")},
        "all rows": manifest._rows("SELECT count(*) FROM files")[0] + manifest._rows("SELECT count(*) FROM chunks")[0],
        "view": view.rows,
        "words": set(view._lexicon.vocabulary),
        "folders": len([*folder.glob("view-*"), *folder.glob("chroma-*")]),
        "lexical": [view.lexical(query).tolist() for query in ("bread oven", "iron", "value number")],
        "dense": [view.nearest(index.embedder.encode_query(query), 20) for query in ("bread oven", "iron horse")],
    }
    index.close()
    return found
