"""A YAML file as plain values that remember the lines they stand on."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import RoundTripRepresenter

from autokd.errors import Faults, SpaceError, did_you_mean, readable, refused

__all__ = ["Document", "Place", "dump", "plain"]

Place = tuple[str | int, ...]  # ("budgets", 0, "macs")

_LARGEST = 20_000  # values in one file, aliases counted as often as they are used
_TAG = "tag:yaml.org,2002:"
_WORDS = {"null": None, "true": True, "false": False}


class Document:
    """Plain values (dict, list, str, int, float, bool, None) and, for each, where a person wrote it.

    `values` is the whole file; `where(place)` is "file:line", or "--set a.b=c" for what came from the command line.
    Quantities such as `45 M` stay text: what they mean depends on the key they stand under.
    """

    def __init__(
        self, values: Any, name: str, lines: dict[Place, int] | None = None, folder: Path | None = None
    ) -> None:
        self.values, self.name, self.folder = values, name, folder
        self._lines = lines
        self._set: dict[Place, str] = {}

    @classmethod
    def read(cls, path: str | Path) -> Document:
        """Read a file. Raises Faults where it is missing, is not YAML, or says one thing twice (all such lines at once)."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")]) if path.parent.is_dir() else ""
            raise Faults([SpaceError("no such file", where=str(path), fix=f"check the path{near}")]) from None
        except IsADirectoryError:
            raise Faults([SpaceError("this is a folder", where=str(path), fix="name a YAML file")]) from None
        except OSError as error:
            raise Faults([SpaceError(f"cannot be read: {refused(error) or error}", where=str(path))]) from None
        except UnicodeDecodeError as error:
            raise Faults([SpaceError(f"cannot be read: {error}", where=str(path), fix="save it as UTF-8 text")]) from None
        return cls.from_text(text, str(path), folder=path.resolve().parent)

    @classmethod
    def from_text(cls, text: str, name: str = "the space", folder: Path | None = None) -> Document:
        builder = _Builder(name)
        values = builder.values(builder.compose(text))
        if builder.faults:
            raise Faults(builder.faults)
        return cls(values, name, builder.lines, folder)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], name: str = "the space") -> Document:
        """A document from Python values; a place is told by its keys, as there are no lines."""
        return cls(plain(values), name)

    def where(self, place: Place = ()) -> str:
        """ "file:line" of the nearest written ancestor of `place`."""
        for length in range(len(place), -1, -1):
            head = place[:length]
            if head in self._set:
                return self._set[head]
            if self._lines is not None and head in self._lines:
                return f"{self.name}:{self._lines[head]}"
        keys = ".".join(str(key) for key in place)
        return f"{self.name} ({keys})" if keys else self.name

    def order(self, place: Place) -> tuple[int, int]:
        """Sorts places as they stand in the file, what came from the command line after it."""
        for length in range(len(place), -1, -1):
            head = place[:length]
            if head in self._set:
                return (1, list(self._set).index(head))
            if self._lines is not None and head in self._lines:
                return (0, self._lines[head])
        return (0, 0)

    def get(self, place: Place, default: Any = None) -> Any:
        value = self.values
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    def drop(self, place: Place) -> None:
        """Take one key of a mapping out, with all below it."""
        parent = self.get(place[:-1])
        if isinstance(parent, dict):
            parent.pop(place[-1], None)

    def override(self, text: str) -> Place:
        """Apply `path.to.key=value` (the value is YAML) and return its place. Raises SpaceError where that cannot be done.

        A list is entered by position, or by the `name` of an item (`budgets.tiny.macs=20 M`). The word `choose` may be left
        out on the way to a branch (`space.method.kd.temperature=4`). Missing mappings on the way are made.
        """
        where = f"--set {text}"
        path, found, value_text = text.partition("=")
        keys = path.strip().split(".")
        if not found or not all(keys):
            raise SpaceError("this is not path.to.key=value", where=where, fix="for example --set data.root=data")
        builder = _Builder(where)
        value = builder.values(builder.compose(value_text, lines=False))
        if builder.faults:
            raise Faults(builder.faults)
        place: Place = ()
        here = self.values
        for position, key in enumerate(keys):
            last = position == len(keys) - 1
            if isinstance(here, list):
                index = _index(here, key)
                if index is None:
                    known = [str(item["name"]) for item in here if isinstance(item, dict) and "name" in item]
                    raise SpaceError(
                        f"{'.'.join(map(str, place))} is a list without {key!r}",
                        where=where,
                        fix=f"its items: {', '.join(known)}{did_you_mean(key, known)}"
                        if known
                        else f"name an item by its position, 0 to {len(here) - 1}, or set the whole list",
                    )
                step: str | int = index
            else:
                branches = here.get("choose")
                if key not in here and isinstance(branches, dict) and key in branches:
                    here, place = branches, (*place, "choose")
                step = key
            place = (*place, step)
            if last:
                here[step] = value  # type: ignore[index]
            else:
                below = here[step] if isinstance(here, list) else here.get(step)  # type: ignore[index]
                if not isinstance(below, (dict, list)):  # a word or nothing gives way to a mapping
                    below = {below: None} if isinstance(below, str) and below == keys[position + 1] else {}
                    here[step] = below  # type: ignore[index]
                    self._set[place] = where
                here = below
        for earlier in [p for p in self._set if p[: len(place)] == place]:
            del self._set[earlier]
        if self._lines is not None:
            for below_it in [p for p in self._lines if len(p) > len(place) and p[: len(place)] == place]:
                del self._lines[below_it]
        self._set[place] = where
        return place


