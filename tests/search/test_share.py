"""How many trials share a machine: what is chosen from what was measured, and that the measuring is a real training."""

from __future__ import annotations

import pytest
import torch

from autokd.config.search_space import load_space
from autokd.config.trial import DataConfig, MethodConfig, RecipeConfig, StudentConfig, TeacherConfig, TrialConfig
from autokd.search import share
from autokd.search.run import fit

GB = 10**9
SPACE = {
    "name": "share",
    "data": {"name": "digits"},
    "teachers": {"wide": {"model": "resnet14", "train": {"epochs": 1}}},
    "students": ["resnet8", "resnet8x0.5"],
    "space": {
        "method": {"choose": {"ce": {}, "kd": {"temperature": {"log": [1, 20]}}}},
        "recipe": {"batch": {"choose": [32, 128, 64]}, "lr": {"log": [0.01, 0.4]}},
    },
    "budgets": [{"name": "any"}],
    "search": {"trials": 10, "epochs": 20},
}


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [({1: 10.0, 2: 9.0}, 1), ({1: 10.0, 2: 10.6}, 1), ({1: 10.0, 2: 10.8}, 2), ({1: 5.0, 2: 6.0, 4: 7.0}, 4)],
)
def test_more_threads_have_to_be_clearly_faster(rates, chosen):
    threads, told = share.best_threads(rates)
    assert threads == chosen
    assert told.startswith(f"a trial gets {chosen} thread") and "10 with 1" in told or "5 with 1" in told


@pytest.mark.parametrize(
    ("peak", "total", "cores", "gpus", "count"),
    [
        (GB, 80 * GB, 16, 1, 8),  # 72 GB hold 44 of 1.63 GB, but eight are the most
        (GB, 80 * GB, 4, 1, 4),  # a core each
        (GB, 80 * GB, 16, 4, 4),
        (20 * GB, 80 * GB, 16, 1, 3),  # 72 / 20.63
        (79 * GB, 80 * GB, 16, 1, 1),
        (80 * GB, 80 * GB, 1, 2, 1),  # what fits nowhere still gets a GPU to itself
    ],
)
def test_as_many_trials_share_a_gpu_as_its_memory_and_the_cores_hold(peak, total, cores, gpus, count):
    part, told = share.gpu_share(peak, total, cores=cores, gpus=gpus)
    assert part == pytest.approx(1 / count)
    assert told.startswith(f"{count} trials share" if count > 1 else "a trial has a GPU to itself")


def test_the_probes_are_the_costliest_trial_of_each_method():
    space = load_space(SPACE)
    teacher = TeacherConfig("wide", "resnet14", checkpoint="wide.safetensors")
    plain, taught = share.probes(space, fit(space), {"wide": teacher})
    assert (plain.method.name, plain.teacher) == ("ce", None)
    assert taught.method.name == "kd" and taught.teacher == teacher
    assert taught.method.settings["temperature"] == 20
    assert {plain.student.name, taught.student.name} == {"resnet8"}
    assert plain.recipe.batch == taught.recipe.batch == 128


def test_the_images_of_a_search_follow_from_its_length():
    """10 trials x 20 epochs x the digits' 1,438 images of training."""
    assert share.images_of(load_space(SPACE)) == 10 * 20 * 1438
    half = {**SPACE, "data": {"name": "digits", "fraction": 0.5}}
    assert share.images_of(load_space(half)) == 10 * 10 * 1438
    timed = {**SPACE, "search": {"trials": None, "hours": 1, "epochs": 20}}
    assert share.images_of(load_space(timed)) == float("inf")


def test_a_probe_trains_for_about_as_long_as_it_is_told():
    config = TrialConfig(
        data=DataConfig("digits"), student=StudentConfig("resnet8x0.5"), recipe=RecipeConfig(batch=16), epochs=5
    ).with_(method=MethodConfig("ce"))
    probe = share.Probe({"threads": 1}, config.to_dict())
    before = torch.cat([p.detach().flatten().clone() for p in probe.trial.student.parameters()])
    assert probe.ready()
    after = torch.cat([p.detach().flatten() for p in probe.trial.student.parameters()])
    assert not torch.equal(before, after)
    assert probe.rate(0.3) > 0


def test_what_was_measured_is_kept_for_the_same_trials_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path))
    one = TrialConfig(DataConfig("digits"), StudentConfig("resnet8"))
    assert share.recall("threads", [one]) is None
    share.remember("threads", [one], {"1": 10.0, "2": 4.0})
    assert share.recall("threads", [one]) == {"1": 10.0, "2": 4.0}
    assert share.recall("gpu", [one]) is None
    assert share.recall("threads", [one.with_(student=StudentConfig("resnet14"))]) is None
    for place, value in (("platform.node", lambda: "another"), ("cpus", lambda: 99), ("metadata.version", lambda _: "9")):
        with monkeypatch.context() as patch:
            patch.setattr(f"autokd.search.share.{place}", value)
            assert share.recall("threads", [one]) is None


@pytest.mark.slow
@pytest.mark.ray
def test_a_long_search_measures_its_threads_once_and_keeps_what_it_found(tmp_path, monkeypatch):
    from autokd.search.ray_engine import RayEngine

    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path))
    space = load_space({**SPACE, "search": {"trials": 1000, "epochs": 20}})
    config = TrialConfig(
        DataConfig("digits"), StudentConfig("resnet8x0.5"), method=MethodConfig("ce"), recipe=RecipeConfig(batch=32)
    )
    engine, phases = RayEngine({}), []
    try:
        engine.open(space.resources)
        (told,) = engine.settle(space, lambda: [config], phases.append)
        assert len(phases) == 1 and engine.cpus in (1.0, 2.0) and told.startswith(f"a trial gets {engine.cpus:g} thread")
        assert engine.settle(space, lambda: [config], phases.append) == [told] and len(phases) == 1
        asked = load_space({**SPACE, "search": {"trials": 1000, "epochs": 20}, "resources": {"cpus": 1}})
        assert engine.settle(asked, lambda: [config], phases.append) == []
    finally:
        engine.close()
