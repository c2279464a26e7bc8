"""The pace of a student: what is measured, when it is worth it, and that it changes nothing but the time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from autokd.config.trial import (
    DataConfig,
    LossConfig,
    MethodConfig,
    RecipeConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTraining,
    TrialConfig,
)
from autokd.train import pace as module
from autokd.train.pace import Pace, _compilations, default_pace, find_pace, machine_key, measure_pace
from autokd.train.teachers import train_teacher
from autokd.train.workshop import Workshop

CPU = torch.device("cpu")
SHAPE = (4, 1, 8, 8)
DIGITS = DataConfig("digits", fraction=0.2)
TEACHER = TeacherConfig("big", "resnet14", training=TeacherTraining(epochs=0.3, recipe=RecipeConfig(lr=0.1, batch=64)))


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def never() -> nn.Module:
    raise AssertionError("nothing was to be built")


def timed(seconds):
    """A stand-in for the clock: seconds by (channels_last, bf16, compiled)."""

    def step(model, pace, images, labels, repeats=3):
        return seconds[pace.channels_last, pace.bf16, pace.compiled]

    return step


@pytest.fixture
def no_bf16(monkeypatch):
    monkeypatch.setattr(module, "has_bf16", lambda: False)


def test_a_short_training_and_a_bench_that_keeps_nothing_measure_nothing(tmp_path):
    assert find_pace(never, "x", shape=SHAPE, steps=50, device=CPU, folder=tmp_path) == (default_pace(CPU), "")
    assert find_pace(never, "x", shape=SHAPE, steps=10**9, device=CPU, folder=None) == (default_pace(CPU), "")
    assert not list(tmp_path.iterdir())


def test_it_is_measured_once_told_once_and_kept(tmp_path):
    pace, told = find_pace(small, "x", label="small one", shape=SHAPE, steps=1000, device=CPU, folder=tmp_path)
    assert told.startswith(f"small one: {pace} (measured: ")
    (file,) = tmp_path.glob("*.json")
    kept = json.loads(file.read_text())
    assert Pace(**kept["pace"]) == pace and len(kept["seconds_a_step"]) >= 2
    assert find_pace(never, "x", shape=SHAPE, steps=1000, device=CPU, folder=tmp_path) == (pace, "")


def test_a_short_training_measures_less_and_a_longer_one_looks_again(monkeypatch, tmp_path, no_bf16):
    """A tenth of a training's steps for nine of measuring; a fiftieth for more of them, and for scoring."""
    asked = []
    monkeypatch.setattr(module, "_step_seconds", lambda model, pace, *_, repeats=3: asked.append(repeats) or 1e-3)

    def ask(steps, build=small):
        return find_pace(build, "x", shape=SHAPE, steps=steps, device=CPU, folder=tmp_path)

    def kept():
        (file,) = tmp_path.glob("*.json")
        return json.loads(file.read_text())

    assert ask(89, never) == (default_pace(CPU), "")
    assert "measured" in ask(90)[1] and asked == [2, 2, 2]
    assert "seconds_an_image_scored" not in kept() and kept()["steps"] == 90
    assert ask(449, never)[1] == ask(90, never)[1] == ""
    assert "measured" in ask(450)[1] and asked[3:] == [2, 3, 3]
    assert "seconds_an_image_scored" in kept()
    assert ask(90, never)[0] == ask(100_000, never)[0]  # at 1 ms a step nothing earns a compilation back


def test_what_a_long_training_compiles_a_short_one_leaves_plain(monkeypatch, tmp_path, no_bf16):
    """At 1 s a step and 0.5 s compiled, 90 s are earned back after 180 steps, and 900 s are looked for."""
    table = {(True, False, False): 1.0, (False, False, False): 1.0, (True, False, True): 0.5}
    monkeypatch.setattr(module, "_step_seconds", timed(table))

    def ask(steps, build=small):
        return find_pace(build, "x", shape=SHAPE, steps=steps, device=CPU, folder=tmp_path)

    assert not ask(600)[0].compiled  # nobody has looked
    pace, told = ask(1000)
    assert pace.compiled and "measured" in told
    assert ask(2000, never) == (pace, "") and ask(181, never)[0].compiled
    assert ask(180, never)[0] == replace(pace, compiled=False)


