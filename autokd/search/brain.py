"""What a search decides: which trial next, which one stops, when it is over. No engine, no clock, no files of its own.

Everything that changes the brain is an event. Live, an event goes to the ledger first and is then applied; a resume
applies the events of the ledger again. Both ways lead to the same state, so that a killed and resumed search with one
trial at a time goes on as if nothing had happened: proposals are drawn from a generator seeded by the number of the
proposal, never from one that remembers.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from autokd.config.trial import StudentConfig, TeacherConfig, TrialConfig
from autokd.errors import AutokdError
from autokd.search.feasible import Feasible, Pair
from autokd.search.plan import Mark, Plan
from autokd.search.promotion import Stopped, Waiting, deserves
from autokd.search.recall import Asking, Recall
from autokd.search.studies import SAMPLERS, Lesson, Studies
from autokd.seeds import proposal

__all__ = ["GO_ON", "NOTHING", "STOP", "Brain", "Proposal"]

GO_ON, STOP = "go on", "stop"
NOTHING = "no student came out"


@dataclass(frozen=True)
class Proposal:
    """A trial to run: score it at `marks` (from the one after `done`), starting from `checkpoint` where there is one."""

    trial: str
    number: int
    budget: str
    config: TrialConfig
    marks: tuple[Mark, ...]
    done: int = 0  # marks that lie behind
    checkpoint: str | None = None
    answers: bool = False  # keep which validation images it is right on at its end
    start: dict[str, Any] | None = None  # `checkpoint` and `epochs` of the shorter training that it goes on from
    share: float = 1.0  # of the machine, against what others get: more after it ran out of memory
    seconds: float | None = None  # the longest that it may take


@dataclass
class _Trial:
    trial: str
    number: int
    budget: str
    budgets: tuple[str, ...]  # those that admit its student
    plain: dict[str, Any]  # its configuration, as the ledger has it
    pair: Pair
    values: dict[str, Any]
    marks: tuple[Mark, ...]
    asked: int  # its number in its budget's study
    done: int = 0
    images: int = 0
    seconds: float = 0.0
    checkpoint: str | None = None
    status: str = "running"
    reason: str = ""
    verdict: tuple[str, str | None] | None = None  # what the last report decided: the status and reason to end with
    scores: dict[int, float] = field(default_factory=dict)  # rung: validation score
    bars: dict[tuple[str, int], list[float]] = field(default_factory=dict)  # what it is compared with: (budget, rung)
    era: int = 0  # how often the search had been made longer when it began
    of: str | None = None  # the shorter training that it goes on from
    ignored: bool = False  # the sampler learns nothing of it
    share: float = 1.0
    leads: bool = False  # it goes to its end, whatever a rung says
    ends: bool = False  # it is counted among those that have come to their end, or will before a rung stops them
    bred: dict[str, Any] = field(default_factory=dict)  # NSGA-II's generation

    @cached_property
    def config(self) -> TrialConfig:
        return TrialConfig.from_dict(self.plain)

    @property
    def length(self) -> float:
        """Its full length in epochs."""
        return float(self.plain["epochs"])

    @property
    def epochs(self) -> float:
        """What lies behind it."""
        return self.marks[self.done - 1].epochs if self.done else 0.0

    def ahead(self) -> float:
        """Epochs until it may be stopped."""
        if self.bound:
            return self.marks[-1].epochs - self.epochs
        return next(mark.epochs for mark in self.marks[self.done :] if mark.rung is not None) - self.epochs

    @property
    def bound(self) -> bool:
        """No rung lies before its end."""
        return self.leads or all(mark.final or mark.rung is None for mark in self.marks[self.done :])


class Brain:
    """Propose, hear, decide.

    space: has `sample(drawer, pairs, seed) -> TrialConfig` and `starts(pairs) -> list of {path: value}`; it may have
    `key(config)`, what makes two proposals the same, and `tags(values)`, words that stand with a trial.
    emit: records an event and returns it (autokd.track.recorder.Recorder.emit). elapsed: seconds of search so far.
    teachers: how each teacher's weights are had, once they are; it replaces the teacher of the same name in a proposal.
    kept: whether a checkpoint that was told of is still there, for a stopped trial to go on from.
    """

    def __init__(
        self,
        space: Any,
        feasible: Feasible,
        plan: Plan,
        *,
        emit: Callable[[dict[str, Any]], dict[str, Any]],
        elapsed: Callable[[], float] = lambda: 0.0,
        journal: str | Path | None = None,
        teachers: dict[str, TeacherConfig] | None = None,
        kept: Callable[[str], bool] = lambda checkpoint: True,
    ) -> None:
        if plan.sampler not in SAMPLERS:
            raise AutokdError(f"no sampler {plan.sampler!r}", fix=f"one of {', '.join(SAMPLERS)}")
        self.space, self.feasible, self.plan = space, feasible, plan
        self.emit, self.elapsed = emit, elapsed
        self.teachers, self._there = teachers or {}, kept
        self.trials: dict[str, _Trial] = {}
        self.running: dict[str, _Trial] = {}
        self.rungs: dict[tuple[str, int], list[float]] = {}  # (budget, rung): scores, worst first
        self.exhausted: set[str] = set()
        self.pausing = False
        self.stopping = False
        self._why = ""  # it was paused
        self.images = 0
        self.epochs = 0.0
        self.seconds = 0.0
        self.failed = 0
        self.ended = 0
        self._reasons: Counter[str] = Counter()  # of the failed
        self._labels = _labels(space)
        self._key: Callable[[TrialConfig], str] = getattr(space, "key", _key)
        self._tags: Callable[[dict[str, Any]], dict[str, str]] | None = getattr(space, "tags", None)
        self._issued: set[str] = set()  # running trials an engine has been given
        self._again: deque[str] = deque()  # unfinished trials of an earlier session
        self._seen: dict[str, str] = {}  # key of a configuration without its seed: trial
        self._unseen: list[_Trial] = []  # whose keys nobody has asked for yet
        self._starts = {name: space.starts(list(pairs)) for name, pairs in feasible.pairs.items()}
        self._admits: dict[Pair, tuple[str, ...]] = {}  # the budgets of a pair
        self._asks = {name: 0 for name in feasible.pairs}
        self._own = {name: 0 for name in feasible.pairs}
        self._repeats = {name: 0 for name in feasible.pairs}
        self._studies = Studies(feasible.pairs, plan.sampler, journal)
        self._recall = Recall(space, feasible.pairs, self._key)
        self._era = 0  # how often the search was made longer
        self._further: dict[str, str] = {}  # trials of a shorter search: those that take them further
        self._taken = 0
        self._abreast = 1  # the most that ran at once
        self._aside = Waiting()
        self._ends: Counter[str] = Counter()  # by budget: trials that have come to their end, or will
        self._live = False

    # --- the life of a search

    def start(self, past: Iterable[dict[str, Any]] = ()) -> None:
        """Take up the events of earlier sessions, if any. To be called once, before anything else."""
        for event in past:
            self._apply(event)
        self._studies.open()
        self._live = True
        for trial in list(self.running.values()):
            if trial.verdict is not None:  # decided, and killed before it was written down
                self._end(trial, *trial.verdict)
            else:
                self._again.append(trial.trial)

    def propose(self) -> Proposal | None:
        """The next trial, or None where there is none now: everything is running, or the search is over."""
        if self.pausing or self.over or (self.stopping and not self._again):
            return None
        if self._again:
            trial = self.running[self._again.popleft()]
        else:
            drawn = self._promote() or self._go_further() or self._draw() or self._lead()
            if drawn is None:
                return None
            trial = drawn
        self._issued.add(trial.trial)
        self._abreast = max(self._abreast, len(self._issued))
        config = self._resolved(trial.config)
        start = None
        if trial.of is not None and trial.checkpoint is None:
            start = {"checkpoint": self.trials[trial.of].checkpoint, "epochs": self.trials[trial.of].length}
        told = (trial.trial, trial.number, trial.budget, config, trial.marks, trial.done, trial.checkpoint)
        limit = None if self.plan.trial_hours is None else 3600 * self.plan.trial_hours
        return Proposal(*told, start=start, share=trial.share, seconds=limit)

    def report(self, trial: str, report: dict[str, Any]) -> str:
        """A trial has reached its mark number `report["mark"]`. Returns "go on" or "stop".

        report: what autokd.train's Report says, with `mark` and `checkpoint`. The last mark ends the trial as done.
        """
        known = self.trials[trial]
        if known.status != "running":
            return STOP
        if report["mark"] < known.done:  # told once more by a job that started anew
            return STOP if self.pausing else GO_ON
        score = report.get("val_top1")
        if self.plan.ranked and (score is None or not math.isfinite(score)):
            self.fail(trial, f"the validation score is {score}")
            return STOP
        mark = known.marks[report["mark"]]
        verdict = self._verdict(known, mark, score)
        told = {"event": "report", "trial": trial, **report, "rung": mark.rung, "final": mark.final}
        self._record({**told, "decision": verdict[0] if verdict else GO_ON, "because": verdict[1] if verdict else None})
        if verdict:
            self._end(known, *verdict)
            return STOP
        return STOP if self.pausing else GO_ON

    def fail(self, trial: str, reason: str, *, machine: bool = False) -> None:
        """The trial cannot go on. `machine`: through no fault of its configuration, so the sampler learns nothing of it."""
        known = self.trials[trial]
        if known.status == "running":
            self._record({"event": "end", "trial": trial, "status": "failed", "reason": reason, "machine": machine})

    def out_of_memory(self, trial: str, reason: str, peak: int | None = None) -> None:
        """The trial did not fit: once more with twice the share, then it fails. peak: bytes that were measured."""
        known = self.trials[trial]
        if known.status != "running":
            return
        told = f"{reason} (its process had taken {peak / 2**20:,.0f} MiB)" if peak else reason
        if known.share > 1 or self.over:
            self.fail(trial, f"{told}, also with {known.share:g} times the share" if known.share > 1 else told, machine=True)
            return
        self._record({"event": "requeue", "trial": trial, "reason": told, "peak": peak, "share": 2.0})
        self._issued.discard(trial)
        self._again.append(trial)

    def release(self, trial: str) -> None:
        """An engine lays a trial down unfinished (a pause); a resume takes it up at its last checkpoint."""
        self._issued.discard(trial)

    def pause(self, why: str = "") -> None:
        """Propose nothing more, and let running trials stop at their next mark. why: the reason, where nobody asked for it."""
        self.pausing = True
        self._why = why or self._why

    def stop(self) -> None:
        """Propose nothing new; what has begun goes on to its end."""
        self.stopping = True

    def close(self, *, cancelled: bool = False) -> tuple[str, str]:
        """End the search: (status, reason). Where a limit is hit, trials still running are stopped for it."""
        status, reason = ("cancelled", "stopped at once") if cancelled else self.outcome()
        if status == "paused" and self._why:
            reason = self._why
        if status not in ("paused", "stopped", "cancelled"):
            for trial in list(self.running.values()):
                self._end(trial, "stopped", reason)
        self._record({"event": "close", "status": status, "reason": reason})
        self._studies.complete()
        return status, reason

    def outcome(self) -> tuple[str, str]:
        """The status to close with, and the reason. A search that is over without a student has failed."""
        status, reason = self._outcome()
        if status == "finished" and not any(one.status == "done" for one in self.trials.values()):
            return "failed", _nothing(len(self.trials), self._reasons, self.failed, reason)
        return status, reason

    def _outcome(self) -> tuple[str, str]:
        limit = self._hard_limit()
        if limit:
            return limit
        if self.running:
            return "paused", f"{len(self.running)} trials are unfinished"
        if not self._to_go_on():
            if self.plan.trials is not None and self._proposed >= self.plan.trials:
                return "finished", f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)}"
            if len(self.exhausted) == len(self.feasible.pairs):
                return "finished", "every configuration of the space has been tried"
        if self.stopping:
            return "stopped", "stopped when asked: what had begun has ended"
        return "paused", "stopped before a limit was reached"

    @property
    def requeued(self) -> bool:
        """Trials wait to be run once more."""
        return bool(self._again)

    @property
    def over(self) -> bool:
        """A limit is hit that ends running trials too."""
        return self._hard_limit() is not None

    @property
    def finished(self) -> bool:
        """Nothing more will be proposed, and nothing runs."""
        if self.over:
            return True
        if self.pausing:
            return not self._issued
        if self.stopping:
            return not self.running
        return not self.running and not self._more() and not self._to_go_on()

    @property
    def waiting(self) -> bool:
        """Nothing to propose now, but there may be once something that runs has come to a rung or to its end."""
        return bool(self.plan.rungs and self.running) and not (self.pausing or self.stopping or self.over)

    # --- decisions

    @property
    def _proposed(self) -> int:
        """Trials without those that only take another one further."""
        return len(self.trials) - self._taken

    def _more(self) -> bool:
        if self.plan.trials is not None and self._proposed >= self.plan.trials:
            return False
        return len(self.exhausted) < len(self.feasible.pairs)

    def _hard_limit(self) -> tuple[str, str] | None:
        plan = self.plan
        if self._failing():
            reason, count = self._reasons.most_common(1)[0]
            first = next(t.trial for t in self.trials.values() if t.status == "failed")
            told = f"{self.failed} of {self.ended} trials failed, {first} first"
            return "failed", f"{told}; {count} of them with: {reason}"
        if plan.hours is not None and self.elapsed() >= 3600 * plan.hours:
            return "finished", f"the time limit of {plan.hours:g} h"
        if plan.images is not None and self.images >= plan.images:
            return "finished", f"the limit of {plan.images:,.0f} images"
        if plan.gpu_hours is not None and self.seconds * plan.gpus >= 3600 * plan.gpu_hours:
            return "finished", f"the limit of {plan.gpu_hours:g} GPU hours"
        return None

    def _failing(self) -> bool:
        """Nothing has worked yet, or most of many did not."""
        plan = self.plan
        if self.failed == self.ended:
            return self.failed >= plan.failures_first
        return self.ended >= plan.failures_after and self.failed > plan.failures * self.ended

    def _verdict(self, trial: _Trial, mark: Mark, score: float | None) -> tuple[str, str | None] | None:
        """(status, reason) to end with, or None to go on."""
        if mark.final:
            return "done", None
        if mark.rung is None or score is None or trial.leads:
            return None
        told = []
        for budget in trial.budgets:
            reached = sorted([*trial.bars.get((budget, mark.rung), ()), score])
            if deserves(reached, score, self.plan.eta):
                return None
            told.append(f"{_place(reached, score)} in {budget}")
        return "stopped", f"rung {mark.rung} ({mark.epochs:g} epochs): {', '.join(told)}"

    # --- stopped trials that go on

    def _note(self, trial: _Trial) -> None:
        """Keep who waits at a rung, and how many of each budget end or will, in step with a trial."""
        if not self.plan.rungs or trial.era != self._era:
            return
        waits = trial.status == "stopped" and trial.verdict is not None and bool(trial.scores)
        if waits and trial.number not in self._aside:
            rung = max(trial.scores)
            self._aside.add(Stopped(trial.number, trial.budgets, rung, trial.scores[rung]))
        elif not waits and trial.number in self._aside:
            self._aside.remove(trial.number)
        ends = trial.status == "done" or (trial.status == "running" and trial.bound)
        if ends != trial.ends:
            trial.ends = ends
            for budget in trial.budgets:
                self._ends[budget] += 1 if ends else -1

    def _ready(self) -> tuple[tuple[Stopped, str] | None, list[tuple[Stopped, str]]]:
        """Who goes on by the rule, and the leaders that a budget wants; only where the checkpoint to go on from is there."""
        wanting = {budget: self.plan.leaders - self._ends[budget] for budget in self.feasible.pairs}
        while True:
            found, chosen = self._aside.promoted(self.rungs, self.plan.eta), self._aside.leaders(wanting)
            lost = {one.number for one, _ in [*([found] if found else []), *chosen] if not self._has(self._at(one).checkpoint)}
            if not lost:
                return found, chosen
            for number in lost:
                self._aside.remove(number)

    def _has(self, checkpoint: str | None) -> bool:
        return checkpoint is not None and self._there(checkpoint)

    def _at(self, one: Stopped) -> _Trial:
        return self.trials[f"t{one.number:05d}"]

    def _promote(self) -> _Trial | None:
        """A stopped trial that goes on: by the rule, or where what is left would no longer bring the leaders to their end."""
        found, chosen = self._ready()
        if chosen and self._short(found[0] if found else None, [one for one, _ in chosen]):
            return self._lead(chosen)
        if found is None:
            return None
        one, budget = found
        return self._bring_back(one, f"now {_place(self.rungs[budget, one.rung], one.score)} in {budget}", leads=False)

    def _lead(self, chosen: Sequence[tuple[Stopped, str]] | None = None) -> _Trial | None:
        """A budget's leader among the stopped, to go to its end."""
        chosen = self._ready()[1] if chosen is None else chosen
        return self._bring_back(chosen[0][0], f"leads {chosen[0][1]}", leads=True) if chosen else None

    def _bring_back(self, one: Stopped, why: str, *, leads: bool) -> _Trial:
        self._record({"event": "again", "trial": self._at(one).trial, "leads": leads, "because": why})
        return self._at(one)

    def _to_go_on(self) -> bool:
        """Whether something that ended will be taken up."""
        return self._to_go_further() is not None or self._ready() != (None, [])

    def _short(self, found: Stopped | None, chosen: Sequence[Stopped]) -> bool:
        """Whether the next step (of `found`, or of a new trial) would take from what the `chosen` need to come to their end."""
        if not self.epochs:
            return False
        if found is not None:
            one = self._at(found)
            step = next(mark.epochs for mark in one.marks[one.done :] if mark.final or mark.rung is not None) - one.epochs
        else:
            step = self.plan.rungs[0] if self._more() else 0.0
        rests = [(one.marks[-1].epochs - one.epochs, one) for one in map(self._at, chosen)]
        plan, epochs = self.plan, self.epochs
        other = step + sum(one.ahead() for one in self.running.values())  # at the pace of all; `rests` each at its own
        images = other * self.images / epochs + sum(rest * one.images / one.epochs for rest, one in rests)
        each = [rest * one.seconds / one.epochs for rest, one in rests]
        seconds = other * self.seconds / epochs + sum(each)
        if plan.images is not None and plan.images - self.images < images:
            return True
        if plan.gpu_hours is not None and 3600 * plan.gpu_hours - self.seconds * plan.gpus < seconds * plan.gpus:
            return True
        return plan.hours is not None and 3600 * plan.hours - self.elapsed() < max(seconds / self._abreast, max(each))

    def _resolved(self, config: TrialConfig) -> TrialConfig:
        """The configuration with its teacher's weights where they lie now."""
        if config.teacher is None or config.teacher.name not in self.teachers:
            return config
        return replace(config, teacher=self.teachers[config.teacher.name])

    def _pair(self, config: TrialConfig) -> Pair:
        student = self._labels.get(_student(config.student), config.student.name)
        return (config.teacher.name if config.teacher else None, student)

    # --- proposals

    def _draw(self) -> _Trial | None:
        while self._more():
            budget = min(
                (name for name in self.feasible.pairs if name not in self.exhausted), key=lambda name: self._own[name]
            )
            trial = self._ask(budget)
            if trial is not None:
                return trial
        return None

    def _ask(self, budget: str) -> _Trial | None:
        """One proposal for a budget; None where it had been made before."""
        asks, starts, number = self._asks[budget], self._starts[budget], len(self.trials)
        start = starts[asks] if asks < len(starts) else None
        source = "start" if start is not None else self.plan.sampler
        if start is None and self._repeats[budget] >= 10:
            source = "random"  # the sampler keeps to a corner it knows
        seed = proposal(self.plan.seed, budget, asks)
        asked = self._studies.ask(budget, "random" if source == "start" else source, seed, start)
        config = self.space.sample(Asking(asked), list(self.feasible.pairs[budget]), self.plan.seed_of(number))
        values = dict(asked.params)
        twin = self._twin(config)
        if twin is not None:
            told = {"event": "repeat", "budget": budget, "of": twin, "values": values, "seed": config.seed}
            self._record({**told, "asked": asked.number, **self._studies.evolution(budget, asked)})
            return None
        self._begin(budget, config, values, asked.number, source, self._studies.evolution(budget, asked))
        return self.trials[f"t{number:05d}"]

    def _begin(
        self, budget: str, config: TrialConfig, values: dict[str, Any], asked: int, source: str, more: dict[str, Any]
    ) -> None:
        config = self._resolved(config)
        pair, number = self._pair(config), len(self.trials)
        self._record(
            {
                "event": "trial",
                "trial": f"t{number:05d}",
                "number": number,
                "budget": budget,
                "budgets": list(self.feasible.admitting(pair)),
                "teacher": pair[0],
                "student": pair[1],
                "method": config.method.name,
                "policy": config.policy.name,
                "ratio": config.ratio,
                "seed": config.seed,
                **self.feasible.told(pair[1], self.space.budgets),
                "source": source,
                "asked": asked,
                "values": values,
                **({"tags": self._tags(values)} if self._tags else {}),
                **more,
                "config": config.to_dict(),
            }
        )

    # --- a search that is made longer

    def lengthen(self, event: dict[str, Any]) -> None:
        """Take up the length that a `begin` or `resume` event tells. Trials that ended keep what they are; the sampler is told
        all of them again, those of a shorter length as stopped; the best of each budget will go further."""
        told = event.get("length")
        if told is None:
            return
        epochs, rungs = told["epochs"], tuple(told["rungs"])
        changed = (epochs, rungs) != (self.plan.epochs, self.plan.rungs)
        self.plan = replace(self.plan, epochs=epochs, rungs=rungs)
        if not changed or not self.trials:
            return
        self._era += 1
        self.rungs = {}
        self._aside, self._ends = Waiting(), Counter()
        self._studies.renew(f"{self._era}: {epochs:g} epochs")
        self.exhausted.clear()
        for trial in self.trials.values():
            if trial.status == "failed" or trial.length != epochs:
                continue
            for rung, score in self._steps(trial).items():  # rungs that lie where they lay
                for budget in trial.budgets:
                    insort(self.rungs.setdefault((budget, rung), []), score)
        for trial in self.trials.values():
            if trial.status != "running" and not trial.ignored:
                for budget in trial.budgets:
                    self._teach(budget, trial)

    def _to_go_further(self) -> tuple[str, _Trial] | None:
        """A budget and one of its trials that ended at a shorter length and is among those that go further."""
        if not self._era:
            return None
        for budget in self.feasible.pairs:
            ended = [
                one for one in self.trials.values()
                if one.era < self._era and one.status == "done" and budget in one.budgets
                and one.length < self.plan.epochs
            ]  # fmt: skip
            ended.sort(key=lambda one: -one.scores[max(one.scores)] if one.scores else 0.0)
            room = max(1, int(len(ended) / self.plan.eta)) if self.plan.rungs else len(ended)
            for one in ended[:room]:
                if one.trial not in self._further:
                    return budget, one
        return None

    def _go_further(self) -> _Trial | None:
        found = self._to_go_further()
        while found is not None:
            trial = found[1]
            config = replace(trial.config, epochs=self.plan.epochs)
            twin = self._twin(config)
            if twin is None:
                asked = self._put(trial.budget, {"values": trial.values}, trial.pair, partial(replace, config))
                number = len(self.trials)
                self._begin(trial.budget, config, trial.values, asked, "longer", {"of": trial.trial})
                return self.trials[f"t{number:05d}"]
            self._further[trial.trial] = twin  # at its full length already
            found = self._to_go_further()
        return None

    def _steps(self, trial: _Trial) -> dict[int, float]:
        """A trial's scores by the rungs of now; a shorter trial's last ones count at the last rung that it reached."""
        if trial.era == self._era:
            return trial.scores
        at = {mark.rung: mark.epochs for mark in trial.marks if mark.rung is not None}
        if trial.length == self.plan.epochs:
            now = {mark.epochs: mark.rung for mark in self.plan.marks(trial.length) if mark.rung is not None}
            return {now[at[rung]]: score for rung, score in sorted(trial.scores.items()) if at[rung] in now}
        found = {}
        for rung, score in sorted(trial.scores.items()):
            found[max(0, bisect_right(self.plan.rungs, at[rung] * 1.001) - 1)] = score
        return found

    # --- events

    def _record(self, event: dict[str, Any]) -> None:
        self._apply(self.emit(event))

    def _end(self, trial: _Trial, status: str, reason: str | None) -> None:
        self._record({"event": "end", "trial": trial.trial, "status": status, "reason": reason})

    def _apply(self, event: dict[str, Any]) -> None:
        take = getattr(self, f"_on_{event['event']}", None)
        if take is not None:
            take(event)

    def _on_begin(self, event: dict[str, Any]) -> None:
        self.lengthen(event)

    def _on_resume(self, event: dict[str, Any]) -> None:
        self.lengthen(event)

    def _on_trial(self, event: dict[str, Any]) -> None:
        budget, pair = event["budget"], (event["teacher"], event["student"])
        if budget not in self.feasible.pairs:
            raise AutokdError(
                f"the ledger speaks of a budget {budget!r} that the space no longer has",
                fix="resume with the budgets the run began with, or start a new run",
            )
        trial = _Trial(
            event["trial"],
            event["number"],
            budget,
            self._admitting(pair),
            event["config"],
            pair,
            event["values"],
            self.plan.marks(event["config"]["epochs"]),
            event["asked"],
            bars=self.rungs,
            era=self._era,
            of=event.get("of"),
            bred={"generation": event["generation"]} if "generation" in event else {},
        )
        if not self._live:
            self._put(budget, event, pair, lambda: trial.config)
        self.trials[trial.trial] = self.running[trial.trial] = trial
        self._unseen.append(trial)
        if trial.of is not None:
            self._further[trial.of] = trial.trial
            self._taken += 1
            return
        self._studies.reached(budget, event.get("generation", 0))
        self._asks[budget] += 1
        self._own[budget] += 1
        self._repeats[budget] = 0

    def _on_repeat(self, event: dict[str, Any]) -> None:
        """Tell the sampler what is known of the twin; for a running one, that there is nothing here yet."""
        budget, twin = event["budget"], self.trials[event["of"]]
        if not self._live:
            self._put(budget, event, twin.pair, lambda: replace(twin.config, seed=event["seed"]))
        self._tell(budget, event["asked"], twin)
        self._studies.reached(budget, event.get("generation", 0))
        self._asks[budget] += 1
        self._repeats[budget] += 1
        if self._repeats[budget] >= self.plan.repeats:
            self.exhausted.add(budget)

    def _on_report(self, event: dict[str, Any]) -> None:
        trial = self.trials[event["trial"]]
        behind = event.get("behind") or {}  # what a shorter training had done already
        trial.images, trial.seconds = max(trial.images, behind.get("images", 0)), max(trial.seconds, behind.get("seconds", 0.0))
        self.images += max(0, event["images"] - trial.images)
        self.seconds += max(0.0, (event.get("seconds") or 0.0) - trial.seconds)
        trial.images, trial.seconds = event["images"], event.get("seconds") or 0.0
        trial.checkpoint = event.get("checkpoint") or trial.checkpoint
        before, trial.done = trial.epochs, event["mark"] + 1
        self.epochs += trial.epochs - before
        if event["decision"] != GO_ON:
            trial.verdict = (event["decision"], event.get("because"))
        score = event.get("val_top1")
        if event.get("rung") is not None and score is not None:
            trial.scores[event["rung"]] = score
            for budget in trial.budgets:
                insort(trial.bars.setdefault((budget, event["rung"]), []), score)
        self._note(trial)

    def _on_end(self, event: dict[str, Any]) -> None:
        trial = self.running.pop(event["trial"], None)
        if trial is None:
            return
        self._issued.discard(trial.trial)
        trial.status = event["status"]
        self._note(trial)
        self.ended += 1
        if trial.status == "failed":
            self.failed += 1
            self._reasons[event.get("reason") or ""] += 1
            trial.reason = event.get("reason") or ""
            for budget in trial.budgets:  # what a trial scored before it broke sets no bar for others
                for rung, score in trial.scores.items():
                    trial.bars[budget, rung].remove(score)
        ignored = event.get("machine", False) or (trial.status == "stopped" and not trial.scores)
        trial.ignored = ignored
        if trial.era == self._era:
            self._tell(trial.budget, trial.asked, trial)
        elif not ignored:
            self._teach(trial.budget, trial)
        if not ignored:
            for budget in trial.budgets:
                if budget != trial.budget:
                    self._teach(budget, trial)

    def _on_requeue(self, event: dict[str, Any]) -> None:
        self.trials[event["trial"]].share = event["share"]

    def _on_again(self, event: dict[str, Any]) -> None:
        """An ended trial is taken up once more, from its last checkpoint."""
        trial = self.trials[event["trial"]]
        if trial.status == "running":
            return
        self.ended -= 1
        if trial.status == "failed":
            self.failed -= 1
            self._reasons[trial.reason] -= 1
            for budget in trial.budgets:
                for rung, score in trial.scores.items():
                    insort(trial.bars.setdefault((budget, rung), []), score)
        trial.status, trial.verdict, trial.ignored = "running", None, False
        trial.leads = event.get("leads", False)
        self._note(trial)
        self.running[trial.trial] = trial
        if trial.era != self._era:  # of a shorter search: told when it ends
            return
        trial.asked = self._put(trial.budget, {"values": trial.values, **trial.bred}, trial.pair, lambda: trial.config)

    def take_up(self, trial: str) -> None:
        """Run an ended (failed, or cut off by a limit) trial again."""
        self._record({"event": "again", "trial": trial})
        self._again.append(trial)

    # --- what the sampler learns

    def _put(self, budget: str, event: dict[str, Any], pair: Pair, config: Callable[[], TrialConfig]) -> int:
        """A proposal that was made before, into the study as a running trial; its number there."""
        point = self._recall.point(budget, event["values"], pair, config, tries=1)
        if point is None:
            raise AutokdError(
                "the ledger holds a proposal that the space does not allow any more",
                fix="resume with the space the run began with (space.yaml in its folder), or start a new run",
            )
        return self._studies.put(budget, point, event)

    def _tell(self, budget: str, asked: int, trial: _Trial) -> None:
        self._studies.tell(budget, asked, self._lesson(trial))

    def _teach(self, budget: str, trial: _Trial) -> None:
        point = self._recall.point(budget, trial.values, trial.pair, lambda: trial.config)
        if point is not None:
            self._studies.teach(budget, point, self._lesson(trial))

    def _lesson(self, trial: _Trial) -> Lesson:
        """A trial stopped early is PRUNED, never COMPLETE with a score of another length. One that diverged is PRUNED
        without a score, which TPE ranks last; FAIL would teach it nothing. FAIL is for what was the machine's fault. Where
        nothing is held out no trial has a score, and the sampler is the random one."""
        if trial.ignored:
            return Lesson(TrialState.FAIL)
        if not self.plan.ranked:
            return Lesson(TrialState.PRUNED)
        scores = self._steps(trial)
        if trial.status == "done" and (trial.era == self._era or trial.length == self.plan.epochs):
            return Lesson(TrialState.COMPLETE, trial.scores[max(trial.scores)], scores)
        if trial.status == "failed" or not scores:
            return Lesson(TrialState.PRUNED)
        return Lesson(TrialState.PRUNED, scores[max(scores)], scores)

    def _twin(self, config: TrialConfig) -> str | None:
        """The trial that was proposed first of those that are the same but for their seed."""
        for trial in self._unseen:
            self._seen.setdefault(self._key(trial.config), trial.trial)
        self._unseen.clear()
        return self._seen.get(self._key(config))

    def _admitting(self, pair: Pair) -> tuple[str, ...]:
        if pair not in self._admits:
            self._admits[pair] = self.feasible.admitting(pair)
        return self._admits[pair]


