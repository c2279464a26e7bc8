"""What a confirmation says of one budget, in numbers and in a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autokd.select.knobs import ENOUGH, Knob
from autokd.select.paired import Paired, Spread, accuracy, paired, pooled_spread
from autokd.select.race import Choice, Standing

__all__ = ["INCONCLUSIVE", "NO_CONTROL", "PAID", "WORSE", "verdict_of"]

PAID, INCONCLUSIVE, WORSE = "search paid", "inconclusive", "search did not pay"
NO_CONTROL = "no control"


def verdict_of(
    budget: str,
    *,
    rows: Mapping[str, Mapping[str, Any]],
    arms: Mapping[str, tuple[Sequence[int], np.ndarray]],
    standing: Standing,
    choice: Choice | None,
    controls: Mapping[str, Mapping[str, Any]],
    asked: Sequence[str] = (),
    knobs: Sequence[Knob] = (),
    trials: int = 0,
) -> dict[str, Any]:
    """The confirmation of a budget in plain values.

    rows: of the candidates, the search's best first. arms: of each its seeds and bool [S, N]. controls: `student`, `config`,
    `seeds`, `arm` and `same`, whether it is the choice itself. asked: names of the controls that were asked for.
    """
    dropped = {one.candidate: one for one in standing.dropped}
    candidates = []
    for trial, row in rows.items():
        out = dropped.get(trial)
        seeds, arm = arms.get(trial, ((), None))
        candidates.append(
            {
                "trial": trial,
                "student": row["student"],
                "macs": row["macs"],
                "params": row["params"],
                "search": row["val_top1"],
                **_score(seeds, arm),
                "dropped": None
                if out is None
                else {"seeds": out.seeds, "leader": out.leader, "behind": out.behind, "p": out.p, "failed": out.failed},
                "behind": _told(choice.behind[trial]) if choice is not None and trial in choice.behind else None,
                "within": choice is not None and trial in choice.within,
            }
        )
    first = next(iter(rows))
    made: dict[str, Any] = {
        "candidates": candidates,
        "search_best": first,
        "chosen": choice.chosen if choice is not None else None,
        "best": choice.best if choice is not None else None,
        "rounds": standing.rounds,
        "validation_images": next((int(arm.shape[1]) for _, arm in arms.values()), None),
        "controls": {},
        "optimism": None,
        "knobs": {"trials": trials, "told": [vars(one) | {"mattered": one.mattered} for one in knobs]},
    }
    if choice is None:
        made |= {"verdict": INCONCLUSIVE, "why": _why_not(standing)}
        return {**made, "line": f"{budget}: {INCONCLUSIVE}, {made['why']}"}
    seeds, arm = arms[choice.chosen]
    arm = arm[: standing.rounds]
    whole = [
        np.stack(list(told["arm"]))
        for told in controls.values()
        if len(told["seeds"]) == standing.rounds and not told["same"]
    ]
    spread = pooled_spread([*(a[: standing.rounds] for t, (_, a) in arms.items() if t in standing.alive), *whole])
    made["controls"] = {
        role: _control(arm, list(seeds[: standing.rounds]), told, spread) for role, told in controls.items()
    }
    row = next(one for one in candidates if one["trial"] == choice.chosen)
    made["optimism"] = row["search"] - row["mean"]
    gains = [one["gain"] for one in made["controls"].values()]
    missing = [name for name in asked if made["controls"].get(name, {}).get("gain") is None]
    made["verdict"] = _word([gain for gain in gains if gain is not None], missing, bool(asked))
    made["why"] = f"not trained: {', '.join(missing)}" if missing else ""
    return {**made, "line": _line(budget, row, made)}


def _score(seeds: Sequence[int], arm: np.ndarray | None) -> dict[str, Any]:
    if arm is None:
        return {"seeds": [], "scores": [], "mean": None, "low": None, "high": None}
    mean, low, high = accuracy(arm)
    scores = [float(one) for one in np.asarray(arm).mean(axis=1)]
    return {"seeds": list(seeds), "scores": scores, "mean": mean, "low": low, "high": high}


def _control(arm: np.ndarray, seeds: list[int], told: Mapping[str, Any], spread: Spread | None) -> dict[str, Any]:
    there = list(told["seeds"])
    made = {"student": told["student"], "config": told["config"], "same": told["same"], "gain": None}
    if not there:
        return {**made, **_score((), None)}
    own = np.stack(list(told["arm"]))
    made |= _score(there, own)
    if len(there) > 1:
        matched = arm[[seeds.index(seed) for seed in there]]
        same = Paired(0.0, 0.0, 0.0, 0.0, 1.0, len(there), own.shape[1])  # over itself there is no gain, for certain
        made["gain"] = _told(same if told["same"] else paired(matched, own, spread=spread))
    return made


def _told(found: Paired) -> dict[str, Any]:
    """Without the p value where it says nothing."""
    made = {key: getattr(found, key) for key in ("mean", "low", "high", "se", "p", "seeds")}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in made.items()}


def _word(gains: Sequence[Mapping[str, Any]], missing: Sequence[str], asked: bool) -> str:
    """Paid where the gain over every control is above zero for sure: each says so by itself, so nothing is to be corrected."""
    if not asked:
        return NO_CONTROL
    if any(gain["high"] < 0 for gain in gains):
        return WORSE
    return PAID if gains and not missing and all(gain["low"] > 0 for gain in gains) else INCONCLUSIVE


def _why_not(standing: Standing) -> str:
    if not standing.alive:
        return f"every candidate failed: {standing.dropped[0].failed}" if standing.dropped else "no candidate"
    return f"{standing.rounds} of its seeds so far, 2 at least"


def _line(budget: str, row: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    words = [
        f"{row['trial']} ({row['student']}) {100 * row['mean']:.2f} % ({100 * row['low']:.2f} to {100 * row['high']:.2f})"
    ]
    for role, told in made["controls"].items():
        gain = told["gain"]
        if told["same"]:
            words.append(f"it is {role} itself")
        elif gain is not None:
            words.append(f"{_signed(gain['mean'])} over {role} ({_signed(gain['low'])} to {_signed(gain['high'])})")
    told = made["knobs"]["told"]
    mattered = [f"{one['name']} ({one['share']:.0%})" for one in told if one["mattered"]]
    if made["knobs"]["trials"] < ENOUGH:
        words.append(f"too few trials ({made['knobs']['trials']}) to tell which knobs mattered")
    else:
        words.append("mattered: " + (", ".join(mattered[:3]) if mattered else "no knob for sure"))
    words.append(f"optimism {_signed(made['optimism'])}")
    return f"{budget}: {made['verdict']}; " + "; ".join(words)


def _signed(share: float) -> str:
    return f"{100 * share:+z.2f}"
