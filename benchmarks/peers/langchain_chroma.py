"""LangChain's code splitter and its Chroma store on one corpus of ``make bench-search``, in a process of its own.

What is measured is their code as it is installed, with its defaults: `RecursiveCharacterTextSplitter.from_language`
(4,000 characters, 200 shared with the next), `HuggingFaceEmbeddings` with the same weights as ours (read up to the
model's own 256 tokens, fp32), `Chroma.from_documents` on disk, `similarity_search`. ``--chunk-size`` gives the splitter
a size that the model can read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

from benchmarks.sides.search_peer import MODEL, Indexed, Lines, arguments, measure
from homeground.base.weights import resolve_model

PACKAGES = ("langchain-text-splitters", "langchain-chroma", "langchain-huggingface")


def main() -> None:
    """Measure and write."""
    parser = arguments(__doc__)
    parser.add_argument("--chunk-size", type=int, help="characters; none takes the splitter's default")
    options = parser.parse_args()
    embeddings = HuggingFaceEmbeddings(model_name=str(resolve_model(MODEL)))
    embeddings.embed_query("warm up")

    def peer(tree: Path, kept: Path) -> Indexed:
        documents = split(tree, options.chunk_size)
        store = stored(documents, embeddings, kept)
        return Indexed(
            lambda query, count: [lines_of(d) for d in store.similarity_search(query, k=count)], len(documents)
        )

    name = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    measure(peer, name, options, chunk_size=options.chunk_size)


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
