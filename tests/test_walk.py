"""docs/walk.md as a person types it, on a smaller space; every number it ends with is worked out again from the files.

Nothing of autokd is imported here: the student is run by NumPy from its weights and by ONNX Runtime from its graphs, the splits
are cut again from scikit-learn's digits, and every score, gain, interval and cost is computed from what lies in the run's folder.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SPACE = """
name: walk
data: {name: digits, validation: 0.2}
teachers:
  big: {model: resnet14, train: {epochs: 2, lr: 0.05}}
students: [resnet8x0.5, resnet8]
space:
  policy: {choose: {jda_cifar100: {strength: 0.25}, none: {}}}
  ratio: {choose: [0.25, 0.5]}
  method: {choose: {kd: {temperature: {log: [1, 20], prior: 4}}, ce: {}}}
  recipe: {lr: {log: [0.02, 0.1], prior: 0.05}, batch: 64}
budgets:
  - {name: tiny, params: 25 k, macs: 0.25 M}
  - {name: any}
search: {trials: 4, epochs: 4, rungs: {count: 1}, seed: 0}
finalize: {seeds: 2, target: 0.97}
"""
LIMITS = {"tiny": {"params": 25_000, "macs": 250_000}, "any": {}}


@dataclass
class Walk:
    """What was printed by each command, and the folder it left."""

    said: dict[str, str]
    folder: Path
    place: Path

    def json(self, *path: str):
        return json.loads(self.folder.joinpath(*path).read_text(encoding="utf-8"))

    def final(self, budget: str):
        return self.json("final", budget, "metrics.json")

    def events(self, *path: str) -> list[dict]:
        return [json.loads(line) for line in self.folder.joinpath(*path, "ledger.jsonl").read_text(encoding="utf-8").splitlines()]

    def student(self, budget: str, form: str) -> Path:
        return self.folder / "final" / budget / f"student.{form}"


@pytest.fixture(scope="module")
def walk(tmp_path_factory, repository) -> Walk:
    """search, confirm, finalize of one budget, finalize of all, report, evaluate, predict: each its own process."""
    place = tmp_path_factory.mktemp("walk")
    environment = {**os.environ, "PYTHONPATH": str(repository), "AUTOKD_CACHE": str(place / "cache"), "COLUMNS": "100"}
    said = {}

    def autokd(name: str, *words: object) -> None:
        command = [sys.executable, "-m", "autokd.cli.main", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=place, timeout=500)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        said[name] = done.stdout

    (place / "space.yaml").write_text(SPACE, encoding="utf-8")
    autokd("search", "search", "space.yaml")
    autokd("confirm", "confirm", "--top", "2", "--seeds", "3")
    autokd("early", "finalize", "--budget", "tiny", "--formats", "safetensors")
    autokd("finalize", "finalize")
    autokd("html", "report", "--format", "html")
    autokd("json", "report", "--format", "json")
    autokd("report", "report")
    (folder,) = (place / "runs").glob("walk-*")
    pixels, labels = published()[:2]
    photos(place / "photos", pixels[parts()["test"]], labels[parts()["test"]])
    for form in ("onnx", "int8.onnx"):
        autokd(f"evaluate {form}", "evaluate", folder / "final" / "any" / f"student.{form}", "--data", "photos", "--json")
    autokd("predict", "predict", folder / "final" / "any" / "student.onnx", "photos/3", "--json")
    return Walk(said, folder, place)


def photos(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    from PIL import Image

    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(folder / str(label) / f"{number:03}.png")


# --- the data, cut again


def published() -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [1797, 1, 8, 8] and labels of scikit-learn's digits: ink of 0 to 16 becomes 0 to 255."""
    from sklearn.datasets import load_digits

    ink, labels = load_digits(return_X_y=True)
    return np.rint(ink * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8), labels


