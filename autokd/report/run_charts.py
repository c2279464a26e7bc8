"""The figures of a run. Every function takes what was read of the run and gives charts, none where there is nothing to draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autokd.report.chart import GREY, INK, Axis, Chart, Heat, Line, Series
from autokd.report.courses import COSTS, Course, Point, Told
from autokd.report.words import amount, duration, percent
from autokd.select.best import rank
from autokd.select.importance import Importance, importance
from autokd.select.interval import share_interval
from autokd.select.progress import correlation_interval, front_height, stairs
from autokd.select.verdict import spearman

__all__ = ["Agreement", "agreements", "cost", "curves", "fronts", "knobs", "matrix", "progress", "rungs", "weights", "winners"]

_CURVES = 150  # lines on the page; the CSV has every report
_TOP1 = "validation top-1, %"


def fronts(told: Told, other: Told | None = None) -> list[Chart]:
    """Accuracy against each cost that the table knows, with the front, the budgets' limits and the chosen students."""
    return [chart for name in COSTS if (chart := _front(told, name, other)) is not None]


def _front(told: Told, name: str, other: Told | None) -> Chart | None:
    done = [one for one in told.finished() if one.costs.get(name)]
    second = [one for one in other.finished() if one.costs.get(name)] if other is not None else []
    if not done and not second:
        return None
    conditions = next((one["conditions"] for one in told.budgets if one.get("conditions")), None)  # of the table's latency
    drawn = [one for one in told.budgets if name != "latency_ms" or one.get("conditions") == conditions]
    limits = {str(one["name"]): limit for one in drawn if (limit := _limit(one.get(name))) is not None}
    best = winners(told)
    chosen = {w.trial: ", ".join(b for b, one in best.items() if one.trial == w.trial) for w in best.values()}
    series = [_dots(done, name, "finished trial", GREY)]
    series += [_line(done, name, "front", 0)]
    picked = [one for one in done if one.trial in chosen]
    notes = tuple(f"{note}\nbest of {chosen[one.trial]}" for note, one in zip(_notes(picked), picked, strict=True))
    low, high = _intervals([one.score or 0.0 for one in picked], told.images)
    series.append(replace(_dots(picked, name, "best of a budget", 1), symbol="star", size=13, notes=notes, low=low,
                          high=high))  # fmt: skip
    if other is not None and second:
        series = [replace(one, name=f"{one.name} of {told.run}") if one.name == "front" else one for one in series]
        series.append(replace(_dots(second, name, f"finished trial of {other.run}", 2), symbol="diamond", faint=True))
        series.append(replace(_line(second, name, f"front of {other.run}", 2), dash=True))
    title, si = COSTS[name]
    title += f" ({conditions})" if name == "latency_ms" and conditions else ""
    costs = [one.costs[name] for one in (*done, *second)] + list(limits.values())
    axis = Axis(title, log=True, si=si, ticks=_ticks(costs), low=min(costs) / 1.25, high=max(costs) * 1.25)
    says = (
        f"Students trained to their end: validation accuracy against {title}; a student on the line is the best at no more "
        "cost, dashed lines are the budgets' limits"
        + (", bars are 95 % intervals over validation images" if low else "")
        + (f", and the dashed front is that of {other.run}." if other is not None and second else ".")
    )
    ahead, theirs = _on_front(done, name), _on_front(second, name)
    rows = [(told.run, *_row(one), one.costs[name], one.trial in ahead, chosen.get(one.trial, "")) for one in done]
    if other is not None:
        rows += [(other.run, *_row(one), one.costs[name], one.trial in theirs, "") for one in second]
    columns = ("run", *_ROW, name, "on_front", "chosen_for")
    lines = tuple(Line("x", limit, budget) for budget, limit in limits.items())
    return Chart(f"front-{name}", _TAB.get(name, name), says, axis, Axis(_TOP1), columns, tuple(rows), tuple(series), lines)


_TAB = {"macs": "MACs", "params": "parameters", "file_size": "file size", "latency_ms": "latency"}


