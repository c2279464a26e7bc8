"""What each method of the catalogue gives at its published setting: one student, the same images, views and seeds for all.

    python -m benchmarks.methods                 digits, one seed, a few steps: that all of them train
    python -m benchmarks.methods --full          5,000 images of CIFAR-10, a public ResNet-20 as the teacher, three seeds
    python -m benchmarks.methods --full --write  the same, and the table goes into docs/methods.md

Every arm processes as many views (half plain, half of JDA at a low probability), by one recipe, with the settings and weights
that its file states; nothing is tuned, so the order says little about what a method can reach. Accuracies are of the
validation split, from which nothing is chosen. Intervals are 95 % of the mean over seeds (Student's t); gains are paired by
seed. --keep FILE remembers finished trainings, so that a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from autokd.config.tree import method_settings, needs_teacher
from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    Term,
    TrialConfig,
)
from autokd.errors import AutokdError, TrialFailed
from autokd.rooms import Entry, catalogue
from autokd.train.workshop import Workshop
from benchmarks._setting import EXAMPLE, margin, shared
from benchmarks.rows import Form, Row, machine

__all__ = ["arms", "measure"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
EPOCHS = 2.5  # about 40 minutes on one core with three seeds
LOW = {"res_rkd", "multilevel"}  # their student is shown images of half the resolution


@dataclass(frozen=True)
class Found:
    """The trainings of one arm: percent of the validation images, and seconds of each; `failed` is the reason of one that did."""

    arm: str
    weights: str
    top1: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: str = ""


def measure(form: Form, *, seeds: int = 3, epochs: float = EPOCHS, keep: Path | None = None) -> list[Row]:
    """One row an arm, the best first."""
    return [
        Row(f"{found.arm}: validation top-1", f"{_told(found.top1)}{found.failed and f' failed: {found.failed}'}")
        for found in _sorted(_all(form, form.pick(1, 1, seeds), epochs, keep))
    ]


def arms(base: TrialConfig, head_epochs: float) -> dict[str, TrialConfig]:
    """Every method at its own weights, and two of the sums that were published beside their terms."""
    known = catalogue("methods")
    made = {}
    for name, entry in known.items():
        settings = {"head_epochs": head_epochs} if entry.setting("head_epochs") else {}
        made[name] = base.with_(
            method=MethodConfig(name, settings), loss=_loss(entry), teacher=base.teacher if needs_teacher(name) else None
        )
    for name in ("crd", "spkd"):
        term = Term(name, weight=_loss(known[name]).kd_weight)
        made[f"kd + {name}"] = base.with_(method=MethodConfig("kd", also=(term,)), loss=_loss(known["kd"]))
    return made


def _loss(entry: Entry) -> LossConfig:
    published = {setting.name: setting.default for setting in method_settings(entry)[1]}
    return LossConfig(published.get("ce_weight", 1.0), published.get("kd_weight", 0.0))


def _all(form: Form, seeds: int, epochs: float, keep: Path | None) -> list[Found]:
    import tempfile

    from autokd.train.trial import run

    done = {}
    if keep is not None and keep.exists():
        for line in keep.read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            done[told["key"]] = told
    with tempfile.TemporaryDirectory(prefix="autokd-bench-", ignore_cleanup_errors=True) as folder:
        bench = Workshop(threads=1, cache_dir=folder)
        base = _cifar10(epochs) if form is Form.FULL else _digits(bench, folder)
        chosen = arms(base, form.pick(0.2, 0.2, 1.0))
        found = []
        for name in form.pick(("ce", "kd", "fitnet"), tuple(chosen), tuple(chosen)):
            arm = chosen[name]
            one = Found(name, " ".join(f"{w:g}" for w in _weights(arm)))
            found.append(one)
            for seed in range(seeds):
                config = arm.with_(seed=seed)
                told = done.get(config.key)
                if told is None:
                    start = time.perf_counter()
                    try:
                        _, report = run(config, workshop=bench)
                    except (TrialFailed, AutokdError) as fault:
                        found[-1] = Found(name, one.weights, failed=str(fault).splitlines()[0])
                        break
                    told = {"key": config.key, "top1": 100 * report.val_top1, "seconds": time.perf_counter() - start}
                    if keep is not None:
                        keep.parent.mkdir(parents=True, exist_ok=True)
                        with open(keep, "a", encoding="utf-8") as file:
                            file.write(json.dumps(told) + "\n")
                one.top1.append(told["top1"])
                one.seconds.append(told["seconds"])
                print(f"   {name}, seed {seed}: {told['top1']:.2f} % after {told['seconds']:.0f} s", flush=True)
    return found


def _weights(config: TrialConfig) -> list[float]:
    loss = config.loss
    return [loss.ce_weight, *([loss.kd_weight] if config.teacher else []), *(t.weight for t in config.method.also)]


def _sorted(found: Iterable[Found]) -> list[Found]:
    return sorted(found, key=lambda one: (-statistics.mean(one.top1) if one.top1 else 1, one.arm))


def _told(values: list[float], sign: bool = False) -> str:
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{'+' if sign else ''}.2f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {margin(values):.2f}"


def page_table(found: list[Found], setting: str) -> str:
    """Markdown, the best first and the losers too."""
    control = next((one.top1 for one in found if one.arm == "ce"), [])
    lines = [
        setting,
        "",
        "| method | weights (CE, method, term) | validation top-1, % | against CE alone, points | seconds a training |",
        "|---|---|---|---|---|",
    ]
    for one in _sorted(found):
        gains = [a - b for a, b in zip(one.top1, control)]
        gain = "-" if one.arm == "ce" else _told(gains, sign=True)
        seconds = f"{statistics.median(one.seconds):.0f}" if one.seconds else "-"
        name = f"{one.arm} (16 x 16 student)" if one.arm in LOW else one.arm
        lines.append(f"| {name} | {one.weights} | {one.failed or _told(one.top1)} | {gain} | {seconds} |")
    return "\n".join(lines)


def _digits(bench: Workshop, folder: str) -> TrialConfig:
    from dataclasses import replace

    from autokd.train.teachers import train_teacher

    data = DataConfig("digits", validation=0.3)
    recipe = RecipeConfig(lr=0.05, batch=64, warmup=0.1)
    teacher = TeacherConfig("resnet14", "resnet14", training=TeacherTraining(epochs=1, recipe=recipe))
    path = train_teacher(data, teacher, folder, workshop=bench)
    return TrialConfig(
        data=data,
        student=StudentConfig("resnet8x0.5"),
        teacher=replace(teacher, training=None, checkpoint=str(path)),
        policy=PolicyConfig("jda_cifar10", {"probability": 0.1}),
        recipe=recipe,
        epochs=0.3,
    )


def _cifar10(epochs: float) -> TrialConfig:
    root = shared()
    if root is None:
        raise AutokdError("no real data", fix="set AUTOKD_SHARED_DATA to the folder with cifar10/ and teachers_cifar10/")
    return TrialConfig(
        data=DataConfig("cifar10", options={"train_file": str(root / "cifar10" / "train_5k.parquet")}, validation=0.2),
        student=StudentConfig("resnet8"),
        teacher=TeacherConfig(
            "resnet20 (public)",
            f"{EXAMPLE}:resnet_option_a",
            options={"depth": 20},
            checkpoint=str(root / "teachers_cifar10" / "resnet20-12fca82f.th"),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            saw_validation=True,
        ),
        policy=PolicyConfig("jda_cifar10", {"probability": 0.1}),
        recipe=RecipeConfig(lr=0.05, batch=64, schedule="cosine", warmup=0.05, clip=5.0),
        epochs=epochs,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    Form.add_to(parser)  # in full: CIFAR-10 instead of digits
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=EPOCHS, help="views processed / training images, of the full form")
    parser.add_argument("--write", action="store_true", help="put the table of the full form into docs/methods.md")
    parser.add_argument("--keep", type=Path, help="a JSON-lines file of finished trainings; those in it are not repeated")
    options = parser.parse_args()
    full = options.form is Form.FULL
    seeds = options.seeds if full else 1
    found = _all(options.form, seeds, options.epochs, options.keep)
    views = f"{options.epochs:g} epochs of 4,000 images" if full else "0.3 epochs of digits"
    told = f"{seeds} seeds, {views}, half of the views augmented; {machine()}."
    table = page_table(found, told)
    print(f"\n{table}")
    if options.write and full:
        text = PAGE.read_text(encoding="utf-8")
        head, rest = text.split(BEGIN, 1)
        PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
