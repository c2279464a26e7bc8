"""Three Ray nodes on this machine: one is lost or one more joins while a search goes on."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import pytest
from search_fakes import Space, divided

from autokd.errors import AutokdError
from autokd.search.run import search
from autokd.track.ledger import FILE, read_events
from autokd.track.table import read_table

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DIGITS = {
    "name": "nodes",
    "data": {"name": "digits", "validation": 0.2},
    "students": ["resnet8x0.5"],
    "space": {"method": "ce", "recipe": {"lr": {"log": [0.01, 0.1]}, "batch": 64}},
    "budgets": [{"name": "all", "params": 1_000_000}],
    "search": {"trials": 6, "epochs": 40, "scheduler": "none"},  # some seconds each: they run on when a node is lost
    "resources": {"cpus": 1, "gpus": 0},
    "tracking": {"mlflow": False},
}


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, as the driver's own node cannot be lost; nodes are added by `three`."""
    from autokd.search import ray_engine  # noqa: F401  sets what Ray reads when it is imported

    here = Path(__file__).resolve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here.parents[2]}")
        import ray
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def three(cluster):
    """Two nodes of one CPU beside the head."""
    while len(cluster.worker_nodes) > 2:
        cluster.remove_node(next(iter(cluster.worker_nodes)))
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1)
    return cluster


def engine(**bench):
    from autokd.search.ray_engine import RayEngine

    return RayEngine({"factory": "search_fakes:Bench", **bench})


def events(run, *kinds):
    return [event for event in read_events(run.folder / FILE) if event["event"] in kinds]


def node_of(cluster, pid):
    """The node on which a process works, which its raylet has started."""
    parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    (found,) = [one for one in cluster.worker_nodes if raylet_of(one) == parent]
    return found


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


def lose(cluster, pid):
    cluster.remove_node(node_of(cluster, pid), allow_graceful=False)


def once_each(run, trials):
    ends = events(run, "end")
    assert sorted(event["trial"] for event in ends) == [f"t{n:05d}" for n in range(trials)]
    assert {event["status"] for event in ends} == {"done"}
    rows = [(row["trial"], row["rung"]) for row in read_table(run.folder).to_pylist()]
    assert len(rows) == len(set(rows)) and {trial for trial, _ in rows} == {event["trial"] for event in ends}
    marks = collections.defaultdict(list)
    for event in events(run, "report"):
        marks[event["trial"]].append(event["mark"])
    assert all(found == list(range(len(found))) for found in marks.values())


def test_a_node_lost_in_the_middle_of_a_search_costs_no_trial_and_repeats_none(tmp_path, three):
    heard = []

    def watch(event):
        heard.append(event["event"])
        if event["event"] == "report" and event["mark"] == 1 and heard.count("end") >= 2 and "lost" not in heard:
            heard.append("lost")
            lose(three, event["pid"])

    run = search(DIGITS, runs=tmp_path, on_event=watch)
    assert "lost" in heard and len(three.worker_nodes) == 1
    once_each(run, 6)
    pids = collections.defaultdict(list)
    for event in events(run, "report"):
        pids[event["trial"]].append(event["pid"])
    before = {e["trial"] for e in read_events(run.folder / FILE) if e["event"] == "end"}
    assert len(before) == 6
    moved = [trial for trial, some in pids.items() if len(set(some)) > 1]
    assert 1 <= len(moved) <= 2  # what ran there went on elsewhere


def test_a_node_that_joins_in_the_middle_of_a_search_is_given_trials(tmp_path, three):
    places = collections.defaultdict(set)
    known = set(three.worker_nodes)

    def watch(event):
        if event["event"] != "report":
            return
        if set(three.worker_nodes) == known:
            three.add_node(num_cpus=1)
        places[node_of(three, event["pid"])].add(event["trial"])

    # each longer than a process takes to start: else Ray gives what waits for the new one to one that has become free
    space = Space(trials=5, scheduler="none")
    run = search(space, runs=tmp_path, feasible=divided(), engine=engine(slow=4.0), on_event=watch)
    (new,) = set(three.worker_nodes) - known
    assert len(places) == 3 and len(places[new]) >= 1
    once_each(run, 5)


BLIND = """
import os, sys
def hook(event, args):
    if event == "open" and os.environ["BLIND"] in str(args[0]):
        raise FileNotFoundError(2, "No such file or directory", args[0])
sys.addaudithook(hook)
"""


def blind_node(three, folder):
    """A node whose processes find nothing below the folder, as where it is not mounted."""
    (folder / "sitecustomize.py").write_text(BLIND)
    paths = f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}"
    return three.add_node(num_cpus=1, env_vars={"PYTHONPATH": paths, "BLIND": str(folder / "runs")})


def test_a_node_that_does_not_see_the_run_folder_is_told_before_any_trial(tmp_path, three):
    node = blind_node(three, tmp_path)
    with pytest.raises(AutokdError, match="it does not see the folder") as told:
        search(Space(trials=2), runs=tmp_path / "runs", feasible=divided(), engine=engine())
    three.remove_node(node)
    assert "--runs" in told.value.fix and "docs/cluster.md" in told.value.fix
    (folder,) = (tmp_path / "runs").glob("fake-*")
    assert not [e for e in read_events(folder / FILE) if e["event"] == "trial"]
    assert not list((tmp_path / "runs").rglob(".here-*"))


def test_a_trial_of_two_workers_goes_on_from_its_checkpoint_where_one_of_them_is_lost(tmp_path, three):
    heard = []

    def watch(event):
        if event["event"] == "report":
            heard.append((event["mark"], event["pid"]))
            if event["mark"] == 1 and len(heard) == 2:
                three.add_node(num_cpus=1)
                lose(three, event["pid"])

    space = {**DIGITS, "resources": {"cpus": 1, "gpus": 0, "workers": 2}, "search": {**DIGITS["search"], "trials": 1}}
    run = search(space, runs=tmp_path, on_event=watch)
    once_each(run, 1)
    pids = [event["pid"] for event in events(run, "report")]
    assert len(set(pids)) == 2 and pids[0] == pids[1]  # from its checkpoint: nothing is told twice, and by another process