def _limit(value: Any) -> float | None:
    """A limit as the ledger has it: a number, or a mapping with `max`."""
    value = value.get("max") if isinstance(value, Mapping) else value
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def winners(told: Told) -> dict[str, Course]:
    """The best of each budget, by the one rule there is."""
    found = {}
    for budget in told.budgets:
        fitting = [one for one in told.of_budget(budget["name"]) if one.score is not None]
        if fitting:
            found[str(budget["name"])] = min(fitting, key=_rank)
    return found


def _rank(one: Course) -> tuple[Any, ...]:
    return rank({"val_top1": one.score, "trial": one.trial, **one.costs})


def _on_front(done: Sequence[Course], name: str) -> set[str]:
    best = set(stairs([(one.costs[name], one.score or 0.0) for one in done]))
    return {one.trial for one in done if (one.costs[name], one.score) in best}


def _dots(some: Sequence[Course], name: str, label: str, colour: int) -> Series:
    ys = tuple(100 * (one.score or 0.0) for one in some)
    return Series(label, tuple(one.costs[name] for one in some), ys, colour=colour, notes=tuple(_notes(some)))


def _line(some: Sequence[Course], name: str, label: str, colour: int) -> Series:
    steps = stairs([(one.costs[name], one.score or 0.0) for one in some])
    last = max((one.costs[name] for one in some), default=0.0)
    steps += [(last, steps[-1][1])] if steps and steps[-1][0] < last else []
    xs, ys = tuple(x for x, _ in steps), tuple(100 * y for _, y in steps)
    return Series(label, xs, ys, form="steps", colour=colour, size=0)


def _intervals(scores: Sequence[float], images: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not images or not scores:
        return (), ()
    ends = [share_interval(score, images) for score in scores]
    return tuple(100 * low for low, _ in ends), tuple(100 * high for _, high in ends)


def _notes(some: Iterable[Course]) -> list[str]:
    return [_note(one) for one in some]


def _note(one: Course) -> str:
    """Three lines: the trial and its score, its student, and how it was trained."""
    units = (("params", "params"), ("macs", "MACs"))
    costs = ", ".join(f"{amount(one.costs[key])} {unit}" for key, unit in units if key in one.costs)
    ratio = f" {one.ratio:.2f}" if one.ratio is not None and one.policy != "none" else ""
    score = percent(one.score) if one.score is not None else one.status
    teacher = f" from {one.teacher}" if one.teacher else ""
    return f"{one.trial}: {score}\n{one.student}, {costs}\n{one.method}{teacher}, {one.policy}{ratio}"


_ROW = ("trial", "status", "val_top1", "student", "teacher", "method", "policy", "ratio")


def _row(one: Course) -> tuple[Any, ...]:
    return (one.trial, one.status, one.score, one.student, one.teacher, one.method, one.policy, one.ratio)


def _ticks(values: Sequence[float]) -> tuple[float, ...]:
    """1, 2 and 5 times the powers of ten within the values, thinned to eight."""
    low, high = min(values) / 1.25, max(values) * 1.25
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**power for power in range(first, last + 1) for f in factors if low <= f * 10.0**power <= high]
        if len(found) <= 8:
            break
    return tuple(found)


# --- how trials went


