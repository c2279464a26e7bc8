"""What a program reads: with --json one document on standard output, with --jsonl a JSON object a line; nothing else gets there.

Whatever else is printed meanwhile, also by libraries that write to the file descriptor itself, goes to the standard error. A
command that fails has a document too: what was at fault, the way out, and the exit code. docs/programs.md describes the fields.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from autokd.cli.terminal import PLAIN, Lasting, shown
from autokd.errors import AutokdError, Faults, readable

__all__ = ["Document", "emit", "error_of", "form_of", "opened", "plain", "print_json"]

_FORMS = {"--json": "json", "--jsonl": "jsonl"}
_HELP = ("--help", "-h")


class Document:
    """What is printed for a program. form: json (one document, at the end) or jsonl (a line for each event, at once)."""

    def __init__(self, form: str, stream: TextIO) -> None:
        self.form, self.stream = form, stream
        self.result: Any = None
        self.error: dict[str, Any] | None = None
        self._filled = False
        self._lock = threading.Lock()

    def put(self, result: Any) -> None:
        """The result of the command; with --json it is printed at the end."""
        self.result, self._filled = result, True
        if self.form == "jsonl":
            self.event({"event": "result", "result": result})

    def event(self, event: dict[str, Any]) -> None:
        """What happened meanwhile; nothing with --json."""
        if self.form == "jsonl":
            with self._lock:
                print(json.dumps(plain(event), allow_nan=False), file=self.stream, flush=True)

    def end(self, code: int) -> None:
        """Print what is left to print. code: the exit code; other than 0 with neither result nor error needs an error, too."""
        if code and self.error is None and not self._filled:
            self.error = {"message": "interrupted" if code == 130 else f"ended with exit code {code}", "exit_code": code}
        if self.form == "jsonl":
            if self.error is not None:
                self.event({"event": "error", **self.error})
            return
        document = self.result
        if self.error is not None:
            beside = {} if not self._filled else document if isinstance(document, dict) else {"result": document}
            document = {**beside, "error": self.error}
        if self._filled or self.error is not None:
            print(_indented(document, self.stream), file=self.stream, flush=True)


_document: Document | None = None


@contextmanager
def opened(words: Sequence[str]) -> Iterator[Document | None]:
    """The document that a command line asks for; None where it is for a person."""
    global _document
    form = form_of(words)
    if not form:
        yield None
        return
    before, stream = _document, _taken()
    with redirect_stdout(sys.stderr):
        _document = Document(form, stream)
        try:
            yield _document
        finally:
            _document = before


def form_of(words: Sequence[str]) -> str:
    """json, jsonl, or nothing: from the words themselves, since an error in them is told in the same form."""
    options = words[: words.index("--")] if "--" in words else words
    if any(word in options for word in _HELP):
        return ""
    return next((form for option, form in _FORMS.items() if option in options), "")


def _taken() -> TextIO:
    """The standard output, for the document alone: from here on its descriptor leads to the standard error, for good, since
    libraries also print when the process ends."""
    stream = sys.stdout
    try:
        if stream.fileno() != 1:
            return stream
        stream.flush()
        own = os.dup(1)
    except (OSError, ValueError):  # in the place of a stream, or closed
        return stream
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return io.TextIOWrapper(io.BufferedWriter(Lasting(own)), stream.encoding, PLAIN)


def print_json(value: Any) -> None:
    """The result of a command, for a program."""
    if _document is not None:
        _document.put(value)
    else:  # a command that prints JSON whatever was asked for
        print(_indented(value, sys.stdout), flush=True)


def emit(event: dict[str, Any]) -> None:
    """An event of a command that goes on for long: a line with --jsonl, nothing otherwise."""
    if _document is not None:
        _document.event(event)


def error_of(fault: AutokdError) -> dict[str, Any]:
    """An error as a program reads it."""
    told: dict[str, Any] = {**_one(fault), "exit_code": fault.exit_code}
    if isinstance(fault, Faults):
        told["faults"] = [_one(one) for one in fault.faults]
    return told


def _one(fault: AutokdError) -> dict[str, str]:
    return {"message": fault.what, "where": fault.where, "fix": fault.fix}


def _indented(value: Any, stream: TextIO) -> str:
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    if shown(text, stream) != text:  # an encoding that lacks some of it
        text = json.dumps(plain(value), indent=2, allow_nan=False)
    return text


def plain(value: Any) -> Any:
    """The value with nothing in it that JSON does not have: NaN becomes null, paths and odd things become words."""
    if isinstance(value, dict):
        return {readable(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return readable(str(value))
    return plain(value.item()) if hasattr(value, "item") else str(value)
