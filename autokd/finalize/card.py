"""A model card in Markdown: what the student is, how it was made, how well it does, and how to load it."""

from __future__ import annotations

import json
from typing import Any

from autokd.config.trial import TrialConfig
from autokd.data.images import size_of
from autokd.finalize.facts import looks_of
from autokd.finalize.plain import reading, script
from autokd.track.markdown import in_markdown

__all__ = ["model_card"]

_LISTED = 20  # classes in one line


def _latency(told: dict[str, Any] | None) -> list[str]:
    """Table row of the latency under the budget's conditions."""
    if told is None:
        return []
    limit = "" if told["limit_ms"] is None else f"; limit {told['limit_ms']:.3g} ms" + ", not kept" * (told["kept"] is False)
    doubt = f"; not trustworthy: {in_markdown(told['doubt'])}" if told["doubt"] else ""
    return [f"| latency | {told['ms']:.3g} ms ({told['low']:.3g} to {told['high']:.3g}; {told['conditions']}{limit}{doubt}) |"]


def _diverged(sizes: dict[str, float]) -> list[str]:
    """A paragraph where a training went wrong. sizes: the largest logit of each such seed."""
    if not sizes:
        return []
    told = ", ".join(f"seed {seed} with logits up to {size:.2g}" for seed, size in sizes.items())
    return [f"**The training diverged**: {told}, where some tens are usual. Its probabilities tell nothing.", ""]