def curves(told: Told) -> list[Chart]:
    """Accuracy against views, a line a trial, with rungs and stops."""
    some = [one for one in told.courses.values() if one.points]
    if not some:
        return []
    best = {one.trial for one in winners(told).values()}
    shown = _shown(some, best)
    groups = (
        ("stopped", GREY, [one for one in shown if one.status == "stopped"]),
        ("failed", 1, [one for one in shown if one.status == "failed"]),
        ("running", 4, [one for one in shown if one.status == "running"]),
        ("trained to its end", 0, [one for one in shown if one.status == "done" and one.trial not in best]),
        ("best of a budget", 2, [one for one in shown if one.trial in best]),
    )
    series = []
    for name, colour, mine in groups:
        if mine:
            series.append(_strands(name, colour, mine))
            if name in ("stopped", "failed"):
                series.append(_lasts(f"{name} here", colour, mine))
    lines = [Line("x", images, f"rung {rung}") for rung, images in _rung_places(some).items()]
    says = "Validation accuracy against the views a student has trained on, a line for each trial; dashed lines are rungs, " \
        "where trials are compared, and a cross is where one was stopped or failed."  # fmt: skip
    if len(shown) < len(some):
        says += f" {len(shown)} of {len(some)} trials are drawn: the best of each budget and an even part of the others."
    rows = tuple(
        (one.trial, one.status, one.budget, p.images, p.epochs, _finite(p.val_top1), p.rung, p.final, p.seconds, p.elapsed)
        for one in some
        for p in one.points
    )
    columns = ("trial", "status", "budget", "images", "epochs", "val_top1", "rung", "final", "train_seconds", "search_seconds")
    axis = Axis("views trained on", si=True)
    return [Chart("curves", "curves", says, axis, Axis(_TOP1), columns, rows, tuple(series), tuple(lines), height=520)]


def _shown(some: Sequence[Course], always: set[str]) -> list[Course]:
    if len(some) <= _CURVES:
        return list(some)
    step = len(some) / _CURVES
    even = {some[int(number * step)].trial for number in range(_CURVES)} | always
    return [one for one in some if one.trial in even]


