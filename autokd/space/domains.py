"""The four words of a search space (`uniform`, `log`, `int`, `choose`), and the branches that bring their own settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from autokd.errors import did_you_mean
from autokd.rooms import finite
from autokd.space.document import Place

__all__ = [
    "WORDS",
    "Branches",
    "Choose",
    "Constant",
    "Domain",
    "Drawer",
    "Int",
    "Log",
    "Node",
    "Scalar",
    "Tell",
    "Uniform",
    "emit",
    "parse",
    "same",
    "splits",
    "values_of",
    "written",
]

WORDS = ("uniform", "log", "int", "choose")
_WRITTEN = {True: "true", False: "false", None: "null"}
Scalar = str | int | float | bool | None
Tell = Callable[[Place, str, str], None]  # place, what, fix


class Drawer(Protocol):
    """Who decides: an Optuna trial, a random generator, a list of recorded values. One call per knob and trial."""

    def choose(self, path: str, options: Sequence[Scalar]) -> Any: ...
    def uniform(self, path: str, low: float, high: float) -> float: ...
    def log(self, path: str, low: float, high: float) -> float: ...
    def integer(self, path: str, low: int, high: int, log: bool = False) -> int: ...


@dataclass(frozen=True)
class Constant:
    value: Any

    @property
    def prior(self) -> Any:
        return self.value

    def draw(self, draw: Drawer, path: str) -> Any:
        return self.value

    def holds(self, value: Any) -> bool:
        return same(value, self.value)

    def __str__(self) -> str:
        return written(self.value)


@dataclass(frozen=True)
class Uniform:
    """Any number from `low` to `high`. `prior` is the published value, tried first."""

    low: float
    high: float
    prior: float | None = None

    def draw(self, draw: Drawer, path: str) -> float:
        return draw.uniform(path, self.low, self.high)

    def holds(self, value: Any) -> bool:
        return _number(value) and self.low <= value <= self.high

    def middle(self) -> float:
        return (self.low + self.high) / 2

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Log:
    """Any number from `low` to `high`, each factor as likely as the next."""

    low: float
    high: float
    prior: float | None = None

    def draw(self, draw: Drawer, path: str) -> float:
        return draw.log(path, self.low, self.high)

    def holds(self, value: Any) -> bool:
        return _number(value) and self.low <= value <= self.high

    def middle(self) -> float:
        return min(self.high, max(self.low, math.sqrt(self.low * self.high)))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, log"


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    prior: int | None = None
    log: bool = False

    def draw(self, draw: Drawer, path: str) -> int:
        return draw.integer(path, self.low, self.high, self.log)

    def holds(self, value: Any) -> bool:
        return _number(value) and value == int(value) and self.low <= value <= self.high

    def middle(self) -> int:
        return round(math.sqrt(self.low * self.high)) if self.log else (self.low + self.high) // 2

    def __str__(self) -> str:
        return f"{self.low} to {self.high}, whole" + (", log" if self.log else "")


@dataclass(frozen=True)
class Choose:
    """One of a few values."""

    options: tuple[Any, ...]
    prior: Any = None

    def draw(self, draw: Drawer, path: str) -> Any:
        return self.options[0] if len(self.options) == 1 else draw.choose(path, self.options)

    def holds(self, value: Any) -> bool:
        return any(same(value, option) for option in self.options)

    def middle(self) -> Any:
        return self.options[0]

    def __str__(self) -> str:
        return " | ".join(map(written, self.options))


Domain = Uniform | Log | Int | Choose
Node = Constant | Uniform | Log | Int | Choose


@dataclass(frozen=True)
class Branches:
    """One of a few names, each of which brings settings of its own: a setting exists only where it can matter."""

    options: tuple[tuple[str, tuple[tuple[str, Node], ...]], ...]
    prior: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.options)

    def settings(self, name: str) -> dict[str, Node]:
        return dict(next(settings for known, settings in self.options if known == name))

    def choice(self) -> Choose:
        return Choose(self.names, self.prior)

    def __str__(self) -> str:
        return " | ".join(self.names)


def written(value: Any) -> str:
    """A value as YAML writes it: true and null rather than Python's True and None."""
    return _WRITTEN[value] if value is None or isinstance(value, bool) else str(value)


