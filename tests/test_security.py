"""What SECURITY.md promises, each held by a test (a bomb in a checkpoint: tests/test_fuzz.py)."""

from __future__ import annotations

import ast
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

import autokd
from autokd.cli.main import main
from autokd.config.search_space import load_space
from autokd.config.trial import DataConfig, TeacherConfig, TeacherTraining
from autokd.errors import AutokdError
from autokd.files import in_file_name
from autokd.search.run import search as start
from autokd.search.run import secretless, without_secrets
from autokd.train.teachers import teacher_path
from autokd.train.workshop import Workshop

FILES = sorted(Path(autokd.__file__).parent.rglob("*.py"))


@cache
def trees() -> list[tuple[Path, list[ast.Call]]]:
    parsed = [(path, ast.walk(ast.parse(path.read_text(encoding="utf-8")))) for path in FILES]
    return [(path, [node for node in nodes if isinstance(node, ast.Call)]) for path, nodes in parsed]


def calls(name: str) -> list[tuple[Path, ast.Call]]:
    """Every call of something written `name(...)` or `x.name(...)`, by its dotted end."""
    found = []
    for path, tree in trees():
        for node in tree:
            if f".{ast.unparse(node.func)}".endswith(f".{name}"):
                found.append((path, node))
    return found


def test_torch_reads_weights_only_everywhere():
    loads = calls("torch.load")
    assert loads
    for path, call in loads:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("weights_only") == "True", f"{path}:{call.lineno}"


def test_yaml_is_composed_to_nodes_and_never_made_into_objects():
    for path, call in calls("YAML"):
        assert "unsafe" not in ast.unparse(call), f"{path}:{call.lineno}"
    for name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pickle.load", "pickle.loads", "eval", "exec", "os.system"):
        found = [f"{path}:{call.lineno}" for path, call in calls(name) if ast.unparse(call.func) == name]
        assert not found, f"{name}: {found}"


def test_a_tag_in_a_space_runs_nothing(tmp_path):
    sign = tmp_path / "ran"
    path = tmp_path / "space.yaml"
    path.write_text(f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{sign}']]\n")
    with pytest.raises(AutokdError):
        load_space(path)
    assert not sign.exists()


def test_ray_asks_for_a_token_and_serves_no_dashboard():
    path = next(path for path in FILES if path.name == "ray_engine.py")
    text = path.read_text(encoding="utf-8")
    assert '"RAY_AUTH_MODE": "token"' in text and '"include_dashboard": False' in text


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/b", "..", "", "a\nb", "a\\b", "\u202ea"])
def test_the_name_of_a_run_or_a_budget_cannot_leave_the_folder(tmp_path, repository, name: str):
    values = {
        "name": "x",
        "data": {"name": "digits"},
        "students": ["resnet8"],
        "space": {"policy": "none", "method": "ce"},
        "budgets": [{"name": "any"}],
    }
    load_space(values)  # sound but for the name
    with pytest.raises(AutokdError):
        load_space({**values, "name": name})
    with pytest.raises(AutokdError):
        load_space({**values, "budgets": [{"name": name}]})
    with pytest.raises(AutokdError):
        start(load_space(values), runs=tmp_path / "runs", name=name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("data.root=https://me:secret@host/x", "data.root=https://***@host/x"),
        ("http.token=abc123", "http.token=***"),
        ("API_KEY=abc", "API_KEY=***"),
        ("search.trials=5", "search.trials=5"),
        ("https://host/a@b", "https://host/a@b"),
        ('{"token": "abc"}', '{"token": ***'),
        ("hf_abcdefghijklmnopqrstuv", "***"),
        ("data.root=hf_data", "data.root=hf_data"),
    ],
)
def test_accounts_and_tokens_of_a_command_line_are_not_kept(written: str, kept: str):
    assert without_secrets(written) == kept


