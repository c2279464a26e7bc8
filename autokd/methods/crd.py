"""Contrastive representation distillation: tell the teacher's embedding of an image from those of other classes' images."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from autokd.errors import AutokdError
from autokd.methods._features import Features
from autokd.rooms import Count, Fraction, Positive

__all__ = ["crd"]

SEARCH = {
    "crd": {
        "temperature": {"log": [0.03, 0.2]},
        "negatives": {"choose": [16384, 4096, 1024, 256]},
        "width": {"choose": [128, 64, 256]},
        "momentum": {"uniform": [0, 0.99]},
        "positives": {"choose": ["exact", "relaxed"]},
    }
}
WEIGHTS = {"ce_weight": 1.0, "kd_weight": 0.8}
LEVEL = "relation"

_EPSILON = 1e-7


class crd(nn.Module):  # noqa: N801 - the catalogue's names are those of the space file
    """Noise-contrastive estimation against a memory of every training image, student to teacher and teacher to student.

    Both networks' pooled vectors pass a linear map with bias (both trained with the student) to `width` numbers of norm 1.
    A memory per network holds one row for each training image, found by the image's stable number (`index`). For row n
    the positive is its own image's row in the other network's memory ("exact") or the row of a random image of its class
    ("relaxed"); `negatives` rows of other classes are drawn without repetition (all of them where there are fewer), the same for
    all views of an image. With P = exp(<v, memory> / temperature) / Z and q = negatives / images the loss of a side is
    -mean_n [log P+ / (P+ + q) + sum_k log q / (P_k + q)]; Z is fixed by the first batch as mean(exp) x images. Afterwards
    the images' rows become `momentum` x old + (1 - momentum) x new, over their norm; several views of an image count by
    their mean. The memories and Z are buffers, so a resumed training goes on with them. Returns a scalar, the two sides' sum.

    Memory: 2 x images x width floats, and 2 x images floats for each row of a batch.

    temperature: divides the cosines: the lower, the more the nearest negatives count
    negatives: rows of other classes that each row is told from
    width: numbers of the vectors that are compared
    momentum: how much of a memory's row stays when its image comes by
    positives: a row is pulled to its own image in the other network (exact), or to a random one of its class (relaxed)

    Source: "Contrastive Representation Distillation", arXiv:1910.10699, section 3; constants of its code.
    """

    def __init__(
        self,
        *,
        temperature: Positive = 0.07,
        negatives: Count = 16384,
        width: Count = 128,
        momentum: Fraction = 0.5,
        positives: Literal["exact", "relaxed"] = "exact",
    ) -> None:
        super().__init__()
        self.temperature, self.negatives, self.width = temperature, negatives, width
        self.momentum, self.positives = momentum, positives
        self.of_student, self.of_teacher = nn.Linear(1, 1), nn.Linear(1, 1)  # build_parts knows their sizes
        self.row_of: Tensor
        self.labels: Tensor
        for name in ("row_of", "labels"):  # of the data, not of the training: no part of a checkpoint
            self.register_buffer(name, torch.empty(0, dtype=torch.long), persistent=False)
        self.student_memory: Tensor
        self.teacher_memory: Tensor
        self.scale: Tensor
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, torch.empty(0, width))
        self.register_buffer("scale", torch.zeros(2))  # Z of the student's and of the teacher's side; 0: not fixed yet

    def build_parts(self, student_features: Features, teacher_features: Features) -> None:
        self.of_student = nn.Linear(student_features.pooled.shape[1], self.width)
        self.of_teacher = nn.Linear(teacher_features.pooled.shape[1], self.width)

    def know_data(self, index: Tensor, labels: Tensor) -> None:
        """Open a memory for the training images: their stable numbers and their labels, int64 [n]."""
        self.row_of = torch.full((int(index.max()) + 1,), -1, dtype=torch.long, device=index.device)
        self.row_of[index] = torch.arange(len(index), device=index.device)
        self.labels = labels
        reach = 1 / math.sqrt(self.width / 3)
        shape = (len(index), self.width)
        self.student_memory = (torch.rand(shape) * 2 - 1).mul_(reach).to(index.device)
        self.teacher_memory = (torch.rand(shape) * 2 - 1).mul_(reach).to(index.device)

    def forward(self, student_features: Features, teacher_pooled: Tensor, index: Tensor, labels: Tensor) -> Tensor:
        if not len(self.labels):  # asked without a training set: the batch is all there is
            first = torch.stack([(index == number).nonzero()[0, 0] for number in index.unique()])
            self.know_data(index[first], labels[first])
        rows = self._rows(index)
        student = normalize(self.of_student(student_features.pooled.float()), dim=1)  # [B, width]
        teacher = normalize(self.of_teacher(teacher_pooled.detach().float()), dim=1)
        picked = self._contrast(rows)  # [B, 1 + K]
        loss = self._side(student, self.teacher_memory, picked, 0) + self._side(teacher, self.student_memory, picked, 1)
        if self.training:
            self.student_memory = self._moved(self.student_memory, rows, student.detach())
            self.teacher_memory = self._moved(self.teacher_memory, rows, teacher.detach())
        return loss

    def _rows(self, index: Tensor) -> Tensor:
        inside = (index >= 0) & (index < len(self.row_of))
        rows = self.row_of[index.clamp(0, len(self.row_of) - 1)]
        if not bool((inside & (rows >= 0)).all()):
            raise AutokdError("an image is not among the training images whose memory crd keeps")
        return rows

    def _contrast(self, rows: Tensor) -> Tensor:
        """Memory rows to compare with: the positive, then the negatives. Drawn once an image, whatever its place in the
        batch.
        """
        images, place = rows.unique(return_inverse=True)
        same = self.labels[images][:, None] == self.labels  # [U, n]
        count = min(self.negatives, int((~same).sum(dim=1).min()))
        keys = torch.rand(same.shape, device=rows.device)
        negatives = keys.masked_fill(same, -1.0).topk(count, dim=1).indices
        positive = images[:, None]
        if self.positives == "relaxed":
            positive = keys.masked_fill(~same, -1.0).argmax(dim=1, keepdim=True)
        return torch.cat([positive, negatives], dim=1)[place]

    def _side(self, vectors: Tensor, memory: Tensor, picked: Tensor, side: int) -> Tensor:
        total, count = len(memory), picked.shape[1] - 1
        raw = ((vectors @ memory.T) / self.temperature).gather(1, picked).exp()  # [B, 1 + K]
        if not bool(self.scale[side] > 0):
            self.scale = self.scale.clone()
            self.scale[side] = raw.detach().mean() * total
        score, noise = raw / self.scale[side], count / total
        found = (score[:, 0] / (score[:, 0] + noise + _EPSILON)).log()
        missed = (noise / (score[:, 1:] + noise + _EPSILON)).log() if count else score[:, 1:]
        return -(found + missed.sum(dim=1)).mean()

    def _moved(self, memory: Tensor, rows: Tensor, vectors: Tensor) -> Tensor:
        """A new tensor: the backward pass still needs the old one."""
        images, place = rows.unique(return_inverse=True)
        views = torch.zeros(len(images), device=rows.device).index_add_(0, place, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros(len(images), self.width, device=rows.device).index_add_(0, place, vectors)
        moved = self.momentum * memory[images] + (1 - self.momentum) * sums / views[:, None]
        return memory.index_copy(0, images, normalize(moved, dim=1))
