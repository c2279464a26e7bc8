"""A folder of images per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autokd.data.cache import stamp
from autokd.data.decode import decode_first
from autokd.data.decoded import images_of, known, looking
from autokd.data.images import Images
from autokd.data.reading import Finding
from autokd.data.splits import cut
from autokd.data.walk import HIDDEN, OUTSIDE, SUFFIX, Tally, entries, folders_of, is_folder, is_hidden, is_image, walk
from autokd.errors import AutokdError, readable
from autokd.machine import expanded
from autokd.rooms import Count, Fraction, Natural

__all__ = ["folder"]

SOURCE = "your own images"
EXAMPLE = "data: {name: folder, root: path/to/photos, options: {size: 64}}"

SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}  # what a folder or file of a part may be called, in any case


def folder(
    part: str,
    *,
    root: str = "data",
    classes: Count | None = None,
    size: Count | None = None,
    fit: Literal["crop", "stretch"] = "crop",
    colour: Literal["rgb", "grey"] = "rgb",
    black: float | None = None,
    white: float | None = None,
    train_folder: str | None = None,
    validation_folder: str | None = None,
    join_validation: bool = False,
    test_folder: str | None = None,
    test: Fraction = 0.2,
    test_seed: Natural = 0,
    padding: Natural | None = None,
    flip: bool = True,
    geometry: Literal["auto", "crop", "resized_crop"] = "auto",
) -> Images:
    """Your own images, a folder per class: root/train/<class>/ and root/test/<class>/, or root/<class>/. part: train or test.

    Class names are the folders' names, in the order of their code points, and folders within a class belong to it. Files are
    images by their suffix; hidden files and those of a system (__MACOSX, @eaDir, Thumbs.db) are passed over, and links are
    followed, each file once. Without a test folder a share of the files is the test part.

    root: the folder that holds the folders of the classes, or those of the parts
    classes: how many classes there are to be; with `size`, a space can be checked where the images do not lie
    size: every image becomes size x size, by Pillow's bicubic; null: images are of one size already
    fit: to bring an image to `size`, scale its shorter side and keep the middle (crop), or scale both sides (stretch)
    colour: read three colours, or grey levels alone
    black: the value of 16-bit, 32-bit and float images that is black; null: 0
    white: the value of such images that is white, as 4095 for 12 bits; null: 65535 of 16 bits, 1 of floats
    train_folder: the folder of the training part; `.`: the classes lie in root itself; null: train or training, in any case
    validation_folder: the folder of the validation split; null: val, valid, validation or dev, in any case
    join_validation: its images are training images instead, and `data.validation` is cut from all of them
    test_folder: the folder of the test part; null: test or testing, in any case
    test: the share of the files that is the test part where no folder is, stratified
    test_seed: chooses them, with each file's name, so that most files keep their part when others are added
    padding: pixels of zeros around an image before its random crop; null: an eighth of the size
    flip: whether images are mirrored in training
    geometry: the plain view is a crop after padding, or a resized_crop of changing scale; auto: the latter from 96 pixels on

    Raises AutokdError naming the folder that is missing or empty, or that looks like a part and is none.

    Source: the layout of torchvision.datasets.ImageFolder.
    """
    layout = _layout(root, train_folder, validation_folder, test_folder)
    found = _find(layout, part, test, test_seed, join_validation)
    _counted(found, classes, root)
    how = looking(colour, size, fit, black, white)
    return images_of(
        f"folder-{part}",
        {"files": stamp(found.paths)},
        how,
        lambda: ((str(path), path) for path in found.paths),
        found.labels,
        found.classes,
        lambda row: readable(str(found.paths[row])),
        validation=found.validation,
        kinds=Counter(path.suffix.lower() for path in found.paths),
        passed_over=found.tally.told() if part == "train" or layout.test is not None else (),  # else told of that part
        hint=found.hint,
        findings=found.findings,
    )


def describe(
    *,
    root: str = "data",
    classes: int | None = None,
    train_folder: str | None = None,
    validation_folder: str | None = None,
    join_validation: bool = False,
    test_folder: str | None = None,
    test: float = 0.2,
    test_seed: int = 0,
    **look: Any,
) -> dict[str, Any]:
    layout = _layout(root, train_folder, validation_folder, test_folder)
    found = _find(layout, "train", test, test_seed, join_validation)
    _counted(found, classes, root)
    how = looks(look)
    told = known("folder-train", {"files": stamp(found.paths)}, how) or {}
    if told:
        shape = tuple(told["shape"][1:])
    else:
        shape = decode_first(((str(path), path) for path in found.paths), **how).shape
    return {
        "classes": len(found.classes),
        "train_images": len(found.paths) - len(told.get("faulty", ())),
        "validation_images": None if found.validation is None else int(found.validation.sum()),
        **appearance(shape, told, **look),
    }


def expected(
    *, root: str = "data", classes: int | None = None, size: int | None = None, colour: str = "rgb", **look: Any
) -> dict[str, Any] | None:
    """What the settings alone say of images that are not here; None where they are here, or that is too little."""
    if classes is None or size is None or expanded(root).is_dir():
        return None
    shape = (3 if colour == "rgb" else 1, size, size)
    return {"classes": classes, "train_images": None, **appearance(shape, {}, **look)}


def looks(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a set's settings that decide how an image is decoded."""
    return looking(**{word: value for word, value in settings.items() if word in looking()})


