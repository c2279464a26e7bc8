"""autokd finds the best small vision model for each compute budget, by searching over knowledge distillation.

    import autokd

    run = autokd.search("search_spaces/digits.yaml")   # a file, the same as Python values, or a SearchSpace
    run.best("tiny")                                   # a row of the result table as a dict; run.best() has every budget's
    run.trials                                         # the result table: a pyarrow.Table, one row a (trial, rung)
    run.status()                                       # {"state": "finished", "trials": {"done": 20, …}, …}
    run.report()                                       # the path of report.html, made from what is known now
    run.finalize(seeds=3)                              # {"tiny": Final(budget, folder, metrics), …}

    run = autokd.Run("runs/digits-20260101-3f2a")      # a run of yesterday, or one that another process is writing

    space = autokd.load_space("search_spaces/digits.yaml", overrides=["search.trials=8"])
    autokd.search(space, runs="runs", on_event=print)

What a person can mend (a wrong space, a budget nobody keeps, no such run) raises AutokdError with `where`, `what` and `fix`.
A search, confirmation or finalize of which nothing came out raises SearchFailed, which is one, too.
A search that was paused (Ctrl-C) or cut off goes on with `autokd.resume(run.folder)`. Nothing heavy is imported before it is
asked for.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from autokd import search as _search
from autokd.errors import AutokdError, SearchFailed

if TYPE_CHECKING:
    from autokd.config.search_space import SearchSpace, load_space
    from autokd.search.run import Run, resume

__version__ = "0.1.0"
__all__ = ["AutokdError", "Run", "SearchFailed", "SearchSpace", "__version__", "load_space", "resume", "search"]

_LAZY = {
    "Run": "autokd.search.run",
    "SearchSpace": "autokd.config.search_space",
    "load_space": "autokd.config.search_space",
    "resume": "autokd.search.run",
}


class _CallableRoom(ModuleType):
    """`autokd.search` is a folder of files and, called, the main job: autokd.search("space.yaml") -> Run."""

    def __call__(self, space: Any, **settings: Any) -> Any:
        return import_module("autokd.search.run").search(space, **settings)


_search.__class__ = _CallableRoom
search = _search


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'autokd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