def test_a_damaged_file_is_measured_again(tmp_path):
    (tmp_path / f"{machine_key('x', SHAPE, CPU)}.json").write_text("{")
    _, told = find_pace(small, "x", shape=SHAPE, steps=1000, device=CPU, folder=tmp_path)
    assert "measured" in told


@pytest.mark.parametrize(
    ("precision", "cpu", "gpu"), [("auto", False, True), ("float32", False, False), ("tf32", False, False), ("bf16", True, True)]
)
def test_a_precision_that_is_asked_for_is_not_measured_away(monkeypatch, tmp_path, precision, cpu, gpu):
    """bfloat16 takes a tenth of the time here, and only where the precision is left open does that decide."""
    monkeypatch.setattr(module, "has_bf16", lambda: True)
    monkeypatch.setattr(module, "_step_seconds", lambda model, pace, *_, **__: 0.1 if pace.bf16 else 1.0)
    assert default_pace(CPU, precision).bf16 == cpu and default_pace(torch.device("cuda"), precision).bf16 == gpu
    asked = {"shape": SHAPE, "device": CPU, "folder": tmp_path, "precision": precision}
    assert find_pace(never, "x", steps=10, **asked)[0].bf16 == cpu
    pace, _ = find_pace(small, "x", steps=300, **asked)
    assert pace.bf16 == (precision in ("auto", "bf16"))
    assert find_pace(never, "x", steps=300, **asked) == (pace, "")
    other = {**asked, "precision": "auto" if precision != "auto" else "float32"}
    assert "measured" in find_pace(small, "x", steps=300, **other)[1]  # kept apart


def test_a_candidate_has_to_be_clearly_faster(monkeypatch, no_bf16):
    table = {(True, False, False): 1.0, (False, False, False): 0.95}
    monkeypatch.setattr(module, "_step_seconds", timed(table))
    assert measure_pace(small, shape=SHAPE, steps=300, device=CPU)[0].channels_last
    table[False, False, False] = 0.5
    assert not measure_pace(small, shape=SHAPE, steps=300, device=CPU)[0].channels_last


def test_compiling_has_to_pay_back_what_it_costs(monkeypatch, no_bf16):
    """At 1 s a step and a gain of 0.2 s, 90 s of compilation are paid back after 450 steps; it is tried from 900 s on."""
    table = {(True, False, False): 1.0, (False, False, False): 1.0, (True, False, True): 0.8}
    monkeypatch.setattr(module, "_step_seconds", timed(table))
    assert not measure_pace(small, shape=SHAPE, steps=400, device=CPU)[0].compiled
    assert measure_pace(small, shape=SHAPE, steps=1000, device=CPU)[0].compiled
    table[True, False, True] = 0.95  # 50 s of 1000
    assert not measure_pace(small, shape=SHAPE, steps=1000, device=CPU)[0].compiled


def test_the_fused_optimiser_is_taken_where_it_is_clearly_faster(monkeypatch, no_bf16):
    gain = {True: 0.95}
    monkeypatch.setattr(module, "_step_seconds", lambda model, pace, *_, **__: gain.get(pace.fused, 1.0))
    assert not measure_pace(small, shape=SHAPE, steps=300, device=CPU)[0].fused
    gain[True] = 0.9
    assert measure_pace(small, shape=SHAPE, steps=300, device=CPU)[0].fused


@pytest.mark.parametrize(
    ("compiled", "graphs", "chosen"),
    [(0.8, 0.7, (True, True)), (0.8, 0.85, (True, False)), (0.99, 0.7, (True, True)), (0.99, 0.98, (False, False))],
)
def test_cuda_graphs_are_tried_after_compiling_alone(monkeypatch, no_bf16, compiled, graphs, chosen):
    """At 1 s a step over 1,000 steps a gain has to be worth 90 s."""
    seconds = {(False, False): 1.0, (True, False): compiled, (True, True): graphs}
    monkeypatch.setattr(module, "_step_seconds", lambda model, pace, *_, **__: seconds[pace.compiled, pace.graphs])
    monkeypatch.setattr(module, "_compilations", lambda device: _compilations(torch.device("cuda")))
    pace, _ = measure_pace(small, shape=SHAPE, steps=1000, device=CPU)
    assert (pace.compiled, pace.graphs) == chosen


