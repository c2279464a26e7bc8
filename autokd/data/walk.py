"""Image files below folders, each counted once, and what was passed over on the way."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from autokd.data.decode import extensions
from autokd.data.reading import PassedOver
from autokd.errors import AutokdError, readable

__all__ = ["HIDDEN", "LINK", "OUTSIDE", "SPECIAL", "SUFFIX", "TWICE", "Tally", "entries", "folders_of", "is_folder",
           "is_hidden", "is_image", "walk"]  # fmt: skip

HIDDEN = "hidden or of a system"
SUFFIX = "no images by their suffix"
LINK = "links to folders that are read already"
TWICE = "links to files that are read already"
SPECIAL = "neither files nor folders"
OUTSIDE = "outside the folders that are read"

_SYSTEM = frozenset(
    """
    __macosx @eadir @tmp @recycle #recycle #snapshot $recycle.bin lost+found __pycache__ thumbs.db ehthumbs.db desktop.ini
    """.split()
) | {"system volume information", "icon\r"}
_EXAMPLES = 3


class Tally:
    """Counts what a walk passes over."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._suffixes: Counter[str] = Counter()

    def add(self, why: str, path: str | os.PathLike[str]) -> None:
        self._counts[why] += 1
        if why == SUFFIX:
            self._suffixes[readable(os.path.splitext(path)[1].lower()) or "(none)"] += 1
        if self._counts[why] <= _EXAMPLES:
            self._examples.setdefault(why, []).append(readable(os.fspath(path)))

    def told(self) -> tuple[PassedOver, ...]:
        suffixes = tuple(sorted(self._suffixes.items(), key=lambda one: (-one[1], one[0])))
        return tuple(
            PassedOver(why, count, tuple(self._examples[why]), suffixes if why == SUFFIX else ())
            for why, count in self._counts.items()
        )


def folders_of(base: Path, tally: Tally) -> list[Path]:
    """The folders in `base`, links to folders among them, in the order of their names; hidden ones and those of a system not."""
    found = []
    for entry in entries(base):
        if not is_folder(entry):
            continue
        if is_hidden(entry.name):
            tally.add(HIDDEN, entry.path)
        else:
            found.append(base / entry.name)
    return found


def walk(
    tops: Sequence[Path], tally: Tally, *, within: Path | None = None, closed: Iterable[Path] = ()
) -> list[list[Path]]:
    """The image files in and below each of `tops`, in the order of their paths. Links are followed, loops of them are not.

    What lies in a folder is found there first: a link to a folder is followed only where that folder is not read already, and a
    link to a file counts only where that file is not. within: the folder that holds the tops; a link to it, or to one above it,
    is a loop. closed: folders that no link may lead into. Raises AutokdError where a folder cannot be listed.
    """
    found: list[list[Path]] = [[] for _ in tops]
    roots = [Path(os.path.realpath(within))] if within else [Path(os.path.realpath(top)).parent for top in tops]
    above = {os.fspath(one) for root in roots for one in (root, *root.parents)}
    shut = {os.path.realpath(one) for one in closed}
    read: set[str] = set()
    folders: deque[tuple[int, str]] = deque()
    links: deque[tuple[int, str]] = deque()  # to folders
    files: list[tuple[int, str]] = []  # links to files
    for number, top in enumerate(tops):
        (links if top.is_symlink() else folders).append((number, os.fspath(top)))
    while folders or links:
        number, path = (folders or links).popleft()
        real = os.path.realpath(path)
        if real in above or real in read or not shut.isdisjoint([real, *map(os.fspath, Path(real).parents)]):
            tally.add(LINK, path)
            continue
        read.add(real)
        for entry in entries(path):
            if is_hidden(entry.name):
                tally.add(HIDDEN, entry.path)
            elif is_folder(entry):
                (links if entry.is_symlink() else folders).append((number, entry.path))
            elif not is_image(entry.name):
                tally.add(SUFFIX, entry.path)
            elif entry.is_symlink():
                files.append((number, entry.path))
            elif entry.is_file():
                found[number].append(Path(entry.path))
            else:
                tally.add(SPECIAL, entry.path)
    linked: set[str] = set()
    for number, path in files:
        target = os.path.realpath(path)
        folder, name = os.path.split(target)
        if not os.path.exists(path):  # one that leads nowhere is a file that cannot be read
            found[number].append(Path(path))
        elif target in linked or (folder in read and not is_hidden(name) and is_image(name)):
            tally.add(TWICE, path)
        elif not os.path.isfile(path):
            tally.add(SPECIAL, path)
        else:
            linked.add(target)
            found[number].append(Path(path))
    for some in found:
        some.sort(key=Path.as_posix)
    return found


def entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, in the order of the names. AutokdError where that cannot be told."""
    try:
        with os.scandir(folder) as found:
            yield from sorted(found, key=lambda entry: entry.name)
    except OSError as fault:
        told = (fault.strerror or str(fault)).lower()
        raise AutokdError(f"the folder cannot be listed: {told}", where=os.fspath(folder), fix="mend its rights") from None


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or is one that a system or a program keeps for itself."""
    return name.startswith(".") or name.lower() in _SYSTEM


def is_image(name: str) -> bool:
    """Whether a file is an image by its suffix."""
    return os.path.splitext(name)[1].lower() in extensions()


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
