"""Write a trained student in the forms that others load, and read each file back before anyone relies on it.

`export_students` goes through the forms; one that a network refuses is told with its reason and the others are still written.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autokd.errors import AutokdError, did_you_mean
from autokd.files import full_disk, whole
from autokd.finalize.facts import FILE, KEY, Facts, to_text

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from autokd.finalize.graph import Deployed

__all__ = ["FORMATS", "LARGEST_DIFFERENCE", "LOWER_RATE", "export_students", "formats_of", "onnx_model"]

LOWER_RATE = "train it with a lower learning rate, or more warm-up"
FORMATS = {
    "safetensors": "student.safetensors",
    "pt2": "student.pt2",
    "onnx": "student.onnx",
    "int8": "student.int8.onnx",
}
# Between a file and the module, as a share of the largest logit, or of 1 where all are smaller: float32 sums in another order
# differ by some 1e-6 of it. int8 is another network, and only measured.
LARGEST_DIFFERENCE = 1e-4


def formats_of(words: Sequence[str] | str | None) -> tuple[str, ...]:
    """The forms asked for, in the order of FORMATS; safetensors is always among them. None: all. AutokdError for another word."""
    if words is None:
        return tuple(FORMATS)
    listed = [
        word.strip()
        for one in ([words] if isinstance(words, str) else words)
        for word in one.split(",")
        if word.strip()
    ]
    for word in listed:
        if word not in FORMATS:
            raise AutokdError(
                f"students are not written as {word!r}{did_you_mean(word, FORMATS)}", fix=f"forms: {', '.join(FORMATS)}"
            )
    return tuple(form for form in FORMATS if form == "safetensors" or form in listed)


def export_students(
    network: nn.Module,
    facts: Facts,
    place: Path,
    formats: Sequence[str],
    probe: np.ndarray,
    calibration: np.ndarray,
    warn: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Write `network` to `place` in each of `formats`; returns by form {file, bytes, sha256, largest_difference} or {failed}.

    probe: uint8 [N, C, H, W], images on which each file, loaded anew, is compared with the module, alone and together.
    calibration: uint8 [M, C, H, W], training images that say how wide the activations of int8 are.
    Raises AutokdError where the weights themselves, as safetensors, do not come back as they were.
    """
    import copy

    from autokd.finalize.graph import Deployed

    model = Deployed(copy.deepcopy(network).to("cpu").float(), facts).eval()
    place.mkdir(parents=True, exist_ok=True)
    made: dict[str, dict[str, Any]] = {}
    graph = _Graph(model, probe)
    for form in formats:
        path = place / FORMATS[form]
        try:
            _write(form, model, network, facts, path, graph, calibration)
            made[form] = _read_back(path, model, probe, limit=None if form == "int8" else LARGEST_DIFFERENCE)
        except (KeyboardInterrupt, SystemExit):
            raise
        except Exception as fault:  # what an exporter raises for a network that it cannot follow has no common class
            if form == "safetensors" or full_disk(fault) is not None:
                raise
            path.unlink(missing_ok=True)
            made[form] = {"failed": _reason(fault)}
            warn(f"{path.name} is not written: {made[form]['failed']}")
    return made


def _write(
    form: str, model: Deployed, network: nn.Module, facts: Facts, path: Path, graph: _Graph, calibration: np.ndarray
) -> None:
    import torch

    if form == "safetensors":
        from autokd.models.checkpoint import save_weights

        save_weights(network, path, metadata={KEY: to_text(facts)})
    elif form == "pt2":
        with whole(path) as file, _hushed():
            torch.export.save(graph.program, file, extra_files={FILE: to_text(facts)})
    elif form == "onnx":
        _write_onnx(graph.onnx, facts, path)
    else:
        _write_int8(graph.onnx, facts, path, calibration)