@pytest.mark.slow
@pytest.mark.parametrize("adapt", ["fixed", "gradient_cosine"])
def test_a_compiled_student_trains_as_the_plain_one_does(monkeypatch, adapt, tmp_path):
    """Adapting by gradients goes back through a step several times, which a compiled network refuses: it is left plain."""
    teacher = train_teacher(DIGITS, TEACHER, tmp_path)
    config = TrialConfig(
        data=DIGITS,
        student=StudentConfig("resnet8"),
        teacher=replace(TEACHER, training=None, checkpoint=str(teacher)),
        loss=LossConfig(1.0, 1.0, adapt=adapt),
        recipe=RecipeConfig(batch=32),
        epochs=1,
    )
    plain = Workshop(threads=1).trial(config)
    monkeypatch.setattr(Workshop, "pace", lambda self, config, steps: Pace(compiled=True, fused=True))
    made = Workshop(threads=1).trial(config)
    assert (made.parallel is made.student) == (adapt == "gradient_cosine")
    plain.advance(64), made.advance(64)
    for name, value in plain.student.state_dict().items():
        torch.testing.assert_close(made.student.state_dict()[name], value, rtol=2e-3, atol=1e-4)


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(monkeypatch, no_bf16):
    def step(model, pace, images, labels, repeats=3):
        if pace.compiled:
            raise RuntimeError("no compiler")
        return 1.0

    monkeypatch.setattr(module, "_step_seconds", step)
    pace, facts = measure_pace(small, shape=SHAPE, steps=10_000, device=CPU)
    assert not pace.compiled and facts["compile"] == "RuntimeError: no compiler"


def test_measuring_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    measure_pace(small, shape=SHAPE, steps=300, device=CPU)
    torch.testing.assert_close(torch.rand(3), expected)


def test_the_key_tells_machines_students_and_batches_apart(monkeypatch):
    known = machine_key("x", SHAPE, CPU)
    assert known == machine_key("x", SHAPE, CPU)
    found = {known, machine_key("y", SHAPE, CPU), machine_key("x", (8, 1, 8, 8), CPU)}
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    found.add(machine_key("x", SHAPE, CPU))
    torch.set_num_threads(threads)
    for place, value in (("autokd.train.pace._processor", lambda: "another"), ("torch.__version__", "9.9")):
        with monkeypatch.context() as patch:
            patch.setattr(place, value)
            found.add(machine_key("x", SHAPE, CPU))
    assert len(found) == 6


def test_another_pace_trains_the_same_student_and_a_checkpoint_brings_its_own(monkeypatch, tmp_path):
    config = TrialConfig(
        data=DataConfig("digits", fraction=0.2),
        student=StudentConfig("resnet8x0.5"),
        method=MethodConfig("ce"),
        loss=LossConfig(1.0, 0.0),
        recipe=RecipeConfig(batch=32),
        epochs=1,
    )
    first = Workshop(threads=1).trial(config)
    monkeypatch.setattr(Workshop, "pace", lambda self, config, steps: Pace(channels_last=False, evaluation=128))
    other = Workshop(threads=1).trial(config)
    one, two = first.advance(96), other.advance(96)
    assert other.student.state_dict()["conv1.weight"].is_contiguous()
    for name, value in first.student.state_dict().items():
        torch.testing.assert_close(other.student.state_dict()[name], value, rtol=2e-3, atol=1e-4)
    assert one.val_loss == pytest.approx(two.val_loss, rel=1e-3)
    first.save(tmp_path)
    other.load(tmp_path)
    assert other.pace == first.pace
    assert other.advance(192).val_loss == first.advance(192).val_loss
