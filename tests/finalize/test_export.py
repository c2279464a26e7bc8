"""Every form of a student: written, copied elsewhere alone, loaded, and held against the module it came from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from autokd.errors import AutokdError
from autokd.finalize.export import FORMATS, LARGEST_DIFFERENCE, export_students, formats_of
from autokd.finalize.facts import Facts, from_text, to_text
from autokd.finalize.latency import latency
from autokd.finalize.student import open_student
from autokd.models.build import build

FACTS = Facts(
    student="resnet8x0.5",
    options={},
    classes=("zero", "one", "two", "żółw"),
    channels=1,
    height=8,
    width=8,
    mean=(0.3,),
    std=(0.4,),
    threshold=0.75,
    made={"run": "here-1"},
)
OWN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.flat = torch.nn.Linear(64, classes)
    def forward(self, images):
        if images.sum().item() > 1e9:  # what the images hold decides which code runs: no graph says that
            return self.flat(images.flatten(1)) + 1
        return self.flat(images.flatten(1))
def net(classes):
    return Net(classes)
"""


def pixels_of(count: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, 8, 8), dtype=np.uint8)


def network(seed: int = 1) -> torch.nn.Module:
    """A net of random weights whose batch norms have seen data."""
    model = build("resnet8x0.5", classes=4, channels=1, size=8, seed=seed)
    with torch.no_grad():
        for _ in range(20):
            model((torch.from_numpy(pixels_of(64)).float() / 255 - 0.3) / 0.4)
    return model.eval()


