"""The training-free screen: how much the teacher's mean prediction wavers over a policy's views. No student is trained.

Definition. The views of a policy (of `none`: plain views) are taken in batches, in an order drawn by `seed`, pass after pass.
The teacher's probabilities at temperature 1 are averaged over each group of consecutive batches: one mean a group and class.
The screen is the standard deviation of these means over the groups (divisor: groups - 1), averaged over the classes. A lower
value is said to mean a better policy: the views are so varied that every group shows the teacher the same mixture.

Source: METHODS section 2 ("T.stddev"; public code MingSun-Tse/Good-DA-in-KD, helper/loops.py), with groups of 10 batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.trial import TeacherConfig, TrialConfig
from autokd.errors import AutokdError
from autokd.search.run import SPACE, bench_settings
from autokd.search.study import Study
from autokd.search.teachers import known_teachers, verify
from autokd.track.ledger import all_events

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FILE", "Screened", "deviation", "kept_screen", "screen", "screen_study"]

FILE = "screen.json"
_GROUP = 10  # batches


@dataclass(frozen=True)
class Screened:
    """`value`: the screen of an arm's policy, over `groups` groups of `group` batches of `batch` views. NaN: too few."""

    arm: str
    policy: str
    value: float
    groups: int
    group: int
    batch: int
    passes: int


def deviation(means: Tensor) -> float:
    """means: [G, C], the teacher's mean probabilities in each group. Raises ValueError for fewer than two groups."""
    if len(means) < 2:
        raise ValueError(f"a deviation needs two groups, not {len(means)}")
    return float(means.double().std(dim=0, correction=1).mean())


def screen(
    answers: Callable[[Any, int], Tensor], rows: int, *, batch: int, passes: int, group: int = _GROUP, seed: int = 0
) -> tuple[float, int]:
    """The screen of one policy, and the number of whole groups it was taken over (0, and NaN, where there are not two).

    answers(rows int64 [B], pass number): the teacher's logits [B, C] on the views of that pass. rows: images. What does not
    fill a group at the end is left out.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    sums: list[Tensor] = []
    waiting: list[Tensor] = []
    for number in range(passes):
        order = torch.randperm(rows, generator=generator)
        for chosen in order.split(batch):
            if len(chosen) < batch:
                continue  # a short batch would weigh its images more
            waiting.append(answers(chosen, number).float().softmax(dim=1).mean(dim=0).cpu())
            if len(waiting) == group:
                sums.append(torch.stack(waiting).mean(dim=0))
                waiting = []
    if len(sums) < 2:
        return float("nan"), 0
    return deviation(torch.stack(sums)), len(sums)


def screen_study(
    folder: str | Path,
    study: Study,
    *,
    device: str = "cpu",
    passes: int = 10,
    tell: Callable[[str], None] = lambda text: None,
    bench: Mapping[str, Any] | None = None,
) -> list[Screened]:
    """The screen of every policy of the study, through the cache of teacher answers that its trials filled; kept beside them.

    passes: over the training images, at most; more than the trials read of a view are computed now. What an earlier call kept
    is read again. Returns nothing where the teacher is not there yet.
    """
    if kept := kept_screen(folder):
        return kept
    past = all_events(Path(folder) / "ledger.jsonl")
    teachers = known_teachers(past)
    if study.teacher not in teachers or not study.screened:
        return []
    from autokd.config.search_space import load_space
    from autokd.train.workshop import Workshop

    settings = dict(bench) if bench is not None else bench_settings(load_space(Path(folder) / SPACE))
    workshop = Workshop(device=device, **settings)
    found = []
    verify(workshop, study.arms[study.screened[0]].data, teachers[study.teacher], past)
    for arm in study.screened:
        config = study.trial(arm, study.seeds[0])  # whose views were asked about already
        tell(f"screening {config.policy.name}")
        found.append(_screened(workshop, arm, config, teachers[study.teacher], passes))
    (Path(folder) / FILE).write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return found


def kept_screen(folder: str | Path) -> list[Screened]:
    """What `screen_study` kept in a run folder; nothing where it did not, or where that cannot be read."""
    try:
        return [Screened(**one) for one in json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _screened(workshop: Any, arm: str, config: TrialConfig, teacher: TeacherConfig, passes: int) -> Screened:
    config = replace(config, teacher=teacher)
    views = workshop.views_of(config)
    signals = workshop.signals(config)
    if signals is None:
        raise AutokdError(f"{arm} has no teacher to be asked")
    augmented = config.policy.name != "none"

    def answers(rows: Tensor, number: int) -> Tensor:
        pixels = views.render(rows, number, augmented).pixels if signals.wants_pixels else None
        return signals.logits(rows, number, augmented, pixels)

    rows = len(workshop.data(config.data).pixels)
    batch = min(config.recipe.batch, max(1, rows // 8))  # small data: several batches a pass
    value, groups = screen(answers, rows, batch=batch, passes=passes)
    return Screened(arm, config.policy.name, value, groups, _GROUP, batch, passes)