def _strands(name: str, colour: int, some: Sequence[Course]) -> Series:
    """Many lines as one entry of the legend."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    notes: list[str] = []
    for one in some:
        for point in one.points:
            xs.append(point.images)
            ys.append(_per_cent(point.val_top1))
            notes.append(f"{_note(one)}\n{point.epochs:.3g} epochs, {amount(point.images)} views: {percent(point.val_top1)}")
        xs.append(None)
        ys.append(None)
        notes.append("")
    return Series(name, tuple(xs), tuple(ys), "line", colour, size=4, width=1.3, notes=tuple(notes))


def _lasts(name: str, colour: int, some: Sequence[Course]) -> Series:
    ends = [one.points[-1] for one in some]
    notes = tuple(f"{one.trial}: {one.reason or one.status}" for one in some)
    ys = tuple(_per_cent(point.val_top1) for point in ends)
    return Series(name, tuple(float(p.images) for p in ends), ys, colour=colour, symbol="x", size=8, notes=notes)


def _rung_places(some: Iterable[Course]) -> dict[int, float]:
    """The views at each rung (the middle of what was reported: trials of other batch sizes differ by a step), but the last."""
    found: dict[int, list[int]] = {}
    for one in some:
        for point in one.points:
            if point.rung is not None and not point.final:
                found.setdefault(point.rung, []).append(point.images)
    return {rung: float(sorted(images)[len(images) // 2]) for rung, images in sorted(found.items())}


def _per_cent(share: float) -> float | None:
    return 100 * share if math.isfinite(share) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# --- accuracy against a setting


def knobs(told: Told) -> list[Chart]:
    """Accuracy against the ratio, the temperature and the policy: ends of full trainings, and all trials at the first rung."""
    found = []
    ratios = {one.trial: one.ratio for one in told.courses.values() if one.ratio is not None and one.policy != "none"}
    heats = {one.trial: one.temperature for one in told.courses.values() if one.temperature is not None}
    if chart := _scatter(told, "ratio", "ratio", ratios, Axis("ratio: augmented views of all views"),
                         "the share of augmented views (of trials with a policy)"):  # fmt: skip
        found.append(chart)
    values = [heat for heat in heats.values() if heat]
    axis = Axis("temperature of the method", log=True, ticks=_ticks(values) if values else ())
    if chart := _scatter(told, "temperature", "temperature", heats, axis, "the method's temperature (of methods with one)"):
        found.append(chart)
    policies = sorted({one.policy for one in told.courses.values()})
    places = {one.trial: float(policies.index(one.policy)) for one in told.courses.values()}
    axis = Axis("policy", names=tuple(policies), low=-0.5, high=len(policies) - 0.5)
    if chart := _scatter(told, "policy", "policy", places, axis, "the augmentation policy", jitter=0.25):
        found.append(chart)
    return found


def _scatter(
    told: Told, key: str, tab: str, places: Mapping[str, float | None], axis: Axis, what: str, jitter: float = 0.0
) -> Chart | None:
    having = [one for one in told.courses.values() if places.get(one.trial) is not None and one.points]
    early = [one for one in having if one.score is None and _latest(one) is not None]
    done = [one for one in having if one.score is not None]
    if not early and not done:
        return None
    methods = sorted({one.method for one in having})

    def place(one: Course) -> float:
        return _beside(places[one.trial] or 0.0, methods.index(one.method), len(methods), jitter)

    series = []
    for number, method in enumerate(methods):
        mine = [one for one in done if one.method == method]
        if mine:
            ys = tuple(100 * (one.score or 0.0) for one in mine)
            series.append(Series(method, tuple(map(place, mine)), ys, colour=number, size=8, notes=tuple(_notes(mine))))
    for number, method in enumerate(methods):
        ends = [(one, end) for one in early if one.method == method and (end := _latest(one)) is not None]
        if ends:
            xs, hollow = tuple(place(one) for one, _ in ends), tuple(_per_cent(end.val_top1) for _, end in ends)
            notes = tuple(f"{_note(one)}\nat {end.epochs:.3g} epochs: {percent(end.val_top1)}" for one, end in ends)
            series.append(Series(f"{method}, at its last rung", xs, hollow, colour=number, symbol="circle-open", faint=True,
                                 notes=notes))  # fmt: skip
    says = (
        f"Validation accuracy against {what}: filled where the training went to its end, hollow where it did not (its last "
        "report). Trials differ in all other knobs too, and the search tried more of what looked good."
    )
    lasts = [(one, end) for one in having if (end := _latest(one)) is not None]
    rows = tuple((*_row(one), one.temperature, end.epochs, _finite(end.val_top1)) for one, end in lasts)
    columns = (*_ROW, "temperature", "last_epochs", "last_val_top1")
    return Chart(f"accuracy-{key}", tab, says, axis, Axis(_TOP1), columns, rows, tuple(series))


def _latest(one: Course) -> Point | None:
    """The last report with a score."""
    return next((point for point in reversed(one.points) if math.isfinite(point.val_top1)), None)


def _beside(at: float, number: int, count: int, width: float) -> float:
    return at + width * ((number + 0.5) / count - 0.5) * 2 if count > 1 else at


def weights(told: Told) -> tuple[list[Chart], list[tuple[str, str]]]:
    """The importance of the knobs for each budget, and a sentence for each budget that has none to show."""
    found: list[Chart] = []
    silent: list[tuple[str, str]] = []
    known: dict[tuple[str, ...], Importance | None] = {}
    for number, budget in enumerate(told.budgets):
        name = str(budget["name"])
        some, rung = _compared(told.of_budget(name))
        trials = tuple(one.trial for one, _ in some)
        if trials not in known:
            known[trials] = importance([one.values for one, _ in some], [score for _, score in some])
        made = known[trials]
        where = "at the end of the training" if rung is None else f"at rung {rung}"
        if made is None:
            silent.append((name, f"{len(some)} comparable trials: twelve are needed, with a knob and scores that vary."))
        elif not made.shares:
            nothing = "the knobs do not predict the order of other trials, so none can be said to matter."
            silent.append((name, f"From {made.trials} trials {where} {nothing}"))
        else:
            found.append(_weight_chart(number, name, made, where))
    return found, silent


def _weight_chart(number: int, budget: str, made: Importance, where: str) -> Chart:
    top = list(made.shares.items())[:12]
    places = tuple(float(place) for place in range(len(top)))
    low, high = tuple(100 * one[1] for _, one in top), tuple(100 * one[2] for _, one in top)
    bars = Series("", tuple(100 * one[0] for _, one in top), places, "bars", 0, low=low, high=high, legend=False)
    says = (
        f"How much of the order of the trials within {budget} each knob makes, by what shuffling it takes from the prediction of "
        f"unseen trials: {made.trials} trials {where}, a forest that explains {100 * made.explained:.0f} % of the variance of "
        "their ranks; thin lines are the range of five repetitions, and a bar whose range holds zero says nothing."
    )
    rows = tuple((budget, knob, *shares) for knob, shares in made.shares.items())
    names = tuple(name for name, _ in top)
    y = Axis("", names=names, low=len(names) - 0.5, high=-0.5)
    x = Axis("share of the ranks' variance, %")
    height = 110 + 30 * len(top)
    columns = ("budget", "knob", "share_of_variance", "lowest", "highest")
    return Chart(f"importance-{number}", budget, says, x, y, columns, rows, (bars,), height=height)


def _compared(some: Sequence[Course]) -> tuple[list[tuple[Course, float]], int | None]:
    """The trials that can be compared: with their score at the end (None) or at the latest rung, of those that nine in ten
    reached. Later ones hold only what the search had already found good."""
    begun = [one for one in some if one.points]
    done = [(one, one.score) for one in begun if one.score is not None]
    if len(done) >= 0.9 * len(begun):
        return done, None
    for rung in sorted(_rung_places(begun), reverse=True):
        here = _at_both(rung, begun)
        if len(here) >= 0.9 * len(begun):
            return here, rung
    return done, None


def matrix(told: Told) -> list[Chart]:
    """The best score of each teacher and student."""
    done = told.finished()
    if not done:
        return []
    students = sorted({one.student for one in done}, key=lambda name: _size(done, name))
    teachers = sorted({one.teacher or _NOBODY for one in done}, key=lambda name: (name == _NOBODY, name))
    values, texts, rows = [], [], []
    for teacher in teachers:
        line, words = [], []
        for student in students:
            mine = [one.score or 0.0 for one in done if (one.teacher or _NOBODY) == teacher and one.student == student]
            line.append(100 * max(mine) if mine else None)
            words.append(f"{100 * max(mine):.2f}\n{len(mine)} trial{'s' * (len(mine) > 1)}" if mine else "")
            if mine:
                rows.append((teacher, student, max(mine), len(mine)))
        values.append(tuple(line))
        texts.append(tuple(words))
    says = (
        "The best validation accuracy of each teacher and student, of the trials trained to their end; the more trials a cell "
        "has, the better its best is by chance alone."
    )
    heat = Heat(tuple(teachers), tuple(students), tuple(values), tuple(texts), _TOP1)
    columns = ("teacher", "student", "best_val_top1", "finished_trials")
    x, y = Axis("student, the cheapest first"), Axis("teacher")
    return [Chart("pairs", "pairs", says, x, y, columns, tuple(rows), heat=heat, height=150 + 64 * len(teachers))]


_NOBODY = "no teacher"


def _size(done: Sequence[Course], student: str) -> tuple[float, str]:
    return next(one.costs.get("macs", 0.0) for one in done if one.student == student), student


# --- rungs


@dataclass(frozen=True)
class Agreement:
    """How the order at a rung agrees with that of the end, over the trials that have both; budget "" for all of them."""

    rung: int
    epochs: float
    budget: str
    pairs: int
    rho: float
    low: float
    high: float
    p: float


def agreements(told: Told) -> list[Agreement]:
    done = told.finished()
    groups = {"": done} | {str(one["name"]): [c for c in done if one["name"] in c.budgets] for one in told.budgets}
    found = [_agreement(rung, name, some) for rung in _rung_places(done) for name, some in groups.items()]
    return [one for one in found if one is not None]


def _agreement(rung: int, budget: str, some: Sequence[Course]) -> Agreement | None:
    pairs = _at_both(rung, some)
    if not pairs:
        return None
    known = spearman([early for _, early in pairs], [one.score or 0.0 for one, _ in pairs])
    epochs = sorted(point.epochs for one, _ in pairs for point in one.points if point.rung == rung)
    low, high = correlation_interval(known.rho, known.count)
    return Agreement(rung, epochs[len(epochs) // 2], budget, known.count, known.rho, low, high, known.p)


def _at_both(rung: int, some: Iterable[Course]) -> list[tuple[Course, float]]:
    """Trials with their score at a rung, of those that have one."""
    return [(one, early) for one in some if (early := one.at_rung(rung)) is not None and math.isfinite(early)]


def rungs(told: Told) -> list[Chart]:
    """The score at a rung against the score at the end."""
    done = told.finished()
    series, rows = [], []
    for number, rung in enumerate(_rung_places(done)):
        mine = _at_both(rung, done)
        xs, ys = tuple(100 * early for _, early in mine), tuple(100 * (one.score or 0.0) for one, _ in mine)
        series.append(Series(f"rung {rung}", xs, ys, colour=number, size=8, notes=tuple(_notes(one for one, _ in mine))))
        rows += [(one.trial, rung, early, one.score) for one, early in mine]
    if not rows:
        return []
    says = (
        "The score at a rung against the score at the end, of trials trained to their end: were the points on a rising line, "
        "stopping at that rung would cost nothing. Trials that were stopped have no end to compare."
    )
    columns = ("trial", "rung", "val_top1_at_rung", "val_top1_at_end")
    x, y = Axis("validation top-1 at the rung, %"), Axis("validation top-1 at the end, %")
    return [Chart("rungs", "rungs", says, x, y, columns, tuple(rows), tuple(series))]


# --- the search as a whole


def progress(told: Told) -> list[Chart]:
    """The best of each budget, and the height of the front, against what the search had spent."""
    if not told.ends:
        return []
    costs = [one.costs["macs"] for one in told.courses.values() if one.costs.get("macs")]
    low, high = min(costs, default=0.0), 2 * max(costs, default=0.0)  # twice, so that the costliest student counts too
    names = [str(one["name"]) for one in told.budgets]
    best: dict[str, float] = {}
    seen: list[tuple[float, float]] = []
    steps: list[tuple[Any, ...]] = []
    for end in told.ends:
        one = told.courses[end.trial]
        for name in one.budgets:
            best[name] = max(best.get(name, 0.0), one.score or 0.0)
        if one.costs.get("macs"):
            seen.append((one.costs["macs"], one.score or 0.0))
        height = front_height(seen, low, high) if costs else None
        steps.append((end.trial, end.elapsed, end.images, end.seconds, *(best.get(name) for name in names), height))
    scale, unit = _clock(max(max(step[1], step[3]) for step in steps))
    found = []
    for key, tab, column, title, by in (
        ("time", "time", 1, f"time since the search began, {unit}", scale),
        ("views", "views", 2, "views that all students trained on", 1.0),
        ("training", "training time", 3, f"training time of all trials together, {unit}", scale),
    ):
        xs = tuple(step[column] / by for step in steps)
        series = [
            Series(name, xs, tuple(None if step[4 + i] is None else 100 * step[4 + i] for step in steps), "steps", i, size=0,
                   width=2 + 2 * min(4, len(names) - 1 - i))  # so that equal ones are all seen
            for i, name in enumerate(names)
        ]
        if costs:
            ys = tuple(100 * step[-1] for step in steps)
            series.append(Series("height of the front", xs, ys, "steps", INK, size=0, dash=True))
        says = f"The best validation accuracy so far within each budget, against {title.split(',')[0]}"
        if costs:
            says += (
                f"; dashed, the height of the front: its mean over the logarithm of MACs from {amount(low)}, the cheapest "
                f"student, to {amount(high)}, twice the costliest, which is its hypervolume above 0 %"
            )
        axis = Axis(title, si=column == 2, low=0.0, high=1.03 * max(xs) or 1.0)
        columns = ("trial", "search_seconds", "images", "train_seconds", *(f"best {name}" for name in names), "front_height")
        found.append(Chart(f"progress-{key}", tab, says + ".", axis, Axis(_TOP1), columns, tuple(steps), tuple(series)))
    return found


def _clock(seconds: float) -> tuple[float, str]:
    return (3600.0, "h") if seconds > 7200 else (60.0, "min") if seconds > 180 else (1.0, "s")


def cost(told: Told) -> list[Chart]:
    """What each trial's training took, how much of it went to the teacher's answers, and how many of these were kept."""
    return [*_times(told), *_kept(told)]


def _times(told: Told) -> list[Chart]:
    some = [one for one in told.courses.values() if one.points and one.points[-1].images]
    if not any(one.points[-1].teacher_seconds for one in some):
        return []
    numbers = {trial: float(number) for number, trial in enumerate(told.courses)}
    series, rows = [], []
    for number, (name, mine) in enumerate(
        (("taught", [one for one in some if one.teacher]), ("no teacher", [one for one in some if not one.teacher]))
    ):
        if mine:
            ends = [one.points[-1] for one in mine]
            ys = tuple(1e6 * p.seconds / p.images for p in ends)
            series.append(Series(f"{name}: all of it", tuple(numbers[one.trial] for one in mine), ys, colour=number,
                                 notes=tuple(f"{one.trial}: {duration(p.seconds)} for {amount(p.images)} views\n{one.student}"
                                             for one, p in zip(mine, ends, strict=True))))  # fmt: skip
    taught = [one for one in some if one.teacher]
    asked = tuple(1e6 * one.points[-1].teacher_seconds / one.points[-1].images for one in taught)
    notes = tuple(f"{one.trial}: {one.points[-1].teacher_seconds:.2f} s for the teacher's answers" for one in taught)
    series.append(Series("the teacher's answers", tuple(numbers[one.trial] for one in taught), asked, colour=2, symbol="diamond",
                         notes=notes))  # fmt: skip
    rows = [(one.trial, one.student, one.teacher, one.points[-1].images, one.points[-1].seconds, one.points[-1].teacher_seconds)
            for one in some]  # fmt: skip
    says = (
        "Training time for a million views, trial by trial in the order in which they began, and the part of it spent on the "
        "teacher's answers, which falls where they were kept from an earlier trial."
    )
    columns = ("trial", "student", "teacher", "images", "train_seconds", "teacher_seconds")
    y = Axis("seconds for a million views")
    return [Chart("cost", "time", says, Axis("trial, by its number"), y, columns, tuple(rows), tuple(series))]


def _kept(told: Told) -> list[Chart]:
    """The share of the teacher's answers that lay in kept files: of each trial, and over the search so far."""
    asked = [(float(number), one, one.points[-1]) for number, one in enumerate(told.courses.values()) if one.points]
    rows, hits, total = [], 0, 0
    for number, one, end in asked:
        if end.hits is None or end.misses is None or not end.hits + end.misses:
            continue  # a trial without a teacher, or of a version that did not count
        hits, total = hits + end.hits, total + end.hits + end.misses
        rows.append((one.trial, number, one.teacher, one.policy, end.hits, end.misses,
                     end.hits / (end.hits + end.misses), hits / total))  # fmt: skip
    if not rows:
        return []
    xs = tuple(row[1] for row in rows)
    notes = tuple(f"{row[0]}: {amount(row[4])} of {amount(row[4] + row[5])} answers\n{row[2]}, {row[3]}" for row in rows)
    series = (
        Series("of each trial", xs, tuple(100 * row[6] for row in rows), notes=notes),
        Series("over the search so far", xs, tuple(100 * row[7] for row in rows), "steps", INK, size=0),
    )
    says = (
        f"Of the {amount(total)} answers that the trials had of their teachers, {hits / total:.0%} lay in kept files: another "
        "trial had asked for the same views before, under whatever method, ratio and student. The others were computed."
    )
    columns = ("trial", "number", "teacher", "policy", "signal_hits", "signal_misses", "share_of_trial", "share_so_far")
    y = Axis("answers that were kept already, %", low=-4.0, high=104.0)
    return [Chart("kept", "kept answers", says, Axis("trial, by its number"), y, columns, tuple(rows), series)]
