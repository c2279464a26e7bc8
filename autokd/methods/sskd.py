"""SSKD: distil, besides the classes, how the teacher finds a turned image among the upright ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from autokd.methods._features import Features
from autokd.rooms import Fraction, NonNegative, Positive

__all__ = ["sskd"]

SEARCH = {
    "sskd": {
        "normal_weight": {"log": [0.05, 20]},
        "turned_weight": {"log": [0.05, 20]},
        "similarity_weight": {"log": [0.05, 20]},
        "temperature": {"uniform": [1, 8]},
        "turned_temperature": {"uniform": [1, 8]},
        "similarity_temperature": {"log": [0.05, 2]},
        "turned_kept": {"uniform": [0, 1]},
        "similarity_kept": {"uniform": [0, 1]},
    }
}
WEIGHTS = {"ce_weight": 0.1, "kd_weight": 1.0}
LEVEL = "relation"
ALONE = True  # it decides what the whole batch looks like, so it is no term beside another method


class sskd(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Knowledge distillation meets self-supervision: classes on upright and turned views, and a similarity matrix.

    The trainer turns every view by 0, 90, 180 and 270 degrees; a batch counts all of them. A head (linear, ReLU, linear,
    of the pooled vector's width) maps pooled vectors to h; A[k, j] = cos(h(turned k), h(upright j)). The teacher's head is
    trained first, on the frozen teacher, to find each turned view's own upright one (cross-entropy over A, no
    temperature, `head_epochs`), and frozen; the student's trains with the student. The loss is

      normal_weight x T^2 KL(teacher || student) on upright views
      + turned_weight x T^2 KL(teacher || student) at turned_temperature, on the kept turned views
      + similarity_weight x T^2 KL(rows of the teacher's A || the student's) at similarity_temperature, on the kept rows

    A turned view is kept where the teacher is right (its class; its upright view); of the others the share `turned_kept`
    or `similarity_kept` with the best rank of the right answer, the more probable first among equal ranks. Each KL is the
    mean over the kept rows, zero where none is. Cross-entropy is on upright views alone. Returns a scalar.

    The published code turns each image first and crops every turn on its own; here one crop is turned.

    normal_weight: weight of the divergence on upright views
    turned_weight: weight of the divergence on turned views
    similarity_weight: weight of the similarity matrix
    temperature: softens both distributions on upright views
    turned_temperature: the same on turned views
    similarity_temperature: the same for rows of the similarity matrix
    turned_kept: share of turned views that are kept though the teacher errs on their class
    similarity_kept: share of them that are kept though it errs on their upright view
    head_epochs: epochs of the stage that trains the teacher's head

    Source: "Knowledge Distillation Meets Self-Supervision", arXiv:2006.07114, section 3.
    The weights 0.1, 0.9, 2.7 and 10 and the kept shares are those of its code.
    """

    turns = 4

    def __init__(
        self,
        *,
        normal_weight: NonNegative = 0.9,
        turned_weight: NonNegative = 2.7,
        similarity_weight: NonNegative = 10.0,
        temperature: Positive = 4.0,
        turned_temperature: Positive = 4.0,
        similarity_temperature: Positive = 0.5,
        turned_kept: Fraction = 1.0,
        similarity_kept: Fraction = 0.75,
        head_epochs: Positive = 60.0,
    ) -> None:
        super().__init__()
        self.weights = (normal_weight, turned_weight, similarity_weight)
        self.temperatures = (temperature, turned_temperature, similarity_temperature)
        self.kept = (turned_kept, similarity_kept)
        self.stage: dict[str, Any] = {
            "method": "sskd",
            "epochs": head_epochs,
            "milestones": [0.5, 0.75],  # 30 and 45 of 60
            "nesterov": False,
        }
        self.head, self.teacher_parts = nn.Sequential(), nn.Sequential()

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        self.head = _head(student_features.pooled.shape[1])
        self.build_teacher_parts(teacher_features, 0)

    def build_teacher_parts(self, teacher_features: Features, classes: int) -> None:
        """The teacher's head, untrained: `autokd.train.stages` trains it."""
        self.teacher_parts = _head(teacher_features.pooled.shape[1])

    def teacher_loss(self, features: Features, labels: Tensor, rotation: Tensor, view: Tensor) -> Tensor:
        """What the teacher's head minimises before any student: cross-entropy of finding the own upright view."""
        upright = rotation == 0
        found = _similarities(self.teacher_parts(features.pooled.float()), upright)  # [turned, upright]
        return cross_entropy(found, _sources(view, upright))

    def forward(
        self, student_features: Features, teacher_features: Features, labels: Tensor, rotation: Tensor, view: Tensor
    ) -> Tensor:
        student, teacher = student_features.logits.float(), teacher_features.logits.detach().float()
        upright = rotation == 0
        total = self.weights[0] * _softened(student[upright], teacher[upright], self.temperatures[0])
        keep = _selected(teacher[~upright], labels[~upright], self.kept[0])
        total = total + self.weights[1] * _softened(
            student[~upright][keep], teacher[~upright][keep], self.temperatures[1]
        )
        if not bool(upright.any()) or bool(upright.all()):  # nothing to find, or nowhere to look
            return total
        mine = _similarities(self.head(student_features.pooled.float()), upright)
        with torch.no_grad():
            theirs = _similarities(self.teacher_parts(teacher_features.pooled.float()), upright)
        keep = _selected(theirs, _sources(view, upright), self.kept[1])
        return total + self.weights[2] * _softened(mine[keep], theirs[keep], self.temperatures[2])


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def _similarities(vectors: Tensor, upright: Tensor) -> Tensor:
    vectors = normalize(vectors, dim=1)
    return vectors[~upright] @ vectors[upright].T


def _sources(view: Tensor, upright: Tensor) -> Tensor:
    """For each turned row the place of its own view among the upright rows."""
    return (view[~upright][:, None] == view[upright]).float().argmax(dim=1)


def _selected(scores: Tensor, answers: Tensor, share: float) -> Tensor:
    """Rows to learn from: where the answer scores highest, and the best-ranked `share` of the others. Positions [kept]."""
    if not len(scores):
        return answers.new_zeros(0)
    own = scores.gather(1, answers[:, None])
    rank = (scores > own).sum(dim=1)  # 0: right
    doubt = -scores.log_softmax(dim=1).gather(1, answers[:, None])[:, 0]
    order = doubt.argsort(stable=True)
    order = order[rank[order].argsort(stable=True)]
    right = int((rank == 0).sum())
    return order[: right + int(share * (len(scores) - right))]


def _softened(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    if not len(student):
        return student.sum()
    mine = (student / temperature).log_softmax(dim=1)
    theirs = (teacher / temperature).log_softmax(dim=1)
    return temperature**2 * (theirs.exp() * (theirs - mine)).sum(dim=1).mean()
