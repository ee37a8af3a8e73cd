"""LangChain's code splitter and its Chroma store on one corpus of ``make bench-search``, in a process of its own.

What is measured is their code as it is installed, with its defaults: `RecursiveCharacterTextSplitter.from_language`
(4,000 characters, 200 shared with the next), `HuggingFaceEmbeddings` with the same weights as ours (read up to the
model's own 256 tokens, fp32), `Chroma.from_documents` on disk, `similarity_search`. ``--chunk-size`` gives the splitter
a size that the model can read whole. Both sides read the same tree of sources, and a hit of either answers a question
when it shows a line of the function; their hits may repeat a function, as they do for their users.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

from benchmarks.sides.search import RESAMPLES, task_of
from benchmarks.sides.search_corpora import asked, masked_tree
from homeground.base.hardware import usable_cores
from homeground.base.memory import PeakMemory
from homeground.base.weights import resolve_model
from homeground.evaluate.search import latency, outcomes_of, search_metrics

MODEL = "all-minilm-l6-v2"


@dataclass(frozen=True)
class Lines:
    """What a document shows."""

    path: str
    start: int
    end: int


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--queries", type=int, default=10**6)
    parser.add_argument("--chunk-size", type=int, help="characters; none takes the splitter's default")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(options.corpus, Path(folder), options.queries, options.chunk_size)
    options.out.write_text(json.dumps(measured))


def measure(corpus: str, folder: Path, queries: int, chunk_size: int | None) -> dict[str, Any]:
    """Speed, memory and size of indexing, and MRR@10 over the corpus's questions."""
    tree = folder / "tree"
    questions = masked_tree(corpus, tree)
    embeddings = HuggingFaceEmbeddings(model_name=str(resolve_model(MODEL)))
    embeddings.embed_query("warm up")
    began = time.perf_counter()
    with PeakMemory() as memory:
        documents = split(tree, chunk_size)
        store = stored(documents, embeddings, folder / "chroma")
    seconds = time.perf_counter() - began
    tasks = [task_of(one) for one in asked(corpus, questions, queries)]

    def search(query: str, count: int) -> list[Any]:
        return [lines_of(document) for document in store.similarity_search(query, k=count)]

    outcomes = outcomes_of(tasks, search, lambda _: None)
    source_mb = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file()) / 1e6
    packages = ("langchain-text-splitters", "langchain-chroma", "langchain-huggingface")
    return {
        "corpus": corpus,
        "peer": ", ".join(f"{name} {version(name)}" for name in packages),
        "chunk_size": chunk_size,
        "chunks": len(documents),
        "source_mb": source_mb,
        "seconds": seconds,
        "mb_per_s": source_mb / seconds,
        "peak_mb": memory.peak_mb,
        "disk_mb": sum(file.stat().st_size for file in (folder / "chroma").rglob("*") if file.is_file()) / 1e6,
        "metrics": search_metrics(outcomes, resamples=RESAMPLES, seed=0)["all"],
        "latency": latency(outcomes),
    }


def split(tree: Path, chunk_size: int | None) -> list[Document]:
    """The tree's files, cut by LangChain's splitter for Python."""
    sizes = {} if chunk_size is None else {"chunk_size": chunk_size}
    splitter = RecursiveCharacterTextSplitter.from_language(Language.PYTHON, add_start_index=True, **sizes)
    files = sorted(tree.rglob("*.py"))
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    found = splitter.create_documents(texts, [{"path": file.relative_to(tree).as_posix()} for file in files])
    lines = {file.relative_to(tree).as_posix(): text for file, text in zip(files, texts, strict=True)}
    for document in found:
        # -1 where the splitter could not tell where it cut: such a chunk begins at the first place of its text.
        at = document.metadata.pop("start_index")
        text = lines[document.metadata["path"]]
        at = at if at >= 0 else max(text.find(document.page_content), 0)
        document.metadata["start"] = text.count("\n", 0, at) + 1
    return found


def stored(documents: Sequence[Document], embeddings: Any, folder: Path) -> Chroma:
    """The documents in a store on disk; Chroma takes a few thousand at once."""
    most = 5000
    store = Chroma.from_documents(list(documents[:most]), embeddings, persist_directory=str(folder))
    for at in range(most, len(documents), most):
        store.add_documents(list(documents[at : at + most]))
    return store


def lines_of(document: Document) -> Lines:
    """The lines that a document shows."""
    start = int(document.metadata["start"])
    return Lines(str(document.metadata["path"]), start, start + document.page_content.count("\n"))


if __name__ == "__main__":
    main()
