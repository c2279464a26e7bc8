"""A run folder with known contents, written by the same recorder as a real one."""

from __future__ import annotations

from pathlib import Path

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    PolicyConfig,
    StudentConfig,
    TeacherConfig,
    TrialConfig,
)
from autokd.track.recorder import Recorder

SPACE = """
name: made
data: {name: digits}
teachers:
  big: {model: resnet14, train: {epochs: 1}}
students: [resnet8x0.5, resnet8, resnet8x2]
space:
  policy: none
  method: {choose: {kd: {temperature: 4}, ce: {}}}
budgets:
  - {name: tiny, params: 25 k}
  - {name: small, params: 90 k}
  - {name: any}
search: {trials: 5, epochs: 2}
finalize: {seeds: 2}
"""

# trial, budget, budgets, student, params, macs, method, score at the rung, score at the end, status
TRIALS = [
    ("t00000", "tiny", ["tiny", "small", "any"], "resnet8x0.5", 20_000, 1_000, "kd", 0.50, 0.70, "done"),
    ("t00001", "small", ["small", "any"], "resnet8", 80_000, 4_000, "kd", 0.60, 0.90, "done"),
    ("t00002", "any", ["any"], "resnet8x2", 300_000, 16_000, "ce", 0.55, 0.80, "done"),
    ("t00003", "small", ["small", "any"], "resnet8", 80_000, 4_000, "ce", 0.40, None, "stopped"),
    ("t00004", "any", ["any"], "resnet8x2", 300_000, 16_000, "kd", None, None, "failed"),
]


def config(student: str, method: str, seed: int = 0) -> TrialConfig:
    teacher = TeacherConfig("big", "resnet14", checkpoint="big.safetensors") if method == "kd" else None
    return TrialConfig(
        data=DataConfig("digits"),
        student=StudentConfig(student),
        teacher=teacher,
        policy=PolicyConfig("none"),
        ratio=0.0,
        method=MethodConfig(method, {"temperature": 4.0} if method == "kd" else {}),
        loss=LossConfig(0.1, 0.9) if method == "kd" else LossConfig(1.0, 0.0),
        epochs=2,
        seed=seed,
    )


def make_run(folder: Path, *, closed: bool = True, scored: bool = True) -> Path:
    """The five trials above, in a folder that a search could have left. not scored: no image was held out."""
    folder.mkdir(parents=True)
    unscored = SPACE.replace("{name: digits}", "{name: digits, validation: 0}").replace("search: {", "search: {select: last, ")
    (folder / "space.yaml").write_text(SPACE if scored else unscored, encoding="utf-8")
    recorder = Recorder(folder)
    begin = {"event": "begin", "run": str(folder), "name": "made", "budgets": ["tiny", "small", "any"], "seed": 0}
    recorder.emit(begin if scored else begin | {"select": "last"})
    known = {"event": "teacher", "teacher": "big", "val_top1": 0.95 if scored else None, "trained": True}
    recorder.emit({**known, "saw_validation": False})
    for number, (trial, budget, budgets, student, params, macs, method, early, late, status) in enumerate(TRIALS):
        made = config(student, method, number)
        recorder.emit(
            {
                "event": "trial",
                "trial": trial,
                "number": number,
                "budget": budget,
                "budgets": budgets,
                "teacher": "big" if method == "kd" else None,
                "student": student,
                "method": method,
                "policy": "none",
                "ratio": 0.0,
                "seed": number,
                "macs": macs,
                "params": params,
                "config": made.to_dict(),
            }
        )
        for rung, (epochs, score) in enumerate(((1.0, early), (2.0, late))):
            if score is not None:
                recorder.emit(
                    {
                        "event": "report",
                        "trial": trial,
                        "mark": rung,
                        "rung": rung,
                        "final": rung == 1,
                        "images": 1000 * (rung + 1),
                        "epochs": epochs,
                        "val_top1": score if scored else None,
                        "val_loss": 1 - score if scored else None,
                        "train_loss": 1 - score,
                        "seconds": 3.0 * (rung + 1),
                        "teacher_seconds": 1.0,
                    }
                )
        reason = {"stopped": "rung 0: behind", "failed": "the loss is not finite at step 3 of 10"}.get(status)
        recorder.emit({"event": "end", "trial": trial, "status": status, "reason": reason})
    if closed:
        recorder.emit({"event": "close", "status": "finished", "reason": "5 trials"})
    recorder.close()
    return folder