def _place(reached: Sequence[float], score: float) -> str:
    """reached: scores, worst first."""
    return f"{len(reached) - bisect_right(reached, score) + 1} of {len(reached)}"


def _nothing(count: int, reasons: Counter[str], failed: int, reason: str) -> str:
    """Why none of `count` trials is a student. reasons: of the trials that failed. reason: what the search ended by."""
    if not count:
        return f"{NOTHING}: no trial was begun ({reason})"
    if failed < count:
        some = f"{failed} failed and " * bool(failed)
        return f"{NOTHING}: of {count} trial{'s' * (count > 1)} {some}none came to its end ({reason})"
    why, same = reasons.most_common(1)[0]
    each = {1: "the only trial", 2: "both trials"}.get(count, f"all {count} trials")
    return f"{NOTHING}: {each} failed{'' if same == count else f', {same} of them'} with: {why}"


def _key(config: TrialConfig) -> str:
    """What makes two proposals the same: all but the seed of the weights and where the teacher's weights lie."""
    teacher = TeacherConfig(config.teacher.name, config.teacher.model) if config.teacher else None
    return replace(config, seed=0, teacher=teacher).key


def _labels(space: Any) -> dict[str, str]:
    """What a student is called in pairs and tables, by what it is."""
    students = getattr(space, "students", {})
    return {_student(config): name for name, config in reversed(students.items())}


def _student(config: StudentConfig) -> str:
    return json.dumps([config.name, config.options], sort_keys=True, default=str)
