"""A trial on two workers, joined by gloo on the CPU."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import parallel_fakes
import pytest
import torch

from autokd.models.checkpoint import save_weights


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def alone_and_together(folder, student, batch):
    """The same ten steps by one process and by two: what each left."""
    torch.manual_seed(0)
    save_weights(parallel_fakes.plain(10), folder / "teacher.safetensors")
    config = parallel_fakes.config_of(student, folder / "teacher.safetensors", batch)
    parallel_fakes.train(0, 1, 0, config, folder, 10 * batch)
    arguments = (2, free_port(), config, folder, 10 * batch)
    torch.multiprocessing.spawn(parallel_fakes.train, arguments, nprocs=2, join=True)
    return [torch.load(folder / f"{name}.pt") for name in ("1-0", "2-0", "2-1")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "batch"),  # 63: 16 + 16 rows for one worker and 15 + 16 for the other
    [("plain", 64), ("plain", 63), ("Partly", 64)],
)
def test_two_workers_take_the_steps_of_one_with_the_whole_batch(tmp_path, student, batch):
    one, two, other = alone_and_together(tmp_path, f"parallel_fakes:{student}", batch)
    for part in ("student", "average"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=1e-4, atol=1e-5)  # sums in another order
            assert torch.equal(two[part][name], other[part][name])
    assert two["report"]["val_top1"] == pytest.approx(one["report"]["val_top1"], abs=0.011)  # 3 of 288 images
    assert two["report"]["images"] == one["report"]["images"] == 10 * batch
    start = parallel_fakes.plain(10).state_dict()
    prefix = "body." * (student == "Partly")
    moved = sum((one["student"][prefix + name] - start[name]).abs().sum().item() for name in start)
    assert moved > 1  # so that equal weights are trained ones


@pytest.mark.slow
def test_with_batch_normalisation_workers_agree_with_each_other_and_nearly_with_one(tmp_path):
    """Each normalises its own 32 rows rather than all 64, so the weights differ by the noise of those statistics."""
    one, two, other = alone_and_together(tmp_path, "resnet8x0.5", 64)
    for part in ("student", "average"):
        assert all(torch.equal(two[part][name], other[part][name]) for name in two[part])
    apart = sum(
        (two["student"][n].float() - v.float()).square().sum() for n, v in one["student"].items() if "running" not in n
    )
    whole = sum(v.float().square().sum() for n, v in one["student"].items() if "running" not in n)
    assert 0 < (apart / whole).sqrt() < 0.2
    assert two["report"]["train_loss"] == pytest.approx(one["report"]["train_loss"], rel=0.1)


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_trains_each_trial_on_two_workers_and_stops_and_follows_on(tmp_path, repository):
    from autokd.search.run import search
    from autokd.track.ledger import FILE, read_events

    space = {
        "name": "pair",
        "data": {"name": "digits", "validation": 0.2},
        "students": ["resnet8x0.5"],
        "space": {"method": "ce", "recipe": {"lr": {"log": [0.01, 0.1]}, "batch": 64}},
        "budgets": [{"name": "all", "params": 1_000_000}],
        "search": {"trials": 2, "epochs": 1, "scheduler": "none"},
        "resources": {"workers": 2, "cpus": 0.5, "gpus": 0},
        "tracking": {"mlflow": False},
    }
    import os

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(repository)]))
        run = search(space, runs=tmp_path)
    assert run.status()["trials"] == {"running": 0, "done": 2, "stopped": 0, "failed": 0}
    reports = [event for event in read_events(run.folder / FILE) if event["event"] == "report"]
    for trial in ("t00000", "t00001"):
        losses = [event["train_loss"] for event in reports if event["trial"] == trial]
        assert losses[-1] < losses[0]
        assert (run.folder / reports[-1]["checkpoint"] / "trial.pt").exists()


def test_a_method_with_parts_of_its_own_is_refused_on_several_workers(tmp_path, monkeypatch):
    from autokd.config.trial import MethodConfig
    from autokd.errors import AutokdError
    from autokd.train.trial import Trial
    from autokd.train.workshop import Workshop

    torch.manual_seed(0)
    save_weights(parallel_fakes.plain(10), tmp_path / "teacher.safetensors")
    config = parallel_fakes.config_of("parallel_fakes:plain", tmp_path / "teacher.safetensors", 64)
    config = config.with_(method=MethodConfig("kd", {"temperature": 4.0}))
    monkeypatch.setattr(Trial, "_learnable_parts", lambda self, *_: torch.nn.Linear(1, 1))
    with pytest.raises(AutokdError, match="several workers"):
        Workshop(signals="live").trial(config, rank=0, world=2, wrap=lambda model, **_: SimpleNamespace())
