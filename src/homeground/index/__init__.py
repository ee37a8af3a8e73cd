"""Search over a corpus: dense vectors and BM25, fused, and reranked where that helps."""

from homeground.index.embed import Embedder
from homeground.index.filters import Filters
from homeground.index.hit import Hit, Stage
from homeground.index.index import Index
from homeground.index.search import Explanation
from homeground.index.settings import ChromaSettings, IndexReport, IndexSettings
from homeground.index.tools import Tools

__all__ = [
    "ChromaSettings",
    "Embedder",
    "Explanation",
    "Filters",
    "Hit",
    "Index",
    "IndexReport",
    "IndexSettings",
    "Stage",
    "Tools",
]
