"""From trained seeds to a finished student: files first, then one look at the test split, then all that is written about it.

The look is charged once all scores exist, in the line that holds them; nothing is told of them before.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.config.trial import TrialConfig
from autokd.errors import AutokdError, SearchFailed
from autokd.files import write_text
from autokd.finalize.training import Trained
from autokd.machine import cpus

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from autokd.data.images import Images
    from autokd.finalize.facts import Facts
    from autokd.signals.teacher import Teacher
    from autokd.train.workshop import Loaded, Workshop

__all__ = ["Final", "Order", "finish", "write"]

_PROBE = 32  # images on which a file is compared with its module
_HUGE = 1e4  # logits of a training that went well are some tens
_CALIBRATION = 512  # training images that set the scales of int8
_PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Final:
    """One budget's finished student: the folder it lies in, and what metrics.json says."""

    budget: str
    folder: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What is to be finished: the run's folder, the budgets that this student is the best of, its row and configuration."""

    folder: Path
    budgets: tuple[str, ...]
    row: dict[str, Any]
    config: TrialConfig
    train_on: str
    formats: tuple[str, ...]
    target: float  # of accuracy, for the threshold
    command: str | None


def finish(
    order: Order,
    bench: Workshop,
    trained: list[Trained],
    failed: list[dict[str, Any]],
    external: Mapping[str, tuple[str, Images]],
    say: Callable[[str], None],
) -> dict[str, Final]:
    """Choose the exported seed by validation, write its files, look at the test split once, and write every budget's folder.

    external: (path, images) of each outside set. The files are made and read back before the test split is opened. Whatever fails
    before the scores exist costs no look.
    """
    config, loaded = order.config, bench.data(order.config.data)
    held_out = order.train_on == "train" and loaded.validates
    sizes = {one.seed: _largest(bench, config, loaded, one) for one in trained}
    trained, failed = _sound(trained, failed, sizes, config.student.name, say)
    exported, because = _exported(trained, held_out)
    model = _student(bench, config, exported.path, say)
    threshold = _threshold(bench, config, loaded, model, order.target) if held_out else None
    facts = _facts(order, loaded, model, exported.seed, threshold["value"] if threshold else None)
    teacher = _teacher(bench, config, say)
    with _aside(order.folder / "final") as place:
        from autokd.finalize.export import export_students
        from autokd.finalize.latency import under_budgets

        pixels = loaded.training.train.pixels
        say(f"writing {', '.join(order.formats)}")
        exports = export_students(
            model, facts, place, order.formats, pixels[:_PROBE], pixels[_spread(len(pixels), _CALIBRATION)], say
        )
        _time(place, exports, pixels[:1])
        image = {"classes": loaded.classes, "channels": loaded.channels, "size": loaded.size}
        latencies = under_budgets(order.folder, order.budgets, config, image, say)
        elsewhere = {name: _answers(bench, config, loaded, trained, images.pixels) for name, (_, images) in external.items()}
        test, answers = _test(bench, config, loaded, trained)
        found = _scores(test, answers, trained, exported, facts, held_out)
        found["test"]["skipped"] = len(test.reading.faulty) if test.reading is not None else 0
        for name, (path, images) in external.items():
            told = _scores(images, elsewhere[name], trained, exported, facts, held_out)
            seen = len(set(images.labels.tolist()))
            found.setdefault("external", {})[name] = {"path": str(path), "classes": seen, **_external(told)}
        best = answers[trained.index(exported)]
        _retest(place, exports, test, best)
        metrics = {
            **_described(order, loaded, bench),
            **_costs(model, loaded),
            "precision": ", ".join(sorted({one.facts["precision"] or "not noted" for one in trained})),
            **found,
            "val": _spread_of([one.facts["val_top1"] for one in trained]) if held_out else None,
            "threshold": _kept(threshold, order, best, test),
            "latencies": latencies,
            "teacher_agreement": _agreement(teacher, best, test),
            "failed_seeds": failed,
            "diverged": {str(seed): size for seed, size in sizes.items() if _HUGE < size < math.inf},
            "exported_seed": exported.seed,
            "exported_because": because,
            "exports": exports,
            "weights": exports["safetensors"],
            "shown": facts.shown,
            "fused": facts.fused,
        }
        correct = metrics.pop("_correct")
        note(order, len(trained), found)
        return {name: _place(order, name, place, metrics, correct, trained) for name in order.budgets}


def write(final: Final, config: TrialConfig) -> None:
    """metrics.json and card.md of a budget, whole."""
    from autokd.finalize.card import model_card

    _json(final.folder / "metrics.json", final.metrics)
    write_text(final.folder / "card.md", model_card(final.metrics, config))


