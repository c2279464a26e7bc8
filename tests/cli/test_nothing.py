"""A search of which nothing comes out: exit code 4, the reasons in the table, and no command that would need a student."""

from __future__ import annotations

import json

from autokd.search.inline_engine import InlineEngine

SPACE = """
name: vain
data: {name: digits, fraction: 0.2}
students: [resnet8x0.25]
space: {policy: none, method: ce, recipe: {lr: 1.0e+20}}
budgets:
  - {name: tiny, params: 20 k}
  - {name: any}
search: {trials: 1, epochs: 1, max_failures: 1}
tracking: {mlflow: false}
"""


def test_a_search_without_a_student_says_so_and_ends_with_4_and_so_do_the_commands_after_it(run, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("autokd.search.run._engine", lambda engine, space: InlineEngine({"threads": 1}))
    monkeypatch.setattr("autokd.cli.results.keep_report", lambda folder: None)
    space, runs = tmp_path / "space.yaml", tmp_path / "runs"
    space.write_text(SPACE, encoding="utf-8")
    code, out, err = run("search", space, "--runs", runs)
    (folder,) = runs.glob("vain-*")
    why = "loss is not finite"
    assert code == 4
    assert f"autokd: {folder}: no student came out: " in err and why in err and f"autokd report {folder}" in err
    assert "search failed: no student came out" in out and "finished" not in out
    table = out[out.index("Budgets without a student") :]
    assert "tiny" in table and "any" in table and table.count("its only trial failed: the ") == table.count(why) == 2
    assert "autokd confirm" not in out and "autokd finalize" not in out
    assert run("status", folder, "-q")[1] == "failed\n"
    told = json.loads(run("report", folder, "--json")[1])
    assert set(told["empty"]) == {"tiny", "any"} and all(why in reason for reason in told["empty"].values())
    for command in ("confirm", "finalize"):
        code, out, err = run(command, folder)
        assert code == 4 and "no trial has finished for tiny, any (tiny: " in err and why in err, command
        assert f"autokd resume {folder} --add-trials N, or --retry-failed" in err
    assert not (folder / "final").exists() and not (folder / "confirm").exists()
