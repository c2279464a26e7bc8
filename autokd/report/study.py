"""What a study found: for each finding a table with intervals, the comparisons stated beforehand, and a verdict in plain words.

Read from the run folder alone (study.json, ledger.jsonl, screen.json), so that it can be asked for at any time. Scores are
validation accuracy, in per cent; differences are in points.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autokd.report.words import amount, duration
from autokd.search.screen import Screened, kept_screen
from autokd.search.study import Claim, Finding, Study, read_study, trial_name
from autokd.select.interval import share_interval
from autokd.select.verdict import (
    NOT_SHOWN,
    OPPOSITE,
    SHOWN,
    Contrast,
    Correlation,
    Estimate,
    Verdict,
    compare,
    estimate,
    overall,
    spearman,
)
from autokd.track.ledger import FILE, all_events
from autokd.track.state import state_of

__all__ = [
    "FOLDER",
    "Judged",
    "Part",
    "Row",
    "Screen",
    "StudyReport",
    "markdown",
    "points",
    "study_report",
    "write_study",
]

FOLDER = "study"  # below the run folder
_LEVEL = 0.95
_OF_TEACHER = "teacher of "


@dataclass(frozen=True)
class Row:
    """One point of a finding with what its trials scored, by seed. `estimate` is None where none has ended yet."""

    label: str
    series: str
    arm: str
    x: float | None
    scores: dict[int, float]
    estimate: Estimate | None


@dataclass(frozen=True)
class Judged:
    """A claim, one word for it, and the comparisons it rests on in a sentence."""

    text: str
    word: str
    why: str


@dataclass(frozen=True)
class Part:
    finding: Finding
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    claims: tuple[Judged, ...]
    teachers: tuple[tuple[str, Row], ...] = ()  # of (b): each arm's teacher


@dataclass(frozen=True)
class Screen:
    """The training-free screen against the students: one (policy's arm, screen, mean score) a policy."""

    entries: tuple[tuple[str, float, float], ...]
    rank: Correlation
    word: str
    how: str


@dataclass(frozen=True)
class StudyReport:
    run: str
    study: Study
    state: str
    ended: int  # trials
    planned: int
    failed: tuple[tuple[str, str], ...]  # trial, reason
    images: int
    seconds: float
    teachers: tuple[dict[str, Any], ...]
    parts: tuple[Part, ...]
    screen: Screen | None
    trials: tuple[dict[str, Any], ...] = field(repr=False, default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain values; numbers that are not known are None."""
        told = {key: getattr(self, key) for key in ("run", "state", "ended", "planned", "images", "seconds")}
        told |= {"failed": self.failed, "teachers": self.teachers, "trials": self.trials}
        told["findings"] = [
            {
                "finding": part.finding.letter,
                "title": part.finding.title,
                "skipped": part.finding.skipped,
                "claims": [asdict(claim) for claim in part.claims],
                "points": [asdict(row) for row in part.rows],
                "comparisons": [asdict(verdict) for verdict in part.verdicts],
            }
            for part in self.parts
        ]
        told["screen"] = asdict(self.screen) if self.screen is not None else None
        return _finite(told)


def study_report(folder: str | Path) -> StudyReport:
    """Read a study's run folder, finished or not. Raises AutokdError where it is none."""
    folder = Path(folder)
    study = read_study(folder)
    told = _read(folder)
    by_name = {trial["arm"]: trial for trial in told.trials.values()}
    scores = {
        arm: {
            seed: 100 * trial["val_top1"]
            for seed in study.seeds
            if (trial := by_name.get(trial_name(arm, seed))) is not None and trial["status"] == "done"
        }
        for arm in study.arms
    }
    for arm in study.arms:
        known = [told.teachers.get(name, {}).get("val_top1") for name in study.teachers_of(arm)]
        scores[_OF_TEACHER + arm] = {number: 100 * top1 for number, top1 in enumerate(known) if top1 is not None}
    least = _one_image(study, scores)
    parts = tuple(_part(study, finding, scores, least) for finding in study.findings)
    return StudyReport(
        run=folder.name,
        study=study,
        state=told.state,
        ended=sum(trial["status"] == "done" for trial in told.trials.values()),
        planned=len(study.arms) * len(study.seeds),
        failed=tuple((t["arm"], t["reason"] or "") for t in told.trials.values() if t["status"] == "failed"),
        images=sum(trial["images"] or 0 for trial in told.trials.values()),
        seconds=told.elapsed,
        teachers=tuple(told.teachers[name] for name in study.teachers if name in told.teachers),
        parts=parts,
        screen=_screen(study, scores, kept_screen(folder)),
        trials=tuple(_flat(study, name, trial) for name, trial in told.trials.items()),
    )


def write_study(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write report.html, study.md, trials.csv and comparisons.csv into `out` (the run's folder `study`). Returns report.html."""
    from autokd.report.study_page import page

    report = study_report(folder)
    place = Path(out) if out is not None else Path(folder) / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    (place / "study.md").write_text(markdown(report), encoding="utf-8")
    (place / "trials.csv").write_text(_csv(report.trials), encoding="utf-8")
    (place / "comparisons.csv").write_text(_csv(_comparisons(report)), encoding="utf-8")
    (place / "report.html").write_text(page(report), encoding="utf-8")
    return place / "report.html"


# --- reading


@dataclass
class _Told:
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    teachers: dict[str, dict[str, Any]] = field(default_factory=dict)
    state: str = ""
    elapsed: float = 0.0


def _read(folder: Path) -> _Told:
    told, events = _Told(), all_events(folder / FILE)
    told.state = state_of(folder, events).word
    for event in events:
        kind = event["event"]
        told.elapsed = max(told.elapsed, float(event.get("elapsed") or 0.0))
        trial = told.trials.get(event.get("trial", ""))
        if kind == "trial":
            facts = ("macs", "params", "teacher", "student", "method", "policy", "ratio", "seed")
            first = {key: event.get(key) for key in facts} | {"fraction": event["config"]["data"]["fraction"]}
            rest = {"status": "running", "reason": None, "val_top1": None, "images": 0, "seconds": None}
            told.trials[event["trial"]] = {"arm": event["values"]["arm"], **first, **rest}
        elif kind == "report" and trial is not None:
            trial |= {key: event.get(key) for key in ("images", "seconds", "val_top1")}
        elif kind == "end" and trial is not None:
            trial |= {"status": event["status"], "reason": event.get("reason")}
        elif kind == "again" and trial is not None:
            trial |= {"status": "running", "reason": None}
        elif kind == "teacher":
            keys = ("teacher", "val_top1", "ece", "params", "macs", "trained", "policy", "saw_validation")
            told.teachers[event["teacher"]] = {key: event.get(key) for key in keys}
    return told


def _one_image(study: Study, scores: dict[str, dict[int, float]]) -> float:
    """What one validation image is worth in points: no smaller spread is believed. Where the number of images is not known,
    the smallest difference between two scores stands for it, which is at least as much."""
    held = study.validation_images
    if held:
        return 100 / held
    known = sorted({score for some in scores.values() for score in some.values()})
    return min((b - a for a, b in zip(known, known[1:]) if b - a > 1e-9), default=0.0)


def _part(study: Study, finding: Finding, scores: dict[str, dict[int, float]], least: float) -> Part:
    rows = tuple(_row(p.label, p.series, p.arm, p.x, scores[p.arm], least, study.validation_images) for p in finding.points)
    contrasts = [
        Contrast(
            one.label,
            tuple((_OF_TEACHER + arm if one.of == "teacher" else arm, weight) for arm, weight in one.terms),
            one.sign,
        )
        for one in finding.differences
    ]
    verdicts = tuple(compare(scores, contrasts, level=_LEVEL, least=least))
    claims = tuple(_judged(claim, verdicts) for claim in finding.claims)
    teachers: list[tuple[str, Row]] = []
    if finding.letter == "b":
        for point in finding.points:
            name = study.teachers_of(point.arm)[0]
            row = _row(name, "", point.arm, None, scores[_OF_TEACHER + point.arm], least, study.validation_images)
            teachers.append((point.arm, row))
    return Part(finding, rows, verdicts, claims, tuple(teachers))


def _row(label: str, series: str, arm: str, x: float | None, scores: dict[int, float], least: float, images: int | None) -> Row:
    """The interval is Student's t over seeds, and no narrower than that of one score on as many images."""
    found = estimate(scores.values(), level=_LEVEL, least=least) if scores else None
    if found is not None and found.count > 1:
        low, high = share_interval(found.mean / 100, images) if images else (1.0, 0.0)
        found = replace(found, low=max(0.0, min(found.low, 100 * low)), high=min(100.0, max(found.high, 100 * high)))
    return Row(label, series, arm, x, scores, found)


def _judged(claim: Claim, verdicts: Sequence[Verdict]) -> Judged:
    known = {verdict.label: verdict for verdict in verdicts}
    parts = [known[label] for label in claim.parts if label in known]
    if len(parts) < len(claim.parts):
        return Judged(claim.text, NOT_SHOWN, "not all of its trials have ended")
    return Judged(claim.text, overall(parts), "; ".join(f"{part.label}: {_difference(part)}" for part in parts))


def _difference(verdict: Verdict) -> str:
    found = verdict.difference
    if found.count < 2:
        return f"{found.mean:+z.2f} points, from one training each, which has no interval"
    told = f"{found.mean:+z.2f} points, 95 % interval {found.low:+z.2f} to {found.high:+z.2f}"
    return f"{told}, {_p(verdict.adjusted)}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _screen(study: Study, scores: dict[str, dict[int, float]], found: Sequence[Screened]) -> Screen | None:
    usable = [one for one in found if scores.get(one.arm) and math.isfinite(one.value)]
    if not usable:
        return None
    means = [math.fsum(scores[one.arm].values()) / len(scores[one.arm]) for one in usable]
    rank = spearman([one.value for one in usable], means)
    word = NOT_SHOWN
    if rank.p < 1 - _LEVEL:
        word = SHOWN if rank.rho < 0 else OPPOSITE
    one = usable[0]
    how = (
        f"{one.groups} groups of {one.group} batches of {one.batch} views, {one.passes} passes over the training images, "
        f"asked of {study.teacher} through the cache of its answers"
    )
    entries = tuple((one.arm, one.value, mean) for one, mean in zip(usable, means, strict=True))
    return Screen(entries, rank, word, how)


# --- words


def points(found: Estimate | None, *, signed: bool = False) -> str:
    """'71.20 [70.31, 72.09]'; the mean alone where there is one value; a dash where there is none."""
    if found is None:
        return "-"
    form = "+z.2f" if signed else ".2f"
    if found.count < 2:
        return f"{found.mean:{form}}"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def p_value(p: float) -> str:
    return "-" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"


def headline(report: StudyReport) -> list[str]:
    """What was done, and how the numbers are to be read: one sentence or two each."""
    study = report.study
    seeds = len(study.seeds)
    of = f"{report.ended} of {report.planned} trials" if report.ended < report.planned else f"{report.ended} trials"
    told = [
        f"{study.student} taught by {study.teacher} on {study.data}; {of}, {seeds} seed{'s' * (seeds > 1)} an arm, "
        f"{study.epochs:g} epochs each; {amount(report.images)} views in {duration(report.seconds)}. "
        f"The policy under study is {study.policy}; the form is {study.form}.",
        "A score is top-1 accuracy on the validation split, in per cent, at the end of the training; the test images were not "
        "opened. Brackets of a difference are 95 % intervals (Student's t) over seeds: they speak of other trainings on the same "
        "images. Brackets of a score are no narrower than the interval of one score on other images (Wilson).",
    ]
    held = study.validation_images
    if held:
        typical = [row.estimate.mean for part in report.parts for row in part.rows if row.estimate is not None]
        share = min(0.99, max(0.01, sum(typical) / len(typical) / 100)) if typical else 0.5
        error = 100 * math.sqrt(share * (1 - share) / held)
        told.append(
            f"The validation split has {held} images: one of them is {100 / held:.2g} points, and on other images of this kind "
            f"a single score would differ by {error:.2g} points (one standard error)."
        )
    told.append(
        "Comparisons were stated before the trainings and are made seed by seed; p is corrected within each finding (Holm), the "
        "intervals are not. "
        f"'{SHOWN}': at 5 % the difference has the claimed sign; '{OPPOSITE}': it has the other one; '{NOT_SHOWN}': these "
        "trainings do not decide it, which is not to say that there is no difference."
    )
    if seeds < 3:
        told.append(f"With {seeds} seed{'s' * (seeds > 1)} hardly anything can be shown; three is few, five is better.")
    if report.failed:
        told.append(f"{len(report.failed)} trials failed, {report.failed[0][0]} first: {report.failed[0][1]}")
    return [*told, *study.notes]


def tables(part: Part) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """(title, columns, rows) of a finding, as words."""
    finding = part.finding
    series = any(row.series for row in part.rows)
    head = finding.axis or "arm"
    views = "" if finding.letter == "b" else "views"
    made: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]] = []
    rows: list[tuple[str, ...]] = []
    for row in part.rows:
        cells = [row.label, *([row.series] if series else []), points(row.estimate), str(len(row.scores))]
        rows.append(tuple(cells))
    made.append(("Students", (head, *((views,) if series else ()), "val top-1, %", "seeds"), rows))
    if part.teachers:
        listed = {row.label: row for _, row in part.teachers}
        told: list[tuple[str, ...]] = [
            (row.label, points(row.estimate), str(len(row.scores))) for row in listed.values()
        ]
        made.append(("Their teachers", ("teacher", "val top-1, %", "trainings"), told))
    judged: list[tuple[str, ...]] = [
        (one.label, points(one.difference, signed=True), p_value(one.adjusted), str(one.difference.count), one.word)
        for one in part.verdicts
    ]
    if judged:
        made.append(("Comparisons", ("comparison", "points", "p (Holm)", "seeds", "as claimed?"), judged))
    return made


def screen_rows(screen: Screen) -> list[tuple[str, ...]]:
    return [(arm, f"{value:.5f}", f"{mean:.2f}") for arm, value, mean in sorted(screen.entries, key=lambda one: one[1])]


def screen_verdict(screen: Screen) -> Judged:
    rank = screen.rank
    why = f"Spearman's rank correlation is {rank.rho:+z.2f} over {rank.count} policies ({_p(rank.p)}, permutations)"
    if math.isnan(rank.rho):
        why = f"{rank.count} policies are too few to rank, or do not differ"
    return Judged("Policies over whose views the teacher wavers less make better students", screen.word, why)


SCREEN_TITLE = "The training-free screen"
SCREEN_TEXT = (
    "The standard deviation, over groups of batches, of the teacher's mean probabilities (temperature 1), averaged over classes; "
    "lower is said to be better. It trains no student. The scores beside it are the students' own, so the correlation is what "
    "the screen would have been worth here."
)


def markdown(report: StudyReport) -> str:
    """The report without its figures."""
    parts = [f"# Study of {_text(report.study.name)}", *map(_text, headline(report)), "## Verdicts"]
    parts.append(_table(("", "claim", "verdict", "because"), verdict_rows(report)))
    for part in report.parts:
        parts.append(f"## ({part.finding.letter}) {_text(part.finding.title)}")
        if part.finding.skipped:
            parts.append(f"Not run: {_text(part.finding.skipped)}.")
            continue
        parts += [f"**{claim.word}**: {_text(claim.text)} ({_text(claim.why)})." for claim in part.claims]
        for title, columns, rows in tables(part):
            parts += [f"{title}:", _table(columns, rows)]
        parts += [f"- {_text(note)}" for note in part.finding.notes]
    if report.screen is not None:
        claim = screen_verdict(report.screen)
        parts += [f"## {SCREEN_TITLE}", SCREEN_TEXT, f"**{claim.word}**: {claim.text} ({claim.why})."]
        parts += [
            _table(("arm", "deviation", "students' val top-1, %"), screen_rows(report.screen)),
            _text(report.screen.how),
        ]
    return "\n\n".join(parts) + "\n"


def verdict_rows(report: StudyReport) -> list[tuple[str, ...]]:
    """(finding, claim, verdict, because), one row a claim."""
    rows: list[tuple[str, ...]] = []
    for part in report.parts:
        letter = f"({part.finding.letter})"
        if part.finding.skipped:
            rows.append((letter, part.finding.title, "not run", part.finding.skipped))
        rows += [(letter, claim.text, claim.word, claim.why) for claim in part.claims]
    if report.screen is not None:
        claim = screen_verdict(report.screen)
        rows.append(("screen", claim.text, claim.word, claim.why))
    return rows


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_text(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _text(words: str) -> str:
    """Words as Markdown shows them, whatever a person called a teacher."""
    return words.replace("\n", " ").replace("<", "&lt;").replace("`", "'")


def _comparisons(report: StudyReport) -> list[dict[str, Any]]:
    return [
        {
            "finding": part.finding.letter,
            "title": part.finding.title,
            "comparison": one.label,
            "points": one.difference.mean,
            "low": one.difference.low,
            "high": one.difference.high,
            "seeds": one.difference.count,
            "p": one.p,
            "p_holm": one.adjusted,
            "verdict": one.word,
        }
        for part in report.parts
        for one in part.verdicts
    ]


def _flat(study: Study, name: str, trial: dict[str, Any]) -> dict[str, Any]:
    arm = trial["arm"].rpartition(" #")[0]
    return {"trial": name, **trial, "arm": arm, "findings": study.findings_of(arm)}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{key: "" if _unknown(value) else value for key, value in row.items()} for row in rows])
    return out.getvalue()


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
