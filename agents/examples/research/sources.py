"""The texts that a task brings along, or that it points to in the agent's library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUFFIXES = frozenset({".txt", ".md"})
_MAX_FILES = 200
_MAX_FILE_BYTES = 1_000_000


class SourceError(Exception):
    """The payload names no texts that may be read; the message says why."""


@dataclass(frozen=True)
class Source:
    """A text and the name to cite it by."""

    name: str
    text: str


def load_sources(payload: Mapping[str, Any], library: Path | None) -> list[Source]:
    """Return the texts in `payload["files"]` and those below `payload["folder"]` of the library.

    `files` has texts by name.

    Raises:
        SourceError: there is none, or one may not be read.
    """
    sources = [*_given(payload.get("files")), *_in_folder(payload.get("folder"), library)]
    if not sources:
        raise SourceError("payload.files and payload.folder name nothing to read")
    return sources


def _given(files: Any) -> list[Source]:
    if files is None:
        return []
    if not isinstance(files, Mapping) or not all(isinstance(text, str) for text in files.values()):
        raise SourceError("payload.files must be an object of texts by name")
    return [Source(name, text) for name, text in files.items()]


def _in_folder(folder: Any, library: Path | None) -> list[Source]:
    if folder is None:
        return []
    if library is None or not isinstance(folder, str):
        raise SourceError("payload.folder must name a folder of the agent's library")
    root = library.resolve()
    place = (root / folder).resolve()
    # Whoever creates tasks must not be able to read the rest of this machine.
    if not place.is_relative_to(root) or not place.is_dir():
        raise SourceError(f"payload.folder names no folder of the agent's library: {folder}")
    return [_read(path, root) for path in _texts(place, root)]


def _texts(place: Path, root: Path) -> list[Path]:
    texts = sorted(path for path in place.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    # A link may lead out of the library.
    inside = [path for path in texts if path.resolve().is_relative_to(root)]
    if len(inside) > _MAX_FILES:
        raise SourceError(f"payload.folder has {len(inside)} texts; at most {_MAX_FILES} are read")
    return inside


def _read(path: Path, root: Path) -> Source:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise SourceError(f"{path.relative_to(root)} is larger than {_MAX_FILE_BYTES} bytes")
    return Source(str(path.relative_to(root)), path.read_text(encoding="utf-8", errors="replace"))