def stratified(rows: list[int], labels: np.ndarray, share: Fraction, seed: int) -> set[int]:
    """Largest remainders over the classes; in each class the rows of the smallest random words go first."""
    words = dict(zip(rows, np.random.PCG64(seed).random_raw(len(rows)).tolist(), strict=True))
    classes = {one: [row for row in rows if labels[row] == one] for one in range(10)}
    total = math.floor(share * len(rows) + Fraction(1, 2))
    quotas = {one: Fraction(len(mine) * total, len(rows)) for one, mine in classes.items()}
    counts = {one: math.floor(quota) for one, quota in quotas.items()}
    for one in sorted(quotas, key=lambda one: (counts[one] - quotas[one], one))[: total - sum(counts.values())]:
        counts[one] += 1
    return {row for one, mine in classes.items() for row in sorted(mine, key=words.__getitem__)[: counts[one]]}


def parts() -> dict[str, list[int]]:
    """Rows of the test split (a fifth), of the validation split (a fifth of what is left), and of the training split."""
    labels = published()[1]
    rows = list(range(len(labels)))
    test = stratified(rows, labels, Fraction(1, 5), 0)
    left = [row for row in rows if row not in test]
    held = stratified(left, labels, Fraction(1, 5), 0)
    return {"test": sorted(test), "validation": sorted(held), "train": [row for row in left if row not in held]}


@pytest.fixture(scope="module")
def splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    pixels, labels = published()
    return {name: (pixels[rows], labels[rows]) for name, rows in parts().items()}


# --- the student, run again


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """safetensors: eight bytes of length, a JSON header, the numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {"F32": np.float32, "I64": np.int64}
    found = {}
    for name, entry in header.items():
        start, end = (8 + length + at for at in entry["data_offsets"])
        found[name] = np.frombuffer(data[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return found


class Network:
    """A CIFAR ResNet in float64, from its arrays alone. Counts the multiply-accumulates of one image as it goes."""

    def __init__(self, path: Path) -> None:
        self.arrays = {name: value.astype(np.float64) for name, value in arrays_of(path).items()}
        self.macs = 0

    def logits(self, pixels: np.ndarray, mean: float, std: float) -> np.ndarray:
        self.macs = 0
        x = (pixels / 255 - mean) / std
        x = np.maximum(self.norm(self.conv(x, "conv1", 1), "bn1"), 0)
        for layer in ("layer1", "layer2", "layer3"):
            block = 0
            while f"{layer}.{block}.conv1.weight" in self.arrays:
                x = self.block(x, f"{layer}.{block}", 2 if layer != "layer1" and block == 0 else 1)
                block += 1
        weight = self.arrays["fc.weight"]
        self.macs += weight.size
        return x.mean(axis=(2, 3)) @ weight.T + self.arrays["fc.bias"]

    def block(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        shortcut = x
        if f"{name}.downsample.0.weight" in self.arrays:
            shortcut = self.norm(self.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        x = np.maximum(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"), 0)
        return np.maximum(self.norm(self.conv(x, f"{name}.conv2", 1), f"{name}.bn2") + shortcut, 0)

    def conv(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        weight = self.arrays[f"{name}.weight"]  # [out, in, k, k]
        side = weight.shape[-1]
        x = np.pad(x, ((0, 0), (0, 0), (side // 2, side // 2), (side // 2, side // 2)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))[:, :, ::stride, ::stride]
        self.macs += weight.size * windows.shape[2] * windows.shape[3]
        return np.einsum("nchwij,ocij->nohw", windows, weight, optimize=True)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        mean, variance, weight, bias = (
            self.arrays[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def by_onnxruntime(path: Path, pixels: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": pixels})[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def module_of(walk: Walk, budget: str) -> tuple[Network, float, float]:
    told = walk.final(budget)
    return Network(walk.student(budget, "safetensors")), told["mean"][0], told["std"][0]


def tables(page: Path) -> dict[str, list[list[str]]]:
    """The cells of the table of each section of a page, by the section's id."""

    class Reader(HTMLParser):
        found: dict[str, list[list[str]]] = {}
        section, cell = "", False

        def handle_starttag(self, tag, attrs):
            self.section = dict(attrs)["id"] if tag == "section" else self.section
            self.cell = tag == "td"
            if tag == "tr":
                self.found.setdefault(self.section, []).append([])
            if tag == "td":
                self.found[self.section][-1].append("")

        def handle_endtag(self, tag):
            self.cell = False

        def handle_data(self, data):
            if self.cell:
                self.found[self.section][-1][-1] += data

    reader = Reader()
    reader.found = {}
    reader.feed(page.read_text(encoding="utf-8"))
    return {key: [row for row in rows if row] for key, rows in reader.found.items()}


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


