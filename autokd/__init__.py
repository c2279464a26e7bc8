"""autokd finds the best small vision model for each compute budget, by searching over knowledge distillation.

    import autokd

    run = autokd.search("search_spaces/digits.yaml")
    run.best("tiny")

Nothing heavy is imported until it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from autokd import search as _search
from autokd.errors import AutokdError

if TYPE_CHECKING:
    from autokd.config.search_space import SearchSpace, load_space
    from autokd.search.run import Run

__version__ = "0.1.0"
__all__ = ["AutokdError", "Run", "SearchSpace", "__version__", "load_space", "search"]

_LAZY = {
    "Run": "autokd.search.run",
    "SearchSpace": "autokd.config.search_space",
    "load_space": "autokd.config.search_space",
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
