"""The precision of products: torch's switches for as long as it lasts, and what that is on which device."""

from __future__ import annotations

import pytest
import torch

from autokd.errors import AutokdError
from autokd.models.precision import PRECISIONS, arithmetic, of_teacher, used

CPU, GPU = torch.device("cpu"), torch.device("cuda")
EACH = [("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn"), ("mkldnn", "matmul")]


def switches():
    """Whether products and convolutions of a GPU may be TF32, and whether torch's older names still agree with its newer."""
    products, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    assert products.allow_tf32 == (torch.get_float32_matmul_precision() != "highest") == (products.fp32_precision == "tf32")
    assert cudnn.allow_tf32 == (cudnn.conv.fp32_precision == "tf32")
    return products.allow_tf32, cudnn.allow_tf32


@pytest.fixture(params=[("highest", True), ("high", True), ("highest", False)], ids=str)
def before(request):
    """What a process may have set; the first is torch's own."""
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    products, cudnn = request.param
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = cudnn
    yield switches()
    torch.set_float32_matmul_precision(kept[0])
    torch.backends.cudnn.allow_tf32 = kept[1]


@pytest.mark.parametrize(
    ("precision", "device", "inside"),
    [
        ("float32", GPU, (False, False)),
        ("float32", CPU, (False, False)),
        ("tf32", GPU, (True, True)),
        ("tf32", CPU, (False, False)),  # a processor has none
        ("auto", GPU, None),  # as torch is set
        ("bf16", GPU, None),
    ],
)
def test_it_holds_inside_and_leaves_nothing_behind(before, precision, device, inside):
    with arithmetic(precision, device):
        assert switches() == (before if inside is None else inside)
        with arithmetic("float32", device):
            assert switches() == (False, False)
        assert switches() == (before if inside is None else inside)
    assert switches() == before
    with pytest.raises(ZeroDivisionError), arithmetic(precision, device):
        raise ZeroDivisionError
    assert switches() == before


def test_switches_that_somebody_set_one_by_one_are_set_again():
    """torch then refuses to tell them by its older names."""
    get, put = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
    kept = {one: get(*one) for one in EACH}
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        found = {one: get(*one) for one in EACH}
        with pytest.raises(RuntimeError, match="mix"):
            torch.get_float32_matmul_precision()
        with arithmetic("float32", GPU):
            assert get("cuda", "matmul") == "ieee" and not torch.backends.cudnn.allow_tf32
        assert {one: get(*one) for one in EACH} == found
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
        for one, value in kept.items():
            put(*one, value)
    switches()


def test_another_word_is_refused():
    with pytest.raises(AutokdError, match="no precision 'fp16'") as told, arithmetic("fp16", CPU):
        pass
    assert "auto, float32, tf32, bf16" in str(told.value)


def test_what_is_used_is_told_and_not_what_was_asked(monkeypatch):
    assert [used(one, CPU, autocast=False) for one in PRECISIONS] == ["float32"] * 4
    assert used("auto", CPU, autocast=True) == used("bf16", GPU, autocast=True) == "bf16"
    for capability, found in (((7, 5), "float32"), ((8, 0), "tf32"), ((9, 0), "tf32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, one=capability: one)
        assert used("tf32", GPU, autocast=False) == found
        assert used("float32", GPU, autocast=False) == "float32"


def test_a_teacher_is_never_in_bfloat16_and_on_a_cpu_there_is_but_one():
    assert [of_teacher(one, GPU) for one in PRECISIONS] == ["auto", "float32", "tf32", "auto"]
    assert [of_teacher(one, CPU) for one in PRECISIONS] == ["auto"] * 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_products_and_convolutions_are_as_exact_as_was_asked():
    """TF32 keeps 11 bits of a factor: relative errors of about 2^-11, against 2^-24."""
    a, b = torch.randn(2, 512, 512, device="cuda")
    images, kernel = torch.randn(8, 64, 32, 32, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")

    def errors():
        product = ((a @ b).double() - a.double() @ b.double()).norm() / (a.double() @ b.double()).norm()
        exact = torch.nn.functional.conv2d(images.double(), kernel.double())
        convolved = (torch.nn.functional.conv2d(images, kernel).double() - exact).norm() / exact.norm()
        return product.item(), convolved.item()

    with arithmetic("float32", GPU):
        assert max(errors()) < 1e-5
    if torch.cuda.get_device_capability() >= (8, 0):
        with arithmetic("tf32", GPU):
            assert min(errors()) > 1e-5
