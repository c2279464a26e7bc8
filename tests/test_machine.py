"""What a process is granted: processors and memory by affinity and control groups, and places that can be written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from autokd import machine
from autokd.errors import AutokdError
from autokd.files import cache_root

TWO = "2:cpu,cpuacct:/job\n1:memory:/job\n0::/\n"  # version 1 beside an empty version 2, as systemd mounts them


def granted(tmp_path: Path, groups: str, files: dict[str, str]) -> Path:
    """A folder that stands for "/", with these control groups and files below sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def many(monkeypatch):
    """A machine of 64 processors, all of which this process may run on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),  # half a processor more counts as one
        ("0::/\n", {"cpu.max": "140000 100000"}, 1),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),  # of the group above
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "max 100000", "cpu.max": "800000 100000"}, 4),
        ("0::/docker/outside\n", {"cpu.max": "500000 100000"}, 5),  # a container sees its own group as the top
        ("0::/../job\n", {"cpu.max": "500000 100000"}, 5),
        ("0::/job\n", {"unified/job/cpu.max": "600000 100000"}, 6),
        (TWO, {"cpu,cpuacct/job/cpu.cfs_quota_us": "700000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}, 7),
        (TWO, {"cpu/job/cpu.cfs_quota_us": "50000", "cpu/job/cpu.cfs_period_us": "25000"}, 2),
        (TWO, {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000"}, 64),
        (TWO, {"cpu/job/cpu.cfs_quota_us": "-1", "cpu/job/cpu.cfs_period_us": "100000",
               "cpu/cpu.cfs_quota_us": "900000", "cpu/cpu.cfs_period_us": "100000"}, 9),
        ("0::/\n", {"cpu.max": "nonsense"}, 64),
    ],
)  # fmt: skip
def test_the_quota_of_the_control_groups_of_both_versions_counts(tmp_path, many, groups, files, expected):
    assert machine.cpus(granted(tmp_path, groups, files)) == expected


def test_without_control_groups_what_the_process_may_run_on_counts(tmp_path, many, monkeypatch):
    assert machine.cpus(tmp_path) == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 7, 8}, raising=False)
    assert machine.cpus(tmp_path) == 3
    monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)
    assert machine.cpus(tmp_path) == 2


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/job\n", {"job/memory.max": "4000000", "memory.max": "max"}, 4_000_000),
        ("0::/job\n", {"job/memory.max": "max", "memory.max": "3000000"}, 3_000_000),
        (TWO, {"memory/job/memory.limit_in_bytes": "2000000", "memory/memory.limit_in_bytes": str(2**63 - 4096)}, 2_000_000),
    ],
)
def test_the_least_limit_of_memory_counts(tmp_path, groups, files, expected):
    assert machine.memory(granted(tmp_path, groups, files)) == expected


def test_without_a_limit_the_memory_of_the_machine_counts(tmp_path):
    (told,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert machine.memory(tmp_path) == 1024 * int(told.split()[1])


def ask(code: str, *before: str, **settings) -> str:
    """What a fresh process prints. before: the words of a command that starts it; settings: of subprocess.run."""
    made = subprocess.run([*before, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **settings)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_whoever_asks_for_processors_is_told_what_taskset_leaves():
    one = min(os.sched_getaffinity(0))
    code = """
from autokd.machine import cpus
from autokd.data.decode import _threads
from autokd.cli.checks import all_checks
from pathlib import Path
print(cpus(), _threads(), *(one.found for one in all_checks(Path("runs")) if one.name == "cores"))
"""
    told = ask(code, preexec_fn=lambda: os.sched_setaffinity(0, {one})).split()
    assert told[:2] == ["1", "1"] and told[2].rstrip(":") == "1" and "one after another" in " ".join(told)


STRANGER = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups",  # nobody has an account of this number; it
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # may read all, as Python may lie in /root
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root may run as another user, with setpriv",
)
PREPARED = """
import getpass, json, os
from autokd.machine import home, prepare, writable
from autokd.files import cache_root
notes = prepare()
print(json.dumps({"notes": notes, "cache": str(cache_root()), "home": str(home()), "user": getpass.getuser(),
                  "there": writable(cache_root()), "plots": os.environ.get("MPLCONFIGDIR", "")}))