# --- the search


def trials_of(folder: Path) -> list[dict]:
    """The last row of every trial."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(folder / "trials.parquet").to_pylist()
    last: dict[str, dict] = {}
    for row in sorted(rows, key=lambda row: row["images"] or 0):
        last[row["trial"]] = row
    return list(last.values())


def fitting(walk: Walk, budget: str) -> list[dict]:
    """The finished trials within a budget, the most accurate first, the cheapest of equals."""
    rows = [row for row in trials_of(walk.folder) if row["status"] == "done"]
    rows = [row for row in rows if all(row[cost] <= limit for cost, limit in LIMITS[budget].items())]
    return sorted(rows, key=lambda row: (-row["val_top1"], row["macs"], row["params"], row["trial"]))


@pytest.mark.parametrize("budget", LIMITS)
def test_the_best_of_a_budget_is_the_best_row_of_the_table_within_its_limits(walk, budget):
    best = fitting(walk, budget)[0]
    told = json.loads(walk.said["json"])["best"][budget]
    assert (told["trial"], told["val_top1"]) == (best["trial"], best["val_top1"])
    (line,) = [one for one in walk.said["search"].splitlines() if re.match(rf"{budget} +≤|{budget} +no limit", one)]
    assert best["trial"] in line and percent(best["val_top1"]) in line
    (cells,) = [row for row in tables(walk.folder / "report.html")["chosen"] if row[0] == budget]
    assert cells[2].startswith(percent(best["val_top1"])) and cells[3] == best["student"]


def test_the_table_of_a_trial_says_what_its_ledger_says(walk):
    ends = {event["trial"]: event["val_top1"] for event in walk.events() if event["event"] == "report"}
    rows = trials_of(walk.folder)
    assert len(rows) == 4 and {row["trial"]: row["val_top1"] for row in rows} == ends
    assert json.loads(walk.said["json"])["images"] == sum(row["images"] for row in rows)


# --- the confirmation


def arm(walk: Walk, seeds: list[int], config: dict, images: int) -> np.ndarray:
    """bool [S, N]: which validation images the trainings of this configuration were right on, a seed a row."""
    made = {}
    for event in walk.events("confirm"):
        if event["event"] == "trial":
            asked = dict(event["config"])
            assert asked.pop("views_seed") == event["seed"]  # each seed has views of its own
            if {**asked, "seed": 0} == {**config, "seed": 0}:
                made[event["seed"]] = event["trial"]
    bits = [np.load(walk.folder / "confirm" / "answers" / f"{made[seed]}.npy") for seed in seeds]
    return np.stack([np.unpackbits(one)[:images] for one in bits]).astype(bool)


def arms(walk: Walk, budget: str) -> tuple[dict, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What confirm.json says of a budget; the answers of its candidates and of its controls."""
    told = walk.json("confirm.json")["budgets"][budget]
    configs = {row["trial"]: json.loads(row["config"]) for row in trials_of(walk.folder)}
    images = told["validation_images"]
    first = {one["trial"]: arm(walk, one["seeds"], configs[one["trial"]], images) for one in told["candidates"]}
    second = {role: arm(walk, one["seeds"], one["config"], images) for role, one in told["controls"].items()}
    return told, first, second


