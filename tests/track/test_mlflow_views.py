"""The views that MLflow's page opens with. That the page understands them is tested in tests/cli/test_ui_in_browser.py."""

from __future__ import annotations

import base64
import json
import random
import zlib

from hypothesis import given
from hypothesis import strategies as st

from autokd.track.mlflow_views import Knobs, address, latest, note, parameter, saved_view, saved_views, search_note

KD = {"method": "kd", "method.kd.temperature": 4.0}


def seen(*trials):
    """Knobs of trials given as (values, parameters)."""
    knobs = Knobs()
    for number, (values, params) in enumerate(trials):
        knobs.see(f"t{number}", values, {"student.name": "s", **params})
    return knobs


def state(view):
    """What the page reads of a tag: a word that names the packing, then zlib's bytes in base 64."""
    word, _, packed = json.loads(view[1])["state"].partition(";")
    assert word == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_a_knob_of_the_space_is_found_under_the_name_that_its_parameter_has():
    params = {"ratio": 0.5, "teacher.name": "big", "method.name": "kd", "method.settings.temperature": 4, "recipe.lr": 0.1}
    wanted = {"ratio": "ratio", "teacher": "teacher.name", "method": "method.name", "recipe.lr": "recipe.lr",
              "method.kd.temperature": "method.settings.temperature", "policy.jda.probability": None}  # fmt: skip
    assert {knob: parameter(knob, params) for knob in wanted} == wanted


def test_what_every_trial_has_shares_a_chart_and_what_some_have_gets_its_own():
    a = ({"recipe.lr": 0.1, **KD}, {"recipe.lr": 0.1, "method.name": "kd", "method.settings.temperature": 4.0, "fixed": 1})
    b = ({"recipe.lr": 0.1, **KD}, {"recipe.lr": 0.1, "method.name": "kd", "method.settings.temperature": 4.0, "fixed": 1})
    c = ({"recipe.lr": 0.2, "method": "ce"}, {"recipe.lr": 0.2, "method.name": "ce", "fixed": 1})
    assert seen(a, b).charts() == [[]]  # nothing differs yet
    assert seen(a, b, c).charts() == [["method.name", "recipe.lr"], ["method.settings.temperature"]]
    assert seen(a, c).charts() == [["method.name", "recipe.lr"]]  # a chart of one trial says nothing


def test_a_parameter_that_was_not_drawn_is_no_knob():
    assert seen(({"ratio": 0.1}, {"ratio": 0.1, "seed": 1}), ({"ratio": 0.2}, {"ratio": 0.2, "seed": 2})).charts() == [["ratio"]]


def test_seeing_a_trial_tells_whether_the_charts_are_others_now_and_a_replay_changes_nothing():
    knobs = Knobs()
    told = [knobs.see(f"t{n}", {"ratio": r}, {"ratio": r}) for n, r in enumerate((0.1, 0.1, 0.2, 0.3))]
    assert told == [False, False, True, False]
    assert not knobs.see("t0", {"ratio": 9.0}, {"ratio": 9.0})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.booleans()), min_size=1, max_size=12), st.integers(0, 9))
def test_the_order_of_the_trials_changes_no_chart(trials, seed):
    made = []
    for method, ratio, warm in trials:
        some = {"ratio": ratio} | ({"recipe.warmup": ratio} if warm else {})
        made.append(({"method": method, **some}, {"method.name": method, **some}))
    other = random.Random(seed).sample(made, len(made))
    assert [sorted(axes) for axes in seen(*made).charts()] == [sorted(axes) for axes in seen(*other).charts()]


def test_a_view_filters_by_the_search_groups_by_budget_and_sorts_by_accuracy():
    view = saved_view("digits-1", [["ratio"], ["method.settings.temperature"]], columns=["tags.`arm`"], began=7, parent="abc")
    assert view[0] == "mlflow.sharedViewState.digits-1"
    assert {key: json.loads(view[1])[key] for key in ("name", "createdAt", "parent")} == {
        "name": "digits-1", "createdAt": 7, "parent": "abc",
    }  # fmt: skip
    told = state(view)
    assert told["searchFilter"] == "tags.`autokd.run` = 'digits-1'"
    assert told["groupBy"] == {"aggregateFunction": "max", "groupByKeys": [{"mode": "tag", "groupByData": "budget"}]}
    assert (told["orderByKey"], told["orderByAsc"]) == ("metrics.`val_top1`", False)
    first = ["metrics.`val_top1`", "tags.`autokd.status`", "tags.`arm`", "params.`ratio`", "params.`method.settings.temperature`"]
    assert told["selectedColumns"][:5] == first and told["columnOrder"][1:6] == first
    parallel = [one for one in told["compareRunCharts"] if one["type"] == "PARALLEL"]
    assert [one["selectedParams"] for one in parallel] == [["ratio"], ["method.settings.temperature"]]
    places = {one["uuid"] for one in told["compareRunSections"]}
    assert {one["metricSectionId"] for one in told["compareRunCharts"]} < places


