"""From a method's name and settings to something the trainer can call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from autokd.errors import AutokdError, did_you_mean
from autokd.rooms import catalogue, complain, load

SIGNALS = {
    "student_logits": "[N, C], float32",
    "teacher_logits": "[N, C], float32, the teacher on the same view",
    "plain_teacher_logits": "[N, C], the teacher on the plain view of the image of row n",
    "augmented": "bool [N]",
    "labels": "int64 [N]",
    "targets": "[N, C], label probabilities, mixed where the policy mixes",
    "index": "int64 [N], the image's position in the data set",
    "student_features": "autokd.models.features.Features of the student",
    "teacher_features": "autokd.models.features.Features of the teacher",
    "teacher_pooled": "[N, D], float32, the vectors that the teacher's classifier reads, on the same view",
    "rotation": "int64 [N], right angles by which the row is turned (0 but for methods that ask for turned views)",
    "view": "int64 [N], which view of the batch the row is a rotation of: equal numbers, one view",
    "epoch": "float, images processed / training images",
}


class Method:
    """A distillation criterion with its settings: `reads` names its signals; calling it with them gives the loss."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        known = catalogue("methods")
        if name not in known:
            raise AutokdError(f"no method {name!r}{did_you_mean(name, known)}", fix=f"methods: {', '.join(known)}")
        entry = known[name]
        faults = []
        for key, value in settings.items():
            setting = entry.setting(key)
            if setting is None:
                names = [s.name for s in entry.settings]
                faults.append(f"{name} has no setting {key!r}{did_you_mean(key, names)}")
            elif fault := complain(setting, value):
                faults.append(fault)
        if faults:
            raise AutokdError("; ".join(faults), fix=f"settings of {name}: {', '.join(map(str, entry.settings))}")
        self.name, self.settings = name, dict(settings)
        self.needs_teacher = any("teacher" in signal for signal in entry.reads)
        made = load(entry)
        self.module: nn.Module | None = made(**settings) if isinstance(made, type) else None
        self._call = self.module if self.module is not None else made
        # a method around another one reads what that one reads
        self.reads: frozenset[str] = frozenset(getattr(self.module, "reads", entry.reads))
        # what the student is shown of its images, where that is not the images themselves (a lower resolution)
        self.student_images: Callable[[Tensor], Tensor] | None = getattr(self.module, "student_images", None)
        self.turns: int = getattr(self.module, "turns", 1)  # every view comes turned by so many right angles
        # it decides what the whole batch looks like, or trains its teacher first: so it cannot be a term beside another
        self.alone = (
            self.turns > 1 or self.student_images is not None or hasattr(self.module, "teacher_loss") or name == "ce"
        )
        self._keywords = {} if self.module is not None else dict(settings)

    def __call__(self, signals: dict[str, Any]) -> Tensor:
        return self._call(**{name: signals[name] for name in self.reads}, **self._keywords)


def build_method(name: str, settings: dict[str, Any] | None = None) -> Method:
    """The method of that name. Raises AutokdError for an unknown name or setting, or a value out of its limits."""
    return Method(name, settings or {})
