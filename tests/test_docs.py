"""Pages that say what the code says are held to it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from autokd.rooms import catalogue

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def writer():
    path = ROOT / "docs" / "write_methods.py"
    spec = importlib.util.spec_from_file_location("write_methods", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(catalogue("methods")))
def test_every_method_is_on_the_page_with_its_defaults_and_its_source(page, name):
    entry = catalogue("methods")[name]
    start = page.find(f"**{name}.**")
    assert start >= 0, f"{name} is not on the page: run python docs/write_methods.py"
    told = " ".join(re.split(r"\n\*\*|\n###|<!--", page[start:])[0].split())
    for setting in entry.settings:
        default = setting.default
        value = str(default).lower() if isinstance(default, bool) else "null" if default is None else default
        value = f"{value:g}" if isinstance(value, float) else str(value)
        assert f"`{setting.name}` {value}" in told
    assert "Source: " in told


def test_the_page_is_what_its_writer_writes(writer, page):
    assert writer.written(page) == page, "run python docs/write_methods.py"


def test_every_file_that_the_page_names_is_there(page):
    for path in re.findall(r"`((?:autokd|docs|benchmarks)/[\w/.]+\.py)`", page):
        assert (ROOT / path).exists(), path


def test_the_example_of_the_page_is_a_space_that_loads(page, tmp_path):
    from autokd.config.search_space import load_space

    example = re.search(r"```yaml\n(space:.*?)```", page, re.DOTALL).group(1)
    if "dkd" not in catalogue("methods"):
        example = example.replace("      dkd: search\n", "")
    head = "name: page\ndata: {name: digits}\nteachers:\n  big: {model: wrn_16_2, train: {epochs: 3}}\nstudents: [resnet8]\n"
    (tmp_path / "space.yaml").write_text(
        head + example + "budgets:\n  - {name: tiny, params: 100 k}\n", encoding="utf-8"
    )
    space = load_space(tmp_path / "space.yaml")
    assert {"loss.adapt", "method.kd.also.spkd.weight"} <= {knob.path for knob in space.knobs()}


@pytest.fixture(scope="module")
def cluster_page():
    return (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_the_cluster_files_of_the_page_are_yaml_of_the_kinds_they_say(cluster_page):
    from ruamel.yaml import YAML

    blocks = re.findall(r"```yaml\n(.*?)```", cluster_page, re.DOTALL)
    launcher, job, claim = [one for block in blocks for one in YAML(typ="safe").load_all(block)]
    assert launcher["head_node_type"] in launcher["available_node_types"]
    assert "ray start" in launcher["head_start_ray_commands"][1]
    assert (job["kind"], claim["kind"]) == ("RayJob", "PersistentVolumeClaim")
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:  # all see the claim, and have the token
        pod = group["template"]["spec"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "shared", "mountPath": "/shared"}]
        assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= {one["name"] for one in pod["containers"][0]["env"]}


def test_the_batch_script_of_the_page_is_one(cluster_page, tmp_path):
    script = re.search(r"```bash\n(.*?)```", cluster_page, re.DOTALL).group(1)
    (tmp_path / "job.sh").write_text(script)
    made = subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def test_every_command_of_the_cluster_page_is_read_by_the_command_line(cluster_page):
    from typer.main import get_command

    from autokd.cli.main import app

    found = re.findall(r"autokd ((?:search|resume|copy) [^`'\n&]*?)(?= {2,}|[`'&\n])", cluster_page)
    assert len(found) > 6
    for words in found:
        name, *rest = words.replace("…", "auto").replace('"', "").split()
        command = get_command(app).commands[name]
        command.make_context(name, rest, resilient_parsing=False)


def test_everything_that_is_kept_in_the_cache_folder_is_on_the_page_of_what_is_kept():
    page = (ROOT / "docs" / "caches.md").read_text(encoding="utf-8")
    parts = set()
    for path in (ROOT / "autokd").rglob("*.py"):
        for place, part in re.findall(r"(cache_root\(\)|cache_dir) / \"([\w.]+)\"", path.read_text(encoding="utf-8")):
            parts.add(part if place == "cache_root()" else f"signals/{part}")
    assert parts >= {"data", "costs.json", "latencies.json", "signals/stages", "signals/attention", "signals/pace"}
    for part in parts:
        assert f"`{part}" in page, f"{part} is kept, and docs/caches.md does not say what its key covers"
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    assert len(rows) >= 12 and all(row.count("|") == 5 and all(cell.strip() for cell in row.split("|")[1:5]) for row in rows)