def test_a_view_that_mlflow_would_not_take_is_made_smaller_or_left_out():
    noise = random.Random(0)
    charts = [["".join(noise.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=200)) for _ in range(8)] for _ in range(5)]
    view = saved_view("digits-1", charts)
    assert len(view[1]) <= 5000 and 0 < len([one for one in state(view)["compareRunCharts"] if one["type"] == "PARALLEL"]) < 5
    assert saved_view("".join(noise.choices("abcdefghijklmnopqrstuvwxyz", k=9000)), []) is None


def test_an_address_names_the_view_and_escapes_what_an_address_must_not_have():
    place = address("3", "digits-1/confirm", charts=True)
    assert place.startswith("/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=digits-1%2Fconfirm")
    assert place.endswith("&compareRunsMode=CHART") and "compareRunsMode" not in address("3", "digits-1")


def tags_of(**began):
    return dict(saved_view(name, [], began=time, parent=f"id of {name}") for name, time in began.items())


def test_searches_are_listed_the_newest_first_and_what_is_part_of_one_last():
    tags = {**tags_of(old=1, new=3), **dict([saved_view("new/confirm", [], began=9, parent="c")])}
    tags |= {"mlflow.sharedViewState.of-a-person": json.dumps({"name": "mine", "createdAt": 99, "state": "{}"}),
             "mlflow.sharedViewState.damaged": "{", "other": "x"}  # fmt: skip
    assert saved_views(tags) == {"new": "id of new", "old": "id of old", "new/confirm": "c"}
    text = note("1", saved_views(tags))
    assert text.startswith("The newest search of autokd here is **new**: [trials by budget](#/experiments/1/runs?")
    assert "[report, front and table](#/experiments/1/runs/id of new/artifacts)" in text.splitlines()[0]
    assert [line[:7] for line in text.splitlines()[2:]] == ["- **old", "- **new"]


def test_a_persons_own_description_is_left_alone_and_ours_is_brought_up_to_date():
    searches = {"new": "n", "old": "o"}
    text = note("1", searches)
    assert note("1", searches, "What I found in May") is None
    assert note("1", searches, text) is None  # nothing to write
    assert note("1", searches, note("1", {"old": "o"})) == text
    assert note("1", {}) is None


def test_the_newest_search_is_found_among_the_experiments_and_any_by_name():
    def one(number, **tags):
        return {"experiment_id": number, "tags": [{"key": key, "value": value} for key, value in tags.items()]}

    experiments = [
        one("1", **{**tags_of(a=1, b=2), "autokd.latest": "200 b"}),
        one("2", **{**tags_of(c=3), "autokd.latest": "1000 c"}),
        one("3", **{"autokd.latest": "9000 without a view"}),
        {"experiment_id": "0"},
    ]
    assert latest(experiments) == ("2", "c")
    assert latest(experiments, "a") == ("1", "a")
    assert latest(experiments, "z") is None and latest([]) is None


def test_a_search_describes_itself_with_the_best_of_each_budget():
    row = {"student": "s", "teacher": "b", "method": "kd", "policy": "none", "ratio": "0.5"}
    front = [{**row, "best_of": "tiny", "trial": "t1", "val_top1": "0.9"}, {**row, "best_of": "", "trial": "t2", "val_top1": "1"},
             {**row, "best_of": "big any", "trial": "t3", "val_top1": "0.95125"}]  # fmt: skip
    lines = search_note("1", "digits-1", "abc", front=front, trials={"t3": "id3"}).splitlines()
    assert lines[0].startswith("A search of autokd: [trials by budget](")
    assert lines[4:] == [
        "| any | [t3](#/experiments/1/runs/id3) | 95.12% | s | b | kd | none | 0.5 |",
        "| big | [t3](#/experiments/1/runs/id3) | 95.12% | s | b | kd | none | 0.5 |",
        "| tiny | t1 | 90.00% | s | b | kd | none | 0.5 |",
    ]
    assert search_note("1", "digits-1/confirm", "abc", what="confirmation").startswith("A confirmation of autokd: ")


def test_names_in_the_description_of_a_search_are_words():
    names = dict.fromkeys(("student", "teacher", "method", "policy", "ratio"), "<img src=x onerror=alert(1)>")
    row = {"best_of": "tiny", "trial": "t00000", "val_top1": "0.5", **names}
    told = search_note("1", "made-1", "abc", front=[row])
    assert told.count("&lt;img src=x") == 5 and "<img" not in told
