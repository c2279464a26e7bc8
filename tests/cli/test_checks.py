from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autokd.cli import checks
from autokd.errors import AutokdError

REQUIRED = ["torch>=2.9", "ray[tune]>=2.50", "rich>=13", "typer>=0.15", 'pytest>=8; extra == "dev"']
HAVE = {"torch": "2.11.0+cpu", "ray": "2.60.0", "rich": "14.0", "typer": "0.20"}


def test_packages_as_required_are_told_one_by_one_where_people_know_them():
    told = checks.packages(REQUIRED, HAVE.get)
    assert [(one.name, one.state, one.found) for one in told] == [
        ("torch", "ok", "2.11.0+cpu"),
        ("ray", "ok", "2.60.0"),
        ("other packages", "ok", "2 as required"),
    ]


def test_a_package_that_is_missing_or_too_old_is_told_with_what_to_type():
    told = {one.name: one for one in checks.packages(REQUIRED, {**HAVE, "ray": "2.40.0", "rich": None}.get)}
    assert told["ray"].state == told["rich"].state == "fail"
    assert told["ray"].found == "2.40.0, and >=2.50 is needed" and told["ray"].fix == "pip install 'ray[tune]>=2.50'"
    assert told["rich"].found == "is not installed" and told["rich"].fix == "pip install 'rich>=13'"


@pytest.mark.parametrize(
    ("torch", "state"), [("2.11.0+cpu", "ok"), ("2.11.0", "ok"), ("2.12.0+cu130", "fail"), (None, "ok")]
)
def test_torchvision_is_made_for_one_torch(torch, state):
    assert checks.twins(torch, ["numpy", "torch==2.11.0"]).state == state


def test_an_old_python_fails():
    assert checks.python((3, 10, 4)).state == "fail" and checks.python((3, 11, 0)).state == "ok"


def test_a_module_that_was_never_compiled_is_told_of_where_python_will_not_compile_it(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("x = 1\n", encoding="utf-8")
    assert checks.compiled(module, dont_write=False, prefix=None).state == "ok"
    assert checks.compiled(module, dont_write=True, prefix="/elsewhere").state == "ok"
    assert checks.compiled(module, dont_write=True, prefix=None).state == "warn"
    path = Path(importlib.util.cache_from_source(str(module)))
    path.parent.mkdir()
    path.touch()
    assert checks.compiled(module, dont_write=True, prefix=None).state == "ok"


def test_a_gpu_that_torch_cannot_use_fails():
    assert checks.gpu((False, ""), "2.11.0+cpu").state == "ok"
    assert checks.gpu((True, "H100, 80 GB\n"), "2.11.0+cu130").found == "H100, 80 GB"
    assert checks.gpu((True, "H100, 80 GB\n"), "2.11.0+cpu").state == "fail"
    assert checks.gpu((True, ""), "2.11.0").state == "fail"


def test_a_folder_that_is_a_file_or_full_is_told(tmp_path):
    file = tmp_path / "file"
    file.touch()
    assert checks.folder("runs", lambda: file, least=1).state == "fail"
    assert checks.folder("runs", lambda: tmp_path / "not" / "yet", least=1).state == "ok"
    full = checks.folder("cache", lambda: tmp_path, least=1e18)
    assert full.state == "warn" and "AUTOKD_CACHE" in full.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_folder_that_cannot_be_written_fails(tmp_path):
    tmp_path.chmod(0o500)
    assert checks.folder("runs", lambda: tmp_path / "runs", least=1).state == "fail"


def refused() -> Any:
    raise AutokdError("nothing can be written", fix="set TMPDIR")


def test_what_a_search_would_be_refused_for_fails_with_the_same_words():
    for check in (checks.home_folder(refused), checks.sockets(refused), checks.folder("cache", refused, least=1)):
        assert (check.state, check.found, check.fix) == ("fail", "nothing can be written", "set TMPDIR")
    assert checks.home_folder(lambda: ["there is no home folder: caches go to /tmp/x"]).state == "warn"
    assert checks.home_folder(lambda: []).state == "ok"


def test_limits_of_the_system():
    assert checks.shared_memory(Path("/nowhere")).state == "ok"
    assert checks.shared_memory(Path("/"), least=1e18).state == "warn"
    assert checks.open_files((1024, 1024)).state == "warn" and checks.open_files((1024, 65536)).state == "ok"
    assert checks.open_files((-1, -1)).state == "ok" and checks.open_files(None).state == "ok"
    assert checks.cores(1, 64).state == "warn" and checks.cores(2, 2).state == "ok"
    assert checks.cores(2, 64).found.startswith("2 of 64") and checks.cores(2, 2).found.startswith("2 (")
    assert checks.main_memory(8 * 10**9).found == "8.0 GB" and checks.main_memory(None).state == "ok"


def test_a_port_in_use_is_told():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        assert checks.free_port(port).state == "warn"
    assert checks.free_port(port).state == "ok"


def test_the_command_ends_with_one_where_something_cannot_work(tmp_path):
    words = [sys.executable, "-m", "autokd.cli.main", "doctor", "--json", "--runs", str(tmp_path)]
    sound = subprocess.run(words, capture_output=True, text=True)
    told = {one["name"]: one for one in json.loads(sound.stdout)}
    assert {"python", "runs folder", "cache folder", "port", "cores"} <= set(told)
    assert sound.returncode == (1 if any(one["state"] == "fail" for one in told.values()) else 0)
    file = tmp_path / "file"
    file.touch()
    broken = subprocess.run([*words[:-1], str(file), "--quiet"], capture_output=True, text=True)
    assert broken.returncode == 1


def test_it_asks_without_importing_what_it_asks_for():
    code = (
        "import sys; from pathlib import Path; from autokd.cli.checks import all_checks; "
        "all_checks(Path('a')); assert not {'torch', 'ray', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
