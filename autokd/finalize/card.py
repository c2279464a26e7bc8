"""A model card in Markdown: what the student is, how it was made, how well it does, and how to load it."""

from __future__ import annotations

import json
from typing import Any

from autokd.config.trial import TrialConfig

__all__ = ["model_card"]


def model_card(metrics: dict[str, Any], config: TrialConfig) -> str:
    """The card of one budget's student. `metrics` is what metrics.json holds."""
    test, data = metrics["test"], config.data
    channels, height, width = metrics["input"]
    weights = metrics["weights"]
    looks = metrics["test_looks"]
    seen = "once" if looks == 1 else f"{looks} times: the numbers above have been looked at before, and flatter"
    lines = [
        f"# {metrics['student']} for the budget {metrics['budget']!r}",
        "",
        "| | |",
        "|---|---|",
        f"| test top-1 | {_percent(test['mean'])} ± {100 * test['std']:.2f} over {_seeds(metrics)} |",
        f"| interval | {_percent(test['low'])} to {_percent(test['high'])} ({test['interval']}, {test['images']} images) |",
        f"| parameters | {metrics['params']:,} |",
        f"| multiply-accumulates | {metrics['macs']:,} an image |",
        f"| file | {weights['file']}, {weights['bytes'] / 1e6:.2f} MB, SHA-256 {weights['sha256']} |",
        f"| test split opened | {seen} |",
        "",
        "## How it was made",
        "",
        f"Student {metrics['student']}, {_how(metrics)}, on {data.name} ({metrics['train_images']:,} images, "
        f"{metrics['train_on']}), {config.epochs:g} epochs of views.",
        f"Its configuration was trial {metrics['trial']} of the search, with {_percent(metrics['search_val_top1'])} on the "
        "validation split there.",
    ]
    if metrics["saw_validation"]:
        lines.append("Its teacher had seen the validation images in its own training.")
    if metrics["val"] is not None:
        lines.append(
            f"At full length: {_percent(metrics['val']['mean'])} ± {100 * metrics['val']['std']:.2f} on the validation split."
        )
    lines += ["", "| seed | validation | test |", "|---|---|---|"]
    for seed in metrics["seeds"]:
        mark = " (exported)" if seed["seed"] == metrics["exported_seed"] else ""
        lines.append(f"| {seed['seed']}{mark} | {_percent(seed['val_top1'])} | {_percent(seed['test_top1'])} |")
    lines += [f"| {failed['seed']} | failed: {failed['reason']} | |" for failed in metrics["failed_seeds"]]
    options = f", options={config.student.options!r}" if config.student.options else ""
    lines += [
        "",
        f"Exported is {metrics['exported_because']}, {metrics['exported_seed']}.",
        "",
        "## How to use it",
        "",
        f"Images of {height} x {width} pixels, {channels} channel{'s' * (channels != 1)}, scaled to 0..1, minus "
        f"{_list(metrics['mean'])}, divided by {_list(metrics['std'])}. {len(metrics['classes'])} classes, listed in "
        "metrics.json in the order of the logits.",
        "",
        "```python",
        "from autokd.models.build import build",
        "from autokd.models.checkpoint import load_weights",
        "",
        f"model = build({config.student.name!r}, classes={len(metrics['classes'])}, channels={channels}, size={height}{options})",
        'load_weights(model, "student.safetensors")',
        "model.eval()",
        "```",
        "",
        "## Where it comes from",
        "",
        f"Command: `{metrics['command'] or 'Run.finalize(...)'}`  ",
        f"Versions: {', '.join(f'{name} {number}' for name, number in metrics['versions'].items())}  ",
        f"Machine: {metrics['machine']['system']}, {metrics['machine']['device']}",
        "",
        "<details><summary>Configuration</summary>",
        "",
        "```json",
        json.dumps(config.with_(seed=metrics["exported_seed"]).to_dict(), indent=2),
        "```",
        "",
        "</details>",
        "",
    ]
    return "\n".join(lines)


def _how(metrics: dict[str, Any]) -> str:
    teacher = (
        f"distilled from {metrics['teacher']} by {metrics['method']}"
        if metrics["teacher"]
        else "trained on labels alone"
    )
    policy = metrics["policy"]
    return (
        teacher
        if policy == "none"
        else f"{teacher}, a share of {metrics['ratio']:.2f} of its views augmented by {policy}"
    )


def _seeds(metrics: dict[str, Any]) -> str:
    count = len(metrics["seeds"])
    return "one seed" if count == 1 else f"{count} seeds"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _list(numbers: list[float]) -> str:
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"
