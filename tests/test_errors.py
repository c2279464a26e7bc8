import pickle

from autokd.errors import AutokdError, Faults, SpaceError, did_you_mean


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
