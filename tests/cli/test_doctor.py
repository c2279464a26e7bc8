"""autokd doctor: each fault, injected."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from autokd.cli import health
from autokd.cli.main import main


def tool(folder: Path, body: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_an_old_python_fails():
    assert health.check_python((3, 10, 9)).state == "fail"
    assert health.check_python((3, 11, 0)).state == "ok"


def test_a_missing_and_an_old_package_fail_with_the_command_that_installs_them():
    asked = {"torch": Requirement("torch>=2.9"), "ray": Requirement("ray[tune]>=2.50")}
    have = {"torch": "2.8.1", "torchvision": "0.24", "optuna": "4.5", "mlflow": "3.4", "pyarrow": "17"}
    found = {one.check: one for one in health.check_packages(asked, have.get)}
    assert (found["torch"].state, found["torch"].what) == ("fail", "2.8.1, asked for >=2.9")
    assert "torch>=2.9" in found["torch"].fix
    assert (found["ray"].state, found["ray"].what) == ("fail", "not installed")
    assert {one.state for name, one in found.items() if name not in asked} == {"ok"}


def test_what_is_asked_of_packages_is_what_pyproject_says():
    wanted = health.wanted()
    assert wanted["torch"].specifier.contains("2.9") and not wanted["torch"].specifier.contains("2.8")
    assert "pytest" not in wanted


def test_a_torchvision_for_another_torch_fails_and_a_local_build_of_the_right_one_does_not():
    lines = ["numpy", "torch==2.9.0", "pillow>=5"]
    assert health.check_pair("2.9.1", lines).state == "fail"
    assert health.check_pair("2.9.0+cu128", lines).state == "ok"


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ("echo 'GPU 0: Card (UUID: GPU-1)'", "ok"),
        ("exit 9", "fail"),
        ("echo no devices", "fail"),
    ],
)
def test_a_gpu_is_what_the_driver_names(tmp_path, monkeypatch, body: str, state: str):
    tool(tmp_path, body)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = health.check_gpu(asked=True)
    assert found is not None and found.state == state
    assert "UUID" not in found.what


def test_a_hidden_gpu_is_told(tmp_path, monkeypatch):
    tool(tmp_path, "echo 'GPU 0: Card (UUID: GPU-1)'")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = health.check_gpu()
    assert found is not None and found.state == "warn" and "CUDA_VISIBLE_DEVICES" in found.what


def test_no_gpu_is_a_fault_only_where_one_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert health.check_gpu() is None
    asked = health.check_gpu(asked=True)
    assert asked is not None and asked.state == "fail"


def test_a_full_disk_fails_and_a_nearly_full_one_warns(tmp_path, monkeypatch):
    class Usage:
        free = 0.5 * 2**30

    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: Usage)
    assert health.check_disk("disk", tmp_path / "not" / "yet").state == "fail"
    Usage.free = 5 * 2**30
    assert health.check_disk("disk", tmp_path).state == "warn"
    Usage.free = 50 * 2**30
    assert health.check_disk("disk", tmp_path).state == "ok"


def test_a_folder_that_is_a_file_fails(tmp_path):
    (tmp_path / "runs").write_text("")
    assert health.check_disk("disk", tmp_path / "runs").state == "fail"


def test_a_port_in_use_is_a_warning_with_the_way_out():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = health.check_port(port)
        assert (found.state, found.what) == ("warn", f"{port}: in use")
        assert "--port" in found.fix
    assert health.check_port(port).state == "ok"


def test_little_shared_memory_is_a_warning(tmp_path, monkeypatch):
    class Usage:
        total = 64 * 2**20

    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: Usage)
    assert health.check_shared_memory(tmp_path).state == "warn"
    assert health.check_shared_memory(tmp_path / "none").state == "warn"
    Usage.total = 8 * 2**30
    assert health.check_shared_memory(tmp_path).state == "ok"


def test_few_open_files_warn_and_very_few_fail():
    assert [health.check_files(limit).state for limit in (128, 1024, 4096, 65536)] == ["fail", "warn", "ok", "ok"]


def test_ray_without_byte_code_warns_only_where_it_will_never_be_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = health.check_bytecode(tmp_path)
    assert found.state == "warn" and "compileall" in found.fix
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    assert health.check_bytecode(tmp_path).state == "ok"
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"")
    assert health.check_bytecode(tmp_path).state == "ok"


def test_one_core_is_a_warning():
    assert [health.check_cores(cores).state for cores in (1, 2)] == ["warn", "ok"]


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_command_ends_with_one_only_where_something_fails(tmp_path, monkeypatch, capsys, state, code):
    fix = "" if state == "ok" else "mend it"
    monkeypatch.setattr(health, "examine", lambda *_, **__: [health.Finding("thing", state, "a thing", fix)])
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--runs", str(tmp_path), "--json"])
    assert ended.value.code == code
    assert json.loads(capsys.readouterr().out) == [{"check": "thing", "state": state, "what": "a thing", "fix": fix}]
    with pytest.raises(SystemExit):
        main(["doctor", "--runs", str(tmp_path)])
    assert ("mend it" in capsys.readouterr().out) == (state != "ok")
