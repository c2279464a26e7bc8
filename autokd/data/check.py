"""Is a data set what its owner believes it to be? All of it is read, and what was found is told before anything is trained.

Of the test part no more leaves this file than how many images it has, which of them cannot be read, and which of its classes
training does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np

from autokd.data._sets import admit, expected_card, is_here, open_part
from autokd.data.decode import progress
from autokd.data.images import Images
from autokd.data.reading import Faulty, FaultyImages, Finding, PassedOver, Reading, Seen
from autokd.data.training import rows_of
from autokd.errors import AutokdError, Faults, as_one, readable

__all__ = ["Asked", "DataReport", "PartReport", "check_data"]

_IMBALANCE = 20  # of the largest to the smallest class; above it, top-1 says little of the small ones
_NARROW = 64  # grey levels between the darkest and the lightest pixel of a whole set, as where 14 bits lie in 16
_SMALL = 50  # validation images; with fewer, one of them is more than two points
_NAMES = 8


class Asked(Protocol):
    """Which data, as a space says it (autokd.config.trial.DataConfig)."""

    @property
    def name(self) -> str: ...
    @property
    def root(self) -> str | None: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def validation(self) -> float: ...
    @property
    def split_seed(self) -> int: ...
    @property
    def split_file(self) -> str | None: ...
    @property
    def fraction(self) -> float: ...
    @property
    def faulty(self) -> str: ...
    @property
    def faulty_limit(self) -> float: ...


@dataclass(frozen=True)
class PartReport:
    """What reading a part told. images: those that can be read. kinds: how many files of each suffix (or kind of image)."""

    images: int
    faulty: tuple[Faulty, ...] = ()
    kinds: tuple[tuple[str, int], ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


@dataclass(frozen=True)
class DataReport:
    """What reading a data set told. classes: the training part's images of each, those for validation among them.

    train, validation: images of the two splits. own_validation: the set has a part of its own for the latter. training, test: the
    parts; None where one was not read, as `findings` says. faulty: what is done with images that cannot be read (stop, skip).
    findings: what looks wrong, what stops first. notes: what was not looked at, and why.
    """

    name: str
    root: str | None
    classes: tuple[tuple[str, int], ...] = ()
    train: int = 0
    validation: int = 0
    training: PartReport | None = None
    test: PartReport | None = None
    faulty: str = "stop"
    own_validation: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if not one.stop)

    @property
    def skipped(self) -> tuple[Faulty, ...]:
        """The images that are left out, of both parts."""
        if self.faulty != "skip":
            return ()
        return tuple(one for part in (self.training, self.test) if part is not None for one in part.faulty)

    def trouble(self) -> AutokdError | None:
        """What stops, all at once."""
        faults = [one.error() for one in self.findings if one.stop]
        return as_one(faults) if faults else None

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {**asdict(self), "classes": dict(self.classes), **{
            name: part and {**asdict(part), "kinds": dict(part.kinds)}
            for name, part in (("training", self.training), ("test", self.test))
        }}  # fmt: skip

    def lines(self) -> list[str]:
        """The report in one or two lines."""
        if self.training is None or not self.classes:
            return []
        sizes = [count for _, count in self.classes]
        told = f"data: {self.train:,} images to train on, {self.validation:,} to validate"
        told += " (a part of its own)" if self.own_validation else ""
        told += f", {self.test.images:,} to test" if self.test is not None else ""
        told += f"; {_count(len(sizes), 'class')} of {min(sizes):,}" + (f" to {max(sizes):,}" if min(sizes) < max(sizes) else "")
        over = sum(one.count for one in self.training.passed_over)
        told += f"; {over:,} passed over" if over else ""
        told += f"; {len(self.skipped):,} skipped, as they cannot be read" if self.skipped else ""
        if not self.warnings:
            return [told]
        more = f"; and {len(self.warnings) - 1} more (autokd validate)" if len(self.warnings) > 1 else ""
        return [told, f"look at the data: {self.warnings[0].what}{more}"]


def check_data(
    asked: Asked, *, fetch: bool = True, tell: Callable[[str, int, int], None] | None = None
) -> DataReport:
    """Read all of a data set, both parts, and say what was found. What was decoded is kept, so that a second time is quick.

    fetch: whether what is not here may be downloaded; a part that is not is otherwise left out. tell(part, done, all) hears how
    many images of a part are decoded. Raises nothing for what is wrong with the data: that stands in `findings`.
    """
    report = DataReport(asked.name, asked.root, faulty=asked.faulty)
    if not fetch and expected_card(asked.name, asked.root, asked.options) is not None:
        return replace(report, notes=("the images are not here: nothing of them was read",))
    findings: list[Finding] = []
    away = [part for part in ("train", "test") if not fetch and not _is_here(asked, part)]
    training, images = (None, None) if "train" in away else _read(asked, "train", tell, findings)
    test, held = (None, None) if "test" in away else _read(asked, "test", tell, findings)
    if away:
        parts = " and ".join(_CALLED[part] for part in away)
        note = f"the {parts} images are not here yet: a search downloads them, and looks at them first"
        report = replace(report, notes=(note,))
    if images is not None:
        reading = images.reading or _looked_at(images)
        report = _split(asked, report, images, reading, findings)
        findings += [*_classes(images, reading), *_looks(images, reading)]
        if held is not None:
            findings += _tested(images, held)
    findings.sort(key=lambda one: not one.stop)
    return replace(report, training=training, test=test, findings=tuple(dict.fromkeys(findings)))


def _is_here(asked: Asked, part: str) -> bool:
    try:
        return is_here(asked.name, part, asked.root, asked.options)
    except AutokdError:  # reading it tells what is wrong
        return True


_CALLED = {"train": "training", "test": "test"}


def _read(
    asked: Asked, part: str, tell: Callable[[str, int, int], None] | None, findings: list[Finding]
) -> tuple[PartReport | None, Images | None]:
    """A part with all that can be read of it, and what was told of it."""
    needed = part == "train" or asked.options.get("test") != 0  # without a test part a search can be had, and no more
    try:
        with progress(None if tell is None else lambda done, count: tell(_CALLED[part], done, count)):
            images = open_part(asked.name, part, asked.root, asked.options, faulty="skip", limit=1.0)
    except FaultyImages as fault:
        findings.append(_stop(fault))
        return PartReport(0, fault.faulty), None
    except Faults as faults:
        findings += map(_stop, faults.faults)
        return None, None
    except AutokdError as fault:
        findings.append(replace(_stop(fault), stop=needed))
        return None, None
    reading = images.reading
    if reading is None:
        return PartReport(len(images)), images
    try:
        admit(reading, part, asked.faulty, asked.faulty_limit)
    except FaultyImages as fault:
        findings.append(_stop(fault))
    findings += reading.findings
    kinds = tuple(sorted(reading.kinds.items(), key=lambda one: (-one[1], one[0])))
    return PartReport(len(images), reading.faulty, kinds, reading.passed_over), images


def _stop(fault: AutokdError) -> Finding:
    return Finding(fault.what, fault.fix, fault.where, stop=True)


def _looked_at(images: Images) -> Reading:
    """What a set that tells nothing of its reading would tell: its pixels are in memory."""
    seen = Seen()
    for row, pixels in enumerate(images.pixels):
        seen.add(row, pixels)
    return Reading(images.labels, lambda row: f"image {row}", look=seen.look())


def _split(asked: Asked, report: DataReport, images: Images, reading: Reading, findings: list[Finding]) -> DataReport:
    """The report with the classes and the two splits, and what is wrong with these."""
    counts = np.bincount(images.labels, minlength=len(images.classes))
    classes = tuple((readable(name), int(count)) for name, count in zip(images.classes, counts, strict=True))
    report = replace(report, classes=classes)
    try:
        train, held = rows_of(
            images,
            validation=asked.validation,
            seed=asked.split_seed,
            split_file=asked.split_file,
            fraction=asked.fraction,
        )
    except AutokdError as fault:
        findings.append(_stop(fault))
        return report
    own = reading.validation is not None and asked.validation > 0 and asked.split_file is None
    trained, validated = (np.bincount(images.labels[rows], minlength=len(classes)) for rows in (train, held))
    if len(held) and np.count_nonzero(counts) > 1:
        findings += _sides(classes, trained, validated, asked.fraction)
    if 0 < len(held) < _SMALL:
        what = f"validation has {_count(len(held), 'image')}: one of them is {100 / len(held):.3g} points of accuracy"
        findings.append(Finding(what, "small differences between students are chance"))
    findings += _crossing(images, reading, train, held)
    return replace(report, train=len(train), validation=len(held), own_validation=own)


def _sides(
    classes: Sequence[tuple[str, int]], trained: np.ndarray, validated: np.ndarray, fraction: float
) -> list[Finding]:
    """Classes that are missing from one side of the split."""
    never = [one for one, here, there in zip(classes, trained, validated, strict=True) if there and not here]
    gone = [one for one, here, there in zip(classes, trained, validated, strict=True) if one[1] and not here and not there]
    unseen = [one for one, here, there in zip(classes, trained, validated, strict=True) if here and not there]
    found = []
    if never:
        what = f"{_many(never)} in validation and not in training: nobody can learn {_them(never)}"
        fix = "add images, join the class with another, or take it away" + (", or raise data.fraction" if fraction < 1 else "")
        found.append(Finding(what, fix, stop=True))
    if gone:
        what = f"{_many(gone)} left out by data.fraction ({fraction:g})"
        found.append(Finding(what, "raise data.fraction, or take the class away"))
    if unseen:
        lone = int(np.count_nonzero(validated)) == 1  # a number of numpy makes no plain bool
        what = f"{_many(unseen)} in training and not in validation: no score tells how well {_they(unseen)} learned"
        if lone:
            what = f"all images of validation are of one class, so that its score tells nothing; {what}"
        fix = "add images of it, raise data.validation, name rows with data.split_file, or join the class with another"
        found.append(Finding(what, fix, stop=lone))
    return found


def _many(classes: Sequence[tuple[str, int]]) -> str:
    """'2 classes (a of 1 image, b of 2) are'."""
    named = [f"{name} of {_count(count, 'image')}" for name, count in classes[:_NAMES]]
    more = f" and {len(classes) - _NAMES:,} more" if len(classes) > _NAMES else ""
    told = f"{', '.join(named)}{more}"
    return f"the class {told} is" if len(classes) == 1 else f"{len(classes):,} classes ({told}) are"


def _count(number: int, word: str) -> str:
    """'1 image', '2 images', '2 classes'."""
    return f"{number:,} {word}" + ("" if number == 1 else "es" if word.endswith("s") else "s")


def _them(classes: Sequence[Any]) -> str:
    return "it" if len(classes) == 1 else "them"


def _they(classes: Sequence[Any]) -> str:
    return "it is" if len(classes) == 1 else "they are"


def _classes(images: Images, reading: Reading) -> list[Finding]:
    """What is odd about the classes and their sizes."""
    sizes = {name: int(count) for name, count in zip(images.classes, np.bincount(images.labels, minlength=len(images.classes)))}
    used = {name: count for name, count in sizes.items() if count}
    if len(used) < 2:
        what = f"all training images are of one class, {next(iter(used))!r}: every student is right there"
        return [Finding(what, reading.hint or "give each class a folder, or a label, of its own", stop=True)]
    found = _missing(images, reading, [name for name, count in sizes.items() if not count])
    large, small = max(used, key=lambda name: used[name]), min(used, key=lambda name: used[name])
    if used[large] > _IMBALANCE * used[small]:
        what = f"{large!r} has {used[large]:,} images and {small!r} {used[small]:,}: top-1 hardly counts {small!r}"
        found.append(Finding(what, "look at the recall of each class (metrics.json), or even the classes out"))
    return found


def _missing(images: Images, reading: Reading, names: Sequence[str]) -> list[Finding]:
    """Classes without a training image: because none of theirs can be read, or because there is none."""
    there = {images.classes[label] for label in np.unique(reading.labels) if label >= 0}
    broken, absent = [name for name in names if name in there], [name for name in names if name not in there]
    found = []
    if broken:
        found.append(Finding(f"no training image of {_some(broken)} can be read", "mend them, or take the class away", stop=True))
    if absent:
        found.append(Finding(f"there is no training image of {_some(absent)}", "add images, or take the class away"))
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMES])) + (f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else "")


def _looks(images: Images, reading: Reading) -> list[Finding]:
    """What is odd about the pixels of the training part."""
    look, name, total, found = reading.look, reading.where, len(images), []
    if look is None:
        return []
    constant = look.counts["constant"]
    if 2 * constant > total or look.low == look.high:
        what = f"{constant:,} of {total:,} training images have one value in all their pixels (as {name(look.constant[0])})"
        return [Finding(what, "look at the files; options black and white say how their values are read", stop=True)]
    if look.counts["copies"] == total - 1:
        return [Finding("all training images are the same", "look at the files", stop=True)]
    if constant:
        some = ", ".join(map(name, look.constant[:3]))
        what = f"one value in all its pixels: {_count(constant, 'training image')}, as {some}"
        found.append(Finding(what, "look at them, or take them out"))
    if look.high - look.low < _NARROW:
        what = f"all pixels lie between {look.low} and {look.high} of 255: hardly anything can be seen"
        found.append(Finding(what, "look at the files; options black and white say how their values are read"))
    labels = reading.labels
    twice = [(row, first) for row, first in look.copies if labels[row] != labels[first]]
    if twice:
        row, first = twice[0]
        classes = f"{images.classes[labels[first]]!r} and {images.classes[labels[row]]!r}"
        what = f"the same pixels in two classes: {_count(len(twice), 'training image')}"
        found.append(Finding(f"{what}, as {name(first)} and {name(row)} ({classes})", "one of both labels is wrong"))
    return found


def _crossing(images: Images, reading: Reading, train: np.ndarray, held: np.ndarray) -> list[Finding]:
    """Images of the validation split that train, too."""
    place = images.index if images.reading is not None else np.arange(len(images))
    side = dict.fromkeys(place[train].tolist(), "train") | dict.fromkeys(place[held].tolist(), "held")
    copies, name = reading.look.copies if reading.look is not None else (), reading.where
    pairs = [(row, first) for row, first in copies if {side.get(row), side.get(first)} == {"train", "held"}]
    if not pairs:
        return []
    some = f"{_count(len(pairs), 'image')}, as {name(pairs[0][0])} and {name(pairs[0][1])}"
    return [Finding(f"the same pixels in training and in validation: {some}", "take the copies out: scores look better by them")]


def _tested(images: Images, held: Images) -> list[Finding]:
    """Whether the classes of the test part are those of training. No more of its labels is told."""
    if held.classes != images.classes:
        strange = [name for name in held.classes if name not in images.classes]
        told = f" ({_some(strange)})" if strange else ""
        return [Finding(f"the test part has other classes than the training part{told}", "their labels have to agree", stop=True)]
    missing = [images.classes[number] for number in np.setdiff1d(images.labels, held.labels)]
    return [Finding(f"the test part has no image of {_some(missing)}")] if missing else []
