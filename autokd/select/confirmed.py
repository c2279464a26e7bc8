"""What the confirmation of a run says, read back from its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autokd.errors import AutokdError

__all__ = ["FILE", "confirmed_row", "read_confirmed"]

FILE = "confirm.json"


def read_confirmed(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What RUN/confirm.json says; None where the run was not confirmed. Raises AutokdError where it cannot be read."""
    path = Path(folder) / FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as fault:
        raise AutokdError("the confirmation cannot be read", where=str(path), fix="run autokd confirm again") from fault


def confirmed_row(
    ranked: Sequence[Mapping[str, Any]], told: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The row of a budget's confirmed choice, with `confirmed` in it; None where nothing was chosen, or where the search has
    gone on since and found a better one that was not confirmed. ranked: the budget's finished trials, the best first."""
    if not told or not told.get("chosen") or not ranked:
        return None
    known = {one["trial"]: one for one in told["candidates"]}
    if ranked[0]["trial"] not in known:
        return None
    one = known[told["chosen"]]
    facts = {key: one[key] for key in ("mean", "low", "high")} | {"seeds": len(one["seeds"])}
    facts |= {"verdict": told["verdict"], "search_best": told["search_best"], "optimism": told["optimism"]}
    return next(({**row, "confirmed": facts} for row in ranked if row["trial"] == told["chosen"]), None)