def model_card(metrics: dict[str, Any], config: TrialConfig) -> str:
    """The card of one budget's student. `metrics` is what metrics.json holds."""
    test, data = metrics["test"], config.data
    channels, height, width = metrics["input"]
    weights = metrics["weights"]
    looks = metrics["test_looks"]
    seen = "once" if looks == 1 else f"{looks} times: the numbers above have been looked at before, and flatter"
    lines = [
        f"# {in_markdown(metrics['student'])} for the budget {in_markdown(repr(metrics['budget']))}",
        "",
        "| | |",
        "|---|---|",
        f"| test top-1 | {_percent(test['mean'])} ± {100 * test['std']:.2f} over {_seeds(metrics)} |",
        f"| interval | {_percent(test['low'])} to {_percent(test['high'])} ({test['interval']}, {test['images']} images) |",
        f"| parameters | {metrics['params']:,} |",
        f"| multiply-accumulates | {metrics['macs']:,} an image |",
        *_latency(metrics.get("latencies", {}).get(metrics["budget"])),
        f"| file | {weights['file']}, {weights['bytes'] / 1e6:.2f} MB, SHA-256 {weights['sha256']} |",
        f"| scored on the test split | {seen} |",
        "",
        *_diverged(metrics.get("diverged", {})),
        *_trust(metrics),
        *_external(metrics),
        *_files(metrics),
        "## How it was made",
        "",
        f"Student {in_markdown(metrics['student'])}, {_how(metrics)}, on {in_markdown(data.name)} "
        f"({metrics['train_images']:,} images, {metrics['train_on']}), {config.epochs:g} epochs of views, "
        f"computed in {metrics['precision']}.",
        _chosen(metrics),
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
    lines += [f"| {failed['seed']} | failed: {in_markdown(failed['reason'])} | |" for failed in metrics["failed_seeds"]]
    handy = "student.onnx" if "file" in metrics["exports"].get("onnx", {}) else "student.safetensors"
    size = size_of(height, width)
    shown = f", then lowered as {config.method.name} shows them" if metrics["shown"] else ""
    options = f", options={config.student.options!r}" if config.student.options else ""
    lines += [
        "",
        f"Exported is {metrics['exported_because']}, {metrics['exported_seed']}.",
        "",
        "## How to use it",
        "",
        "Every file knows its classes and its input, and works alone:",
        "",
        "```",
        f"autokd predict {handy} photo.jpg --top 3",
        f"autokd evaluate {handy} --data DIR",
        "```",
        "",
        *_without_autokd(metrics, config, shown),
        "### The weights alone",
        "",
        f"They want images of {height} x {width} pixels, {channels} channel{'s' * (channels != 1)}, scaled to 0..1, "
        f"minus {_list(metrics['mean'])}, divided by {_list(metrics['std'])}{shown}:",
        "",
        "```python",
        "from autokd.models.build import build",
        "from autokd.models.checkpoint import load_weights",
        *(["from autokd.models.fuse import fused"] if metrics.get("fused") else []),
        "",
        f"model = build({config.student.name!r}, classes={len(metrics['classes'])}, channels={channels}, size={size}{options})",
        *(["model = fused(model)  # these weights are those of the re-parameterised network"] if metrics.get("fused") else []),
        'load_weights(model, "student.safetensors")',
        "model.eval()",
        "```",
        "",
        *_classes(metrics),
        "## Where it comes from",
        "",
        f"Command: `{_in_line(metrics['command'] or 'Run.finalize(...)')}`  ",
        f"Versions: {', '.join(f'{name} {number}' for name, number in metrics['versions'].items())}  ",
        f"Machine: {metrics['machine']['system']}, {metrics['machine']['device']}",
        "",
        "<details><summary>Configuration</summary>",
        "",
        "```json",
        json.dumps(config.fresh(metrics["exported_seed"]).to_dict(), indent=2),
        "```",
        "",
        "</details>",
        "",
    ]
    return "\n".join(lines)


def _in_line(command: str) -> str:
    """Inside a code span, which only a backtick ends."""
    return " ".join(command.replace("`", "'").split())


def _trust(metrics: dict[str, Any]) -> list[str]:
    """What the probabilities are worth, and how far the student is from its teacher."""
    told, threshold, agreement = metrics["calibration"], metrics["threshold"], metrics["teacher_agreement"]
    lines = [
        "## How far to trust it",
        "",
        f"The exported seed on the test images: expected calibration error {_percent(told['ece'])} ({told['bins']} bins), "
        f"negative log likelihood {told['nll']:.4f} nats, Brier score {told['brier']:.4f}.",
        "",
    ]
    if threshold["value"] is None:
        lines += [f"No confidence threshold for {_percent(threshold['target'])} accuracy: {threshold['why']}.", ""]
    else:
        val, test = threshold["validation"], threshold["test"]
        lines += [
            f"Above a confidence of {threshold['value']:.4f}, the smallest that reaches {_percent(threshold['target'])} accuracy "
            f"on the validation split (of {_percent(val['coverage'])} of its images), {_percent(test['coverage'])} of the test "
            f"images are kept and {_percent(test['accuracy'])} of those are right.",
            "",
        ]
    if agreement and "failed" in agreement:
        lines += [f"Agreement with the teacher was not measured: {agreement['failed']}.", ""]
    elif agreement:
        lines += [
            f"It answers {_percent(agreement['same_top1'])} of the test images as its teacher "
            f"{in_markdown(agreement['teacher'])} does (which "
            f"has {_percent(agreement['teacher_top1'])} of them right); mean KL(teacher, student) {agreement['kl']:.4f} nats.",
            "",
        ]
    return lines


def _external(metrics: dict[str, Any]) -> list[str]:
    sets = metrics.get("external", {})
    if not sets:
        return []
    lines = [
        "## On images from elsewhere",
        "",
        "| set | images | top-1 | 95 % interval | ECE |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['images']}, {one['classes']} of {len(metrics['classes'])} classes | {_percent(one['mean'])} | "
        f"{_percent(one['low'])} to {_percent(one['high'])} | {_percent(one['calibration']['ece'])} |"
        for name, one in sets.items()
    ]
    told = [f"- {one['ranking']['text']}" for one in sets.values() if "ranking" in one]
    return [*lines, "", *told, *([""] if told else [])]


def _files(metrics: dict[str, Any]) -> list[str]:
    lines = [
        "## Files",
        "",
        "Each was loaded from the disk and measured: its own accuracy on the test images of the same look, the largest "
        "difference of a logit from the trained module's, and the time of one image on one thread.",
        "",
        "| file | size | test top-1 | against the module | same answers | logits differ by | median (p90) ms | runtime |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for form, one in metrics["exports"].items():
        if "failed" in one:
            lines.append(f"| {form} | not written: {in_markdown(one['failed'])} | | | | | | |")
            continue
        took = one["latency"]
        lines.append(
            f"| {one['file']} | {one['bytes'] / 1e3:,.1f} kB | {_percent(one['test_top1'])} | "
            f"{-100 * one['test_top1_lost']:+z.2f} points | {_percent(one['same_top1'])} | "
            f"{one['largest_difference']:.1e} | {took['median_ms']:.3g} ({took['p90_ms']:.3g}) | {one['runtime']} |"
        )
    return [*lines, ""]


def _without_autokd(metrics: dict[str, Any], config: TrialConfig, shown: str) -> list[str]:
    """All that decides an answer, and a script that follows it."""
    channels, height, width = metrics["input"]
    how = channels, height, width, looks_of(config.data.options)
    classes = metrics["classes"]
    listed = ", ".join(f"{number}: {in_markdown(name)}" for number, name in enumerate(classes))
    few = len(classes) <= _LISTED
    rows = {
        **reading(*how),
        "input": f"`images`, uint8 [N, {channels}, {height}, {width}]: any number of images, channels, rows, columns; 0 to 255",
        "normalisation": f"part of the graph (values / 255, minus {_list(metrics['mean'])}, divided by "
        f"{_list(metrics['std'])}{shown}): do not normalise",
        "output": f"`logits`, float32 [N, {len(classes)}]; a softmax over the last axis makes probabilities of them",
        "classes": f"in the order of the logits: {listed}" if few else f"{len(classes)}, in the order of the logits, below",
    }
    lines = ["### Without autokd", "", "The graphs (.onnx, .pt2) expect image files to be read in this way:", ""]
    lines += ["| | |", "|---|---|"]
    lines += [*(f"| {word} | {text} |" for word, text in rows.items()), ""]
    if not few:
        lines += ["<details><summary>Classes</summary>", "", listed, "", "</details>", ""]
    if "file" in metrics["exports"].get("onnx", {}):
        file = metrics["exports"]["onnx"]["file"]
        lines += [
            f"The same as a script that needs onnxruntime, numpy and Pillow. Saved as `answer.py` beside `{file}`, "
            "`python answer.py photo.jpg` prints the likeliest classes:",
            "",
            "```python",
            script(file, *how).rstrip(),
            "```",
            "",
        ]
    return lines


def _classes(metrics: dict[str, Any], most: int = 20) -> list[str]:
    """Every class, or of many the ones that are recognised least."""
    rows = metrics["per_class"]
    title = "## Each class"
    if len(rows) > most:
        seen = sorted((row for row in rows if row["recall"] is not None), key=lambda row: row["recall"])
        title, rows = f"## The {most // 2} classes of {len(rows)} that it recognises least", seen[: most // 2]
    lines = [title, "", "| class | test images | recall | precision |", "|---|---|---|---|"]
    lines += [
        f"| {in_markdown(row['class'])} | {row['images']} | {_percent(row['recall'])} | {_percent(row['precision'])} |"
        for row in rows
    ]
    return [*lines, ""]


def _chosen(metrics: dict[str, Any]) -> str:
    if metrics["search_val_top1"] is None:
        return (
            f"Its configuration was trial {metrics['trial']} of a search that ranked none: no image was held out. "
            "What was tested is the last epoch of each training."
        )
    score = _percent(metrics["search_val_top1"])
    return f"Its configuration was trial {metrics['trial']} of the search, with {score} on the validation split there."


def _how(metrics: dict[str, Any]) -> str:
    teacher = (
        f"distilled from {in_markdown(metrics['teacher'])} by {in_markdown(metrics['method'])}"
        if metrics["teacher"]
        else "trained on labels alone"
    )
    policy = in_markdown(metrics["policy"])
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