def same(one: Any, other: Any) -> bool:
    """Equal, and not merely as Python counts True among the numbers."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def splits(value: Any) -> bool:
    """Whether this YAML value is one of the four words rather than a constant or a branch."""
    return isinstance(value, dict) and any(word in value for word in WORDS)


def parse(value: Any, place: Place, tell: Tell) -> Node | None:
    """A leaf of the space from its YAML value; None where it was told to be at fault."""
    if isinstance(value, list):
        listed = ", ".join(map(str, value))
        tell(place, "a list is not a value", f"to choose among its items write {{choose: [{listed}]}}")
        return None
    if not isinstance(value, dict):
        if isinstance(value, float) and not math.isfinite(value):
            tell(place, f"{value} is not a number to train with", "write a finite number")
            return None
        return Constant(value)
    words = [key for key in value if key in WORDS and not (key == "log" and "int" in value)]
    if len(words) != 1:
        stray = next(iter(value), "")
        near = "" if words else did_you_mean(stray, WORDS)
        what = f"{' and '.join(words)} exclude each other" if words else f"{stray!r} is no word of a search space"
        tell((*place, stray) if stray else place, what, f"a setting is a constant or one of {', '.join(WORDS)}{near}")
        return None
    word = words[0]
    allowed = {word, "prior"} | ({"log"} if word == "int" else set())
    for key in value:
        if key not in allowed:
            fix = f"beside {word}: {', '.join(sorted(allowed - {word}))}{did_you_mean(key, allowed)}"
            tell((*place, key), f"{word} takes no {key!r}", fix)
            return None
    found = _choose(value, place, tell) if word == "choose" else _range(word, value, place, tell)
    if found is None:
        return None
    if value.get("prior") is not None and not found.holds(value["prior"]):
        tell(
            (*place, "prior"),
            f"the prior {value['prior']!r} lies outside: {found}",
            "give a value of the range, or none",
        )
        return None
    return replace(found, prior=value.get("prior"))


def _choose(value: dict[str, Any], place: Place, tell: Tell) -> Choose | None:
    options = value["choose"]
    below = (*place, "choose")
    if isinstance(options, dict):
        tell(below, "these options bring no settings", f"write them as a list: [{', '.join(options)}]")
        return None
    if not isinstance(options, list) or not options:
        tell(below, "choose takes a list of at least one value", "for example {choose: [0.1, 0.3, 0.5]}")
        return None
    for i, option in enumerate(options):
        if isinstance(option, (dict, list)):
            tell(
                (*below, i), "an option is a single value", "only method, policy, optimizer and schedule have branches"
            )
            return None
        if isinstance(option, float) and not math.isfinite(option):
            tell((*below, i), f"{option} is not a number to train with", "write a finite number")
            return None
        if any(same(option, earlier) for earlier in options[:i]):
            tell((*below, i), f"{option!r} stands in this list twice", "take one out")
            return None
    return Choose(tuple(options))


def _range(word: str, value: dict[str, Any], place: Place, tell: Tell) -> Uniform | Log | Int | None:
    below = (*place, word)
    ends = value[word]
    if not isinstance(ends, list) or len(ends) != 2 or not all(_number(end) for end in ends):
        tell(below, f"{word} takes two numbers, not {ends!r}", f"for example {{{word}: [1, 20]}}")
        return None
    low, high = ends
    if low > high:
        tell(below, f"the range {low:g} to {high:g} is empty", f"write the smaller end first: [{high:g}, {low:g}]")
        return None
    if low == high:
        tell(below, f"the range {low:g} to {high:g} holds one value", f"write it as a constant: {low:g}")
        return None
    log = word == "log" or value.get("log", False)
    if not isinstance(log, bool):
        tell((*place, "log"), f"log is true or false, not {log!r}", "a range in factors is {log: [1, 20]}")
        return None
    if log and low <= 0:
        tell(below, f"a log range starts above 0, not at {low:g}", "raise its lower end, or use uniform")
        return None
    if word == "int":
        if low != int(low) or high != int(high):
            tell(below, f"int takes whole numbers, not {low:g} and {high:g}", "use uniform for other numbers")
            return None
        return Int(int(low), int(high), None, log)
    return Log(float(low), float(high)) if word == "log" else Uniform(float(low), float(high))


def values_of(node: Node) -> Iterator[Any]:
    """The values that decide whether a domain is within a limit: its ends, or its options."""
    if isinstance(node, Constant):
        yield node.value
    elif isinstance(node, Choose):
        yield from node.options
    else:
        yield node.low
        yield node.high


def emit(node: Node | Branches) -> Any:
    """The YAML value that is read back as this node."""
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Branches):
        options = {name: {key: emit(below) for key, below in settings} for name, settings in node.options}
        return {"choose": options, "prior": node.prior}
    if isinstance(node, Choose):
        return {"choose": list(node.options), "prior": node.prior}
    made: dict[str, Any] = {type(node).__name__.lower(): [node.low, node.high], "prior": node.prior}
    if isinstance(node, Int) and node.log:
        made["log"] = True
    return made


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and finite(value)
