"""What distillation adds: the same student, images and seeds with cross-entropy alone, with KD, and on JDA views.

    python -m benchmarks gain                                    digits, the short form
    AUTOKD_SHARED_DATA=DIR python -m benchmarks gain --long      CIFAR-100, a fifth of it, teacher ResNet-32 with a wide stem

Accuracies are of the validation split, which no student trains on and from which nothing is chosen here: every arm trains
once a seed by constants stated below. Intervals are 95 % intervals of the mean over seeds (Student's t).
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    TrialConfig,
)
from autokd.errors import AutokdError
from autokd.train.teachers import train_teacher
from autokd.train.trial import run
from autokd.train.workshop import Workshop
from benchmarks._setting import EXAMPLE, alone, margin, shared
from benchmarks.rows import Form, Row

__all__ = ["measure"]

SEEDS = 3


def measure(form: Form) -> list[Row]:
    seeds = form.pick(2, SEEDS, SEEDS)
    with tempfile.TemporaryDirectory() as folder:
        bench = Workshop(threads=1, cache_dir=folder)
        base = _cifar100() if form is Form.FULL else _digits(bench, folder, form)
        assert base.teacher is not None
        rows = [Row(f"{base.teacher.name}: validation top-1", f"{bench.verify(base.data, base.teacher).top1:.2%}")]
        plain = PolicyConfig("none")
        arms = {
            "cross-entropy": base.with_(
                teacher=None, method=MethodConfig("ce"), loss=LossConfig(1.0, 0.0), policy=plain
            ),
            "KD": base.with_(method=MethodConfig("kd"), loss=LossConfig(0.1, 0.9), policy=plain),
            "cross-entropy + JDA": base.with_(teacher=None, method=MethodConfig("ce"), loss=LossConfig(1.0, 0.0)),
            "KD + JDA": base.with_(method=MethodConfig("kd"), loss=LossConfig(0.1, 0.9)),
            "CCD + JDA": base.with_(method=MethodConfig("ccd"), loss=LossConfig(0.1, 0.9)),
        }
        if form is Form.FULL:  # twenty minutes instead of forty
            arms = {name: arms[name] for name in ("cross-entropy", "KD", "CCD + JDA")}
        scores = {
            name: [_score(bench, arm.with_(seed=seed), name) for seed in range(seeds)] for name, arm in arms.items()
        }
    control = scores["cross-entropy"]
    for name, found in scores.items():
        gains = [one - other for one, other in zip(found, control, strict=True)]
        told = f"{statistics.mean(found):.2f} % ± {margin(found):.2f}"
        if name == "cross-entropy":
            rows.append(Row(f"{base.student.name}, {name}: validation top-1, {seeds} seeds", told))
        else:
            gain = statistics.mean(gains)
            note = f"{told}; gain {gain:+.2f} ± {margin(gains):.2f} points"
            reached = gain > 0 if name == "KD" else None
            target = "-" if reached is None else "> 0 points over cross-entropy"
            rows.append(Row(f"{base.student.name}, {name}", note, target, reached))
    return rows


def _score(bench: Workshop, config: TrialConfig, name: str) -> float:
    _, report = run(config, workshop=bench)
    print(f"   {name}, seed {config.seed}: {report.val_top1:.2%} after {report.seconds:.0f} s", flush=True)
    return 100 * report.val_top1


def _digits(bench: Workshop, folder: str, form: Form) -> TrialConfig:
    data = DataConfig("digits", validation=0.3)
    recipe = RecipeConfig(lr=0.05, schedule="cosine", warmup=0.1)
    teacher = TeacherConfig("wrn_16_2", "wrn_16_2", training=TeacherTraining(epochs=form.pick(1, 12, 12), recipe=recipe))
    path = train_teacher(data, teacher, folder, workshop=bench)
    return TrialConfig(
        data=data,
        student=StudentConfig("resnet8x0.5"),
        teacher=replace(teacher, training=None, checkpoint=str(path)),
        policy=PolicyConfig("jda_cifar100", {"probability": 0.1, "strength": 0.5}),
        recipe=recipe,
        epochs=form.pick(0.3, 12, 12),
    )


def _cifar100() -> TrialConfig:
    root = shared()
    if root is None:
        raise AutokdError("no real data", fix="set AUTOKD_SHARED_DATA to the folder with cifar100/ and teachers_cifar100/")
    return TrialConfig(
        data=DataConfig("cifar100", root=str(root), fraction=0.2),
        student=StudentConfig("resnet8"),
        teacher=TeacherConfig(
            "resnet32 (public)",
            f"{EXAMPLE}:resnet_wide_stem",
            options={"depth": 32},
            checkpoint=str(root / "teachers_cifar100" / "resnet32_cifar100.pt"),
            mean=(0.507, 0.487, 0.441),
            std=(0.267, 0.256, 0.276),
            saw_validation=True,
        ),
        policy=PolicyConfig("jda_cifar100", {"probability": 0.1}),
        recipe=RecipeConfig(lr=0.1, schedule="cosine", warmup=0.05, ema=0.99),
        epochs=8,
    )


if __name__ == "__main__":
    alone(measure, __doc__)
