"""What logit methods share: softened distances row by row, the teacher's energy, and a method inside a method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from autokd.rooms import catalogue, load


def divergence(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """T^2 KL(teacher || student) of each row, in nats: [N, C], [N, C] -> [N]. `temperature`: one, or one a row [N]."""
    scale = temperature[:, None] if isinstance(temperature, Tensor) else temperature
    mine = (student.float() / scale).log_softmax(dim=1)
    theirs = (teacher.detach().float() / scale).log_softmax(dim=1)
    return temperature**2 * (theirs.exp() * (theirs - mine)).sum(dim=1)


def energy(logits: Tensor, temperature: float) -> Tensor:
    """-T logsumexp(logits / T), the free energy of each row: [N, C] -> [N], float32. Low where a network is confident."""
    return -temperature * (logits.detach().float() / temperature).logsumexp(dim=1)


def inner(name: str, given: dict[str, Any]) -> tuple[Callable[..., Tensor], tuple[str, ...]]:
    """The method `name` as a callable and the signals it reads, with those of the `given` settings that it has.

    None stands for the method's own default; a setting that it does not have is another base's.
    """
    entry = catalogue("methods")[name]
    settings = {key: value for key, value in given.items() if value is not None and entry.setting(key) is not None}
    made = load(entry)
    if isinstance(made, type):
        module: Callable[..., Tensor] = made(**settings)
        return module, tuple(getattr(module, "reads", entry.reads))
    return partial(made, **settings), entry.reads