def dump(values: Any) -> str:
    """YAML text: short lists and mappings on one line, everything else one key a line. Read back, it is equal."""
    yaml = YAML(typ="rt")
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.width = 110
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(plain(values), out)
    return out.getvalue()


class _Representer(RoundTripRepresenter):
    """Writes `null` out where ruamel.yaml leaves a gap."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar(f"{_TAG}null", "null"))


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Place, int] = {}
        self.faults: list[SpaceError] = []
        self._numbered = True
        self._open: list[int] = []  # nodes being read, by identity: an alias to one of them has no end
        self._count = 0

    def compose(self, text: str, lines: bool = True) -> Node | None:
        self._numbered = lines
        try:
            return YAML(typ="rt").compose(io.StringIO(text))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part) or "this is not YAML"
            self._tell(
                mark.line if mark else 0, f"not YAML: {what}", "check the indentation, the colons and the quotes"
            )
        except YAMLError as error:
            if readable(text) != text:  # only a word of the command line can hold such
                self._tell(0, "this is not UTF-8, and no space file holds it", "rename what it names, or name a link to it")
            else:
                self._tell(0, f"not YAML: {' '.join(str(error).split())}", "save it as plain UTF-8 text")
        except RecursionError:
            self._tell(0, "lists and mappings stand too deep in one another", "a space needs about ten levels")
        except (ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:  # ruamel.yaml's own, of odd tags
            self._tell(0, f"not YAML: {' '.join(str(error).split()) or type(error).__name__}", "write numbers and words plainly")
        raise Faults(self.faults)

    def values(self, node: Node | None, place: Place = ()) -> Any:
        if node is None:
            return None
        self._count += 1
        if self._count > _LARGEST:
            self._tell(node.start_mark.line, "too much for one file", "aliases that repeat aliases grow without bound")
            raise Faults(self.faults)
        if place not in self.lines:
            self.lines[place] = node.start_mark.line + 1
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if id(node) in self._open:
            self._tell(node.start_mark.line, "an alias that contains itself", "write the value out")
            return None
        self._open.append(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.values(item, (*place, i)) for i, item in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            return self._mapping(node, place)
        finally:
            self._open.pop()

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        made: dict[str, Any] = {}
        first: dict[str, int] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            if not isinstance(key_node, ScalarNode):
                self._tell(line, "a key is a word", "put the list or mapping on the right of the colon")
                continue
            if key_node.value == "<<" and key_node.style is None:
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            key = str(key_node.value)
            if key in first:
                self._tell(line, f"{key!r} stands here twice", f"line {first[key]} has it too: keep one of them")
                continue
            first[key] = line + 1
            self.lines[*place, key] = line + 1
            made[key] = self.values(value_node, (*place, key))
        for source in merged:
            if not isinstance(source, MappingNode):
                self._tell(source.start_mark.line, "`<<` takes a mapping", "give it an alias of a mapping: <<: *name")
                continue
            inherited = self._mapping(source, (*place, "<<"))
            for key, value in inherited.items():
                if key not in made:
                    made[key] = value
                    head = (*place, "<<", key)
                    for known in [p for p in self.lines if p[: len(head)] == head]:
                        self.lines[(*place, key, *known[len(head) :])] = self.lines[known]
        return made

    def _scalar(self, node: ScalarNode) -> Any:
        tag, text = str(node.tag).removeprefix(_TAG), node.value
        if tag == "null":
            return None
        if tag in ("str", "timestamp", "merge"):
            return text
        try:  # a tag written out, or YAML 1.1 asked for, says more than the text holds
            if tag == "bool":
                return _WORDS[text.lower()]
            if tag == "int":
                return _sized(_whole(text))
            if tag == "float":
                return _decimal(text)
        except (KeyError, ValueError):
            self._tell(node.start_mark.line, f"{text!r} is no {tag}", "write true or false, 24, or 0.5, and no tag")
            return None
        self._tell(node.start_mark.line, f"the tag {node.tag} is not read here", "write a plain word or number")
        return None

    def _tell(self, line: int, what: str, fix: str) -> None:
        where = f"{self.name}:{line + 1}" if self._numbered else self.name
        self.faults.append(SpaceError(what, where=where, fix=fix))


def _whole(text: str) -> int:
    text = text.replace("_", "")
    digits = text.lstrip("+-").lower()
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2], 10)
    return int(text, base)


def _decimal(text: str) -> float:
    text = text.replace("_", "").lower()
    if match := re.fullmatch(r"([-+]?)\.inf", text):
        return -math.inf if match[1] == "-" else math.inf
    return math.nan if text == ".nan" else float(text)


def _index(items: list[Any], key: str) -> int | None:
    for i, item in enumerate(items):
        if isinstance(item, dict) and str(item.get("name")) == key:
            return i
    return int(key) if key.isdigit() and int(key) < len(items) else None


def plain(value: Any) -> Any:
    """The same values as dicts, lists and Python's own scalars."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return _sized(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sized(value: int) -> int | float:
    """A whole number too long for a float is as good as infinite, and is refused where infinity is."""
    try:
        float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return value