def two_way(apart: np.ndarray) -> tuple[float, float, float]:
    """Variances of a mean over S seeds and N images: that of images, that between seeds' means, and the least it can be."""
    seeds, images = apart.shape
    of_images, of_seeds = apart.mean(axis=0), apart.mean(axis=1)
    left = apart - of_images[None] - of_seeds[:, None] + apart.mean()
    chance = (left**2).sum() / ((seeds - 1) * (images - 1))
    between = seeds * of_images.var(ddof=1)
    return max(0.0, between - chance) / (seeds * images), of_seeds.var(ddof=1), chance / images


def ends(apart: np.ndarray, pooled: tuple[float, int] | None = None) -> tuple[float, float, float]:
    """The 95 % interval as docs/confirm.md tells it, images by the normal law and seeds by Student's t, and the error."""
    seeds = len(apart)
    images, between, least = two_way(apart)
    variance, df = max(between, least), seeds - 1
    if pooled is not None:
        variance, df = max(variance, pooled[0]), pooled[1]
    random = np.random.default_rng(7)
    drawn = random.normal(0, math.sqrt(images), 400_000) + math.sqrt(variance / seeds) * random.standard_t(df, 400_000)
    half = float(np.quantile(np.abs(drawn), 0.95))
    return float(apart.mean()) - half, float(apart.mean()) + half, math.sqrt(images + variance / seeds)


def share_ends(share: float, images: int) -> tuple[float, float]:
    """Wilson's interval, the roots of (share - p)^2 = z^2 p (1 - p) / N; one to three images from 100 % the wider end."""
    from scipy import stats

    square = 1.959964**2 / images
    low, high = np.sort(np.roots([1 + square, -2 * share - square, share * share]).real)
    wrong = images * (1 - share)
    known = [0.0, *(stats.gamma.ppf(0.05, count) for count in (1, 2, 3))]
    return float(low), max(float(high), 1 - float(np.interp(wrong, range(4), known)) / images if wrong <= 3 else 0.0)


def paired_ends(apart: np.ndarray) -> tuple[float, float]:
    """Tango's interval of a difference, with the images apart that give its mean and the variance between images."""
    from scipy import optimize

    images, mean = apart.shape[1], float(apart.mean())
    squares = max(two_way(apart)[0] * (images - 1) + mean * mean, abs(mean))
    counts = images * np.array([(squares + mean) / 2, (squares - mean) / 2, 1 - squares])

    def statistic(true: float) -> float:
        def unlikely(second: float) -> float:
            return -float((counts * np.log(np.maximum([second + true, second, 1 - 2 * second - true], 1e-300))).sum())

        bounds = (max(0.0, -true), (1 - true) / 2)
        likeliest = optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return images * (mean - true) / math.sqrt(images * (2 * likeliest + true - true * true))

    low = optimize.brentq(lambda true: statistic(true) - 1.959964, -1 + 1e-6, mean - 1e-9)
    return low, optimize.brentq(lambda true: statistic(true) + 1.959964, mean + 1e-9, 1 - 1e-6)


