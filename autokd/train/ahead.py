"""Render the views of several steps at once: a small batch loses most of its time to the calls, a large one does not."""

from __future__ import annotations

import torch
from torch import Tensor

from autokd.augment.views import View, Views
from autokd.train.batches import Batch, Division, Order

__all__ = ["Ahead", "Part"]

_ROWS = 512  # views rendered in one go; a view depends on its image and number alone, so that its company does not matter

Part = tuple[Batch, bool, View]  # rows and passes, whether they are augmented, and what they look like


class Ahead:
    """The views of each step, in order: first the plain ones, then the augmented ones, where a step has them.

    `rank` and `world` take every world-th row of a batch, for a trial that several workers train.
    """

    def __init__(self, views: Views, order: Order, division: Division, steps: int, *, rank: int = 0, world: int = 1) -> None:
        self.views, self.order, self.division, self.steps = views, order, division, steps
        self.mine = slice(rank, None, world)
        self.block = max(1, _ROWS // max(1, division.images // world))
        self._at = -1
        self._kept: list[list[Part]] = []

    def step(self, step: int) -> list[Part]:
        """What step number `step` trains on. Steps that follow one another are cheap; any other order is right, too."""
        at, place = divmod(step, self.block)
        if at != self._at or place >= len(self._kept):
            first = at * self.block
            end = first + self.block if step >= self.steps else min(first + self.block, self.steps)
            self._kept = self._render(range(first, end))
            self._at = at
        return self._kept[place]

    def _render(self, steps: range) -> list[list[Part]]:
        batches = [self.order.step(step) for step in steps]
        found: list[list[Part]] = [[] for _ in batches]
        for augmented, count in ((False, self.division.plain), (True, self.division.augmented)):
            parts = [Batch(batch.rows[:count][self.mine], batch.passes[:count][self.mine]) for batch in batches]
            if len(parts[0].rows) == 0:
                continue
            rows, passes = (torch.cat([getattr(part, name) for part in parts]) for name in ("rows", "passes"))
            views = _split(self.views.render(rows, passes, augmented), len(parts[0].rows))
            for place, part, view in zip(found, parts, views, strict=True):
                place.append((part, augmented, view))
        return found


def _split(view: View, count: int) -> list[View]:
    pixels = view.pixels.split(count)
    if view.partner is None or view.share is None:
        return [View(one) for one in pixels]
    partner: tuple[Tensor, ...] = view.partner.split(count)
    return [View(*one) for one in zip(pixels, partner, view.share.split(count), strict=True)]