def _counted(found: _Found, classes: int | None, root: str) -> None:
    if classes is not None and len(found.classes) != classes:
        raise AutokdError(
            f"there are {len(found.classes)} classes, and options.classes says {classes}",
            where=str(expanded(root)),
            fix="mend the one or the other",
        )


def appearance(
    shape: tuple[int, ...],
    known: dict[str, Any],
    *,
    padding: int | None = None,
    flip: bool = True,
    geometry: str = "auto",
    **_: Any,
) -> dict[str, Any]:
    """The part of a card that follows from images of `shape` [C, H, W] and the settings that say how to vary them."""
    side = min(shape[1:])
    return {
        "channels": shape[0],
        "height": shape[1],
        "width": shape[2],
        "mean": tuple(known.get("mean", ())),
        "std": tuple(known.get("std", ())),
        "padding": side // 8 if padding is None else padding,
        "flip": flip,
        "geometry": ("resized_crop" if side >= 96 else "crop") if geometry == "auto" else geometry,
    }


# -- which folder is what ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """base: the folder of the training classes. validation, test: those of the other parts, where they have one."""

    place: Path
    base: Path
    validation: Path | None
    test: Path | None

    @property
    def parts(self) -> list[Path]:
        return [one for one in (self.base, self.validation, self.test) if one is not None and one != self.place]


def _layout(root: str, train: str | None, validation: str | None, test: str | None) -> _Layout:
    place = expanded(root)
    if not place.is_dir():
        raise AutokdError("there is no such folder", where=str(place), fix="it should hold a folder of images per class")
    named = {kind: place / name for kind, name in (("train", train), ("validation", validation), ("test", test)) if name}
    for kind, one in named.items():
        if not one.is_dir():
            fix = f"mend options.{kind}_folder"
            raise AutokdError(f"there is no folder {one.name!r} for the {kind} part", where=str(place), fix=fix)
    if "train" in named and named["train"].resolve() == place.resolve():  # the classes lie in root itself, and are what they are
        return _Layout(place, place, named.get("validation"), named.get("test"))
    words = {word for words in SPLITS.values() for word in words}
    free = [one for one in folders_of(place, Tally()) if one.name.lower() in words and one not in named.values()]
    likely = [one for one in free if _holds_folders(one)]
    found = {kind: named.get(kind) or _called(place, kind, likely) for kind in SPLITS}
    if found["train"] is None and likely:
        raise _questioned(place, likely)
    return _Layout(place, found["train"] or place, found["validation"], found["test"])


