import errno
import io
import os
import pickle

import pytest

from autokd.errors import AutokdError, Faults, SpaceError, did_you_mean, refused


def test_an_error_reads_where_what_and_the_way_out():
    error = SpaceError("dkd has no setting 'temprature'", where="a.yaml:7", fix="settings of dkd: temperature")
    assert str(error) == "a.yaml:7: dkd has no setting 'temprature'\n  settings of dkd: temperature"


def test_errors_survive_pickling_as_ray_sends_them():
    error = pickle.loads(pickle.dumps(AutokdError("what", where="where", fix="fix")))
    assert (error.what, error.where, error.fix) == ("what", "where", "fix")
    assert len(pickle.loads(pickle.dumps(Faults([error, error]))).faults) == 2


def test_the_nearest_name_is_told_and_a_far_one_is_not():
    assert did_you_mean("temprature", ["temperature", "beta"]) == " (did you mean 'temperature'?)"
    assert did_you_mean("zzz", ["temperature", "beta"]) == ""


def readers(path):
    from autokd.data.columns import Columns
    from autokd.data.sets._published import read_pickle
    from autokd.data.sets.fashion_mnist import _idx
    from autokd.data.splits import _read
    from autokd.finalize.student import open_student
    from autokd.models.checkpoint import _bytes
    from autokd.search.work import read_answers
    from autokd.space.document import Document

    return {
        "space": lambda: Document.read(path),
        "table": lambda: Columns([path]),
        "pickle": lambda: read_pickle(path),
        "idx": lambda: _idx(path, 1),
        "split": lambda: _read(path, 10),
        "student": lambda: open_student(path.rename(path.with_suffix(".onnx"))),
        "weights": lambda: _bytes(path),
        "answers": lambda: read_answers(path, 10),
    }


@pytest.mark.parametrize("kind", ["space", "table", "pickle", "idx", "split", "student", "weights", "answers"])
def test_a_file_that_may_not_be_read_is_not_called_damaged_and_no_other_way_out_is_named(tmp_path, monkeypatch, kind):
    """The remedy of a damaged file ("download it again", "save it as UTF-8") is named where its content was looked at."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    real = io.open

    def denied(file, *more, **settings):
        if str(file).startswith(str(path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return real(file, *more, **settings)

    monkeypatch.setattr(io, "open", denied)
    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(AutokdError) as told:
        readers(path)[kind]()
    (fault,) = getattr(told.value, "faults", [told.value])
    assert fault.what.lower().endswith("cannot be read: permission denied")
    assert not fault.fix and fault.where.startswith(str(path))
    monkeypatch.undo()
    if kind not in ("space", "weights"):  # whose content is looked at elsewhere, or is a space of a kind
        path = tmp_path / "other"
        path.write_bytes(b"content")
        with pytest.raises(AutokdError) as told:
            readers(path)[kind]()
        assert "permission" not in str(told.value)


def test_what_the_system_refused_is_told_from_what_a_file_holds():
    assert refused(PermissionError(errno.EACCES, "Permission denied", "x")) == "permission denied"
    assert refused(OSError(errno.EIO, "Input/output error")) == "input/output error"
    assert refused(OSError("Unexpected end of stream")) is None and refused(ValueError("x")) is None
