"""A run copied to a place that pyarrow reaches, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs

from autokd.cli.main import main
from autokd.errors import AutokdError
from autokd.track import mirror
from autokd.track.ledger import FILE, FolderLock


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "made-20260101-ab12"
    texts = {FILE: '{"event":"begin"}\n', "space.yaml": "name: made\n", "ray/checkpoints/t0/mark-0001/trial.pt": "x" * 100}
    left = {"ray/tune/state.json": "no", ".lock": "", "ray/checkpoints/t0/.mark-0002.17/trial.pt": "half"}
    for name, text in {**texts, **left}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder, texts


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_run_goes_there_and_comes_back_as_it_was_without_what_no_resume_reads(run, tmp_path):
    folder, texts = run
    there = (tmp_path / "bucket").as_uri()
    assert mirror.keep(folder, there) == (3, sum(map(len, texts.values())))
    back = mirror.fetch(f"{there}/{folder.name}", tmp_path / "other")
    assert back == tmp_path / "other" / folder.name and contents(back) == texts
    assert sorted(path.name for path in back.parent.iterdir()) == [folder.name]


def test_a_second_copy_follows_the_run(run, tmp_path):
    folder, texts = run
    there = tmp_path / "bucket"
    mirror.keep(folder, there.as_uri())
    (folder / "ray/checkpoints/t0/mark-0001/trial.pt").unlink()
    (folder / FILE).write_text(texts[FILE] * 2)
    mirror.keep(folder, there.as_uri())
    assert contents(there / folder.name) == {FILE: texts[FILE] * 2, "space.yaml": "name: made\n"}


def test_a_copy_that_was_cut_off_is_no_run(run, tmp_path, monkeypatch):
    folder, _ = run
    local, there = fs.LocalFileSystem(), tmp_path / "bucket"
    mirror.keep(folder, there.as_uri())

    class Breaking:
        """As object storage that is lost in the midst of the second copy."""

        def __getattr__(self, name):
            return getattr(local, name)

        def open_output_stream(self, path):
            if path.endswith("space.yaml"):
                raise OSError("connection lost")
            return local.open_output_stream(path)

    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_place", lambda address: (Breaking(), str(there)))
        with pytest.raises(AutokdError, match="connection lost"):
            mirror.keep(folder, there.as_uri())
    with pytest.raises(AutokdError, match="no run lies there"):
        mirror.fetch(f"{there.as_uri()}/{folder.name}", tmp_path / "other")
    assert not list((tmp_path / "other").glob("*"))


def test_any_of_pyarrow_s_file_systems_serves(run, tmp_path, monkeypatch):
    folder, texts = run
    (tmp_path / "store").mkdir()
    system = fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem())
    monkeypatch.setattr(mirror, "_place", lambda address: (system, address.partition("://")[2]))
    mirror.keep(folder, "any://bucket/runs")
    back = mirror.fetch(f"any://bucket/runs/{folder.name}", tmp_path / "other")
    assert contents(back) == texts and (tmp_path / "store/bucket/runs" / folder.name / FILE).exists()


def test_a_run_that_is_being_worked_on_is_not_copied(run, tmp_path):
    folder, _ = run
    with FolderLock(folder), pytest.raises(AutokdError, match="is writing this run"):
        mirror.keep(folder, (tmp_path / "bucket").as_uri())


def test_a_name_in_the_copy_cannot_leave_the_folder(run, tmp_path, monkeypatch):
    folder, _ = run
    mirror.keep(folder, (tmp_path / "bucket").as_uri())
    monkeypatch.setattr(mirror, "_listed", lambda system, there: [(FILE, 18), ("../../evil", 1)])
    with pytest.raises(AutokdError, match="would leave the run folder"):
        mirror.fetch(f"{(tmp_path / 'bucket').as_uri()}/{folder.name}", tmp_path / "other")
    assert not (tmp_path / "evil").exists() and not list((tmp_path / "other").glob("*"))


@pytest.mark.parametrize(
    "address", ["nowhere://x/y", pytest.param("s3://key:hidden@bucket/x?scheme=never", marks=pytest.mark.slow)]
)
def test_what_cannot_be_reached_is_told_without_its_keys(run, address):
    with pytest.raises(AutokdError) as told:
        mirror.keep(run[0], address)
    assert "hidden" not in str(told.value)


def test_the_command_copies_both_ways(run, tmp_path, capsys):
    folder, texts = run
    there = (tmp_path / "bucket").as_uri()
    with pytest.raises(SystemExit):
        main(["copy", folder.name, there, "--runs", str(folder.parent)])
    assert f"3 files, 0.0 MiB copied to {there}/{folder.name}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["copy", f"{there}/{folder.name}", "--runs", str(tmp_path / "other")])
    assert contents(Path(tmp_path / "other" / folder.name)) == texts
    with pytest.raises(SystemExit) as ended:
        main(["copy", f"{there}/{folder.name}", "--runs", str(tmp_path / "other")])
    assert ended.value.code == 2 and "a run of that name already" in capsys.readouterr().err