def note(order: Order, seeds: int, found: Mapping[str, Any]) -> None:
    """The look at the test split, on the disk with its scores. found: as `_scores` tells them."""
    from autokd.finalize.looks import note_look

    note_look(order.folder / "final", list(order.budgets), student=order.config.student.name, trial=order.row["trial"],
              epochs=order.config.epochs, seeds=seeds, train_on=order.train_on, command=order.command, test=found["test"],
              test_top1={str(one["seed"]): one["test_top1"] for one in found["seeds"]})  # fmt: skip


def _largest(bench: Workshop, config: TrialConfig, loaded: Loaded, one: Trained) -> float:
    """The largest absolute logit on some training images; infinite where one is no finite number."""
    import torch

    model = _student(bench, config, one.path)
    logits = _raw_logits(config, loaded, model, loaded.training.train.pixels[:_PROBE]).abs()
    return float(logits.max()) if bool(torch.isfinite(logits).all()) else math.inf


def _sound(
    trained: list[Trained], failed: list[dict[str, Any]], sizes: Mapping[int, float], name: str, say: Callable[[str], None]
) -> tuple[list[Trained], list[dict[str, Any]]]:
    """Without the trainings whose logits are not finite: they failed. Huge ones stay, and are told. Raises SearchFailed where
    none is left."""
    from autokd.finalize.export import LOWER_RATE

    for seed, size in sizes.items():
        if _HUGE < size < math.inf:
            say(f"seed {seed} diverged: its logits reach {size:.2g}, where some tens are usual; {LOWER_RATE}")
    why = "it diverged: its logits are not finite"
    broken = [{"seed": seed, "reason": why} for seed, size in sizes.items() if size == math.inf]
    for one in broken:
        say(f"seed {one['seed']} failed: {one['reason']}")
    left = [one for one in trained if sizes[one.seed] < math.inf]
    if not left:
        raise SearchFailed(f"every training of {name} diverged: its logits are not finite", fix=LOWER_RATE)
    return left, [*failed, *broken]


