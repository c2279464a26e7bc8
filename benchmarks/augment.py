"""Views a second: whole batches here, against PIL image by image.

    python -m benchmarks.augment            (one thread, about ten seconds; the last line is the table's row)
    python -m benchmarks.augment --all      every policy that is a chain, and where the time goes

Both sides make the same thing from the same images: for each image a plain view (crop and flip) and an augmented one (the
CIFAR-100 policy of JDA, then its own crop and flip), as one uint8 tensor [2B, C, H, W]. The PIL side is the way the official code
and most loaders do it: ops of ImageOps and ImageEnhance one image after another, torchvision's RandomCrop and
RandomHorizontalFlip on PIL images, PILToTensor. Neither side normalises, and the PIL side is not charged for worker processes.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
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


def pil_way(pixels: np.ndarray, policy: Policy) -> Tensor:
    """pixels: [B, H, W, C] uint8. Returns [2B, C, H, W] uint8, plain and augmented in turn."""
    standard = Compose([RandomCrop(pixels.shape[1], padding=4), RandomHorizontalFlip(), PILToTensor()])
    views = []
    for array in pixels:
        image = Image.fromarray(array)
        changed = image
        for step in policy.steps:
            if random.random() < step.probability:
                changed = PIL_OPS[step.op](changed, signed(step))
        views += [standard(image), standard(changed)]
    return torch.stack(views)


def signed(step: Step) -> float:
    return (step.magnitude or 0.0) * (random.choice((-1, 1)) if step.sign else 1)


def batch_way(views: Views, rows: Tensor, number: int) -> Tensor:
    return torch.cat([views.render(rows, number, False).pixels, views.render(rows, number, True).pixels])


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


def compare(policy: Policy, pixels: np.ndarray, batch: int, rounds: int) -> tuple[float, float]:
    """Median images/s of ours and of PIL, the two taken in turn so that a busy machine slows both."""
    resident = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    views = Views(resident, torch.arange(len(resident)), policy, padding=4, flip=True, seed=0)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(resident)))
    batch_way(views, order[:batch], 0)
    ours, pil = [], []
    for turn in range(rounds):
        few = order[turn * batch % len(order) :][:batch]
        begin = time.perf_counter()
        pil_way(pixels[few.numpy()], policy)
        pil.append(len(few) / (time.perf_counter() - begin))
        begin = time.perf_counter()
        for again in range(8):
            batch_way(views, order[(turn * 8 + again) * batch % (len(order) - batch) :][:batch], turn)
        ours.append(8 * batch / (time.perf_counter() - begin))
    return statistics.median(ours), statistics.median(pil)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--all", action="store_true", help="every chain policy, at batches of 64, 256 and 512")
    options = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    pixels = images(5000)
    if options.all:
        for name in ("jda_cifar100", "jda_cifar10", "jda_imagenet", "none"):
            for batch in (64, 256, 512):
                ours, pil = compare(build_policy(name), pixels, batch, options.rounds)
                print(f"{name:14s} batch {batch:4d}: {ours:9,.0f} images/s, PIL {pil:7,.0f}, ratio {ours / pil:5.1f}")
    ours, pil = compare(build_policy("jda_cifar100"), pixels, options.batch, options.rounds)
    what = f"JDA images/s on one core, ours {ours:,.0f} / per-image PIL {pil:,.0f}, 32x32, both views' crop and flip in both"
    print(f"| {what} | {ours / pil:.1f} | >= {TARGET} | {'yes' if ours / pil >= TARGET else 'no'} |")


if __name__ == "__main__":
    main()