def _called(place: Path, kind: str, likely: Sequence[Path]) -> Path | None:
    """The folder among these that is called as a part is. AutokdError where several are."""
    found = [one for one in likely if one.name.lower() in SPLITS[kind]]
    if len(found) > 1:
        names = " and ".join(repr(readable(one.name)) for one in found)
        fix = f"name one with options.{kind}_folder, and move the other elsewhere"
        raise AutokdError(f"{names} both look like the {kind} part", where=str(place), fix=fix)
    return found[0] if found else None


def _questioned(place: Path, likely: Sequence[Path]) -> AutokdError:
    names = " and ".join(repr(readable(one.name)) for one in likely)
    return AutokdError(
        f"{names} look{'s' * (len(likely) == 1)} like a part of the data and not like a class, and there is no folder of the "
        "training part",
        where=str(place),
        fix="name the training part with options.train_folder (`.` where these are classes all the same), or let data.root be "
        "the folder that holds a folder per class",
    )


def _holds_folders(folder: Path) -> bool:
    """Whether images lie below it in folders, and none beside them, as in a part and unlike in a class."""
    inside = False
    for entry in entries(folder):
        if is_hidden(entry.name):
            continue
        if is_folder(entry):
            inside = True
        elif is_image(entry.name):
            return False
    return inside


# -- which files are in which part -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    paths: list[Path]
    labels: np.ndarray  # int64 [N]
    classes: tuple[str, ...]
    tally: Tally
    validation: np.ndarray | None = None  # bool [N]
    hint: str = ""
    findings: tuple[Finding, ...] = ()


def _find(layout: _Layout, part: str, test: float, test_seed: int, join: bool) -> _Found:
    tally = Tally()
    everything = classes_in(layout.base, tally, without=layout.parts, closed=layout.parts)
    everything = replace(everything, hint=_hint(everything), findings=_mixed(everything, layout.base))
    if part == "test" and layout.test is not None:
        return _known_alone(layout.test, everything, layout, "test")
    if layout.test is None:
        everything = _share(layout, everything, part, test, test_seed)
    if part == "test":
        return everything
    if layout.base != layout.place:
        _note_others(layout, tally)
    if layout.validation is None:
        return everything
    held = _known_alone(layout.validation, everything, layout, "validation", tally)
    paths, labels = [*everything.paths, *held.paths], np.concatenate([everything.labels, held.labels])
    mask = None if join else np.arange(len(paths)) >= len(everything.paths)
    return replace(everything, paths=paths, labels=labels, validation=mask)


def _share(layout: _Layout, everything: _Found, part: str, test: float, test_seed: int) -> _Found:
    """The files of the training or the test part where one folder holds both."""
    base = layout.base
    keys = [
        blake2b(f"{test_seed}/".encode() + os.fsencode(path.relative_to(base).as_posix()), digest_size=8)
        for path in everything.paths
    ]
    chosen = cut(everything.labels, np.array([int.from_bytes(key.digest()) for key in keys], dtype=np.uint64), test)
    rows = np.flatnonzero(chosen if part == "test" else ~chosen)
    if not len(rows):
        raise AutokdError(
            f"no image is left for the {part} part (a share of {test:g} of {len(chosen)} images is for the test)",
            where=str(base),
            fix=f"change `test`, or put the test images into {layout.place / 'test'}",
        )
    return replace(everything, paths=[everything.paths[row] for row in rows], labels=everything.labels[rows])


def _known_alone(place: Path, everything: _Found, layout: _Layout, part: str, tally: Tally | None = None) -> _Found:
    """The images of a further part, its classes counted as the training part counts them."""
    closed = [one for one in layout.parts if one != place]
    found = classes_in(place, tally or Tally(), closed=closed, empty=True)
    strangers = [name for name in found.classes if name not in everything.classes]
    if strangers:
        named = ", ".join(map(repr, strangers[:8])) + (f" and {len(strangers) - 8} more" if len(strangers) > 8 else "")
        raise AutokdError(
            f"no training image has the class {named}" if len(strangers) == 1 else f"no training image has the classes {named}",
            where=str(place),
            fix=f"the {part} part may hold classes of {layout.base} alone: move these folders, or add training images of them",
        )
    position = np.array([everything.classes.index(name) for name in found.classes], dtype=np.int64)
    return _Found(found.paths, position[found.labels], everything.classes, found.tally)


