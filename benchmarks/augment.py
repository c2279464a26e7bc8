"""Views a second: whole batches here, against PIL image by image.

    python -m benchmarks augment            the table's row (one thread, some ten seconds)
    python -m benchmarks.augment --all      every policy that is a chain, at several batch sizes

Both sides make the same thing from the same images: for each image a plain view (crop and flip) and an augmented one (the
CIFAR-100 policy of JDA, then its own crop and flip), as two uint8 tensors [B, C, H, W]. The PIL side is the way the official code
and most loaders do it: ops of ImageOps and ImageEnhance one image after another, torchvision's RandomCrop and
RandomHorizontalFlip on PIL images, PILToTensor. Neither side normalises, and the PIL side is not charged for worker processes.

Times are the process's own processor time on one thread, which a busy neighbour lengthens less than it does the wall clock; the
two sides take turns in one process, which keeps freed memory as every training of autokd does; each turn gives a ratio, and the
median of the ratios is reported with its middle half.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import Compose, PILToTensor, RandomCrop, RandomHorizontalFlip

from autokd.augment.build import build_policy
from autokd.augment.policy import Policy, Step
from autokd.augment.views import Views
from autokd.train.allocation import keep_freed_memory
from benchmarks.rows import Form, Row, table

TARGET = 25
GREY = (128, 128, 128)


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """A turn over grey, by way of an alpha channel."""
    turn = image.convert("RGBA").rotate(degrees)
    return Image.composite(turn, Image.new("RGBA", turn.size, (128,) * 4), turn).convert(image.mode)


def moved(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=GREY)


PIL_OPS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarize": lambda image, level: ImageOps.solarize(image, level),
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(1 + m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + m),
    "color": lambda image, m: ImageEnhance.Color(image).enhance(1 + m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + m),
    "translate_x": lambda image, m: moved(image, (1, 0, -m * image.size[0], 0, 1, 0), Image.Resampling.NEAREST),
    "translate_y": lambda image, m: moved(image, (1, 0, 0, 0, 1, -m * image.size[1]), Image.Resampling.NEAREST),
    "shear_x": lambda image, m: moved(image, (1, -m, 0, 0, 1, 0), Image.Resampling.BICUBIC),
    "shear_y": lambda image, m: moved(image, (1, 0, 0, -m, 1, 0), Image.Resampling.BICUBIC),
    "rotate": turned,
}


def pil_way(pixels: np.ndarray, policy: Policy) -> tuple[Tensor, Tensor]:
    """pixels: [B, H, W, C] uint8. Returns the plain and the augmented views, [B, C, H, W] uint8 each."""
    standard = Compose([RandomCrop(pixels.shape[1], padding=4), RandomHorizontalFlip(), PILToTensor()])
    plain, augmented = [], []
    for array in pixels:
        image = Image.fromarray(array)
        changed = image
        for step in policy.steps:
            if random.random() < step.probability:
                changed = PIL_OPS[step.op](changed, signed(step))
        plain.append(standard(image))
        augmented.append(standard(changed))
    return torch.stack(plain), torch.stack(augmented)


def signed(step: Step) -> float:
    return (step.magnitude or 0.0) * (random.choice((-1, 1)) if step.sign else 1)


def batch_way(views: Views, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
    return views.render(rows, number, False).pixels, views.render(rows, number, True).pixels


def images(count: int) -> np.ndarray:
    """Real CIFAR-100 images where at hand (AUTOKD_SHARED_DATA or ../shared/data), else smooth noise: [count, 32, 32, 3]."""
    named = os.environ.get("AUTOKD_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if (folder / "cifar100" / "test.parquet").exists():
        from autokd.data.sets.cifar100 import cifar100

        return np.ascontiguousarray(cifar100("train", root=str(folder)).pixels[:count].transpose(0, 2, 3, 1))
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(smooth.permute(0, 2, 3, 1).numpy())


@dataclass(frozen=True)
class Comparison:
    """Images a second of both sides in each turn."""

    ours: list[float]
    pil: list[float]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.pil, strict=True)]

    def __str__(self) -> str:
        low, _, high = statistics.quantiles(self.ratios, n=4)
        ours, pil = statistics.median(self.ours), statistics.median(self.pil)
        return f"ours {ours:,.0f} images/s, PIL {pil:,.0f}, ratio {statistics.median(self.ratios):.1f} ({low:.1f} to {high:.1f})"


def compare(policy: Policy, pixels: np.ndarray, batch: int, turns: int) -> Comparison:
    """Ours and PIL in turn, about a tenth of a second each: ours on 32 times as many images."""
    resident = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    views = Views(resident, torch.arange(len(resident)), policy, padding=4, flip=True, seed=0)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(resident)))
    few = max(64, min(batch, 256))
    batch_way(views, order[:batch], 0)
    pil_way(pixels[:8], policy)
    ours, pil = [], []
    for turn in range(turns):
        some = order[turn * few % (len(order) - few) :][:few].numpy()
        begin = time.process_time()
        pil_way(pixels[some], policy)
        pil.append(few / (time.process_time() - begin))
        calls = -(-32 * few // batch)
        begin = time.process_time()
        for again in range(calls):
            batch_way(views, order[(turn * calls + again) * batch % (len(order) - batch) :][:batch], turn)
        ours.append(calls * batch / (time.process_time() - begin))
    return Comparison(ours, pil)


def measure(form: Form = Form.SHORT) -> list[Row]:
    """The CIFAR-100 policy at a batch of 512; the full form takes more turns and adds smaller batches."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    random.seed(0)
    try:
        pixels, policy, rows = images(form.pick(1000, 5000, 5000)), build_policy("jda_cifar100"), []
        for batch in form.pick((512,), (512,), (512, 256, 128, 64)):
            made = compare(policy, pixels, batch, form.pick(2, 15, 41))
            ratio = statistics.median(made.ratios)
            low, _, high = statistics.quantiles(made.ratios, n=4)
            per_second = f"{statistics.median(made.ours):,.0f} / {statistics.median(made.pil):,.0f}"
            what = (
                f"JDA images/s on one core, ours / per-image PIL, 32x32, both views cropped and flipped, batch {batch}"
            )
            note = f" (middle half {low:.1f} to {high:.1f}; {per_second} images/s)"
            if batch == 512:
                rows.append(Row.at_least(what, ratio, TARGET, note))
            else:
                rows.append(Row(what, f"{ratio:.2f}{note}"))
    finally:
        torch.set_num_threads(threads)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every chain policy, at batches of 64, 256 and 512")
    parser.add_argument("--turns", type=int, default=15)
    Form.add_to(parser)
    options = parser.parse_args()
    if not options.all:
        print(table(measure(options.form)))
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    random.seed(0)
    pixels = images(5000)
    for name in ("jda_cifar100", "jda_cifar10", "jda_imagenet", "none"):
        for batch in (64, 256, 512):
            print(f"{name:14s} batch {batch:4d}: {compare(build_policy(name), pixels, batch, options.turns)}")


if __name__ == "__main__":
    main()