def by_hand(model: torch.nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The logits in float64, normalised as the words say: scaled to 0..1, minus 0.3, divided by 0.4."""
    with torch.no_grad():
        return model.double()((torch.from_numpy(pixels).double() / 255 - 0.3) / 0.4).numpy()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("made")
    warned: list[str] = []
    told = export_students(network(), FACTS, place, tuple(FORMATS), pixels_of(16), pixels_of(128, 1), warned.append)
    assert warned == []
    return place, told


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_copied_away_alone_answers_as_the_network_for_any_number_of_images(made, form: str, tmp_path: Path):
    place, told = made
    file = tmp_path / f"elsewhere{''.join(Path(FORMATS[form]).suffixes[-1:])}"
    shutil.copy(place / FORMATS[form], file)
    student = open_student(file)
    assert student.facts == FACTS
    pixels = pixels_of(37, seed=5)  # not the images it was compared on
    wanted = by_hand(network(), pixels)
    for count in (1, 2, 37):
        found = student.logits(pixels[:count], batch=20)
        assert found.dtype == np.float32 and found.shape == (count, 4)
        gap = np.abs(found - wanted[:count]).max()
        assert gap <= (0.3 * np.abs(wanted).max() if form == "int8" else LARGEST_DIFFERENCE)
    assert told[form]["bytes"] == file.stat().st_size and told[form]["file"] == FORMATS[form]
    assert (told[form]["largest_difference"] <= LARGEST_DIFFERENCE) is (form != "int8")


def test_int8_holds_int8_weights_and_is_smaller(made):
    import onnx

    place, told = made
    graph = onnx.load(place / "student.int8.onnx").graph
    kept = [one for one in graph.initializer if one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 4]
    convolutions = sum(node.op_type == "Conv" for node in graph.node)
    assert len(kept) == convolutions > 5
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    assert told["int8"]["bytes"] < told["onnx"]["bytes"]


def test_the_onnx_file_holds_nothing_outside_the_standard_and_says_its_shapes(made):
    import onnx

    place, _ = made
    model = onnx.load(place / "student.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {one.domain for one in model.opset_import} <= {"", "ai.onnx"}
    (images,) = model.graph.input
    sides = [side.dim_value or side.dim_param for side in images.type.tensor_type.shape.dim]
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and sides[1:] == [1, 8, 8]
    assert isinstance(sides[0], str)  # a name, not a number: any count of images


def test_a_network_that_no_graph_can_follow_is_still_written_as_weights(tmp_path: Path):
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    name = f"{tmp_path / 'own.py'}:net"
    model = build(name, classes=4, channels=1, size=8, seed=0)
    facts = Facts(name, {}, FACTS.classes, 1, 8, 8, (0.3,), (0.4,))
    warned: list[str] = []
    told = export_students(model, facts, tmp_path / "out", tuple(FORMATS), pixels_of(8), pixels_of(8), warned.append)
    assert "file" in told["safetensors"] and all("failed" in told[form] for form in ("pt2", "onnx", "int8"))
    assert len(warned) == 3 and warned[0].startswith("student.pt2 is not written: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["student.safetensors"]
    with pytest.raises(AutokdError, match="code of somebody's own"):  # a file of weights does not run code unasked
        open_student(tmp_path / "out" / "student.safetensors")
    student = open_student(tmp_path / "out" / "student.safetensors", own_code=True)
    np.testing.assert_allclose(student.logits(pixels_of(3)), by_hand(model, pixels_of(3)), atol=1e-4)


def test_a_network_that_keeps_weights_outside_its_state_is_refused(tmp_path: Path):
    class Keeps(torch.nn.Module):
        autokd_blueprint = None

        def __init__(self) -> None:
            super().__init__()
            self.inside = build("resnet8x0.5", classes=4, channels=1, size=8, seed=3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inside(images) + 1

        def state_dict(self, *rest, **more):  # as of a plain resnet8x0.5, which does not add 1
            return self.inside.state_dict(*rest, **more)

    with pytest.raises(AutokdError, match=r"answers differently \(by 1, of logits up to [\d.]+\)"):
        export_students(Keeps().eval(), FACTS, tmp_path, ("safetensors",), pixels_of(4), pixels_of(4), print)


@pytest.mark.parametrize("scale", [1e3, 1e30, pytest.param(1e7, marks=pytest.mark.slow)])
def test_what_a_file_may_differ_by_grows_with_the_logits(scale: float, tmp_path: Path):
    """A float32 holds seven digits of a logit, whatever its size. Weights of another seed are no rounding at any size."""

    def grown(seed: int = 1) -> torch.nn.Module:
        model = network(seed)
        with torch.no_grad():
            for one in list(model.parameters())[-2:]:
                one.mul_(scale)
        return model

    forms = ("safetensors", *(["onnx"] if scale == 1e7 else []))
    told = export_students(grown(), FACTS, tmp_path, forms, pixels_of(16), pixels_of(16), print)
    largest = np.abs(by_hand(grown(), pixels_of(16))).max()
    for one in told.values():
        assert LARGEST_DIFFERENCE < one["largest_difference"] < LARGEST_DIFFERENCE / 10 * largest
    from autokd.finalize.export import _read_back
    from autokd.finalize.graph import Deployed

    with pytest.raises(AutokdError, match="answers differently"):
        _read_back(tmp_path / FORMATS["safetensors"], Deployed(grown(2), FACTS).eval(), pixels_of(16), LARGEST_DIFFERENCE)


def test_a_student_whose_logits_are_no_numbers_is_told_by_that(tmp_path: Path):
    model = network()
    with torch.no_grad():
        list(model.parameters())[-2].fill_(3e38)
    with pytest.raises(AutokdError, match="its training diverged") as fault:
        export_students(model, FACTS, tmp_path, ("safetensors",), pixels_of(4), pixels_of(4), print)
    assert "logits are not finite" in str(fault.value) and "lower learning rate" in fault.value.fix


def test_a_student_that_is_shown_less_is_exported_with_what_it_is_shown(tmp_path: Path):
    facts = Facts(
        "resnet8x0.5",
        {},
        FACTS.classes,
        1,
        8,
        8,
        (0.3,),
        (0.4,),
        shown={"method": "res_rkd", "settings": {"factor": 2}},
    )
    export_students(network(), facts, tmp_path, ("safetensors", "onnx"), pixels_of(8), pixels_of(8), print)
    pixels = pixels_of(5, seed=9)
    from autokd.methods._resolution import lowered

    with torch.no_grad():
        wanted = network()(lowered((torch.from_numpy(pixels).float() / 255 - 0.3) / 0.4, 2)).numpy()
    for file in ("student.safetensors", "student.onnx"):
        np.testing.assert_allclose(open_student(tmp_path / file).logits(pixels), wanted, atol=1e-4)


def test_forms_are_kept_in_order_with_safetensors_among_them():
    assert formats_of(None) == ("safetensors", "pt2", "onnx", "int8")
    assert formats_of(["onnx"]) == formats_of("onnx,safetensors") == ("safetensors", "onnx")
    assert formats_of(["int8,pt2", "onnx"]) == ("safetensors", "pt2", "onnx", "int8")
    with pytest.raises(AutokdError, match="did you mean 'onnx'"):
        formats_of("onx")


def test_latency_is_told_with_its_conditions(made):
    place, _ = made
    before = torch.get_num_threads()
    for form in ("safetensors", "onnx"):
        told = latency(place / FORMATS[form], pixels_of(1), seconds=0.2)
        assert 0 < told["median_interval"][0] <= told["median_ms"] <= told["p90_ms"] <= told["p90_interval"][1]
        assert (told["batch"], told["threads"], told["device"]) == (1, 1, "cpu") and told["repetitions"] >= 12
        assert told["runtime"].startswith("torch " if form == "safetensors" else "onnxruntime ")
    assert torch.get_num_threads() == before


def test_facts_survive_the_way_through_text_and_a_later_form_is_refused():
    assert from_text(to_text(FACTS), "file") == FACTS
    with pytest.raises(AutokdError, match="of a later autokd"):
        from_text(to_text(FACTS).replace('"form": 1', '"form": 99'), "file")
    with pytest.raises(AutokdError, match="cannot be read"):
        from_text("{}", "file")


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_cut_off_is_told(made, form: str, tmp_path: Path):
    place, _ = made
    file = tmp_path / FORMATS[form]
    file.write_bytes((place / FORMATS[form]).read_bytes()[:2000])
    with pytest.raises(AutokdError) as fault:
        open_student(file)
    assert str(fault.value).endswith("copy it again")


def test_files_of_others_and_images_that_do_not_fit_are_told(made, tmp_path: Path):
    place, _ = made
    with pytest.raises(AutokdError, match="name a file in it: student.int8.onnx, student.onnx"):
        open_student(place)
    with pytest.raises(AutokdError, match="no such file"):
        open_student(tmp_path / "none.onnx")
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(AutokdError, match="no student ends in '.pth'"):
        open_student(tmp_path / "weights.pth")
    from autokd.models.checkpoint import save_weights

    save_weights(network(), tmp_path / "bare.safetensors")
    with pytest.raises(AutokdError, match="does not say which classes it knows"):
        open_student(tmp_path / "bare.safetensors")
    with pytest.raises(AutokdError, match=r"it reads uint8 \[N, 1, 8, 8\], not uint8 \[2, 3, 8, 8\]"):
        open_student(place / "student.onnx").logits(pixels_of(2, channels=3))