@pytest.mark.parametrize("budget", LIMITS)
def test_means_and_optimism_of_a_confirmation_are_those_of_its_answers(walk, budget, splits):
    told, candidates, controls = arms(walk, budget)
    assert told["validation_images"] == len(splits["validation"][1])
    rows = fitting(walk, budget)
    assert [one["trial"] for one in told["candidates"]] == [row["trial"] for row in rows[:2]]
    fresh = {seed for one in told["candidates"] for seed in one["seeds"]}
    assert not fresh & {row["seed"] for row in rows} and len(fresh) == 3  # no seed that the search chose by
    for one, row in zip(told["candidates"], rows, strict=False):
        right = candidates[one["trial"]]
        assert one["scores"] == pytest.approx(right.mean(axis=1)) and one["mean"] == pytest.approx(right.mean())
        assert one["search"] == row["val_top1"]
        low, high, _ = ends(right.astype(float))
        least, most = share_ends(right.mean(), right.shape[1])
        assert one["low"] == pytest.approx(max(0, min(low, least)), abs=0.15 * (high - low))
        assert one["high"] == pytest.approx(min(1, max(high, most)), abs=0.15 * (high - low))
    for role, right in controls.items():
        assert told["controls"][role]["mean"] == pytest.approx(right.mean())
    chosen = next(one for one in told["candidates"] if one["trial"] == told["chosen"])
    assert told["optimism"] == pytest.approx(chosen["search"] - candidates[told["chosen"]].mean())


@pytest.mark.parametrize("budget", LIMITS)
def test_the_choice_is_the_cheapest_within_one_standard_error_of_the_best(walk, budget):
    told, candidates, _ = arms(walk, budget)
    alive = {one["trial"]: one for one in told["candidates"] if one["dropped"] is None}
    means = {trial: candidates[trial].mean() for trial in alive}
    assert means[told["best"]] == max(means.values())
    near = [told["best"]]
    for trial, one in alive.items():
        if trial != told["best"]:
            gap = candidates[told["best"]].astype(float) - candidates[trial]
            assert one["behind"]["mean"] == pytest.approx(gap.mean())
            assert one["behind"]["se"] >= ends(gap)[2] - 1e-12  # theirs, or a larger one of all arms
            near += [trial] if gap.mean() <= one["behind"]["se"] else []
    assert {trial for trial, one in alive.items() if one["within"]} == set(near)
    assert told["chosen"] == min(near, key=lambda trial: (alive[trial]["macs"], alive[trial]["params"], -means[trial]))


@pytest.mark.parametrize("budget", LIMITS)
def test_gains_over_the_controls_are_those_of_the_answers_and_give_the_verdict(walk, budget):
    told, candidates, controls = arms(walk, budget)
    own = candidates[told["chosen"]]
    alive = [candidates[one["trial"]] for one in told["candidates"] if one["dropped"] is None]
    others = [right for role, right in controls.items() if not told["controls"][role]["same"]]
    means = np.array([right.mean(axis=1) for right in (*alive, *others)])  # [K, S]
    left = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    df = (len(means) - 1) * (means.shape[1] - 1)
    gains = []
    for role, right in controls.items():
        gain = told["controls"][role]["gain"]
        apart = own.astype(float) - right
        assert gain["mean"] == pytest.approx(apart.mean(), abs=1e-12)
        if not told["controls"][role]["same"]:
            low, high, error = ends(apart, (2 * float((left**2).sum()) / df, df))
            assert gain["se"] == pytest.approx(error, rel=1e-6)
            least, most = paired_ends(apart)
            assert gain["low"] == pytest.approx(min(low, least), abs=0.1 * (high - low))
            assert gain["high"] == pytest.approx(max(high, most), abs=0.1 * (high - low))
        gains.append(gain)
    paid, lost = all(one["low"] > 0 for one in gains), any(one["high"] < 0 for one in gains)
    assert told["verdict"] == ("search did not pay" if lost else "search paid" if paid else "inconclusive")
    assert set(controls) == {"ce", "kd"}


