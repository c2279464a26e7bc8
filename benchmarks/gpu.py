"""One GPU: images a second of a distillation with warm signals, the share of the roofline, packed trials, a full training.

    python -m benchmarks.gpu [--full] [--epochs 240] [--packed 4]      a GPU; without one a few steps run on the CPU

Torch-level code only (no Ray, no Arrow): the training step of a trial (CCD, JDA views, 64 + 64, bfloat16 by autocast) with the
teacher's answers in the GPU's memory as float16. Measured are the step as it is, under torch.compile, and with CUDA graphs; the
roofline is the larger of the step's arithmetic at the speed of a large bfloat16 matrix product, and of the traffic of its
activations at the speed of a large copy, both measured here (traffic: each layer reads its inputs and writes its output once
forwards, and twice that backwards; what fusing saves is not counted). Packed: so many trials at once, a process each. With
--epochs N a whole CCD training on CIFAR-100 (N passes over the images, each in two views) is run, the teacher asked about
every view of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._setting import BATCH, PAIRS, SMALL, Pair, cifar100, scratch, spread, trial_config
from benchmarks.rows import Form, Row, machine, table

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parents[1]


def measure(form: Form, *, epochs: int = 0, packed: int = 4) -> list[Row]:
    import torch

    if not torch.cuda.is_available():
        rows = [_single(pair, "cpu", 0.01, 2, 1)[0] for pair in form.pick((SMALL,), PAIRS[:1], PAIRS)]
        missing = "bfloat16 on a GPU, the share of its roofline, packed trials, the full training of 240 epochs"
        return [*rows, Row("benchmarks.gpu", f"no GPU here; not measured: {missing}")]
    rows = []
    for pair in form.pick((SMALL,), PAIRS, PAIRS):
        made, alone = _single(pair, "cuda", form.pick(0.1, 0.1, 1.0), form.pick(4, 60, 200), form.pick(1, 3, 7))
        rows += [made, *_roofline(pair, alone)]
        rows.append(_packed(pair, packed, form.pick(4, 200, 600)))
    if epochs:
        rows.append(_training(PAIRS[0], epochs))
    return rows


class Resident:
    """Signals in the device's memory: a view's answers are asked for at its first use, for all images at once.

    With `made_up` they are random numbers, for measurements of speed that begin warm.
    """

    wants_pixels = False

    def __init__(self, trial: Any, *, made_up: bool) -> None:
        self.trial, self.made_up = trial, made_up
        self.views: dict[tuple[int, bool], Any] = {}
        self.asked = 0.0  # seconds

    def logits(self, rows: Any, view: Any, augmented: bool, pixels: Any = None, **_: Any) -> Any:
        import torch

        numbers = [int(view)] if isinstance(view, int) or view.dim() == 0 else view.unique().tolist()
        where = rows.to(self.trial.device, non_blocking=True)
        if len(numbers) == 1:
            return self._view(numbers[0], augmented)[where].float()
        every = torch.stack([self._view(one, augmented)[where] for one in numbers])
        chosen = torch.searchsorted(torch.tensor(numbers), view).to(self.trial.device)
        return every[chosen, torch.arange(len(where), device=where.device)].float()

    def _view(self, number: int, augmented: bool) -> Any:
        import torch

        key = (0 if self.made_up else number, augmented)
        if key not in self.views:
            start = time.perf_counter()
            count, device = len(self.trial.loaded.pixels), self.trial.device
            if self.made_up:
                self.views[key] = torch.randn(count, self.trial.loaded.classes, device=device).half()
            else:
                config = self.trial.config
                teacher = self.trial.workshop.teacher(config.data, config.teacher)
                rows = torch.arange(count, device=device).split(1000)
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    parts = [teacher.logits(self.trial.views.render(part, number, augmented).pixels) for part in rows]
                self.views[key] = torch.cat(parts).half()
            self.asked += time.perf_counter() - start
        return self.views[key]


def _trial(pair: Pair, device: str, folder: Path, fraction: float, *, epochs: float = 2.0, made_up: bool = True) -> Any:
    from autokd.train.workshop import Workshop

    bench = Workshop(device=device, threads=1 if device == "cpu" else None, signals="live")
    trial = bench.trial(trial_config(pair, cifar100(folder, fraction), folder, epochs=epochs))
    trial.signals = Resident(trial, made_up=made_up)
    trial.student.train()
    return trial


def _rate(trial: Any, steps: int, rounds: int, device: str) -> list[float]:
    """Views a second, round by round, after a few steps that warm up."""
    for _ in range(2 if device == "cpu" else 20):
        trial._train_step()
    rates = []
    for _ in range(rounds):
        _wait(device)
        start = time.perf_counter()
        for _ in range(steps):
            trial._train_step()
        _wait(device)
        rates.append(steps * BATCH / (time.perf_counter() - start))
    return rates


def _wait(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def _single(pair: Pair, device: str, fraction: float, steps: int, rounds: int) -> tuple[Row, float]:
    with scratch() as folder:
        trial = _trial(pair, device, Path(folder), fraction)
        plain = _rate(trial, steps, rounds, device)
        told, best = f"{spread(plain)}", statistics.median(plain)
        if device != "cpu":
            for graphs, name in ((False, "under torch.compile"), (True, "and with CUDA graphs")):
                trial.pace = replace(trial.pace, compiled=True, graphs=graphs)
                trial.parallel = trial._parallel()
                found = _rate(trial, steps, rounds, device)
                told += f"; {name} {spread(found)}"
                best = max(best, statistics.median(found))
    kind = "float32 on the CPU" if device == "cpu" else "bfloat16"
    return Row(f"images/s of distillation, warm signals, {pair.student}, batch 64 + 64, {kind}", told), best


def _roofline(pair: Pair, rate: float) -> list[Row]:
    import torch

    from autokd.cost.count import count

    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    arithmetic = 2 * 8192**3 / _seconds(lambda: a @ a)
    big = torch.empty(2**28, device="cuda", dtype=torch.float32)
    traffic = 2 * big.numel() * 4 / _seconds(lambda: big.clone())
    work = 3 * 2 * count(pair.student, classes=100).macs * BATCH / arithmetic  # forwards, and twice that backwards
    moved = 3 * _activations(pair.student) * 2 * BATCH / traffic
    bound, share = max(work, moved), max(work, moved) * rate / BATCH
    told = f"{share:.1%} (a step at best {1e3 * bound:.2f} ms: arithmetic {1e3 * work:.2f}, activations {1e3 * moved:.2f})"
    return [Row(f"share of the roofline, {pair.student}", told)]


def _activations(student: str) -> int:
    """Numbers that the layers of a network read and write for one image, forwards."""
    import torch

    from autokd.models.build import build

    model, total = build(student, classes=100, seed=0).eval(), 0

    def add(_: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        total += inputs[0].numel() + output.numel()

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    return total


def _seconds(work: Callable[[], object]) -> float:
    for _ in range(3):
        work()
    _wait("cuda")
    start = time.perf_counter()
    for _ in range(10):
        work()
    _wait("cuda")
    return (time.perf_counter() - start) / 10


def _packed(pair: Pair, count: int, steps: int) -> Row:
    """Images a second of `count` trials at once over those of one, all in processes of their own."""
    one, many = _together(pair, 1, steps), _together(pair, count, steps)
    told = f"{many / one:.2f} times as many ({many:,.0f} / {one:,.0f} images/s)"
    return Row(f"{count} trials packed on one GPU / one, {pair.student}", told)


def _together(pair: Pair, count: int, steps: int) -> float:
    words = [sys.executable, "-m", "benchmarks.gpu", "--one", pair.student, "--steps", str(steps)]
    made = [
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for process in made:  # all begin when all are warm
        assert process.stdout is not None and process.stdin is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("a packed trial ended early")
    for process in made:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in made]
    return count * steps * BATCH / max(told)


def _one(student: str, steps: int) -> None:
    """One of several trials: warm up, say so, wait for the word, and tell the seconds of `steps` steps."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pair = next(one for one in PAIRS if one.student == student)
    with scratch() as folder:
        trial = _trial(pair, device, Path(folder), 0.1)
        _rate(trial, 1, 1, device)
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.perf_counter()
        for _ in range(steps):
            trial._train_step()
        _wait(device)
        print(json.dumps(time.perf_counter() - start), flush=True)


def _training(pair: Pair, epochs: int) -> Row:
    with scratch() as folder:
        trial = _trial(pair, "cuda", Path(folder), 1.0, epochs=2 * epochs, made_up=False)  # an image gives two views
        start = time.perf_counter()
        report = trial.advance(trial.total_images)
        seconds = time.perf_counter() - start
    told = f"{seconds / 60:.1f} min, of which the teacher's answers {trial.signals.asked / 60:.1f} min"
    told += f" (teacher as initialised unless it was given; top-1 {report.val_top1:.1%} says nothing)"
    return Row.at_most(f"{epochs} epochs of CCD on CIFAR-100, {pair}, minutes", seconds / 60, 5, f": {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    Form.add_to(parser)
    parser.add_argument("--epochs", type=int, default=0, help="also a whole training of so many epochs")
    parser.add_argument("--packed", type=int, default=4, help="trials at once")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=200, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        return _one(options.one, options.steps)
    rows = measure(options.form, epochs=options.epochs, packed=options.packed)
    print(f"\n{machine()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
