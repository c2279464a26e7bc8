"""Retrain the best student of each budget at full length over several seeds, open the test split once, write it all out.

This room alone imports `autokd.data.held_out`. Trainings are kept in the run's `trained/` folder by the hash of all they
depend on, so that a finalize that was cut off goes on, and one that is repeated trains nothing twice; what a repetition
does cost, another look at the test split, is counted.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.trial import TrialConfig
from autokd.errors import AutokdError, did_you_mean
from autokd.files import write_text
from autokd.finalize.training import ALL, Trained, everything, train_seeds

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from autokd.train.workshop import Loaded, Workshop

__all__ = ["Final", "TRAIN_ON", "finalize"]

TRAIN_ON = ("train", ALL)
FIRST_SEED = 1001  # far from the search's own, so that no training is the one that was chosen
_PACKAGES = ("torch", "torchvision", "numpy", "safetensors")


@dataclass(frozen=True)
class Final:
    """One budget's finished student: the folder it lies in, and what metrics.json says."""

    budget: str
    folder: Path
    metrics: dict[str, Any]


def finalize(
    folder: str | os.PathLike[str],
    *,
    epochs: float | None = None,
    seeds: int | None = None,
    budgets: Sequence[str] | None = None,
    train_on: str | None = None,
    device: str | None = None,
    workshop: Workshop | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    command: str | None = None,
) -> dict[str, Final]:
    """Finish the best student of each budget of the run in `folder`; returns them by the budget's name.

    epochs, seeds and train_on ("train" or "train+validation") default to the space's `finalize` section. Budgets whose best trial
    is the same share one training and one look. Raises AutokdError where there is nothing to finish, TrialFailed never: a seed
    that diverges is left out and named, unless all do.
    """
    folder = Path(folder)
    asked = _settings(folder, epochs=epochs, seeds=seeds, train_on=train_on)
    chosen = _winners(folder, budgets)
    tell = on_event or (lambda event: None)
    groups: dict[str, list[str]] = {}
    for name, row in chosen.items():
        groups.setdefault(row["trial"], []).append(name)
    if workshop is None:
        workshop = _workshop(device, folder)
    finals: dict[str, Final] = {}
    for names in groups.values():
        row = chosen[names[0]]
        config = _full_length(row, asked, folder)
        bench = everything(workshop) if asked.train_on == ALL else workshop
        say = _Voice(tell, tuple(names))
        say(f"{config.student.name}, {_shown(config)}, {config.epochs:g} epochs x {asked.seeds} seeds")
        trained, failed = train_seeds(
            bench, config, range(FIRST_SEED, FIRST_SEED + asked.seeds), asked.train_on, folder / "trained", say
        )
        finals |= _finish(folder, names, row, config, asked, bench, trained, failed, command, say)
    return {name: finals[name] for name in chosen}


@dataclass(frozen=True)
class _Voice:
    """Tells whoever watches, for these budgets."""

    tell: Callable[[dict[str, Any]], None]
    budgets: tuple[str, ...]

    def __call__(self, text: str) -> None:
        told = f"{' and '.join(self.budgets)}: {text}"
        self.tell({"event": "finalize", "budgets": list(self.budgets), "text": told})


@dataclass(frozen=True)
class _Asked:
    epochs: float | None
    seeds: int
    train_on: str


def _settings(folder: Path, *, epochs: float | None, seeds: int | None, train_on: str | None) -> _Asked:
    """What was asked for on the call, and else in the space."""
    from autokd.config.search_space import load_space

    section = load_space(folder / "space.yaml").finalize
    asked = _Asked(
        epochs=epochs if epochs is not None else section.epochs,
        seeds=seeds if seeds is not None else section.seeds,
        train_on=train_on if train_on is not None else section.train_on,
    )
    if asked.train_on not in TRAIN_ON:
        fix = f"one of: {', '.join(TRAIN_ON)}{did_you_mean(asked.train_on, TRAIN_ON)}"
        raise AutokdError(f"students are not trained on {asked.train_on!r}", fix=fix)
    if asked.seeds < 1 or (asked.epochs is not None and not asked.epochs > 0):
        raise AutokdError("a student needs at least one seed and a length above 0", fix="--seeds 3 --epochs 240")
    return asked


