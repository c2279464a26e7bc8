"""How the terms of a loss are weighed while they train: the cross-entropy is the task, each distillation term an auxiliary of it.

A term's part in the loss is its searched weight x its factor; the factors all begin at 1. Every scheme is a pure function
below; `Weights` only keeps what they need from one step to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["SCHEMES", "Weights", "by_gradients", "by_ratios", "by_uncertainty"]

SCHEMES = ("fixed", "gradient_cosine", "loss_ratio", "uncertainty")

_EVERY = 10  # steps between looks at the gradients, each of which costs a backward pass for every term
_WINDOWS = 50  # of a training: spans over which losses are averaged before they are compared
_TINY = 1e-12


def by_gradients(task: Tensor, terms: Sequence[Tensor]) -> Tensor:
    """max(0, cosine) x |task| / |term| for each term: what points away from the task is left out, what is loud is lowered.

    That is (task . term)+ / |term|^2. task: [P], the gradient of the weighted cross-entropy. terms: each [P], without their
    weights, which then say how strong a wholly aligned term is beside the task. Returns [K]; 0 for a gradient of zeros.
    Source: "Adapting Auxiliary Losses Using Gradient Similarity", arXiv:1812.02224, section 3; the norms as METHODS
    section 12 reconstructs them, a counterpart of ReAL.
    """
    return torch.stack([(task @ term).clamp(min=0) / (term @ term).clamp(min=_TINY) for term in terms])


def by_ratios(last: Tensor, before: Tensor, temperature: float = 2.0) -> Tensor:
    """K x softmax(last / before / temperature) over all K losses, [K], of mean 1: what falls slowest counts the most.

    Source: "End-to-End Multi-Task Learning with Attention", arXiv:1803.10704, section 3.2 (dynamic weight average).
    """
    ratio = last / before.clamp(min=_TINY)
    return len(last) * (ratio / temperature).softmax(dim=0)


def by_uncertainty(scale: Tensor, losses: Tensor, rate: float) -> Tensor:
    """One step of gradient descent on exp(-s) x loss + s for each loss, the gradient held within -1 and 1.

    scale: [K], s, the logarithm of each loss's variance. Returns the next s, [K]. At rest exp(-s) is 1 / loss.
    Source: "Multi-Task Learning Using Uncertainty to Weigh Losses", arXiv:1705.07115, section 3 (twice its regression form).
    """
    return scale - rate * (1 - (-scale).exp() * losses).clamp(-1, 1)


class Weights:
    """The factors of a training's losses, the cross-entropy's (where it has one) first.

    scheme: one of SCHEMES. count: losses. task: whether the first is the cross-entropy. steps: of the whole training.
    memory: of the moving average of what gradients say, 0.9 of old and 0.1 of new; 1 - memory is the rate of `uncertainty`.
    `uncertainty` divides its factors by their mean, so that a loss near zero does not raise the learning rate of all.
    """

    def __init__(self, scheme: str, count: int, *, task: bool, steps: int, memory: float, device: torch.device) -> None:
        self.scheme, self.task, self.memory = scheme, task, memory
        self.window = max(1, round(steps / _WINDOWS))
        self.factors = torch.ones(count, device=device)
        self.scale = torch.zeros(count, device=device)
        self.sums = torch.zeros(3, count, device=device)  # of this window, of the last one and of the one before
        self.looks = 0

    def wants_gradients(self, step: int) -> bool:
        return self.scheme == "gradient_cosine" and step % _EVERY == 0

    def see_gradients(self, gradients: Sequence[Tensor]) -> None:
        """The gradient of each loss, [P] each: the cross-entropy's with its weight, the others' without."""
        now = by_gradients(gradients[0], gradients[1:])
        memory = min(self.memory, self.looks / (self.looks + 1))  # a plain mean at first: the initial 1 says nothing
        self.factors = torch.cat([self.factors[:1], memory * self.factors[1:] + (1 - memory) * now])
        self.looks += 1

    def see_losses(self, step: int, losses: Tensor) -> None:
        """The losses of a step, [K], without their weights, before the step is taken."""
        if self.scheme == "uncertainty":
            self.scale = by_uncertainty(self.scale, losses, 1 - self.memory)
            factors = (-self.scale).exp()
            self.factors = factors / factors.mean()
        elif self.scheme == "loss_ratio":
            if step and step % self.window == 0:
                self.sums = torch.stack([torch.zeros_like(losses), self.sums[0], self.sums[1]])
                if step >= 2 * self.window:
                    self.factors = by_ratios(self.sums[1], self.sums[2])
            self.sums[0] += losses

    def state(self) -> dict[str, Any]:
        return {"factors": self.factors, "scale": self.scale, "sums": self.sums, "looks": self.looks}

    def load(self, state: dict[str, Any]) -> None:
        device = self.factors.device
        self.factors, self.scale = state["factors"].to(device), state["scale"].to(device)
        self.sums, self.looks = state["sums"].to(device).clone(), state["looks"]
