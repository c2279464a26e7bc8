"""What a person is told when something they wrote cannot work: where, what, and the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

__all__ = ["TRAINING_FAULTS", "AutokdError", "Faults", "Interrupted", "SearchFailed", "SpaceError", "TrialFailed", "as_one",
           "did_you_mean", "in_words", "nothing_came_out", "readable", "refused", "together"]  # fmt: skip


class AutokdError(Exception):
    """One fault a person can mend. The command line prints it without a traceback and exits with 2."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(readable(what))
        self.where, self.what, self.fix = readable(where), readable(what), readable(fix)

    def __reduce__(self):  # keyword-only arguments do not survive pickling by default; Ray pickles errors
        return (_rebuild, (type(self), self.what, self.where, self.fix))

    def __str__(self) -> str:
        first = f"{self.where}: {self.what}" if self.where else self.what
        return f"{first}\n  {self.fix}" if self.fix else first


def _rebuild(kind: type[AutokdError], what: str, where: str, fix: str) -> AutokdError:
    return kind(what, where=where, fix=fix)


class SpaceError(AutokdError):
    """A fault in a search space; `where` is file:line."""


class Faults(AutokdError):
    """Every fault of one file, told at once."""

    def __init__(self, faults: Iterable[AutokdError]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self):
        return (Faults, (self.faults,))


class Interrupted(AutokdError):
    """Ended by whoever started it: what is kept, and how to go on. Printed as it stands."""

    exit_code = 130


class SearchFailed(AutokdError):
    """Nothing came out of a search, a study, a confirmation, finalize or the training of teachers; or too many trials failed."""

    exit_code = 4


class TrialFailed(Exception):
    """A trial that cannot go on (divergence, a bad file); `reason` stands in the result table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


TRAINING_FAULTS = (AutokdError, TrialFailed, MemoryError, RuntimeError)  # of one training; RuntimeError is what torch raises


def refused(fault: BaseException) -> str | None:
    """What the system said where it did not let a file be read (permission denied, …); None where the content is at fault."""
    if isinstance(fault, OSError) and fault.errno is not None:
        return (fault.strerror or str(fault)).lower()
    return None


def readable(text: str) -> str:
    """Text that every terminal, file and JSON document can hold: a byte of a file name that is not UTF-8 becomes \\xNN."""
    try:
        text.encode()
    except UnicodeEncodeError:
        escaped = (f"\\x{ord(one) - 0xDC00:02x}" if "\udc80" <= one <= "\udcff" else one for one in text)
        return "".join(escaped).encode("utf-8", "backslashreplace").decode()
    return text


def in_words(fault: BaseException) -> AutokdError:
    """What ended one training of several, for the end of the command."""
    if isinstance(fault, AutokdError):
        return fault
    if isinstance(fault, TrialFailed):
        return SearchFailed(fault.reason, fix="lower its learning rate")
    lines = str(fault).strip().splitlines()
    return SearchFailed(f"{type(fault).__name__}: {lines[0][:300]}" if lines else type(fault).__name__)


def nothing_came_out(what: str, failed: Mapping[str, AutokdError], where: str = "") -> AutokdError:
    """What ends a command of which nothing came out; a cause that several names share is told once. Where no training has failed
    all of it is for a person to mend, and the exit code is 2."""
    if not any(isinstance(fault, SearchFailed) for fault in failed.values()):
        return together(failed)
    causes: dict[str, list[str]] = {}
    for name, fault in failed.items():
        causes.setdefault(fault.what, []).append(name)
    told = "; ".join(f"{' and '.join(names)}: {cause}" for cause, names in causes.items())
    fixes = dict.fromkeys(fault.fix for fault in failed.values() if fault.fix)
    return SearchFailed(f"{what} ({told})", where=where, fix="; ".join(fixes))


def together(faults: Mapping[str, AutokdError]) -> AutokdError:
    """Faults of several things, each told with the name of what it befell, as one."""
    places = [", ".join(filter(None, (name, fault.where))) for name, fault in faults.items()]
    some = [AutokdError(fault.what, where=place, fix=fault.fix) for place, fault in zip(places, faults.values(), strict=True)]
    return as_one(some)


def as_one(faults: Iterable[AutokdError]) -> AutokdError:
    """One or more faults as one, those within `Faults` among them; what is told in the same words is told once."""
    flat = [one for fault in faults for one in (fault.faults if isinstance(fault, Faults) else [fault])]
    some = list({str(one): one for one in flat}.values())
    return some[0] if len(some) == 1 else Faults(some)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' (did you mean 'x'?)' for the nearest known name, or '' where none is near."""
    near = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
