"""The benchmarks run and measure what they say; how fast anything is, is not asked here."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import benchmarks
from autokd.config.trial import DataConfig, MethodConfig, PolicyConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.models.build import build
from autokd.models.checkpoint import save_weights
from benchmarks import _setting, gpu, memory, overhead, search
from benchmarks.rows import Form, Row, table

NAMES = sorted(one.name for one in pkgutil.iter_modules(benchmarks.__path__) if not one.name.startswith("_"))
MEASURING = ("baseline", "distillation", "epoch", "gpu", "memory", "overhead", "own_views", "search", "startup")


@pytest.mark.parametrize("name", MEASURING)
def test_every_target_has_a_script_with_measure(name):
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.measure) and name in NAMES
    assert module.__doc__ and f"python -m benchmarks.{name}" in module.__doc__


def test_a_row_says_yes_at_its_target_and_no_beyond():
    assert Row.at_least("x", 2.0, 2.0).reached and not Row.at_least("x", 1.99, 2.0).reached
    assert Row.at_most("x", 2.0, 2.0).reached and not Row.at_most("x", 2.01, 2.0).reached
    lines = table([Row.at_most("x", 3.0, 2.0), Row("y", "5")]).splitlines()
    assert lines[0] == "| what | measured | target | yes/no |"
    assert lines[2:] == ["| x | 3.00 | <= 2 | no |", "| y | 5 | - | - |"]


def test_overhead_is_the_mean_gap_between_ends_and_not_the_start():
    told = overhead.told([10.0, 10.5, 11.0, 13.0, 15.0])
    assert told["fixed"] == 10.0 and told["each"] == pytest.approx(1.25)
    assert (told["first"], told["last"]) == (pytest.approx(0.5), pytest.approx(2.0))


def test_a_search_that_never_gets_there_counts_as_its_limit(monkeypatch, tmp_path):
    answers = {("ours", 0): 10.0, ("usual", 0): None, ("ours", 1): 20.0, ("usual", 1): 60.0}
    monkeypatch.setattr(search, "seconds_of", lambda task, side, seed, *_: answers[side, seed])
    monkeypatch.setattr(search, "_teacher", lambda *_: tmp_path)
    row = search.compare(replace(search.TASKS["digits"], limit=100.0), seeds=2)
    assert row.measured.startswith("6.50 ") and "1 searches at the limit" in row.measured  # the median of 10 and 3
    assert row.reached is True
    answers["usual", 0] = 60.0
    row = search.compare(replace(search.TASKS["digits"], limit=1.0), seeds=1, trials=7)  # no limit, and no target
    assert row.what.startswith("whole search of 7 trials") and row.reached is None and "limit" not in row.measured


@pytest.fixture
def tiny(tmp_path):
    """CCD on digits: a student and a teacher of a few thousand weights."""
    file = tmp_path / "teacher.safetensors"
    save_weights(build("resnet8x0.5", classes=10, channels=1, size=8, seed=1), file)
    return TrialConfig(
        data=DataConfig("digits", validation=0.2),
        student=StudentConfig("resnet8x0.5"),
        teacher=TeacherConfig("teacher", "resnet8x0.5", checkpoint=str(file)),
        policy=PolicyConfig("jda_cifar100", {"probability": 0.5}),
        method=MethodConfig("ccd"),
        epochs=1,
    )


def test_the_usual_way_learns_from_the_same_images(tiny):
    """Losses fall on the digits, the split is that of a trial, and a batch holds both views of its images."""
    from autokd.train.workshop import Workshop
    from benchmarks.baseline import Average, Usual

    usual = Usual(tiny, workers=0)
    loaded = Workshop().data(tiny.data)
    np.testing.assert_array_equal(usual.data.pixels.transpose(0, 3, 1, 2), loaded.pixels.numpy())
    np.testing.assert_array_equal(usual.held[1].numpy(), loaded.val_labels.numpy())
    plain, changed, labels = next(iter(usual.loader()))
    assert plain.shape == changed.shape == (32, 1, 8, 8) and len(labels) == 32
    seen = []
    for _ in range(8):
        loss = Average()
        usual.step((plain, changed, labels), loss, Average())
        seen.append(loss.value)
    assert statistics.mean(seen[-2:]) < seen[0]
    assert 0.0 <= usual.validate() <= 1.0


def test_the_usual_criterion_is_the_published_one(tiny):
    """One step of the usual way has the loss of ccd.py plus cross-entropy, each worked out in float64 here."""
    from benchmarks.baseline import Average, Usual

    usual = Usual(tiny, workers=0)
    plain, changed, labels = next(iter(usual.loader()))
    images, targets = torch.cat([plain, changed]), torch.cat([labels, labels])
    usual.student.train()
    with torch.no_grad():
        student, teacher = usual.student(images).double().numpy(), usual.teacher(images).double().numpy()

    def soft(logits, heat):
        raised = np.exp((logits - logits.max(axis=1, keepdims=True)) / heat)
        return raised / raised.sum(axis=1, keepdims=True)

    p, q = soft(teacher, 4.0), soft(student, 4.0)
    a, b = teacher[: len(plain)], teacher[len(plain) :]
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    weight = np.concatenate([np.ones(len(plain)), 1 + cosine])
    kd = 16 * (weight * (p * np.log(p / q)).sum(axis=1)).mean()
    ce = -np.log(soft(student, 1.0)[np.arange(len(targets)), targets.numpy()]).mean()
    loss = Average()
    usual.step((plain, changed, labels), loss, Average())
    assert loss.value == pytest.approx(kd + ce, rel=1e-3)


def test_signals_in_memory_say_what_the_teacher_says(tiny):
    from autokd.train.workshop import Workshop

    trial = Workshop(signals="live").trial(tiny)
    signals = gpu.Resident(trial, made_up=False)
    rows, views = torch.tensor([3, 1, 40, 7]), torch.tensor([0, 1, 1, 0])
    got = signals.logits(rows, views, True)
    teacher = trial.workshop.teacher(tiny.data, tiny.teacher)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = teacher.logits(trial.views.render(rows, views, True).pixels)
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.02)
    assert signals.asked > 0


def test_made_up_images_can_be_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(_setting, "shared", lambda: None)
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    from autokd.train.workshop import Workshop

    loaded = Workshop().data(_setting.cifar100(tmp_path, 0.004))
    assert loaded.pixels.shape[1:] == (3, 32, 32) and len(loaded.pixels) + len(loaded.val_pixels) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_the_proportional_share_of_a_process():
    words = "import sys, time; held = bytearray(b'x' * 50_000_000); print('ready', flush=True); sys.stdin.readline()"
    with subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout.readline().strip() == "ready"
        held = memory._pss(one.pid)
        one.communicate("\n")
    assert 50 < held < 80


def test_one_pretended_search_ends_and_is_counted(tmp_path):
    told = overhead.run("many", 6)
    assert told["trials"] == 6 and 0 < told["each"] < 30


def test_the_list_of_benchmarks_is_offered():
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=_setting.Path(benchmarks.__path__[0]).parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    assert all(name in made.stdout for name in MEASURING)


def test_a_help_page_is_timed_from_the_command_on():
    from benchmarks.startup import help_seconds

    start = time.perf_counter()
    times = help_seconds(1)
    assert len(times) == 1 and 0 < times[0] < time.perf_counter() - start
    assert json.dumps(times)


def process(*words: str, timeout: float = 1700) -> str:
    root = _setting.Path(benchmarks.__path__[0]).parent
    made = subprocess.run([sys.executable, "-m", *words], cwd=root, capture_output=True, text=True, timeout=timeout)
    assert made.returncode == 0, f"{words}\n{made.stdout[-2000:]}\n{made.stderr[-4000:]}"
    return made.stdout


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)  # two minutes on two cores that are free
def test_make_bench_comes_to_its_table_with_a_row_of_every_benchmark():
    """In the form that says only that they run. The modules that print no such row are run by the tests below."""
    told = process("benchmarks", "--shortest")
    head, line, *rows = told[told.index("| what | measured | target | yes/no |") :].strip().splitlines()
    assert line == "|---|---|---|---|" and all(row.count("|") >= 5 and row.endswith((" yes |", " no |", " - |")) for row in rows)
    assert set(re.findall(r"^== (\w+)$", told, re.MULTILINE)) == set(NAMES) - {"full_disk", "reliability", "rows"}
    for words in (
        *("JDA images/s", "of the usual way", "images/s of distillation, cold", "seconds an epoch", "KD + JDA"),
        *("memory of a second", "fitnet: validation", "overhead a trial", "the same, usual way"),
        *("whole search of 2 trials", "`autokd --help`"),
    ):
        assert any(words in row for row in rows), words
    if not torch.cuda.is_available():
        assert any("benchmarks.gpu" in row and "no GPU here" in row for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a compiler")
def test_a_full_disk_is_tried_and_told():
    told = process("benchmarks.full_disk", "--shortest")
    assert "| disk full at every write site |" in told and ": 0 faults" in told


@pytest.mark.slow
@pytest.mark.ray
def test_kills_are_tried_and_told():
    told = process("benchmarks.reliability", "--shortest")
    assert "| driver killed at 1 random moments |" in told and "2 processes filling the same signal cache" in told


@pytest.mark.parametrize("form", [Form.SHORTEST, Form.SHORT, Form.FULL])
def test_a_form_is_one_of_three(form):
    parser = argparse.ArgumentParser()
    Form.add_to(parser)
    words = {Form.SHORTEST: ["--shortest"], Form.SHORT: [], Form.FULL: ["--full"]}[form]
    assert parser.parse_args(words).form is form
    assert form.pick(1, 2, 3) == {Form.SHORTEST: 1, Form.SHORT: 2, Form.FULL: 3}[form]


def test_one_that_holds_itself_on_one_core_leaves_the_others_to_the_next():
    from benchmarks.__main__ import every_core

    before = os.sched_getaffinity(0)
    threads = torch.get_num_threads()
    try:
        with every_core():
            _setting.one_core()
            assert len(os.sched_getaffinity(0)) == 1
        assert os.sched_getaffinity(0) == before
    finally:
        torch.set_num_threads(threads)


def test_the_usual_way_counts_ends_and_two_are_enough():
    assert overhead.told([1.0, 3.0]) == {"trials": 2, "fixed": 1.0, "each": 2.0, "first": 2.0, "last": 2.0}