@pytest.mark.parametrize("budget", LIMITS)
def test_the_page_and_the_figure_tell_the_confirmation_of_the_file(walk, budget):
    import csv

    told = walk.json("confirm.json")["budgets"][budget]
    chosen = next(one for one in told["candidates"] if one["trial"] == told["chosen"])
    page = tables(walk.folder / "report.html")
    (cells,) = [row for row in page["confirmed"] if row[0] == budget]
    span = f"{100 * chosen['low']:.2f} to {100 * chosen['high']:.2f}"
    assert cells[1:] == [chosen["trial"], chosen["student"], f"{percent(chosen['mean'])} (3)", span, percent(chosen["search"]),
                         f"{100 * told['optimism']:+.2f}", told["verdict"]]  # fmt: skip
    for row in page["confirmed-1"]:
        if row[0] == budget and not told["controls"][row[1]]["same"]:
            gain = [f"{100 * told['controls'][row[1]]['gain'][key]:+.2f}" for key in ("mean", "low", "high")]
            assert row[3:] == [percent(told["controls"][row[1]]["mean"]), f"{gain[0]} ({gain[1]} to {gain[2]})"]
    number = list(walk.json("confirm.json")["budgets"]).index(budget)
    with open(walk.folder / "report" / f"confirmed-{number}.csv", encoding="utf-8") as file:
        drawn = list(csv.DictReader(file))
    assert [(row["seed"], float(row["val_top1"])) for row in drawn if row["arm"] == chosen["trial"]] == [
        (str(seed), score) for seed, score in zip(chosen["seeds"], chosen["scores"], strict=True)
    ]
    assert json.loads(walk.said["json"])["confirmed"] == walk.json("confirm.json")


# --- the finished student


@pytest.mark.parametrize("budget", LIMITS)
def test_finalize_took_the_confirmed_choice_and_no_seed_that_anything_was_chosen_by(walk, budget):
    told, final = walk.json("confirm.json")["budgets"][budget], walk.final(budget)
    assert final["trial"] == told["chosen"]
    before = {row["seed"] for row in trials_of(walk.folder)} | {seed for one in told["candidates"] for seed in one["seeds"]}
    assert not {one["seed"] for one in final["seeds"]} & before


@pytest.mark.parametrize("budget", LIMITS)
def test_parameters_and_multiply_accumulates_are_those_of_the_written_weights(walk, budget, splits):
    final = walk.final(budget)
    arrays = arrays_of(walk.student(budget, "safetensors"))
    learnt = sum(a.size for name, a in arrays.items() if not re.search(r"running_|num_batches", name))
    network, mean, std = module_of(walk, budget)
    network.logits(splits["test"][0][:1], mean, std)
    row = next(row for row in trials_of(walk.folder) if row["trial"] == final["trial"])
    assert learnt == final["params"] == row["params"]
    assert network.macs == final["macs"] == row["macs"]
    assert all(row[cost] <= limit for cost, limit in LIMITS[budget].items())