"""


@pytest.fixture
def everybodys():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@as_root
@pytest.mark.parametrize("home", [None, "/", "/nowhere"])
def test_a_number_without_a_home_keeps_its_caches_in_a_folder_of_its_own(everybodys, home):
    tmp_path = everybodys
    known = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **({"HOME": home} if home else {})}
    told = json.loads(ask(PREPARED, *STRANGER, env=known, cwd="/"))
    own = tmp_path / "autokd-54321"
    assert own.stat().st_uid == 54321 and own.stat().st_mode & 0o777 == 0o700
    assert told["cache"] == str(own / ".cache/autokd") and told["there"] and told["user"] == "uid54321"
    assert told["home"] == ("/" if home == "/" else str(own))
    assert told["plots"] == ("" if home != "/" else str(own / ".config/matplotlib"))
    why = "there is no home folder" if home is None else "/ cannot be written"
    assert told["notes"] == [f"{why}: caches go to {own}, which a restart may empty; AUTOKD_CACHE names another place"]
    named = json.loads(ask(PREPARED, *STRANGER, env={**known, "AUTOKD_CACHE": str(tmp_path / "kept")}, cwd="/"))
    assert named["cache"] == str(tmp_path / "kept") and named["notes"] == []


def test_a_usual_home_needs_no_words(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AUTOKD_CACHE", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    before = dict(os.environ)
    assert machine.prepare.__wrapped__() == () and dict(os.environ) == before
    assert cache_root() == tmp_path / ".cache/autokd"


@pytest.fixture
def temporary(monkeypatch):
    """TMPDIR as it is set, asked anew."""
    monkeypatch.delenv("AUTOKD_CACHE", raising=False)

    def use(folder: object) -> None:
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)

    return use


def test_a_temporary_folder_that_is_missing_is_told_with_the_one_that_is_used(tmp_path, temporary):
    temporary(tmp_path / "missing")
    used = tempfile.gettempdir()
    assert machine.prepare.__wrapped__() == (f"TMPDIR={tmp_path / 'missing'} is no folder: temporary files go to {used}",)
    assert os.environ["TMPDIR"] == used


def test_no_temporary_folder_at_all_is_refused_in_words(monkeypatch):
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(AutokdError, match="no folder for temporary files can be written: .*/tmp") as told:
        machine.temporary()
    assert "TMPDIR" in told.value.fix


@pytest.mark.parametrize("name", ["plain", "with space", "per%41cent", "wh?y#not"])
def test_sockets_lie_in_the_temporary_folder_where_its_path_is_short_enough(temporary, name):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        place = Path(short) / name
        place.mkdir()
        temporary(place)
        assert machine.socket_folder("ray", 30) == place / f"autokd-{os.geteuid()}/ray"


def test_sockets_lie_elsewhere_where_the_path_is_too_long_or_not_absolute(tmp_path, temporary, monkeypatch):
    long = tmp_path / ("x" * 60) / ("y" * 40)
    long.mkdir(parents=True)
    temporary(long)
    found = machine.socket_folder("ray", 64)
    assert found.is_dir() and found.is_relative_to("/tmp") and len(str(found)) + 1 + 64 <= 103
    monkeypatch.chdir("/tmp")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        temporary(Path(short).name)
        assert machine.socket_folder("ray", 30) == Path(short) / f"autokd-{os.geteuid()}/ray"


def test_no_place_for_sockets_is_refused_with_how_short_it_must_be():
    with pytest.raises(AutokdError, match="no folder for sockets: .*too long for a Unix socket") as told:
        machine.socket_folder("ray", 95)
    assert "at most" in told.value.fix and "TMPDIR" in told.value.fix


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders have no owners here")
def test_what_somebody_else_put_in_the_place_of_our_own_folder_is_not_used(tmp_path, temporary):
    temporary(tmp_path)
    own = tmp_path / f"autokd-{os.geteuid()}"
    own.symlink_to("/")
    with pytest.raises(AutokdError, match="this is no folder"):
        machine.aside()
    own.unlink()
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(AutokdError, match="others can write") as told:
        machine.aside()
    assert told.value.fix == f"chmod 700 {own}"
    own.chmod(0o700)
    assert machine.aside() == own
    if os.geteuid() == 0:
        os.chown(own, 54321, 54321)
        with pytest.raises(AutokdError, match="belongs to another user"):
            machine.aside()


def test_a_home_that_nobody_has_stays_as_it_was_written():
    assert machine.expanded("~nobody-of-this-name/data") == Path("~nobody-of-this-name/data")
    assert machine.expanded("~/data") == Path.home() / "data"


def test_a_folder_is_usable_where_the_nearest_one_above_it_can_be_written(tmp_path):
    assert machine.usable(tmp_path / "not" / "yet", "x") == tmp_path and machine.writable(tmp_path / "not/yet")
    (tmp_path / "file").touch()
    with pytest.raises(AutokdError, match="file is no folder") as told:
        machine.usable(tmp_path / "file" / "below", "name another")
    assert told.value.fix == "name another" and not machine.writable(tmp_path / "file" / "below")
