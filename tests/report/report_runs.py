"""Runs for the report's tests, written by the recorder: names that would be HTML, and as many trials as asked for."""

from __future__ import annotations

from pathlib import Path

from autokd.track.recorder import Recorder

NASTY = '<script>alert(1)</script>"\'&<img src=x onerror=alert(2)>$x_$'
BUDGETS = [{"name": "tiny", "params": 50_000, "macs": 2e6}, {"name": f"big {NASTY}", "params": 500_000}]


def begin(folder: Path) -> Recorder:
    folder.mkdir(parents=True)
    (folder / "space.yaml").write_text("name: made\n", encoding="utf-8")
    now = iter(range(10**6))
    recorder = Recorder(folder, clock=lambda: float(next(now)))
    recorder.emit({"event": "begin", "run": folder.name, "name": "made", "budgets": BUDGETS, "seed": 0})
    return recorder


def write(folder: Path, trials: int, *, failed: bool = False, closed: bool = True, lift: float = 0.0) -> Path:
    """`trials` trials of two sizes; every third is stopped at its rung. Accuracy grows with size, ratio and rung."""
    recorder = begin(folder)
    for number in range(trials):
        small = number % 2 == 0
        ratio = (number % 4) / 4
        trial = f"t{number:05d}"
        method = "kd" if number % 3 else NASTY
        recorder.emit(
            {
                "event": "trial",
                "trial": trial,
                "number": number,
                "budget": "tiny" if small else BUDGETS[1]["name"],
                "budgets": [one["name"] for one in BUDGETS][0 if small else 1 :],
                "teacher": NASTY if method == "kd" else None,
                "student": "resnet8" if small else f"s{NASTY}",
                "method": method,
                "policy": NASTY if number % 5 else "none",
                "ratio": ratio,
                "seed": number,
                "macs": 1_000_000 if small else 9_000_000,
                "params": 40_000 if small else 300_000,
                "values": {"ratio": ratio, "method": method, f"knob {NASTY}": number // 4 % 2},
                "config": {"method": {"name": method, "settings": {"temperature": 1.0 + number % 7}}},
            }
        )
        ends = [(1000, 0.4, 0), (2000, 0.5, 1)]
        stopped = number % 3 == 2
        for images, score, rung in ends[: 1 if stopped or failed else 2]:
            told = {"images": images, "epochs": images / 1000, "rung": rung, "final": rung == 1}
            took = {"seconds": images / 100, "teacher_seconds": 2.0 if number == 1 else 0.0}
            top1 = score + 0.2 * ratio + 0.1 * (not small) + lift
            recorder.emit({"event": "report", "trial": trial, "mark": rung, "val_top1": top1, **told, **took,
                           "decisions": [f"signals {NASTY}"]})  # fmt: skip
        status = "failed" if failed else "stopped" if stopped else "done"
        reason = {"failed": f"it broke {NASTY}", "stopped": "rung 0: behind"}.get(status)
        recorder.emit({"event": "end", "trial": trial, "status": status, "reason": reason})
    if closed:
        recorder.emit({"event": "close", "status": "finished", "reason": f"{trials} trials"})
    recorder.close()
    return folder