def _exported(trained: list[Trained], held_out: bool) -> tuple[Trained, str]:
    """The training whose weights are handed out. The test scores have no say in it."""
    if not held_out:
        return trained[0], "the first seed: nothing was held out to choose by"
    ranked = sorted(trained, key=lambda one: (one.facts["val_top1"], -one.seed))
    return ranked[(len(ranked) - 1) // 2], "the seed with the median validation score"


def _student(
    bench: Workshop, config: TrialConfig, path: Path, say: Callable[[str], None] = lambda text: None
) -> nn.Module:
    """The trained network, fused for inference (autokd.models.fuse) unless the fused form gives other answers."""
    import torch

    from autokd.augment.normalise import normalise
    from autokd.models.checkpoint import load_weights
    from autokd.models.fuse import fused

    model, loaded = bench.model(config.data, config.student, seed=0), bench.data(config.data)
    load_weights(model, path)
    try:
        model = fused(model, normalise(loaded.pixels[:_PROBE].cpu(), loaded.mean, loaded.std))
    except AutokdError as fault:
        say(f"exported without re-parameterisation, so it costs more than counted: {fault.what}")
    return model.to(bench.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _threshold(bench: Workshop, config: TrialConfig, loaded: Loaded, model: nn.Module, target: float) -> dict[str, Any]:
    """The confidence above which the exported student's answers reach `target` on the validation split."""
    from autokd.finalize.measures import kept_above, threshold_for

    logits, labels = _logits(config, loaded, model, loaded.val_pixels), loaded.val_labels.cpu().numpy()
    value = threshold_for(logits, labels, target)
    told: dict[str, Any] = {"target": target, "value": value}
    return told if value is None else {**told, "validation": kept_above(logits, labels, value)}


def _kept(threshold: dict[str, Any] | None, order: Order, logits: np.ndarray, test: Images) -> dict[str, Any]:
    from autokd.finalize.measures import kept_above

    if threshold is None:
        return {"target": order.target, "value": None, "why": "nothing was held out to fix a threshold on"}
    if threshold["value"] is None:
        return {**threshold, "why": "no threshold reaches the target on the validation split"}
    return {**threshold, "test": kept_above(logits, test.labels, threshold["value"])}


def _facts(order: Order, loaded: Loaded, model: nn.Module, seed: int, threshold: float | None) -> Facts:
    from autokd.finalize.facts import Facts, looks_of
    from autokd.methods.build import build_method

    config = order.config
    shown = build_method(config.method.name, config.method.settings).student_images
    height, width = loaded.pixels.shape[-2:]
    return Facts(
        student=config.student.name,
        options=config.student.options,
        classes=tuple(loaded.training.train.classes),
        channels=loaded.channels,
        height=height,
        width=width,
        mean=tuple(loaded.mean),
        std=tuple(loaded.std),
        shown=None if shown is None else {"method": config.method.name, "settings": config.method.settings},
        **looks_of(config.data.options),
        threshold=threshold,
        fused=bool(getattr(getattr(model, "autokd_blueprint", None), "fused", False)),
        made={"data": config.data.name, "run": order.folder.name, "trial": order.row["trial"], "seed": seed,
              "budgets": list(order.budgets), "autokd": _versions().get("autokd")},
    )  # fmt: skip


def _teacher(bench: Workshop, config: TrialConfig, say: Callable[[str], None]) -> Teacher | str | None:
    """The teacher to compare with; why there is none where its weights are gone; None for a student without one."""
    if config.teacher is None:
        return None
    try:
        return bench.teacher(config.data, config.teacher, config.recipe.precision)
    except AutokdError as fault:
        say(f"agreement with the teacher is not measured: {fault.what}")
        return fault.what


def _agreement(teacher: Teacher | str | None, logits: np.ndarray, test: Images) -> dict[str, Any] | None:
    import torch

    from autokd.finalize.measures import agreement

    if teacher is None or isinstance(teacher, str):
        return None if teacher is None else {"failed": teacher}
    told = torch.cat([teacher.logits(chunk).cpu() for chunk in torch.from_numpy(test.pixels).split(512)]).numpy()
    top1 = float((told.argmax(axis=1) == test.labels).mean())
    return {"teacher": teacher.name, **agreement(logits, told), "teacher_top1": top1}


def _test(
    bench: Workshop, config: TrialConfig, loaded: Loaded, trained: list[Trained]
) -> tuple[Images, list[np.ndarray]]:
    """The test images, and each training's logits of them. The one place that opens the test split."""
    from autokd.data.held_out import open_test

    data = config.data
    images = open_test(
        data.name, root=data.root, options=data.options, faulty=data.faulty, faulty_limit=data.faulty_limit
    )
    if tuple(images.classes) != tuple(loaded.training.train.classes):
        raise AutokdError("the test split has other classes than the training split", where=config.data.name)
    return images, _answers(bench, config, loaded, trained, images.pixels)


def _answers(
    bench: Workshop, config: TrialConfig, loaded: Loaded, trained: list[Trained], pixels: np.ndarray
) -> list[np.ndarray]:
    return [_logits(config, loaded, _student(bench, config, one.path), pixels) for one in trained]


def _logits(config: TrialConfig, loaded: Loaded, model: nn.Module, pixels: Any) -> np.ndarray:
    """As the trial was scored, on the bench's device. pixels: uint8 [N, C, H, W]. Returns float32 [N, classes], all finite."""
    import numpy as np

    return np.nan_to_num(_raw_logits(config, loaded, model, pixels).numpy(), nan=float(np.finfo(np.float32).min))


def _raw_logits(config: TrialConfig, loaded: Loaded, model: nn.Module, pixels: Any) -> Tensor:
    import torch

    from autokd.methods.build import build_method
    from autokd.models.precision import arithmetic
    from autokd.train.evaluate import predict

    shown = build_method(config.method.name, config.method.settings).student_images
    pixels = pixels if isinstance(pixels, torch.Tensor) else torch.from_numpy(pixels)
    with arithmetic(config.recipe.precision, loaded.pixels.device):
        return predict(model, pixels, loaded.mean, loaded.std, shown=shown).cpu()


def _scores(
    images: Images, answers: list[np.ndarray], trained: list[Trained], exported: Trained, facts: Facts, held_out: bool
) -> dict[str, Any]:
    """All that is told of labelled images: over the seeds, and of the exported student."""
    import numpy as np

    from autokd.finalize.measures import calibration, per_class
    from autokd.select.interval import answers_interval

    correct = np.stack([logits.argmax(axis=1) == images.labels for logits in answers])
    each = correct.mean(axis=1)
    low, high = answers_interval(correct)
    calibrated = [calibration(logits, images.labels) for logits in answers]
    chosen = trained.index(exported)
    over = "test images and seeds" if len(each) > 1 else "test images"
    return {
        "test": {"images": correct.shape[1], **_spread_of(each.tolist()), "low": low, "high": high,
                 "interval": f"95 %, bootstrap over {over}, Wilson where wider"},
        "seeds": [
            {**one.facts, "val_top1": one.facts["val_top1"] if held_out else None, "test_top1": float(top1),
             **{f"test_{word}": told[word] for word in ("ece", "nll", "brier")}}
            for one, top1, told in zip(trained, each, calibrated, strict=True)
        ],
        "calibration": calibrated[chosen],
        "per_class": per_class(answers[chosen], images.labels, facts.classes),
        "_correct": correct,
    }  # fmt: skip


def _external(told: dict[str, Any]) -> dict[str, Any]:
    """The scores of an outside set as metrics.json holds them: by seed only the top-1."""
    found = {**told["test"], "interval": told["test"]["interval"].replace("test images", "images")}
    tops = {str(seed["seed"]): seed["test_top1"] for seed in told["seeds"]}
    return {**found, "seeds": tops, "calibration": told["calibration"], "per_class": told["per_class"]}


def _time(place: Path, exports: dict[str, dict[str, Any]], image: np.ndarray) -> None:
    """Batch-1 latency of every file, before anything else is asked of them."""
    from autokd.finalize.latency import latency

    for one in exports.values():
        if "file" in one:
            one["latency"] = latency(place / one["file"], image)


def _retest(place: Path, exports: dict[str, dict[str, Any]], test: Images, logits: np.ndarray) -> None:
    """Each file's own accuracy on the test images of this look, and how often it answers as the trained module does."""
    from autokd.finalize.student import open_student

    labels, answers = test.labels, logits.argmax(axis=1)
    for one in exports.values():
        if "file" in one:
            said = open_student(place / one["file"], own_code=True).logits(test.pixels).argmax(axis=1)
            one["test_top1"] = float((said == labels).mean())
            one["test_top1_lost"] = float((answers == labels).mean() - (said == labels).mean())
            one["same_top1"] = float((said == answers).mean())


def _costs(model: nn.Module, loaded: Loaded) -> dict[str, int]:
    """Of the network as it is exported. Where it could not be re-parameterised, that is more than the search counted."""
    from autokd.cost.count import count_module

    cost = count_module(model, channels=loaded.channels, size=loaded.size, classes=loaded.classes)
    return {"params": cost.params, "macs": cost.macs}


def _described(order: Order, loaded: Loaded, bench: Workshop) -> dict[str, Any]:
    """What the student is and how it was made."""
    from autokd.finalize.facts import INPUT

    config, row = order.config, order.row
    return {
        "student": config.student.name,
        "teacher": config.teacher.name if config.teacher else None,
        "method": config.method.name,
        "policy": config.policy.name,
        "ratio": config.ratio if config.policy.name != "none" else 0.0,
        "trial": row["trial"],
        "search_val_top1": row["val_top1"],
        "confirmed": row.get("confirmed"),  # None: the search's best, which nobody trained again
        "epochs": config.epochs,
        "train_on": order.train_on,
        "train_images": len(loaded.pixels),
        "input": [loaded.channels, *loaded.pixels.shape[-2:]],
        "graph_input": INPUT,
        "classes": list(loaded.training.train.classes),
        "mean": list(loaded.mean),
        "std": list(loaded.std),
        "saw_validation": bool(config.teacher and config.teacher.saw_validation),
        "command": order.command,
        "versions": _versions(),
        "machine": {"system": platform.platform(), "device": str(bench.device), "cores": cpus()},
    }


def _place(
    order: Order, name: str, made: Path, metrics: dict[str, Any], correct: np.ndarray, trained: list[Trained]
) -> Final:
    """A budget's folder: the files that were made aside, and what is told of them."""
    import numpy as np

    from autokd.files import whole
    from autokd.finalize.export import FORMATS
    from autokd.finalize.looks import looks

    place = order.folder / "final" / name
    seen = looks(order.folder / "final", name)
    final = Final(name, place, {"budget": name, **metrics, "test_looks": len(seen), "looks": seen})
    for file in FORMATS.values():
        if (made / file).exists():
            with whole(place / file) as target, open(made / file, "rb") as source:
                shutil.copyfileobj(source, target)
        else:
            (place / file).unlink(missing_ok=True)  # of an earlier finalize: another student by now
    _json(place / "config.json", order.config.fresh(metrics["exported_seed"]).to_dict())
    with whole(place / "test_correct.npz") as target:
        np.savez_compressed(target, correct=correct, seeds=[one.seed for one in trained])
    write(final, order.config)
    return final


@contextmanager
def _aside(final: Path) -> Iterator[Path]:
    """A folder for files that are not yet measured; gone afterwards."""
    place = final / f".making-{os.getpid()}"
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _spread(count: int, wanted: int) -> np.ndarray:
    """`wanted` rows out of `count`, evenly apart: data sets often lie sorted by class."""
    import numpy as np

    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))


def _spread_of(scores: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(scores), "std": statistics.stdev(scores) if len(scores) > 1 else 0.0}


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


def _json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