def test_ui_refuses_an_address_that_is_not_this_machines(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        main(["ui", "--runs", str(tmp_path), "--host", "203.0.113.7", "--no-browser"])
    assert ended.value.code == 2
    assert "no address of this machine" in capsys.readouterr().err


def test_the_word_after_a_bare_token_is_not_kept_either():
    words = ["finalize", "RUN", "--api-key", "abc", "--set", "http.password=x", "--token", "--quiet", "--seeds", "3"]
    kept = ["finalize", "RUN", "--api-key", "***", "--set", "http.password=***", "--token", "--quiet", "--seeds", "3"]
    assert secretless(words) == kept


SECRET = "hunter2hunter2"


@pytest.mark.slow
def test_what_a_search_and_its_end_write_holds_no_secret_of_the_command_line(tmp_path, monkeypatch, capfd, repository):
    """Every file of the run, MLflow's store and what was printed; the values are such as a person may type."""
    monkeypatch.setenv("HTTPS_TOKEN", SECRET)
    given = [f"https://me:{SECRET}@host/x", f"http.token={SECRET}", "--token", SECRET]
    monkeypatch.setattr(sys, "argv", ["autokd", "search", *given])
    values = {
        "name": "quiet",
        "data": {"name": "digits", "validation": 0.2},
        "students": ["resnet8x0.5"],
        "space": {"policy": "none", "method": "ce"},
        "budgets": [{"name": "any"}],
        "search": {"trials": 1, "epochs": 1, "scheduler": "none"},
        "finalize": {"seeds": 1, "formats": ["safetensors"]},
    }
    run = start(values, runs=tmp_path / "runs", engine="inline")
    with pytest.raises(SystemExit) as ended:
        words = ["finalize", str(run.folder), "--quiet"]
        monkeypatch.setattr(sys, "argv", ["autokd", *words, "--api-key", SECRET, f"https://me:{SECRET}@host/x"])
        main(words)
    assert not ended.value.code
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"environment.json", "metrics.json", "mlflow.db"} <= {path.name for path in files}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert "https://***@host/x" in (run.folder / "environment.json").read_text()
    assert "***" in (run.folder / "final/any/metrics.json").read_text()


@pytest.mark.parametrize("name", ["../../out", "/etc/out", "a/b", "..", ".hidden", "a\x00b", "a\nb", "a\\b"])
def test_the_name_of_a_teacher_cannot_leave_the_folder_of_teachers(tmp_path, name: str):
    teacher = TeacherConfig(name, "resnet8", training=TeacherTraining(epochs=1))
    path = teacher_path(Workshop(), DataConfig("digits"), teacher, tmp_path / "teachers")
    assert path.resolve().parent == tmp_path / "teachers" and not path.name.startswith(".")
    assert not set(path.name) & set("/\\\x00\n")


def test_a_plain_name_stays_as_it_is():
    assert in_file_name("wrn_40_2 (v1.5)-b") == "wrn_40_2 _v1.5_-b" and in_file_name("Größe") == "Größe"


SCRIPT = "<script>alert(1)<script>"


@pytest.mark.slow
def test_a_class_and_a_teacher_named_as_a_script_are_words_in_all_that_is_written(tmp_path):
    """A true search on a folder of images, to its students, its report (in a browser) and MLflow."""
    import numpy as np
    from mlflow.tracking import MlflowClient
    from PIL import Image

    from autokd.track.mlflow_log import store_uri
    from autokd.track.mlflow_views import NOTE_TAG

    draw = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 6)):
        for number, name in enumerate((SCRIPT, "[b](javascript:alert(2))|`c`")):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for one in range(count):
                pixels = draw.integers(0, 255, (8, 8, 3), dtype=np.uint8) // (1 + number)
                Image.fromarray(pixels).save(tmp_path / "data" / part / name / f"{one}.png")
    values = {
        "name": "named",
        "data": {"name": "folder", "root": str(tmp_path / "data"), "validation": 0.25},
        "teachers": {"<img src=x onerror=alert(3)>": {"model": "resnet8x0.5", "train": {"epochs": 1, "batch": 8}}},
        "students": ["resnet8x0.5"],
        "space": {"policy": "none", "method": "kd", "recipe": {"batch": 8}},
        "budgets": [{"name": "any"}],
        "search": {"trials": 1, "epochs": 2, "scheduler": "none"},
        "finalize": {"seeds": 1, "formats": ["safetensors"]},
    }
    run = start(values, runs=tmp_path / "runs", engine="inline")
    run.finalize()
    page = run.report()
    card = next(run.folder.glob("final/any/*.md")).read_text()
    assert "&lt;script>alert(1)&lt;script>" in card and "&lt;img src=x" in card and "\\[b](javascript:alert(2))\\|'c'" in card
    prose = card.partition("<details>")[0]
    assert "<script" not in prose and "<img" not in prose
    assert "<img" not in page.read_text().partition("</style>")[2].replace('"<img', "")  # but as JSON, which a script reads
    client = MlflowClient(tracking_uri=store_uri(tmp_path / "runs"))
    (experiment,) = [one for one in client.search_experiments() if one.name == "named"]
    notes = [experiment.tags.get(NOTE_TAG, "")]
    notes += [one.data.tags.get(NOTE_TAG, "") for one in client.search_runs([experiment.experiment_id])]
    assert any(notes) and not any("<img" in one or "<script" in one for one in notes)
    nothing_runs(page)


def nothing_runs(page: Path) -> None:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    heard: list[str] = []
    with sync.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        opened.on("pageerror", lambda error: heard.append(str(error)))
        opened.goto(page.as_uri())
        for tab in opened.locator("[role=tab]").all():
            tab.click()
        assert opened.locator("img, section script").count() == 0
        browser.close()
    assert heard == []
