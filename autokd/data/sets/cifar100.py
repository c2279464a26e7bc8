"""CIFAR-100: small photographs of a hundred kinds of thing, in twenty groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from autokd.data.columns import Columns
from autokd.data.images import Images
from autokd.data.sets._published import cifar_images, fetch, parquet_images, parquet_paths
from autokd.machine import expanded

__all__ = ["cifar100"]

CLASSES, CHANNELS, SIZE = 100, 3, 32
MEAN, STD = (0.5070751592, 0.4865488733, 0.4409178434), (0.2673342859, 0.2564384629, 0.2761504713)
PADDING, FLIP = 4, True
TRAIN_IMAGES = 50000
DOWNLOAD = True
SOURCE = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
EXAMPLE = "data: {name: cifar100, root: path/to/data}"

_FOLDER = "cifar-100-python"
_LOOKED = f"{_FOLDER}/, cifar100/train.parquet, train.parquet"


def cifar100(
    part: str,
    *,
    root: str = "data",
    label: Literal["fine", "coarse"] = "fine",
    train_file: str | None = None,
    test_file: str | None = None,
    download: bool = True,
) -> Images:
    """A hundred classes (or twenty, with label `coarse`), colour, 32 x 32. part: train (50,000 images) or test (10,000).

    Read from Parquet (root/cifar100/train.parquet or root/train.parquet, or the files named by train_file and test_file),
    else from the published pickles (root/cifar-100-python), which are downloaded when neither is there and `download` is
    true. Raises AutokdError where that fails.

    root: the folder that its files lie below
    label: the hundred fine classes, or the twenty coarse ones
    train_file: a Parquet or Arrow file of the training part in root, which may hold fewer images; null: train.parquet
    test_file: one of the test part; null: test.parquet
    download: whether it may be downloaded where it is not there

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    """
    names = _FINE if label == "fine" else _COARSE
    paths = parquet_paths("cifar100", part, root, train_file if part == "train" else test_file)
    if paths:
        columns = (f"{label}_label", f"{label}_labels", *(("label",) if label == "fine" else ()))
        return parquet_images("cifar100", part, paths, label=columns, classes=names, shape=(3, 32, 32))
    folder = _pickles(root)
    if folder is None:
        fetch("CIFAR100", "cifar100", root, _LOOKED, download)
        folder = expanded(root) / _FOLDER
    return cifar_images([folder / part], f"{label}_labels", names)


def describe(*, root: str = "data", label: str = "fine", train_file: str | None = None, **_: Any) -> dict[str, Any]:
    paths = parquet_paths("cifar100", "train", root, train_file)
    told: dict[str, Any] = {"train_images": Columns(paths).rows} if paths else {}
    return {**told, "classes": 100 if label == "fine" else 20}


def here(
    part: str, *, root: str = "data", train_file: str | None = None, test_file: str | None = None, **_: Any
) -> bool:
    """Whether a part can be read without a download."""
    return bool(parquet_paths("cifar100", part, root, train_file if part == "train" else test_file) or _pickles(root))


def _pickles(root: str) -> Path | None:
    place = expanded(root)
    folders = (place / _FOLDER, place / "cifar100" / _FOLDER, place)
    return next((folder for folder in folders if (folder / "train").is_file()), None)


_FINE = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail
    snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
    tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)
_COARSE = tuple(
    """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
    insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
    medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
    """.split()
)