def _note_others(layout: _Layout, tally: Tally) -> None:
    """What lies in root beside the folders of the parts."""
    for entry in entries(layout.place):
        if layout.place / entry.name not in layout.parts:
            tally.add(HIDDEN if is_hidden(entry.name) else OUTSIDE, entry.path)


def classes_in(
    base: Path, tally: Tally, *, without: Sequence[Path] = (), closed: Sequence[Path] = (), empty: bool = False
) -> _Found:
    """Every image of a folder of images per class. without: folders in it that are no classes. closed: as in `walk`.

    empty: whether a class may be without images; it is then left out.
    """
    folders = [one for one in folders_of(base, tally) if one not in without]
    if not folders:
        raise AutokdError("it holds no folders", where=str(base), fix="it should hold a folder of images per class")
    for entry in entries(base):
        if not is_folder(entry):
            tally.add(HIDDEN if is_hidden(entry.name) else OUTSIDE if is_image(entry.name) else SUFFIX, entry.path)
    found = walk(folders, tally, within=base, closed=[one for one in closed if one != base])
    bare = [one for one, paths in zip(folders, found, strict=True) if not paths]
    if bare and not empty:
        raise _empty(bare)
    pairs = [(readable(one.name), paths) for one, paths in zip(folders, found, strict=True) if paths]
    names = tuple(name for name, _ in pairs)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise AutokdError(f"two classes are called {twice!r}", where=str(base), fix="rename the folder whose name is not UTF-8")
    sizes = np.array([len(paths) for _, paths in pairs], dtype=np.int64)
    labels = np.repeat(np.arange(len(pairs), dtype=np.int64), sizes)
    return _Found([path for _, paths in pairs for path in paths], labels, names, tally)


def _empty(bare: Sequence[Path]) -> AutokdError:
    """The classes without images, and what lies in the first of them instead."""
    tally = Tally()
    if not bare[0].is_symlink():
        walk([bare[0]], tally)
    inside = [f"{one.count} {one.why}" for one in tally.told()]
    names = ", ".join(repr(readable(one.name)) for one in bare[:8]) + (", …" if len(bare) > 8 else "")
    return AutokdError(
        f"the class {names} has no images" if len(bare) == 1 else f"the classes {names} have no images",
        where=str(bare[0] if len(bare) == 1 else bare[0].parent),
        fix="put images there, or take the folder away" + (f"; passed over in it: {', '.join(inside)}" if inside else ""),
    )


def _hint(found: _Found) -> str:
    """Where the classes may lie, in case there is one class alone: the first folder below it that holds several."""
    if len(found.classes) > 1:
        return ""
    top = Path(os.path.commonpath([path.parent for path in found.paths]))
    inside = folders_of(top, Tally())
    if len(inside) < 2 or not _holds_folders(top):
        return ""
    return f"{readable(str(top))} holds the folders {', '.join(readable(one.name) for one in inside[:4])}: is it the root?"


def _mixed(found: _Found, base: Path) -> tuple[Finding, ...]:
    """Classes whose folders hold folders that are called like parts: the images of all parts are then one."""
    words = {word: kind for kind, words in SPLITS.items() for word in words}
    seen: dict[str, str] = {}
    for path in found.paths:
        below = path.relative_to(base).parts
        if len(below) > 2 and (kind := words.get(below[1].lower())):
            seen.setdefault(kind, str(Path(*below[:2])))
    if len(seen) < 2:
        return ()
    told = " and ".join(map(readable, seen.values()))
    fix = "put the parts above the classes: train/<class>/, test/<class>/"
    return (Finding(f"{told} look like parts, and are read as one: what is meant for the test trains, too", fix, str(base)),)
