"""Image files that programs read in different ways, unless they are told how."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

ALONE = """
import json, runpy, sys
sys.modules |= {"autokd": None, "torch": None}
script, *files = sys.argv[1:]
sys.argv = [script]
answer = runpy.run_path(script)["answer"]
print(json.dumps([answer(file) for file in files]))
"""


def write_odd(place: Path) -> list[Path]:
    from PIL import Image

    random = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        small = random.integers(0, 256, (4, 5, *shape[2:]))
        return small.repeat(-(-shape[0] // 4), 0).repeat(-(-shape[1] // 5), 1)[: shape[0], : shape[1]].astype(np.uint8)

    place.mkdir(exist_ok=True)
    made: dict[str, tuple[Image.Image, dict]] = {}
    for turn in (3, 6, 7):
        exif = Image.Exif()
        exif[0x0112] = turn
        made[f"turned-{turn}.jpg"] = Image.fromarray(noise(31, 19, 3)), {"exif": exif, "quality": 95}
    made["alpha.png"] = Image.fromarray(noise(17, 23, 4)), {}
    made["grey.png"] = Image.fromarray(noise(9, 40)), {}
    made["grey-alpha.png"] = Image.fromarray(noise(12, 12, 2), mode="LA"), {}
    made["palette.png"] = Image.fromarray(noise(20, 10, 3)).quantize(16), {"transparency": 2}
    made["moving.gif"] = Image.fromarray(noise(16, 16)), {"save_all": True, "append_images": [Image.fromarray(noise(16, 16))]}
    made["print.jpg"] = Image.fromarray(noise(14, 9, 4), mode="CMYK"), {}
    made["deep.png"] = Image.fromarray(noise(11, 13).astype(np.uint16) * 257), {}
    made["floats.tiff"] = Image.fromarray(noise(11, 13).astype(np.float32) / 255), {}
    made["tiny.png"] = Image.fromarray(noise(3, 2, 3)), {}
    for name, (image, how) in made.items():
        image.save(place / name, **how)
    return sorted(place.iterdir())


def script_of(card: str) -> str:
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "onnxruntime" in block]
    return found


def answers_alone(script: str, place: Path, files: list[Path]) -> list[list[tuple[str, float]]]:
    """What the script answers, beside the student's file, where neither autokd nor torch can be imported."""
    (place / "answer.py").write_text(script, encoding="utf-8")
    words = [sys.executable, "-c", ALONE, "answer.py", *map(str, files)]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [[tuple(one) for one in some] for some in json.loads(done.stdout)]
