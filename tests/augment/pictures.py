"""Images that look like photographs, and every op as Pillow or torchvision does it: the reference of this folder's tests."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

GREY = 128
# torchvision's word for an op of ours, and what a magnitude of ours is there: its slants go the other way
TORCHVISION = {
    "shear_x_black": ("ShearX", -1),
    "shear_y_black": ("ShearY", -1),
    "translate_x_black": ("TranslateX", 1),
    "translate_y_black": ("TranslateY", 1),
    "shift_x_black": ("TranslateX", 1),
    "shift_y_black": ("TranslateY", 1),
    "rotate_black": ("Rotate", 1),
}


def pictures(count: int, size: tuple[int, int] = (32, 32), channels: int = 3, seed: int = 0) -> Tensor:
    """Smooth colours, a hard-edged disc and some sensor noise; every fifth has few levels. [count, channels, H, W] uint8."""
    generator = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    made = np.empty((count, channels, height, width), dtype=np.uint8)
    for number in range(count):
        slope = generator.normal(size=(channels, 2)) * 4
        wave = np.sin(generator.uniform(0.1, 0.7) * x + generator.uniform(0.1, 0.7) * y + generator.uniform(0, 6))
        base = generator.uniform(40, 215, size=(channels, 1, 1)) + generator.uniform(5, 50) * wave
        plane = base + slope[:, :1, None] * (x - width / 2) + slope[:, 1:, None] * (y - height / 2)
        centre, radius = generator.uniform(0, 1, 2) * size, generator.uniform(0.1, 0.4) * min(size)
        disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        plane = np.where(disc, generator.uniform(0, 255, size=(channels, 1, 1)), plane)
        plane = plane + generator.normal(size=plane.shape) * generator.uniform(0, 12)
        if number % 5 == 4:
            plane = np.round(plane / 60) * 30 + 60
        made[number] = np.clip(plane, 0, 255)
    return torch.from_numpy(made)


def extremes(size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    """All black, all white, all grey, a ramp, two levels, one bright pixel."""
    height, width = size
    ramp = (np.arange(height * width) % 256).reshape(size)
    two = np.where(np.arange(width) % 2, 200, 3) + np.zeros(size)
    one = np.zeros(size)
    one[height // 2, width // 3] = 255
    planes = [np.zeros(size), np.full(size, 255), np.full(size, GREY), ramp, two, one]
    stacked = np.stack(planes)[:, None].repeat(channels, axis=1).astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(stacked))


def to_pil(image: Tensor) -> Image.Image:
    array = image.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def from_pil(image: Image.Image) -> Tensor:
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1)))


def _affine(image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling) -> Image.Image:
    fill = GREY if image.mode == "L" else (GREY,) * 3
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=fill)


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    alpha = image.convert("RGBA").rotate(degrees, resample=Image.Resampling.NEAREST)
    under = Image.new("RGBA", alpha.size, (GREY, GREY, GREY, 255))
    return Image.composite(alpha, under, alpha).convert(image.mode)


def pil_op(op: str, image: Image.Image, magnitude: float) -> Image.Image:
    """One op of the catalogue on one image. Positive moves right, down, brighter, counter-clockwise."""
    width, height = image.size
    if op in TORCHVISION:
        name, sign = TORCHVISION[op]
        side = {"translate_x_black": width, "translate_y_black": height}.get(op, 1)
        return _apply_op(image, name, sign * magnitude * side, InterpolationMode.NEAREST, None)
    nearest, bicubic = Image.Resampling.NEAREST, Image.Resampling.BICUBIC
    if op == "identity":
        return image
    if op in ("autocontrast", "equalize", "invert"):
        return getattr(ImageOps, op)(image)
    if op == "posterize":
        return ImageOps.posterize(image, int(magnitude))
    if op == "solarize":
        return ImageOps.solarize(image, magnitude)
    if op in ("brightness", "contrast", "color", "sharpness"):
        return getattr(ImageEnhance, op.capitalize())(image).enhance(1 + magnitude)
    if op == "rotate":
        return _rotate(image, magnitude)
    if op == "quarter_turn":
        return image if magnitude == 0 else image.transpose(getattr(Image.Transpose, f"ROTATE_{int(magnitude) * 90}"))
    if op == "shear_x":
        return _affine(image, (1, -magnitude, 0, 0, 1, 0), bicubic)
    if op == "shear_y":
        return _affine(image, (1, 0, 0, -magnitude, 1, 0), bicubic)
    way, axis = op.split("_")
    by = magnitude * ((width if axis == "x" else height) if way == "translate" else 1)
    return _affine(image, (1, 0, -by if axis == "x" else 0, 0, 1, -by if axis == "y" else 0), nearest)
