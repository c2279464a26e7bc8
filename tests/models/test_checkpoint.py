"""Weights on disk: every published wrapping, and every file that must be refused."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict

import numpy as np
import pytest
import torch

from autokd.errors import AutokdError
from autokd.models.build import build
from autokd.models.checkpoint import load_weights, save_weights


def small(seed, name="resnet8x0.5", classes=4):
    return build(name, classes=classes, seed=seed)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "_orig_mod.module.", "model.", "net."])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "net", "model_state_dict"])
def test_every_wrapping_is_undone(tmp_path, wrapper, prefix):
    source, target = small(0), small(1)
    state = OrderedDict((prefix + key, value) for key, value in source.state_dict().items())
    torch.save({wrapper: state, "epoch": 240, "optimizer": {"state": {}}} if wrapper else state, tmp_path / "a.pth")
    loaded = load_weights(target, tmp_path / "a.pth")
    assert same(source, target)
    assert loaded.wrapper == wrapper and "".join(loaded.prefixes) == prefix


ONE = torch.zeros(1, dtype=torch.float64)


def wrapped(source):
    """What the tools of the field write of one network, and the names in it that are no part of that network."""
    own = source.state_dict()
    other = {key: torch.full_like(value, 2) for key, value in own.items()}

    def under(prefix, state):
        return {prefix + key: value for key, value in state.items()}

    return {
        "lightning": ({"epoch": 3, "state_dict": under("model.", own), "pytorch-lightning_version": "2.4.0"}, ()),
        "lightning with a loss": (
            {"state_dict": {**under("net.", own), "criterion.weight": torch.ones(4), "val_acc.tp": torch.ones(4)}},
            ("criterion.weight", "val_acc.tp"),
        ),
        "compiled lightning": ({"state_dict": under("model._orig_mod.", own)}, ()),
        "AveragedModel": ({"n_averaged": torch.tensor(5), **under("module.", own)}, ("n_averaged",)),
        "thop": ({**own, "total_ops": ONE, "bn1.total_params": ONE}, ("total_ops", "bn1.total_params")),
        "ema alone": ({"epoch": 1, "ema": own}, ()),
        "timm": ({"state_dict": other, "state_dict_ema": own, "args": argparse.Namespace()}, ()),
        "torchvision's recipes": (
            {"model": other, "model_ema": {"n_averaged": torch.tensor(7), **under("module.", own)}}, ("n_averaged",)
        ),
        "ema-pytorch": (
            {"initted": torch.tensor(True), "step": torch.tensor(9), **under("online_model.", other), **under("ema_model.", own)},
            ("initted", "step", *under("online_model.", own)),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("tool", wrapped(small(0)))
def test_what_the_tools_of_the_field_wrap_around_weights_is_seen_through_and_named(tmp_path, tool):
    source, target = small(0), small(1)
    content, outside = wrapped(source)[tool]
    torch.save(content, tmp_path / "a.ckpt")
    loaded = load_weights(target, tmp_path / "a.ckpt")
    assert same(source, target)
    assert loaded.left_out == outside
    assert all(name in loaded.told for name in outside[:6]) and loaded.told
    if tool == "timm":
        assert loaded.told == "taken from state_dict_ema, not from state_dict"


def test_two_networks_in_one_file_that_both_fit_are_named_and_none_is_taken(tmp_path):
    own, untouched = small(0).state_dict(), small(1)
    torch.save({f"{who}.{key}": value for who in ("student", "teacher") for key, value in own.items()}, tmp_path / "a.pt")
    target = small(1)
    with pytest.raises(AutokdError, match="2 networks that fit: under student, teacher"):
        load_weights(target, tmp_path / "a.pt")
    assert same(target, untouched)


def quantised(source):
    """Files in which integers stand for weights, and a name that the refusal has to give."""
    own = source.state_dict()
    scaled = torch.quantize_per_tensor(own["fc.weight"], 0.01, 0, torch.qint8)
    packed = {key: value for key, value in own.items() if not key.startswith("fc.")}
    return {
        "int8": ({k: v.to(torch.int8) if v.is_floating_point() else v for k, v in own.items()}, "conv1.weight (int8)"),
        "wrapped int32": ({"model": {**own, "fc.weight": own["fc.weight"].to(torch.int32)}}, "fc.weight (int32)"),
        "qint8": ({**own, "fc.weight": scaled}, "fc.weight (qint8)"),
        "packed": ({**packed, "fc._packed_params.dtype": torch.qint8, "fc.scale": ONE}, "fc._packed_params.dtype"),
        "bitsandbytes": ({**own, "fc.weight": own["fc.weight"].to(torch.int8), "fc.weight.SCB": ONE}, "fc.weight (int8)"),
    }


@pytest.mark.parametrize("kind", ["int8", "wrapped int32", "qint8", "packed", "bitsandbytes"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_weights_are_refused_by_name_and_never_read_as_zeros(tmp_path, kind):
    content, named = quantised(small(0))[kind]
    torch.save(content, tmp_path / "a.pt")
    target, untouched = small(1), small(1)
    with pytest.raises(AutokdError, match="quantised weights, or integers where the network has real numbers") as caught:
        load_weights(target, tmp_path / "a.pt")
    assert named in str(caught.value) and "before it was quantised" in caught.value.fix
    assert same(target, untouched)


def test_integers_of_a_safetensors_file_are_refused_likewise(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    own = small(0).state_dict()
    library.save_file({**own, "fc.weight": own["fc.weight"].to(torch.int8)}, tmp_path / "a.safetensors")
    with pytest.raises(AutokdError, match=r"fc.weight \(int8\)"):
        load_weights(small(1), tmp_path / "a.safetensors")
    library.save_file({**own, "fc.weight": own["fc.weight"].to(torch.float8_e4m3fn)}, tmp_path / "b.safetensors")
    target = small(1)
    load_weights(target, tmp_path / "b.safetensors")  # real numbers, if few bits of them
    assert torch.equal(target.fc.weight, own["fc.weight"].to(torch.float8_e4m3fn).float())


def test_counters_saved_as_real_numbers_are_read_and_a_file_of_zeros_is_not(tmp_path):
    own = small(0).state_dict()
    counted = {key: value.float() + 3 if key.endswith("num_batches_tracked") else value for key, value in own.items()}
    torch.save(counted, tmp_path / "a.pt")
    target = small(1)
    load_weights(target, tmp_path / "a.pt")
    assert target.bn1.num_batches_tracked.item() == 3
    torch.save({**counted, "bn1.num_batches_tracked": torch.tensor(0.5)}, tmp_path / "b.pt")
    with pytest.raises(AutokdError, match=r"integers where the checkpoint holds other numbers: \(1\): bn1.num_batches_tracked"):
        load_weights(target, tmp_path / "b.pt")
    torch.save({key: torch.zeros_like(value) for key, value in own.items()}, tmp_path / "c.pt")
    with pytest.raises(AutokdError, match="every weight of the checkpoint is zero"):
        load_weights(target, tmp_path / "c.pt")


@pytest.mark.parametrize("helper", ["auxiliary_classifier.fc1.weight", "proj_head.0.weight"])
def test_heads_trained_beside_a_backbone_are_left_out_and_named(tmp_path, helper):
    source, target = small(0), small(1)
    state = {"backbone." + key: value for key, value in source.state_dict().items()} | {helper: torch.zeros(2)}
    torch.save({"net": state}, tmp_path / "a.pth")
    assert load_weights(target, tmp_path / "a.pth").left_out == (helper,)
    assert same(source, target)


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ({"best_acc": 74.31}, 0.7431),
        ({"acc": 0.7431}, 0.7431),
        ({"accuracy": torch.tensor(74.31)}, 0.7431),
        ({"best_prec1": np.float64(74.31)}, 0.7431),
        ({"opt": argparse.Namespace(lr=0.05), "best_acc": np.float32(74.31)}, 0.7431),
        ({"epoch": 240}, None),
    ],
)
def test_the_recorded_accuracy_is_told_as_a_share(tmp_path, words, share):
    torch.save({"model": small(0).state_dict(), **words}, tmp_path / "a.pth")
    recorded = load_weights(small(1), tmp_path / "a.pth").recorded_accuracy
    assert recorded == (share if share is None else pytest.approx(share, rel=1e-5))


def test_counters_that_old_files_lack_are_filled_and_nothing_else_is(tmp_path):
    state = {key: value for key, value in small(0).state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=False)  # as old as those files
    assert len(load_weights(small(1), tmp_path / "a.pth").filled) == 9
    del state["bn1.running_mean"]
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(AutokdError, match=r"missing \(1\): bn1.running_mean"):
        load_weights(small(1), tmp_path / "b.pth")


@pytest.mark.parametrize("short", [True, False])
def test_both_names_of_the_mobilenet_classifier_are_read_and_the_stem_is_called_in_question(tmp_path, short):
    source, target = small(0, "mobilenetv2_half"), small(1, "mobilenetv2_half")
    state = source.state_dict()
    if short:
        state = {key.replace("classifier.0.", "classifier."): value for key, value in state.items()}
    torch.save({"net": state}, tmp_path / "a.pth")
    loaded = load_weights(target, tmp_path / "a.pth")
    assert same(source, target)
    assert bool(loaded.warnings) == bool(loaded.renamed) == short
    if short:
        assert "stride" in loaded.warnings[0]


def test_a_long_classifier_name_is_read_by_a_network_with_the_short_one(tmp_path):
    source, target = small(0, "vgg8"), small(1, "vgg8")
    torch.save(
        {key.replace("classifier.", "classifier.0."): v for key, v in source.state_dict().items()}, tmp_path / "a.pth"
    )
    load_weights(target, tmp_path / "a.pth")
    assert same(source, target)


def test_our_files_know_which_mobilenet_they_hold(tmp_path):
    save_weights(small(0, "mobilenetv2_half_s1"), tmp_path / "a.safetensors")
    with pytest.raises(AutokdError, match="holds mobilenetv2_half_s1, not mobilenetv2_half"):
        load_weights(small(1, "mobilenetv2_half"), tmp_path / "a.safetensors")


def test_saved_weights_come_back_with_what_is_known_of_them(tmp_path):
    source, target = small(0), small(1)
    digest = save_weights(source, tmp_path / "deep" / "a.safetensors", accuracy=0.5125, metadata={"data": "digits"})
    loaded = load_weights(target, tmp_path / "deep" / "a.safetensors")
    assert same(source, target)
    assert (loaded.sha256, loaded.recorded_accuracy, loaded.metadata["data"]) == (digest, 0.5125, "digits")
    assert os.listdir(tmp_path / "deep") == ["a.safetensors"]


def test_the_safetensors_library_and_we_read_each_other(tmp_path):
    library = pytest.importorskip("safetensors.torch")
    source = small(0).half()
    save_weights(source, tmp_path / "ours.safetensors")
    read = library.load_file(tmp_path / "ours.safetensors")
    assert read.keys() == source.state_dict().keys()
    assert all(
        torch.equal(value, read[key]) and value.dtype == read[key].dtype for key, value in source.state_dict().items()
    )
    theirs = {key: value.clone() for key, value in small(2).state_dict().items()}
    library.save_file(theirs, tmp_path / "theirs.safetensors")
    target = small(3)
    load_weights(target, tmp_path / "theirs.safetensors")
    assert same(target, small(2))


class Runs:
    def __reduce__(self):
        return (os.system, ("echo this must never run",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, capfd):
    torch.save({"model": small(0).state_dict(), "surprise": Runs()}, tmp_path / "a.pth")
    with pytest.raises(AutokdError, match="would run code out of it") as caught:
        load_weights(small(1), tmp_path / "a.pth")
    assert "system" in str(caught.value)
    assert "must never run" not in capfd.readouterr().out


def test_a_pickled_model_is_refused(tmp_path):
    torch.save(small(0), tmp_path / "a.pth")
    with pytest.raises(AutokdError, match="holds more than weights"):
        load_weights(small(1), tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    archive = torch.jit.ScriptModule()
    try:
        torch.jit.save(archive, str(tmp_path / "a.pt"))
    except Exception:
        pytest.skip("this torch writes no TorchScript")
    with pytest.raises(AutokdError, match="TorchScript"):
        load_weights(small(1), tmp_path / "a.pt")


def test_names_that_do_not_fit_are_listed_and_nothing_is_loaded(tmp_path):
    source, target, untouched = small(0), small(1), small(1)
    state = source.state_dict()
    state["linear.weight"] = state.pop("fc.weight")
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(AutokdError) as caught:
        load_weights(target, tmp_path / "a.pth")
    assert "missing (1): fc.weight; unexpected (1): linear.weight" in str(caught.value)
    assert same(target, untouched)


def test_another_number_of_classes_is_told_as_such(tmp_path):
    save_weights(small(0, classes=10), tmp_path / "a.safetensors")
    with pytest.raises(AutokdError, match="fc.weight 10x32, not 4x32(.|\n)*the checkpoint knows 10 classes"):
        load_weights(small(1), tmp_path / "a.safetensors")


def test_weights_of_a_diverged_training_are_refused(tmp_path):
    source = small(0)
    with torch.no_grad():
        source.fc.bias[1] = float("nan")
    save_weights(source, tmp_path / "a.safetensors")
    with pytest.raises(AutokdError, match=r"not finite: \(1\): fc.bias"):
        load_weights(small(1), tmp_path / "a.safetensors")


def test_a_flipped_bit_of_a_weight_is_told(tmp_path):
    path = tmp_path / "a.pth"
    source = small(0)
    torch.save(source.state_dict(), path)
    data = bytearray(path.read_bytes())
    data[data.find(source.fc.weight.detach().numpy().tobytes()) + 2] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)  # does not notice
    with pytest.raises(AutokdError, match="its checksums do not agree with its content"):
        load_weights(small(1), path)


def test_files_that_are_no_checkpoints_are_told_in_one_error(tmp_path):
    save_weights(small(0), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    torch.save(small(0).state_dict(), tmp_path / "a.pth")
    files = {
        "empty.pth": b"",
        "text.pth": b"Hello, this is a README\n" * 20,
        "web.pth": b"<!DOCTYPE html><html></html>",
        "short.safetensors": whole[:-100],
        "half.pth": (tmp_path / "a.pth").read_bytes()[:3000],
        "liar.safetensors": b"PK not really anything at all",
        "header.safetensors": (20).to_bytes(8, "little") + b'{"a": {"dtype": 5 }}' + b"0" * 8,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AutokdError) as caught:
            load_weights(small(1), tmp_path / name)
        assert name in str(caught.value) and "more than weights" not in str(caught.value)
    with pytest.raises(AutokdError, match="is a folder(.|\n)*a.pth, empty.pth"):
        load_weights(small(1), tmp_path)
    with pytest.raises(AutokdError, match="no such checkpoint"):
        load_weights(small(1), tmp_path / "nothing.pth")
    torch.save({"weights": {"a": torch.zeros(1)}, "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(AutokdError, match="the file holds: weights, epoch"):
        load_weights(small(1), tmp_path / "other.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(AutokdError, match="holds a Tensor, not a state dict"):
        load_weights(small(1), tmp_path / "tensor.pth")
