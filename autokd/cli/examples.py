"""Examples that stand under each command's help. A test reads every one with the command's own parser."""

from __future__ import annotations

__all__ = ["EXAMPLES", "epilog"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "search": (
        "autokd search search_spaces/digits.yaml",
        "autokd search search_spaces/cifar100.yaml --set data.root=~/data --hours 8",
        "autokd search my_space.yaml --trials 50 --set space.ratio=0.5 --name half",
        "autokd search search_spaces/digits.yaml --confirm",
    ),
    "resume": (
        "autokd resume",
        "autokd resume digits-20260101 --trials 100",
        "autokd resume digits-20260101 --add-trials 20 --add-budget small:macs=20M,params=1M",
        "autokd resume digits-20260101 --longer 240 --retry-failed",
    ),
    "pause": ("autokd pause", "autokd pause digits-20260101"),
    "stop": ("autokd stop digits-20260101",),
    "cancel": ("autokd cancel digits-20260101",),
    "status": ("autokd status", "autokd status digits-20260101 --json"),
    "show": ("autokd show digits-20260101 t00007",),
    "report": (
        "autokd report",
        "autokd report digits-20260101 --format html",
        "autokd report digits-20260101 --format md > report.md",
        "autokd report digits-20260102 --compare digits-20260101 --format html",
    ),
    "confirm": (
        "autokd confirm",
        "autokd confirm digits-20260101 --top 6 --seeds 8 --prefer accurate",
        "autokd confirm digits-20260101 --random --hours 2",
    ),
    "finalize": (
        "autokd finalize",
        "autokd finalize digits-20260101 --budget tiny --seeds 5",
        "autokd finalize digits-20260101 --train-on train+validation --epochs 240",
        "autokd finalize digits-20260101 --formats onnx,int8 --external scans=scans/ --register digits",
    ),
    "copy": ("autokd copy digits-20260101 s3://bucket/runs", "autokd copy s3://bucket/runs/digits-20260101-ab12 --runs runs"),
    "doctor": ("autokd doctor", "autokd doctor --runs /data/runs --json"),
    "evaluate": (
        "autokd evaluate student.onnx --data photos/ --per-class",
        "autokd evaluate student.int8.onnx --data test.parquet --label fine_label --json",
    ),
    "predict": (
        "autokd predict student.onnx photo.jpg",
        "autokd predict student.safetensors photos/ --top 3 --json",
    ),
    "simulate": (
        "autokd simulate digits-20260101",
        "autokd simulate digits-20260101 --scheduler strata --scheduler asha --share 0.2 --rungs 0.25,0.5",
    ),
    "ui": ("autokd ui", "autokd ui --runs /mnt/runs --port 5050 --no-browser"),
    "study": (
        "autokd study search_spaces/digits.yaml --dry-run",
        "autokd study search_spaces/digits.yaml --epochs 8 --seeds 5 --findings ae",
        "autokd study my_space.yaml --teacher big --student small --form full --train-teachers 60",
        "autokd study --resume digits-study-20260101",
    ),
    "validate": ("autokd validate my_space.yaml", "autokd validate my_space.yaml --set search.epochs=60"),
    "schema": ("autokd schema > space.schema.json",),
    "models": ("autokd models", "autokd models resnet8x0.5"),
    "methods": ("autokd methods ccd", "autokd methods --json"),
    "policies": ("autokd policies jda_cifar100",),
    "datasets": ("autokd datasets", "autokd datasets folder"),
    "runs list": ("autokd runs list", "autokd runs list --runs /data/runs --json"),
    "runs prune": (
        "autokd runs prune",
        "autokd runs prune digits-20260101 --all --yes",
        "autokd runs prune --older-than 30",
    ),
    "teacher train": ("autokd teacher train my_space.yaml --teacher wide",),
    "teacher check": ("autokd teacher check search_spaces/digits.yaml",),
    "cache info": ("autokd cache info",),
    "cache clear": ("autokd cache clear signals --yes",),
    "version": ("autokd version --json",),
}


def epilog(command: str) -> str:
    """The examples of a command as its help prints them, a line each."""
    return "\b\nFor example:\n" + "\n".join(f"  {line}" for line in EXAMPLES[command])
