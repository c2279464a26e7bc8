"""What is timed, when, and what is kept. No network runs here: a fake gives each its time."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import pytest

from autokd.config.limits import Budget, Deployment
from autokd.config.trial import StudentConfig, TeacherConfig
from autokd.cost.latency import Estimate, Timing
from autokd.errors import AutokdError, Faults
from autokd.models import origin as origin_room
from autokd.search import timed as timing_room
from autokd.search.feasible import Counted, feasible, timed
from autokd.search.run import told_of
from autokd.search.timed import Asked, Measured, machine, of_ledger, time_all

MS = {"little": 1.0, "middle": 2.0, "much": 4.0, "teacher": 20.0}


def told(ms: float, spread: float = 0.1, doubt: str = "") -> Timing:
    return Timing(Estimate(ms, ms * (1 - spread), ms * (1 + spread)), Estimate(1.5 * ms, ms, 2 * ms), 50, doubt)


class Stopwatch:
    """Stands for the process that times: counts what it was asked."""

    def __init__(self, **settings):
        self.settings, self.asked = settings, []

    def __call__(self, deployment, asked, tell):
        self.asked += [(one.name, deployment) for one in asked]
        return {one.key: told(MS[one.name], **self.settings) for one in asked}

    def names(self):
        return [name for name, _ in self.asked]


def ask(name, **deployment):
    return Asked(name, name, {}, 10, 1, 8, Deployment(**deployment), where="space.yaml:9")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "latencies.json"


def test_what_was_measured_on_this_machine_is_not_measured_again(path):
    watch = Stopwatch()
    first = time_all([ask("little"), ask("much")], path=path, run=watch)
    again = time_all([ask("little"), ask("much"), ask("middle")], path=path, run=watch)
    assert watch.names() == ["little", "much", "middle"]
    assert first.timings[ask("little").key] == again.timings[ask("little").key] == told(1.0)
    time_all([ask("little")], path=path, run=watch, again=True)
    assert watch.names() == ["little", "much", "middle", "little"]


DEPLOYED = {"batch": 2, "threads": 2, "runtime": "compiled", "dtype": "bfloat16"}
NETWORK = {"size": 16, "channels": 3, "classes": 9, "options": {"width": 2}, "model": "middle"}


@pytest.mark.parametrize("change", [*DEPLOYED, *NETWORK, "code", "_processor", "cpu_count", "python", "torch"])
def test_another_condition_image_network_code_or_machine_is_measured_for_itself(path, change, monkeypatch):
    watch = Stopwatch()
    time_all([ask("little")], path=path, run=watch, code="a")
    other = ask("little", **({change: DEPLOYED[change]} if change in DEPLOYED else {}))
    if change in NETWORK:
        other = Asked(**{**vars(other), change: NETWORK[change]})
    if change == "_processor":
        monkeypatch.setattr(timing_room, "_processor", lambda: "another processor")
    if change == "python":
        monkeypatch.setattr(timing_room.platform, "python_version_tuple", lambda: ("3", "99", "0"))
    if change == "torch":
        monkeypatch.setattr(timing_room.metadata, "version", lambda name: "9.9")
    monkeypatch.setattr(timing_room, "cpus", lambda: 99 if change == "cpu_count" else 2)
    time_all([other], path=path, run=watch, code="b" if change == "code" else "a")
    assert len(watch.asked) == 2


def test_own_networks_are_kept_by_what_their_code_says_and_timed_each_time_where_that_cannot_be_known(path, tmp_path):
    def times(source, options=None, name="own.py:net"):
        (tmp_path / "own.py").write_text(source)
        time_all([Asked("little", f"{tmp_path}/{name}", options or {}, 10, 1, 8, Deployment())], path=path, run=watch)
        return len(watch.asked)

    watch = Stopwatch()
    assert times("def net(classes): return 1\n") == 1
    assert times("# of no matter\ndef net(classes): return 1\n") == 1
    assert times("def net(classes): return 2\n") == 2
    assert times("def net(classes): return 1\n") == 2
    (tmp_path / "layers.json").write_text("[8, 16]")
    named = {"layers": f"{tmp_path}/layers.json"}  # what the file says is built, too
    assert times("def net(classes): return 1\n", named) == 3 and times("def net(classes): return 1\n", named) == 4
    assert times("", name="gone.py:net") == 5 and times("", name="gone.py:net") == 6


def test_a_run_does_not_keep_the_time_of_an_own_network_whose_code_has_changed(path, tmp_path):
    (tmp_path / "own.py").write_text("def net(classes): return 1\n")
    own = Asked("little", f"{tmp_path}/own.py:net", {}, 10, 1, 8, Deployment())
    first = time_all([own], path=path, run=Stopwatch())
    watch = Stopwatch()
    time_all([own], path=path, run=watch, kept=first)
    assert not watch.asked
    (tmp_path / "own.py").write_text("def net(classes): return 2\n")
    time_all([own], path=path, run=watch, kept=first)
    assert len(watch.asked) == 1


def test_a_torn_or_foreign_cache_file_is_as_good_as_none(path):
    for text in ("{", "[]", '{"code": "", "timings": {"x": {"median": 3}}}'):
        path.write_text(text)
        assert time_all([ask("little")], path=path, run=Stopwatch()).timings[ask("little").key] == told(1.0)


def test_what_is_not_to_be_trusted_is_told_by_name_and_measured_again_by_the_next_command(path):
    (note,) = time_all([ask("little"), ask("much")], path=path, run=Stopwatch(doubt="others ran")).notes
    assert note.startswith("latency not trustworthy (little: others ran; much: others ran); it excludes no student; ")
    assert "--remeasure" in note
    watch = Stopwatch()
    assert time_all([ask("little"), ask("much")], path=path, run=watch).notes == () and watch.names() == ["little", "much"]
    time_all([ask("little"), ask("much")], path=path, run=watch)
    assert watch.names() == ["little", "much"]  # trusted now, and kept


def test_a_time_that_is_not_what_it_was_is_not_trusted_until_it_is_measured_once_more(path, monkeypatch):
    first = time_all([ask("little")], path=path, run=Stopwatch(spread=0.02))
    assert not first.notes
    monkeypatch.setitem(MS, "little", 1.3)
    (note,) = time_all([ask("little")], path=path, run=Stopwatch(spread=0.02), again=True).notes
    assert "an earlier measurement was 1 ms, this one 1.3 ms" in note
    assert time_all([ask("little")], path=path, run=Stopwatch(spread=0.02)).notes == ()


@pytest.mark.parametrize("model", ["timm:resnet18", "torchvision:resnet18"])
def test_a_librarys_networks_are_kept_by_its_version(path, model, monkeypatch):
    asked, watch = [Asked("little", model, {}, 10, 3, 64, Deployment())], Stopwatch()
    time_all(asked, path=path, run=watch)
    time_all(asked, path=path, run=watch)
    assert len(watch.asked) == 1
    library = model.partition(":")[0]
    monkeypatch.setattr(origin_room, "_version", lambda name: "99.0" if name == library else metadata.version(name))
    time_all(asked, path=path, run=watch)
    assert len(watch.asked) == 2


def test_more_threads_than_the_machine_has_are_a_fault_at_the_budgets_line(path, monkeypatch):
    monkeypatch.setattr(timing_room, "cpus", lambda: 4)
    with pytest.raises(AutokdError, match="with 64 threads cannot be measured here: 4 processors may be used") as fault:
        time_all([ask("little", threads=64)], path=path, run=Stopwatch())
    assert fault.value.where == "space.yaml:9" and "threads: 4" in fault.value.fix


def test_a_gpu_that_is_not_there_is_a_fault_beside_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr(timing_room, "_gpu", lambda: "none")
    cuda = Budget("gpu", latency_ms=5.0, deployment=Deployment(device="cuda", threads=10**6), where="s.yaml:3")
    with pytest.raises(Faults) as fault:
        fitted(monkeypatch, tmp_path, cuda, Budget("tiny", params=1.0, where="s.yaml:4"))
    said = [str(one).splitlines()[0] for one in fault.value.faults]
    assert [one.split(":")[1] for one in said] == ["3", "3", "4"]
    assert "on a GPU cannot be measured here" in said[0] and "1000000 threads" in said[1] and "no student fits" in said[2]


# --- a space


def space(*budgets):
    students = {name: StudentConfig(name) for name in ("little", "middle", "much")}
    pairs = [("teacher", name) for name in students]
    teachers = {"teacher": TeacherConfig("teacher", "teacher")}
    return SimpleNamespace(
        students=students, teachers=teachers, budgets=budgets, pairs=lambda: pairs, cheaper_than_teacher=True
    )


COSTS = {name: Counted(100 * place, 1000 * place, 400 * place, 500 * place) for place, name in enumerate(MS, start=1)}
CARD = SimpleNamespace(classes=10, channels=1, size=8)


def fitted(monkeypatch, tmp_path, *budgets, past=(), watch=None):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path))
    monkeypatch.setattr(timing_room, "_in_a_process", watch or Stopwatch())
    asked = space(*budgets)
    costs = {name: COSTS[name] for name in asked.students}
    costs, teachers, latencies, notes = timed(asked, costs, {"teacher": COSTS["teacher"]}, CARD, past=past)
    return feasible(asked.pairs(), budgets, costs, teachers, latencies=latencies, notes=notes)


def test_a_latency_divides_the_students_and_a_share_is_of_the_teachers_own_time(monkeypatch, tmp_path):
    found = fitted(monkeypatch, tmp_path, Budget("quick", latency_ms=2.0), Budget("half", of_teacher={"latency_ms": 0.1}),
                   Budget("p90", latency_ms=2.9, statistic="p90"))  # fmt: skip
    assert [student for _, student in found.pairs["quick"]] == ["little", "middle"]
    assert [student for _, student in found.pairs["half"]] == ["little", "middle"]  # a tenth of 20 ms
    assert [student for _, student in found.pairs["p90"]] == ["little"]  # 1.5 ms; middle's is 3 ms
    assert found.unused == ("much",)


def test_a_rectangle_is_timed_as_one(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules[__name__], "CARD", SimpleNamespace(classes=10, channels=1, size=(64, 16)))
    asked = []

    def watch(deployment, some, tell):
        asked.extend(some)
        return Stopwatch()(deployment, some, tell)

    fitted(monkeypatch, tmp_path, Budget("quick", latency_ms=2.0), watch=watch)
    assert {one.size for one in asked} == {(64, 16)}
    assert len({replace(asked[0], size=size).key for size in ((64, 16), (16, 64), 64, 16)}) == 4


def test_a_limit_inside_the_interval_is_marginal_and_the_value_decides(monkeypatch, tmp_path):
    watch = Stopwatch(spread=0.1)
    found = fitted(monkeypatch, tmp_path, Budget("under", latency_ms=1.95), Budget("over", latency_ms=2.05),
                   Budget("clear", latency_ms=3.0), watch=watch)  # fmt: skip
    assert found.marginal == {"under": ("middle",), "over": ("middle",)}  # middle: 1.8 to 2.2 ms
    assert [student for _, student in found.pairs["under"]] == ["little"]
    assert [student for _, student in found.pairs["over"]] == ["little", "middle"]


def test_a_share_of_an_uncertain_teacher_is_marginal_where_the_intervals_meet(monkeypatch, tmp_path):
    # 0.22 of 18 to 22 ms: 3.96 to 4.84; much takes 3.6 to 4.4 ms
    found = fitted(monkeypatch, tmp_path, Budget("share", of_teacher={"latency_ms": 0.22}))
    assert found.marginal == {"share": ("much",)}


@pytest.mark.parametrize("doubted", ["much", "teacher"])
def test_a_latency_that_is_not_to_be_trusted_leaves_no_student_out(monkeypatch, tmp_path, doubted):
    def watch(deployment, some, tell):
        return {one.key: told(MS[one.name], doubt="others ran" * (one.name == doubted)) for one in some}

    quick = Budget("quick", latency_ms=2.5), Budget("quick and small", latency_ms=2.5, params=200.0)
    share = Budget("share", of_teacher={"latency_ms": 0.11})  # 2.2 of 20 ms
    found = fitted(monkeypatch, tmp_path, *quick, share, watch=watch)
    fits = {name: [student for _, student in pairs] for name, pairs in found.pairs.items()}
    every = ["little", "middle", "much"]
    if doubted == "much":
        assert fits == {"quick": every, "quick and small": every[:2], "share": every}
        assert found.doubtful == {"quick": ("much",), "share": ("much",)} and found.marginal == {"share": ("middle",)}
    else:
        assert fits == {"quick": every[:2], "quick and small": every[:2], "share": every}
        assert found.doubtful == {"share": ("little", "middle", "much")} and found.marginal == {}
    assert any(told.startswith("not excluded, since the latency is not trustworthy: ") for told in told_of(found))
    again = fitted(monkeypatch, tmp_path / "b", *quick, share, past=begun(found), watch=watch)
    assert again.pairs == found.pairs and again.doubtful == found.doubtful


def test_only_what_keeps_the_other_limits_is_timed_once_a_deployment(monkeypatch, tmp_path):
    watch = Stopwatch()
    budgets = Budget("a", params=200.0, latency_ms=5.0), Budget("b", file_size=400.0, latency_ms=9.0, statistic="p90")
    found = fitted(monkeypatch, tmp_path, *budgets, Budget("c", macs=9999.0), watch=watch)
    assert watch.names() == ["little", "middle"]
    assert [student for _, student in found.pairs["b"]] == ["little"] and len(found.pairs["c"]) == 3
    assert fitted(monkeypatch, tmp_path, Budget("c", macs=9999.0)).latencies is None


def test_impossible_limits_of_every_kind_are_told_at_once(monkeypatch, tmp_path):
    kinds = {"params": 1.0, "file_size": 1.0, "memory": 1.0, "latency_ms": 0.5}
    with pytest.raises(Faults) as fault:
        fitted(monkeypatch, tmp_path, *(Budget(name, **{name: limit}, where="s.yaml:3") for name, limit in kinds.items()))
    said = [str(one) for one in fault.value.faults]
    assert all(one.startswith("s.yaml:3: no student fits the budget") for one in said)
    for words in ("100 params", "400 bytes of file", "500 bytes of memory", "1 ms"):
        assert sum(f"little needs {words}" in one for one in said) == 1


def test_a_trial_is_recorded_with_all_its_costs(monkeypatch, tmp_path):
    budgets = Budget("any"), Budget("a", latency_ms=9.0), Budget("b", latency_ms=9.0, statistic="p90")
    found = fitted(monkeypatch, tmp_path, *budgets)
    conditions = "median, batch 1, cpu, 1 thread, torch, float32"
    assert found.told("middle", budgets) == {
        "params": 200, "macs": 2000, "file_size": 800, "memory": 1000, "latency_ms": 2.0,
        "latencies": {conditions: 2.0, conditions.replace("median", "p90"): 3.0},
    }  # fmt: skip


# --- a run that goes on


def begun(found, **changes):
    return [json.loads(json.dumps({"event": "begin", "latencies": {**found.latencies, **changes}}))]


def test_a_resume_goes_by_the_ledger_though_the_cache_is_gone(monkeypatch, tmp_path):
    budget = Budget("quick", latency_ms=2.0)
    first = fitted(monkeypatch, tmp_path / "a", budget)
    watch = Stopwatch()
    again = fitted(monkeypatch, tmp_path / "b", budget, past=begun(first), watch=watch)
    assert watch.asked == [] and again.pairs == first.pairs and again.notes == ()


def test_a_resume_on_another_machine_says_so_and_keeps_what_divided_the_budgets(monkeypatch, tmp_path):
    budget = Budget("quick", latency_ms=2.0)
    past = begun(fitted(monkeypatch, tmp_path / "a", budget), machine={**machine(), "processor": "an old one", "cpus": 99})
    watch = Stopwatch()
    again = fitted(monkeypatch, tmp_path / "b", budget, past=past, watch=watch)
    assert watch.asked == [] and again.latencies["machine"]["processor"] == "an old one"
    (note,) = again.notes
    assert "an old one (99 processors)" in note and "they are kept" in note


def test_a_resume_that_asks_for_more_on_another_machine_measures_all_again(monkeypatch, tmp_path):
    past = begun(fitted(monkeypatch, tmp_path / "a", Budget("quick", latency_ms=2.0)), machine={"processor": "an old one"})
    watch = Stopwatch()
    more = Budget("quick", latency_ms=2.0), Budget("batch", latency_ms=2.0, deployment=Deployment(batch=2))
    (note,) = fitted(monkeypatch, tmp_path / "b", *more, past=past, watch=watch).notes
    assert "all are measured again" in note and len(watch.asked) == 6


def test_the_last_session_speaks_and_a_run_without_latencies_has_none():
    assert of_ledger([{"event": "begin"}, {"event": "trial"}]) is None
    entry = {"student": "little", "network": "k", **told(1.0).to_dict()}
    events = [{"event": "begin", "latencies": {"machine": {}, "timings": [entry]}},
              {"event": "resume", "latencies": {"machine": {"cpus": 3}, "timings": [entry, {"network": "torn"}]}}]  # fmt: skip
    assert of_ledger(events) == Measured({"cpus": 3}, {"k": told(1.0)})


def test_networks_are_really_timed_in_a_process_and_a_fault_names_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(timing_room, "_CAP", 0.2)
    said = []
    with pytest.raises(AutokdError) as fault:  # the one that cannot be built does not keep the other from being timed
        some = [Asked(n, n, {}, 10, 1, 8, Deployment(), where="s.yaml:4") for n in ("resnet9", "resnet8")]
        time_all(some, path=tmp_path / "c.json", tell=said.append)
    assert said[0] == "timing 2 networks (batch 1, cpu, 1 thread, torch, float32)"
    assert said[1].startswith("timed resnet8: median ") and said[1].endswith("(1 of 2)")
    assert fault.value.where == "s.yaml:4" and "resnet9" in fault.value.what


def test_a_network_over_which_a_signal_ends_the_process_is_told_so_and_another_process_times_the_rest(path, monkeypatch):
    dump = 'Fatal Python error: Segmentation fault\n\nStack (most recent call first):\n  File "/me/own.py", line 5 in forward\n'
    begun = []

    def process(deployment, asked, found, faults, tell, *, of):
        begun.append([one.name for one in asked.values()])
        first, *rest = asked
        if asked[first].name == "much":
            return set(), first, (-11, dump)
        found |= {key: told(MS[one.name]) for key, one in asked.items()}
        return set(asked), rest[-1] if rest else first, (0, "")

    monkeypatch.setattr(timing_room, "_one_process", process)
    with pytest.raises(AutokdError) as fault:
        time_all([ask("much"), ask("little"), ask("middle")], path=path)
    assert fault.value.what == "much cannot be timed: its process was ended by SIGSEGV (segmentation fault) in forward (own.py:5)"
    assert fault.value.where == "space.yaml:9" and begun == [["much", "little", "middle"], ["little", "middle"]]