@pytest.mark.parametrize("budget", LIMITS)
def test_test_accuracy_spread_and_interval_are_those_of_which_images_were_right(walk, budget, splits):
    final = walk.final(budget)
    held = np.load(walk.folder / "final" / budget / "test_correct.npz")
    correct = held["correct"]
    assert held["seeds"].tolist() == [one["seed"] for one in final["seeds"]] and correct.shape == (2, len(splits["test"][1]))
    each = correct.mean(axis=1)
    assert [one["test_top1"] for one in final["seeds"]] == pytest.approx(each)
    assert final["test"]["mean"] == pytest.approx(each.mean()) and final["test"]["std"] == pytest.approx(each.std(ddof=1))
    random = np.random.default_rng(99)
    drawn = []
    for _ in range(4000):  # seeds and images redrawn, each by itself
        seeds, images = random.integers(0, 2, 2), random.integers(0, correct.shape[1], correct.shape[1])
        drawn.append(correct[np.ix_(seeds, images)].mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    least, most = share_ends(correct.mean(), correct.shape[1])
    assert final["test"]["low"] == pytest.approx(min(low, least), abs=0.1 * (high - low) + 1e-9)
    assert final["test"]["high"] == pytest.approx(max(high, most), abs=0.1 * (high - low) + 1e-9)
    # the exported seed's row is what its file says
    row = correct[held["seeds"].tolist().index(final["exported_seed"])]
    pixels, labels = splits["test"]
    np.testing.assert_array_equal(by_onnxruntime(walk.student(budget, "onnx"), pixels).argmax(axis=1) == labels, row)
    middle = min(one["val_top1"] for one in final["seeds"])  # the lower median of two
    assert next(one["val_top1"] for one in final["seeds"] if one["seed"] == final["exported_seed"]) == middle
    logits = by_onnxruntime(walk.student(budget, "onnx"), splits["validation"][0])
    assert (logits.argmax(axis=1) == splits["validation"][1]).mean() == pytest.approx(middle)


@pytest.mark.parametrize("budget", LIMITS)
def test_calibration_is_that_of_the_written_graph_on_the_test_split(walk, budget, splits):
    pixels, labels = splits["test"]
    chances = softmax(by_onnxruntime(walk.student(budget, "onnx"), pixels))
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    error = 0.0
    for span in range(15):
        inside = (confidence > span / 15) & (confidence <= (span + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    told = walk.final(budget)["calibration"]
    assert told["ece"] == pytest.approx(error, abs=2e-4)  # an image may change its bin by rounding
    assert told["nll"] == pytest.approx(-np.log(chances[np.arange(len(labels)), labels]).mean(), abs=1e-4)
    assert told["brier"] == pytest.approx(((chances - np.eye(10)[labels]) ** 2).sum(axis=1).mean(), abs=1e-4)


@pytest.mark.parametrize("budget", LIMITS)
def test_the_threshold_is_the_smallest_that_reaches_the_target_on_the_validation_split(walk, budget, splits):
    told = walk.final(budget)["threshold"]
    pixels, labels = splits["validation"]
    chances = softmax(by_onnxruntime(walk.student(budget, "onnx"), pixels))
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    enough = [one for one in (0.0, *confidence) if right[confidence >= one].mean() >= 0.97]
    assert told["target"] == 0.97 and told["value"] == pytest.approx(min(enough), abs=1e-5)
    for part in ("validation", "test"):
        pixels, labels = splits[part]
        chances = softmax(by_onnxruntime(walk.student(budget, "onnx"), pixels))
        kept = chances.max(axis=1) >= told["value"] - 1e-6
        assert told[part]["coverage"] == pytest.approx(kept.mean(), abs=1.5 / len(labels))
        accuracy = (chances.argmax(axis=1) == labels)[kept].mean()
        assert told[part]["accuracy"] == pytest.approx(accuracy, abs=1.5 / kept.sum())


@pytest.mark.parametrize("budget", LIMITS)
def test_every_graph_answers_as_the_weights_do_and_int8_loses_what_is_said(walk, budget, splits):
    import torch

    pixels, labels = splits["test"]
    network, mean, std = module_of(walk, budget)
    logits = network.logits(pixels, mean, std)
    assert np.abs(by_onnxruntime(walk.student(budget, "onnx"), pixels) - logits).max() <= 1e-4
    program = torch.export.load(walk.student(budget, "pt2")).module()
    with torch.no_grad():
        assert np.abs(program(torch.from_numpy(pixels)).numpy() - logits).max() <= 1e-4
    exports = walk.final(budget)["exports"]
    assert exports["onnx"]["largest_difference"] <= 1e-4 and exports["pt2"]["largest_difference"] <= 1e-4
    small = by_onnxruntime(walk.student(budget, "int8.onnx"), pixels)
    lost = (logits.argmax(axis=1) == labels).mean() - (small.argmax(axis=1) == labels).mean()
    assert exports["int8"]["test_top1_lost"] == pytest.approx(lost, abs=1e-9)
    assert exports["int8"]["test_top1"] == pytest.approx((small.argmax(axis=1) == labels).mean())
    first = splits["train"][0][:32]  # of the images that each file was compared on
    apart = np.abs(by_onnxruntime(walk.student(budget, "int8.onnx"), first) - network.logits(first, mean, std)).max()
    assert exports["int8"]["largest_difference"] == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize("budget", LIMITS)
def test_sizes_are_those_on_the_disk(walk, budget):
    final = walk.final(budget)
    for one in final["exports"].values():
        assert one["bytes"] == os.stat(walk.folder / "final" / budget / one["file"]).st_size
    assert set(final["exports"]) == {"safetensors", "pt2", "onnx", "int8"}


def test_every_look_at_the_test_split_is_counted(walk):
    lines = (walk.folder / "final" / "test_looks.jsonl").read_text(encoding="utf-8").splitlines()
    looks = [json.loads(line)["budgets"] for line in lines]
    assert looks[0] == ["tiny"] and len(looks) in (2, 3)  # the budgets share a look where they share a student
    for budget, count in (("tiny", 2), ("any", 1)):
        assert sum(budget in one for one in looks) == walk.final(budget)["test_looks"] == count
    assert "more than once" in walk.said["finalize"] and "more than once" not in walk.said["early"]


@pytest.mark.parametrize("budget", LIMITS)
def test_the_page_the_table_and_the_json_tell_the_test_of_the_files(walk, budget):
    final = walk.final(budget)
    test, threshold = final["test"], final["threshold"]["test"]
    span = f"{100 * test['low']:.2f} to {100 * test['high']:.2f}"
    optimism = next(row["val_top1"] for row in trials_of(walk.folder) if row["trial"] == final["trial"]) - np.mean(
        [one["val_top1"] for one in final["seeds"]]
    )
    page = tables(walk.folder / "report.html")
    (cells,) = [row for row in page["tested"] if row[0] == budget]
    assert cells == [budget, final["student"], percent(test["mean"]), f"{100 * test['std']:.2f}", span, "2", "359",
                     f"{100 * optimism:+.2f}", f"{final['calibration']['nll']:.4f}", f"{final['calibration']['brier']:.4f}",
                     percent(final["calibration"]["ece"]), percent(threshold["coverage"]), percent(threshold["accuracy"]),
                     str(final["test_looks"]), "4", "train"]  # fmt: skip
    files = {row[1]: row for row in page["files"] if budget in row[0].split(", ")}
    for one in final["exports"].values():
        assert files[one["file"]][2:4] == [f"{one['bytes'] / 1e3:,.0f} kB", percent(one["test_top1"])]
    (told,) = [one for one in json.loads(walk.said["json"])["finals"] if one["budget"] == budget]
    assert all(told[key] == final[key] for key in ("test", "calibration", "threshold", "exports", "test_looks", "macs"))
    line = next(one for one in walk.said["report"].split("\nTested")[1].splitlines() if one.split()[:1] == [budget])
    assert percent(test["mean"]) in line and span in line
    assert max(map(len, walk.said["report"].splitlines())) <= 100


@pytest.mark.parametrize(("form", "name"), [("onnx", "onnx"), ("int8", "int8.onnx")])
def test_evaluate_says_of_the_test_images_as_files_what_finalize_said_of_them(walk, form, name):
    told, final = json.loads(walk.said[f"evaluate {name}"]), walk.final("any")
    assert told["images"] == 359 and told["top1"] == pytest.approx(final["exports"][form]["test_top1"])
    if form == "onnx":
        for key in ("ece", "nll", "brier"):
            assert told[key] == pytest.approx(final["calibration"][key], abs=2e-4)


def test_predict_answers_each_image_as_the_graph_does(walk):
    from PIL import Image

    answers = json.loads(walk.said["predict"])
    assert len(answers) == len(list((walk.place / "photos" / "3").iterdir()))
    for answer in answers:
        pixels = np.asarray(Image.open(walk.place / answer["image"]))[None, None]
        chances = softmax(by_onnxruntime(walk.student("any", "onnx"), pixels))[0]
        assert answer["class"] == str(chances.argmax()) and answer["probability"] == pytest.approx(chances.max(), abs=1e-5)
