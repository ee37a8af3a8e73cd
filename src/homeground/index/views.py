"""Keeps the views in step with the manifest: which is current, written when it is missing, stale or damaged."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.corpus import digest
from homeground.index import chroma
from homeground.index.chroma import ChromaView, Place
from homeground.index.config import ChromaConfig
from homeground.index.manifest import Manifest, writable
from homeground.index.view import View

_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError)


def current_view(folder: Path, manifest: Manifest, config: ChromaConfig) -> View | None:
    """The view of the manifest's generation, opened; None when it is missing, stale or damaged."""
    name = f"view-{manifest.get('generation', 0)}"
    if manifest.get("view") != name:
        return None
    view = _opened(folder / name)
    if view is None or len(view.rows) != manifest.counts()[1]:
        return None
    _let_chroma_answer(view, folder, manifest, config)
    return view


def _let_chroma_answer(view: View, folder: Path, manifest: Manifest, config: ChromaConfig) -> None:
    place = _place(folder, manifest, config)
    # Embedded Chroma writes beside its files. In a read-only folder, search compares every vector instead.
    embedded = len(view.rows) >= config.exact_below and writable(folder) and chroma.held(place.folder)
    if config.mode == "server" or embedded:
        view.answer_through(ChromaView(place))


def write_view(folder: Path, manifest: Manifest, progress: Progress, last: View | None = None) -> None:
    """Write the view of the manifest's generation; the caller holds the lock.

    Args:
        folder: folder of the index.
        manifest: source of the view.
        progress: shows the progress bar.
        last: a view to start from; by default the last one in the folder.
    """
    name = f"view-{manifest.get('generation', 0)}"
    before = manifest.get("view")
    if last is None and before is not None and before != name:
        last = _opened(folder / before)
    bar = progress.bar("writing the index")
    View.write(folder / name, manifest, bar, last)
    manifest.put("view", name)
    bar.done(f"{manifest.counts()[1]} chunks searchable")


def open_view(folder: Path, manifest: Manifest, config: ChromaConfig, progress: Progress) -> View:
    """Open the current view; write it first where it is missing or damaged. The caller holds the lock."""
    view = current_view(folder, manifest, config)
    if view is None:
        write_view(folder, manifest, progress)
        delete_old_views(folder, manifest)
        view = current_view(folder, manifest, config)
    assert view is not None
    return view


def delete_old_views(folder: Path, manifest: Manifest) -> None:
    """Delete all views but the current one; processes that have one open can still read it."""
    _delete(other for other in folder.glob("view-*") if other.name != manifest.get("view"))


def write_chroma(folder: Path, manifest: Manifest, config: ChromaConfig, view: View, progress: Progress) -> None:
    """Brings Chroma up to the view when enough has changed (see `chroma`); the caller holds the lock.

    Raises:
        HomegroundError: the server is away.
    """
    last = _place(folder, manifest, config)
    if not chroma.stale(chroma.held(last.folder), view.rows):
        return
    if config.mode == "server":
        last.folder.mkdir(exist_ok=True)
        chroma.write(last, manifest, view.rows, progress)
    else:
        # A name of its own each time: Chroma remembers, for as long as a process runs, what it saw in a folder.
        place = Place(folder / f"chroma-{uuid.uuid4().hex[:8]}", last.collection, config)
        known = last.folder if chroma.held(last.folder) else None
        try:
            chroma.write(place, manifest, view.rows, progress, known)
        except HomegroundError:
            raise
        except Exception:
            if known is None:
                raise
            chroma.write(place, manifest, view.rows, progress)  # the last one was damaged
        manifest.put("chroma", place.folder.name)
        _delete(other for other in folder.glob("chroma-*") if other.name != place.folder.name)
    _let_chroma_answer(view, folder, manifest, config)


def _place(folder: Path, manifest: Manifest, config: ChromaConfig) -> Place:
    name = f"homeground-{manifest.get('name')}"
    if config.mode == "server":
        server = digest(config.host, str(config.port))[:8]
        return Place(folder / f"server-{server}", name, config)
    return Place(folder / (manifest.get("chroma") or "chroma-none"), name, config)


def _opened(folder: Path) -> View | None:
    try:
        return View(folder)
    except _DAMAGED:
        return None


def _delete(folders: Iterable[Path]) -> None:
    for folder in list(folders):
        shutil.rmtree(folder, ignore_errors=True)
