"""Kept answers: those of the teacher to float16 rounding, of this view and no other, for as long as a disk can be had."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from autokd.augment.build import build_policy
from autokd.augment.views import Views
from autokd.signals.choose import choose, told_of_sparse
from autokd.signals.sparse import pack
from autokd.signals.teacher import Teacher

HALF = {"rtol": 2**-10, "atol": 1e-4}
SOME = torch.tensor([699, 3, 511, 512, 3, 0])


@pytest.mark.parametrize("augmented", [False, True])
def test_answers_are_the_teachers_to_float16_rounding(bench, tmp_path, augmented):
    signals = bench.signals(tmp_path)
    torch.testing.assert_close(signals.logits(SOME, 1, augmented), bench.live(SOME, 1, augmented), **HALF)
    assert (signals.logits(SOME, 1, augmented) != bench.live(SOME, 1, augmented)).any()  # they were kept, not asked


def test_each_row_of_a_batch_may_be_of_another_view(bench, tmp_path):
    passes = torch.tensor([4, 5, 4, 5, 5, 4])
    live = torch.cat([bench.live(SOME[i : i + 1], int(passes[i]), True) for i in range(6)])
    torch.testing.assert_close(bench.signals(tmp_path).logits(SOME, passes, True), live, **HALF)


def test_warm_answers_ask_the_teacher_and_render_nothing_but_a_few_rows_once(bench, tmp_path):
    first = bench.signals(tmp_path)
    for view in range(3):
        for augmented in (False, True):
            first.logits(SOME, view, augmented)
    bench.asked.clear()
    again = bench.signals(tmp_path)
    for view in range(3):
        for augmented in (False, True):
            again.logits(SOME, view, augmented)
    assert sum(bench.asked) <= 2 * 4 + 1  # a spot check of either kind, and the number of classes
    bench.asked.clear()
    again.logits(SOME, torch.tensor([0, 1, 2, 0, 1, 2]), True)
    assert bench.asked == [] and not again.wants_pixels


def test_only_views_that_are_reached_are_computed(bench, tmp_path):
    signals = bench.signals(tmp_path)
    signals.logits(SOME, 0, True)
    signals.logits(SOME, 2, True)
    assert [signals.warm(view, flag) for view in range(3) for flag in (False, True)] == [0, 1, 0, 0, 0, 1]
    assert sum(bench.asked) == 2 * 700 + 1


def test_a_view_of_which_a_trial_reads_a_few_rows_is_asked_and_not_computed_whole(bench, tmp_path):
    signals = bench.signals(tmp_path)
    passes = torch.tensor([0, 0, 0, 0, 1, 1])
    pixels = bench.views.render(SOME, passes, True).pixels
    told = signals.logits(SOME, passes, True, pixels, until=1.01)
    assert signals.warm(0, True) and not signals.warm(1, True)
    whole = bench.signals(tmp_path / "other").logits(SOME, passes, True)
    torch.testing.assert_close(told, whole, rtol=2**-10, atol=0)
    assert (told.half().float() == told).all()


def test_whoever_asks_first_the_bytes_are_the_same(bench, tmp_path):
    files = []
    for name, rows in (("one", SOME), ("two", torch.arange(700).flip(0))):
        bench.signals(tmp_path / name).logits(rows, 0, True)
        files += [path.read_bytes() for path in (tmp_path / name).iterdir()]
    assert len(files) == 2 and files[0] == files[1]


def test_no_part_of_what_an_answer_depends_on_can_change_without_another_file(bench, bench_of, tmp_path):
    signals = bench.signals(tmp_path)
    base = signals.store.path(signals.key(0, False))
    other = bench_of()
    with torch.no_grad():
        next(other.teacher.model.parameters())[0, 0] += 1e-3
    weights = Teacher(other.teacher.model, bench.teacher.mean, bench.teacher.std)
    network = bench.teacher.model
    keys = signals._keys
    changed = {
        "weights": bench.signals(tmp_path, teacher=weights),
        "mean": bench.signals(tmp_path, teacher=Teacher(network, (0.5, 0.5, 0.51), (0.25, 0.25, 0.25))),
        "std": bench.signals(tmp_path, teacher=Teacher(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.26))),
        "precision": bench.signals(tmp_path, teacher=Teacher(network, bench.teacher.mean, bench.teacher.std, precision="tf32")),
        "network": bench.signals(tmp_path, teacher=Teacher(network, bench.teacher.mean, bench.teacher.std, fingerprint="other")),
        "data": bench.signals(tmp_path, data="da7b"),
        "rows": bench.signals(tmp_path, rows=699),
        "plain views": bench.signals(tmp_path, keys=(keys[0] + " ", keys[1])),
        "top": bench.signals(tmp_path, top=2),
    }
    paths = {name: one.store.path(one.key(0, False)) for name, one in changed.items()}
    paths |= {"view": signals.store.path(signals.key(1, False)), "kind": signals.store.path(signals.key(0, True))}
    mixed = bench.signals(tmp_path, keys=(keys[0], keys[1] + " "))
    paths["augmented views"] = mixed.store.path(mixed.key(0, True))
    assert len({base, *paths.values()}) == len(paths) + 1
    assert bench.signals(tmp_path).store.path(bench.signals(tmp_path).key(0, False)) == base  # and is found again


def test_the_key_of_a_view_covers_all_its_pixels_depend_on(monkeypatch):
    pixels, index = torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4)
    base = {"padding": 1, "flip": True, "seed": 5, "shared_geometry": False, "geometry": "crop"}

    def key(augmented, policy=("jda_cifar10", {}), **changes):
        return Views(pixels, index, build_policy(*policy, ()), **{**base, **changes}).key(augmented)

    for changes in ({"padding": 2}, {"flip": False}, {"seed": 6}, {"geometry": "resized_crop"}):
        for augmented in (False, True):
            assert key(augmented, **changes) != key(augmented)
    assert key(True, ("cutmix", {})) != key(True, ("mixup", {})) != key(True)
    assert key(True, ("jda_cifar10", {"probability": 0.11})) != key(True)
    for name in ("randaugment", "trivialaugment"):
        assert key(True, (name, {"implementation": "autoaugment"})) != key(True, (name, {}))
    assert key(True, shared_geometry=True) != key(True)
    assert key(False, ("cutmix", {})) == key(False)  # plain views are shared by all policies
    before = key(False), key(True)
    monkeypatch.setattr("autokd.augment.views.DRAW_VERSION", 999)
    assert key(False) != before[0] and key(True) != before[1]


def test_mixed_views_are_kept_as_mixed(bench, tmp_path):
    policy = build_policy("mixup", {}, ())
    bench.views = Views(bench.views.pixels, bench.views.index, policy, padding=1, flip=True, seed=5)
    view = bench.views.render(SOME, 0, True)
    assert view.partner is not None
    torch.testing.assert_close(bench.signals(tmp_path).logits(SOME, 0, True), bench.teacher.logits(view.pixels), **HALF)


def test_answers_of_changed_code_under_the_same_key_are_found_out_and_computed_again(bench, tmp_path):
    bench.signals(tmp_path).logits(SOME, 0, True)
    bench.teacher.model[1].register_forward_hook(lambda _m, _i, out: out * 1.5)  # the weights are what they were
    with pytest.warns(RuntimeWarning, match="computed again"):
        told = bench.signals(tmp_path).logits(SOME, 0, True)
    torch.testing.assert_close(told, bench.live(SOME, 0, True), **HALF)


def test_a_damaged_file_is_computed_again(bench, tmp_path, monkeypatch):
    monkeypatch.setattr("autokd.signals.store._verified", set())
    signals = bench.signals(tmp_path)
    expected = signals.logits(SOME, 0, True)
    path = signals.store.path(signals.key(0, True))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert torch.equal(bench.signals(tmp_path).logits(SOME, 0, True), expected)


def test_where_nothing_can_be_written_the_teacher_is_asked_after_one_warning(bench, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    signals = bench.signals(tmp_path / "file" / "signals")
    with pytest.warns(RuntimeWarning, match="asked at every batch") as told:
        first = signals.logits(SOME, 0, True, bench.render(SOME, 0, True))
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = signals.logits(SOME, torch.tensor([0, 0, 0, 1, 1, 1]), False)
    assert torch.equal(first, bench.live(SOME, 0, True)) and signals.wants_pixels
    torch.testing.assert_close(second[3:], bench.live(SOME[3:], 1, False))


def test_a_full_disk_is_survived(bench, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("autokd.signals.filling.os.pwrite", full)
    with pytest.warns(RuntimeWarning, match="the disk is full"):
        told = bench.signals(tmp_path).logits(SOME, 0, True)
    torch.testing.assert_close(told, bench.live(SOME, 0, True))


def test_many_classes_are_kept_sparsely_and_the_error_is_told(bench_of, tmp_path):
    bench = bench_of(classes=300)
    signals = bench.signals(tmp_path)
    assert signals.kl_errors() == {}
    told, live = signals.logits(SOME, 0, False), bench.live(SOME, 0, False)
    assert signals.top == 64
    places = live.topk(64).indices
    torch.testing.assert_close(told.gather(1, places), live.gather(1, places), **HALF)
    whole = bench.live(torch.arange(700), 0, False).double().numpy()
    kept = signals.logits(torch.arange(700), 0, False).double().numpy()
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (whole, kept))
    by_numpy = (p * np.log(p / q)).sum(1).mean()
    assert signals.kl_errors()[1.0] == pytest.approx(by_numpy, rel=1e-2)
    sentence = told_of_sparse(signals)
    assert "the 64 largest of 300 answers are kept" in sentence
    first = pack(bench.live(torch.arange(64), 0, True), 64)["kl"].mean(0)
    assert f"{first[0]:.2g} nats at temperature 1, {first[1]:.2g} nats at temperature 4" in sentence
    dense = bench.signals(tmp_path, top=0)
    assert told_of_sparse(dense) == ""
    dense.logits(SOME, 0, False)
    sizes = [one.store.path(one.key(0, False)).stat().st_size for one in (signals, dense)]
    assert sizes[0] < sizes[1]


def test_the_choice_is_a_sentence_with_both_times_or_with_what_forbids_keeping(bench, tmp_path, monkeypatch):
    heavy = nn.Sequential(nn.Conv2d(3, 256, 3, padding=1), nn.Conv2d(256, 256, 3), nn.Flatten(), nn.LazyLinear(5))
    heavy(torch.zeros(1, 3, 8, 8))
    signals = bench.signals(tmp_path, teacher=Teacher(heavy, (0.5,) * 3, (0.25,) * 3, name="heavy"))
    choice = choose(signals)
    assert choice.cached and choice.ask_us > 2 * choice.read_us > 0
    assert choice.sentence.startswith("signals of heavy: cached, as reading 64 answers takes ")
    assert "live, as a view takes" in choose(bench.signals(tmp_path, max_gb=1e-6)).sentence
    (tmp_path / "file").write_text("")
    assert "cannot be written" in choose(bench.signals(tmp_path / "file" / "x")).sentence
    monkeypatch.setattr("autokd.signals.choose.find_spec", lambda _: None)
    refused = choose(signals)
    assert not refused.cached and "pyarrow is not installed" in refused.sentence


def with_pooled(bench):
    """The bench with a teacher whose classifier reads seven numbers."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 7), nn.ReLU(), nn.Linear(7, 5))
    bench.teacher = Teacher(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    bench.asked.clear()
    network.register_forward_hook(lambda _module, inputs, _out: bench.asked.append(len(inputs[0])))
    return bench


def test_pooled_vectors_are_kept_beside_the_logits_in_a_file_of_their_own(bench, tmp_path):
    bench = with_pooled(bench)
    signals = bench.signals(tmp_path, pooled=True)
    passes = torch.tensor([2, 3, 2, 2, 3, 3])
    logits, pooled = signals.answers(SOME, passes, True)
    for number in (2, 3):
        pixels, mine = bench.render(SOME, number, True), passes == number
        hidden = bench.teacher.model[:3](bench.teacher._images(pixels))
        torch.testing.assert_close(pooled[mine], hidden[mine], **HALF)
        torch.testing.assert_close(logits[mine], bench.teacher.model[3](hidden)[mine], **HALF)
    assert torch.equal(signals.logits(SOME, passes, True), logits)
    bench.asked.clear()
    again = bench.signals(tmp_path, pooled=True)
    assert torch.equal(again.answers(SOME, passes, True)[1], pooled) and sum(bench.asked) <= 5
    plain = bench.signals(tmp_path)
    assert plain.store.path(plain.key(2, True)) != signals.store.path(signals.key(2, True))
    torch.testing.assert_close(plain.logits(SOME, passes, True), logits, **HALF)


def test_what_is_asked_of_a_view_hardly_read_is_rounded_as_its_file_would_be(bench, tmp_path):
    signals = with_pooled(bench).signals(tmp_path, pooled=True)
    _, pooled = signals.answers(SOME, 1, False, until=1.01)
    assert not signals.warm(1, False) and (pooled.half().float() == pooled).all()


def test_another_pooled_layer_under_the_same_key_is_found_out(bench, tmp_path):
    signals = with_pooled(bench).signals(tmp_path, pooled=True)
    signals.answers(SOME, 0, True)
    with torch.no_grad():  # the logits stay what they were
        bench.teacher.model[1].weight *= 2
        bench.teacher.model[1].bias *= 2
        bench.teacher.model[3].weight /= 2
    with pytest.warns(RuntimeWarning, match="computed again"):
        bench.signals(tmp_path, teacher=bench.teacher, pooled=True).answers(SOME, 0, True)


def test_the_choice_weighs_what_pooled_vectors_take(bench, tmp_path):
    signals = with_pooled(bench).signals(tmp_path, pooled=True, max_gb=4 * 700 * 2 * 5 / 1e9)  # room for logits alone
    assert "max_gb" in choose(signals).sentence


def test_the_teacher_rests_while_its_kept_answers_serve_and_wakes_for_a_view_that_is_not_kept(bench, tmp_path):
    made = []
    network = bench.teacher.model

    def make():
        made.append(1)
        return network

    def fresh():
        return Teacher(make(), bench.teacher.mean, bench.teacher.std, make=make)

    first = fresh()
    expected = bench.signals(tmp_path, teacher=first).logits(SOME, 0, True)
    assert first._model is not None and len(made) == 1  # it was at work
    second = fresh()
    signals = bench.signals(tmp_path, teacher=second)
    assert torch.equal(signals.logits(SOME, 0, True), expected)
    assert second._model is None and len(made) == 2
    torch.testing.assert_close(signals.logits(SOME, 1, True), bench.live(SOME, 1, True), **HALF)
    assert second._model is not None and len(made) == 3
    bench.teacher.rest()
    assert bench.teacher.model is network  # what cannot be made anew stays
