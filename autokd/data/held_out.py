"""The test part of a data set. finalize/ imports this file and nothing else does: a test reads the syntax trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autokd.data._sets import open_part
from autokd.data.images import Images

__all__ = ["open_test"]


def open_test(
    name: str,
    *,
    root: str | None = None,
    options: Mapping[str, Any] | None = None,
    faulty: str = "stop",
    faulty_limit: float = 0.01,
) -> Images:
    """The test part, whole, with the class order of the training part. AutokdError where it cannot be had.

    faulty, faulty_limit: as in autokd.data.training.open_training.
    """
    return open_part(name, "test", root, options, faulty=faulty, limit=faulty_limit)