class _Graph:
    """The traced network and its ONNX form, made once, when first asked for; a failure is kept and raised again."""

    def __init__(self, model: Deployed, probe: np.ndarray) -> None:
        self.model, self.probe = model, probe
        self._made: dict[str, Any] = {}

    @property
    def program(self) -> torch.export.ExportedProgram:
        return self._once("program", self._program)

    @property
    def onnx(self) -> Any:
        """An onnx.ModelProto."""
        return self._once("onnx", self._onnx)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            try:
                with _hushed():
                    self._made[name] = make()
            except Exception as fault:
                self._made[name] = fault
        if isinstance(self._made[name], Exception):
            raise self._made[name]
        return self._made[name]

    def _program(self) -> torch.export.ExportedProgram:
        import torch

        from autokd.finalize.graph import program

        return program(self.model, torch.from_numpy(self.probe[:2]))

    def _onnx(self) -> Any:
        import torch

        _needs("onnx", "onnxscript")
        made = torch.onnx.export(
            self.program,
            (),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
            external_data=False,
        )
        assert made is not None
        return made.model_proto


def _write_onnx(model: Any, facts: Facts, path: Path) -> None:
    """The graph with the facts among its metadata_props."""
    import onnx

    told = {one.key: one.value for one in model.metadata_props}
    onnx.helper.set_model_props(model, {**told, KEY: to_text(facts)})
    model.doc_string = (
        "images: uint8 [N, C, H, W], 0 to 255; logits: float32 [N, classes]; normalisation is part of the graph"
    )
    with whole(path) as file:
        file.write(model.SerializeToString())


def _write_int8(model: Any, facts: Facts, path: Path, calibration: np.ndarray) -> None:
    """Static post-training quantisation: weights int8 with a scale for each output channel, activations uint8, as QDQ."""
    _needs("onnxruntime")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [calibration[at : at + 64] for at in range(0, len(calibration), 64)][::-1]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"images": self.left.pop()} if self.left else None

    with tempfile.TemporaryDirectory(prefix="autokd-") as scratch, _hushed():
        plain, ready, done = (str(Path(scratch) / name) for name in ("plain.onnx", "ready.onnx", "int8.onnx"))
        onnx.save(model, plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        quantize_static(
            ready,
            done,
            Batches(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with int8 weights: an order of magnitude faster on x86 than int8 with int8
            weight_type=QuantType.QInt8,
            reduce_range=True,  # weights of 7 bits: those of 8 saturate on CPUs without VNNI, and answer otherwise there
            nodes_to_exclude=_preprocessing(onnx.load(ready).graph),
        )
        _write_onnx(onnx.load(done), facts, path)


def _preprocessing(graph: Any) -> list[str]:
    """The nodes between the grey levels and the network; in int8 they would only coarsen what the network sees."""
    found, name = [], "images"
    for node in graph.node:
        if name in node.input and node.op_type in ("Cast", "Sub", "Mul"):
            found.append(node.name)
            name = node.output[0]
    return found


def _read_back(path: Path, model: Deployed, probe: np.ndarray, limit: float | None) -> dict[str, Any]:
    """Load the file and compare its logits with the module's: all images together, and the first alone."""
    import numpy as np
    import torch

    from autokd.finalize.student import open_student

    student = open_student(path, own_code=True)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(probe)).numpy()
    if not np.isfinite(wanted).all():
        raise AutokdError("the student's logits are not finite: its training diverged", where=str(path), fix=LOWER_RATE)
    gaps = [np.abs(student.logits(probe) - wanted).max(), np.abs(student.logits(probe[:1]) - wanted[:1]).max()]
    difference, largest = float(max(gaps)), float(np.abs(wanted).max())
    if limit is not None and not difference <= limit * max(1.0, largest):
        raise AutokdError(
            f"the exported student answers differently (by {difference:.3g}, of logits up to {largest:.3g}) from the trained one",
            where=str(path),
            fix="the network keeps something outside its state dict; register it as a buffer",
        )
    data = path.read_bytes()
    return {
        "file": path.name,
        "bytes": len(data),
        "sha256": sha256(data).hexdigest(),
        "runtime": student.runtime,
        "largest_difference": difference,
    }


def onnx_model(path: Path) -> Any:
    """The onnx.ModelProto in a file."""
    import onnx

    return onnx.load(path)


def _needs(*packages: str) -> None:
    import importlib.util

    for name in packages:
        if importlib.util.find_spec(name) is None:
            raise AutokdError(f"it needs {name}, which is not installed", fix=f"pip install {name}")


@contextmanager
def _hushed() -> Iterator[None]:
    """Exporters tell of their own inner life on every channel; what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(fault: Exception) -> str:
    """The first line that says something, shortened."""
    if isinstance(fault, AutokdError):
        return fault.what
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {lines[0] if lines else 'it did not say why'}"[:300]
