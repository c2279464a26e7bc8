"""A copy of a run in object storage, and back: whatever pyarrow's file systems reach (s3://, gs://, hdfs://, file://).

A run is worked on in a folder, which locks, appends to and renames files, as object storage cannot. So it is copied between
sessions. The ledger goes last, and a copy without one is no run: what was cut off is told as that, and copied anew.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from autokd.errors import AutokdError
from autokd.track.ledger import FILE, FolderLock

__all__ = ["fetch", "is_address", "keep", "shown"]

_LEFT = ("ray/tune/", "ray/train/")  # Ray's own, which no resume reads
_CHUNK = 8 * 2**20


def is_address(text: str) -> bool:
    """Whether this names a place for pyarrow rather than a folder."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.isalnum()


def keep(run: str | os.PathLike[str], address: str) -> tuple[int, int]:
    """Copy a run folder to address/NAME; what lies there of an earlier copy and is not in the run any more is deleted.

    Returns files and bytes copied. Raises AutokdError where the run is being worked on, or the place cannot be written.
    """
    run = Path(run)
    with FolderLock(run):
        system, there = _place(address)
        there = f"{there}/{run.resolve().name}"
        mine = {one: run / one for one in _files(run)}
        try:
            known = dict(_listed(system, there))
            if FILE in known:
                system.delete_file(f"{there}/{FILE}")
            for one in sorted(mine, key=lambda one: one == FILE):
                system.create_dir(str(PurePosixPath(there, one).parent), recursive=True)
                with open(mine[one], "rb") as source, system.open_output_stream(f"{there}/{one}") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
            for one in known.keys() - mine.keys() - {FILE}:
                system.delete_file(f"{there}/{one}")
        except OSError as fault:
            raise _fault("the run could not be copied there", address, fault) from fault
    return len(mine), sum(path.stat().st_size for path in mine.values())


def fetch(address: str, runs: str | os.PathLike[str]) -> Path:
    """Copy the run at this address into the folder of runs, whole or not at all. Returns its folder.

    Raises AutokdError where there is no run, where one of that name lies in `runs` already, and for a name that would leave
    the folder.
    """
    system, there = _place(address)
    name = PurePosixPath(there).name
    target = Path(runs) / name
    if target.exists():
        raise AutokdError("there is a run of that name already", where=str(target), fix="name another folder with --runs")
    aside = Path(runs) / f".{name}.{secrets.token_hex(4)}"
    try:
        found = dict(_listed(system, there))
        if FILE not in found:
            fix = "a run is a folder with a ledger.jsonl in it; one that was not copied to its end has none: copy it again"
            raise AutokdError("no run lies there", where=shown(address), fix=fix)
        for one, size in found.items():
            path = aside / one
            if not path.resolve().is_relative_to(aside.resolve()):
                raise AutokdError(f"a file there would leave the run folder: {one}", where=shown(address))
            path.parent.mkdir(parents=True, exist_ok=True)
            with system.open_input_stream(f"{there}/{one}") as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
            if path.stat().st_size != size:
                raise AutokdError(f"{one} did not arrive whole", where=shown(address), fix="copy it once more")
        os.replace(aside, target)
    except OSError as fault:
        raise _fault("the run could not be copied from there", address, fault) from fault
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _files(run: Path) -> list[str]:
    found = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    return [one for one in found if not one.startswith(_LEFT) and not any(p.startswith(".") for p in PurePosixPath(one).parts)]


def _place(address: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(address.rstrip("/"))
    except Exception as fault:  # pyarrow tells an unknown scheme, a missing library and a bad key in its own classes
        raise _fault("this is no address that pyarrow can reach", address, fault) from fault
    return system, path


def _listed(system: Any, there: str) -> list[tuple[str, int]]:
    from pyarrow import fs

    found = system.get_file_info(fs.FileSelector(there, allow_not_found=True, recursive=True))
    return [(one.path[len(there) :].lstrip("/"), one.size) for one in found if one.is_file]


def _fault(what: str, address: str, fault: Exception) -> AutokdError:
    told = " ".join(str(fault).split()).replace(address, shown(address))[:300]
    fix = "docs/cluster.md names what pyarrow reads for keys and regions"
    return AutokdError(f"{what}: {told}", where=shown(address), fix=fix)


def shown(address: str) -> str:
    """Without the keys that an address may hold."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2].rstrip('/')}"