def _winners(folder: Path, budgets: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The row of the best trial of each budget asked for."""
    from autokd.select.best import best_of_run

    found = best_of_run(folder)
    unknown = [name for name in budgets or () if name not in found]
    if unknown:
        raise AutokdError(
            f"no budget {unknown[0]!r}{did_you_mean(unknown[0], found)}", fix="budgets: " + ", ".join(found)
        )
    wanted = {name: row for name, row in found.items() if budgets is None or name in budgets}
    empty = [name for name, row in wanted.items() if row is None]
    if empty and (budgets or len(empty) == len(wanted)):
        raise AutokdError(
            f"no trial has finished for {', '.join(empty)}", where=str(folder), fix=f"autokd resume {folder}"
        )
    return {name: row for name, row in wanted.items() if row is not None}


def _full_length(row: dict[str, Any], asked: _Asked, folder: Path) -> TrialConfig:
    """The winner's configuration at full length; the seed is set for each training."""
    config = TrialConfig.from_dict(json.loads(row["config"]))
    if asked.epochs is not None:
        config = config.with_(epochs=asked.epochs)
    teacher = config.teacher
    if teacher is not None and teacher.checkpoint is not None and not Path(teacher.checkpoint).exists():
        for place in (folder, folder.parent):
            near = place / "teachers" / Path(teacher.checkpoint).name
            if near.exists():  # the run folder was moved
                return config.with_(teacher=replace(teacher, checkpoint=str(near)))
    return config


def _finish(
    folder: Path,
    names: list[str],
    row: dict[str, Any],
    config: TrialConfig,
    asked: _Asked,
    bench: Workshop,
    trained: list[Trained],
    failed: list[dict[str, Any]],
    command: str | None,
    say: _Voice,
) -> dict[str, Final]:
    """Choose the exported seed by validation, look at the test split once, and write every budget's folder."""
    import numpy as np

    from autokd.finalize.card import model_card
    from autokd.finalize.export import export_weights
    from autokd.finalize.interval import interval
    from autokd.finalize.looks import looks, note_look

    loaded = bench.data(config.data)
    exported, chosen_by = _exported(trained, asked.train_on)
    final = folder / "final"
    note_look(final, names, student=config.student.name, trial=row["trial"], epochs=config.epochs, seeds=len(trained),
              train_on=asked.train_on, command=command)  # fmt: skip
    correct = _test(bench, config, loaded, trained)
    each = correct.mean(axis=1)
    low, high = interval(correct)
    validation = [one.facts["val_top1"] for one in trained] if asked.train_on == "train" else None
    facts: dict[str, Any] = {
        "student": config.student.name,
        "teacher": config.teacher.name if config.teacher else None,
        "method": config.method.name,
        "policy": config.policy.name,
        "ratio": config.ratio if config.policy.name != "none" else 0.0,
        "trial": row["trial"],
        "search_val_top1": row["val_top1"],
        "confirmed": row.get("confirmed"),  # None: the search's best, which nobody trained again
        "epochs": config.epochs,
        "train_on": asked.train_on,
        "train_images": len(loaded.pixels),
        "params": row["params"],
        "macs": row["macs"],
        "input": [loaded.channels, loaded.size, loaded.size],
        "classes": list(loaded.training.train.classes),
        "mean": list(loaded.mean),
        "std": list(loaded.std),
        "test": {
            "images": correct.shape[1],
            "mean": float(each.mean()),
            "std": float(each.std(ddof=1)) if len(each) > 1 else 0.0,
            "low": low,
            "high": high,
            "interval": "95 %, bootstrap over test images and seeds"
            if len(each) > 1
            else "95 %, bootstrap over test images",
        },
        "val": None
        if validation is None
        else {
            "mean": statistics.fmean(validation),
            "std": statistics.stdev(validation) if len(validation) > 1 else 0.0,
        },
        "seeds": [
            {
                **one.facts,
                "test_top1": float(top1),
                "val_top1": one.facts["val_top1"] if validation is not None else None,
            }
            for one, top1 in zip(trained, each, strict=True)
        ],
        "failed_seeds": failed,
        "exported_seed": exported.seed,
        "exported_because": chosen_by,
        "saw_validation": bool(config.teacher and config.teacher.saw_validation),
        "command": command,
        "versions": _versions(),
        "machine": {"system": platform.platform(), "device": str(bench.device), "cores": os.cpu_count()},
    }
    model = _student(bench, config, exported.path)
    probe = _normalised(loaded, 16)
    finals: dict[str, Final] = {}
    for name in names:
        place = final / name
        place.mkdir(parents=True, exist_ok=True)
        seen = looks(final, name)
        metrics = {"budget": name, **facts, "test_looks": len(seen), "looks": seen}
        metrics["weights"] = export_weights(
            model, lambda: _student(bench, config), place / "student.safetensors", probe
        )
        _write(place / "config.json", config.with_(seed=exported.seed).to_dict())
        _write(place / "metrics.json", metrics)
        (place / "card.md").write_text(model_card(metrics, config), encoding="utf-8")
        np.savez_compressed(place / "test_correct.npz", correct=correct, seeds=[one.seed for one in trained])
        _Voice(say.tell, (name,))(f"test {100 * each.mean():.2f} % (95 % {100 * low:.2f} to {100 * high:.2f})  {place}")
        finals[name] = Final(name, place, metrics)
    return finals


def _exported(trained: list[Trained], train_on: str) -> tuple[Trained, str]:
    """The training whose weights are handed out. The test scores have no say in it."""
    if train_on != "train":
        return trained[0], "the first seed: nothing was held out to choose by"
    ranked = sorted(trained, key=lambda one: (one.facts["val_top1"], -one.seed))
    return ranked[(len(ranked) - 1) // 2], "the seed with the median validation score"


def _test(bench: Workshop, config: TrialConfig, loaded: Loaded, trained: list[Trained]) -> np.ndarray:
    """Which test images each training classifies rightly: bool [seeds, images]. The one place that opens the test split."""
    import numpy as np
    import torch

    from autokd.data.held_out import open_test
    from autokd.methods.build import build_method
    from autokd.train.evaluate import predict

    images = open_test(config.data.name, root=config.data.root, options=config.data.options)
    classes = tuple(loaded.training.train.classes)
    if tuple(images.classes) != classes:
        raise AutokdError("the test split has other classes than the training split", where=config.data.name)
    pixels = torch.from_numpy(images.pixels)
    shown = build_method(config.method.name, config.method.settings).student_images
    rows = []
    for one in trained:
        model = _student(bench, config, one.path)
        answers = predict(model, pixels, loaded.mean, loaded.std, shown=shown).argmax(dim=1).cpu().numpy()
        rows.append(answers == images.labels)
    return np.stack(rows)


def _student(bench: Workshop, config: TrialConfig, path: Path | None = None) -> nn.Module:
    import torch

    from autokd.models.checkpoint import load_weights

    model = bench.model(config.data, config.student, seed=0)
    if path is not None:
        load_weights(model, path)
    return model.to(bench.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _normalised(loaded: Loaded, count: int) -> Any:
    from autokd.augment.normalise import normalise

    return normalise(loaded.pixels[:count], loaded.mean, loaded.std)


def _workshop(device: str | None, folder: Path) -> Workshop:
    """A bench with the run's own word on the teacher's answers, so that those of the search serve here too."""
    import torch

    from autokd.config.search_space import load_space
    from autokd.search.run import SPACE, bench_settings
    from autokd.train.workshop import Workshop

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Workshop(chosen, threads=1 if chosen == "cpu" else None, **bench_settings(load_space(folder / SPACE)))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("autokd", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if "autokd" not in found:
        from autokd import __version__

        found["autokd"] = __version__
    return found


def _write(path: Path, value: Any) -> None:
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(config: TrialConfig) -> str:
    teacher = f" from {config.teacher.name}" if config.teacher else ""
    policy = f", {config.policy.name} {config.ratio:.2f}" if config.policy.name != "none" else ""
    return f"{config.method.name}{teacher}{policy}"
