"""What a network is told apart by, besides its weights."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from autokd.models.build import build
from autokd.models.identity import first_values, identity
from autokd.models.sources import code, source_files
from autokd.models.zoo import resolve


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(model):
    return [path.name for path in source_files(resolve(model))]


def test_a_file_is_read_with_what_it_imports_from_beside_it_and_installed_packages_are_not(tmp_path):
    write(
        tmp_path,
        net="import torch, numpy as np\nimport timm.layers\nfrom blocks import layer\n\ndef make(classes):\n    import late\n",
        blocks="import os\nimport parts.wide\nfrom parts import narrow\nimport net\n",
        parts__wide="import nothing_of_this_name\n",
        parts__narrow="from . import deep\nfrom .deep import x\n",
        parts__deep="",
        parts__unused="",
        late="",
        unused="",
    )
    (tmp_path / "parts" / "__init__.py").write_text("")
    found = source_files(resolve(f"{tmp_path}/net.py:make"))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in found) == [
        "blocks.py", "late.py", "net.py", "parts/__init__.py", "parts/deep.py", "parts/narrow.py", "parts/wide.py"
    ]  # fmt: skip
    assert found[0].name == "net.py"


def test_a_module_of_a_package_is_read_with_its_own_package_wherever_python_finds_it(tmp_path, monkeypatch):
    write(tmp_path, project_a__models__net="from project_a.blocks import b\nfrom ..other import c\nimport project_b\n",
          project_a__blocks="", project_a__other="", project_a__unused="", project_b="")  # fmt: skip
    for place in ("project_a", "project_a/models"):
        (tmp_path / place / "__init__.py").write_text("")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert names("project_a.models.net:make") == []  # not to be found
    monkeypatch.syspath_prepend(tmp_path)
    found = names("project_a.models.net:make")
    assert found[0] == "net.py" and set(found) == {"net.py", "__init__.py", "blocks.py", "other.py", "project_b.py"}
    file = names(f"{tmp_path}/project_a/models/net.py:make")
    assert set(file) >= {"net.py", "blocks.py", "other.py", "project_b.py"}


def test_of_an_installed_package_its_own_modules_are_read_and_no_others():
    found = source_files(resolve("timm.models.resnet:resnet10t"))
    assert found and all("timm" in path.parts for path in found)


def test_only_what_the_code_says_counts(tmp_path):
    write(tmp_path, net="x = 1\n\ndef make(classes):\n    return x\n")
    name = f"{tmp_path}/net.py:make"
    before = code(name)
    same = [
        '"""A page."""\nx = 1  # one\n\n\ndef make(classes):\n    "Makes."\n    return (x)\n',
        "x=1\ndef make(classes): return x\n",
    ]
    for text in same:
        (tmp_path / "net.py").write_text(text)
        assert code(name) == before
    other = [
        "x = 2\n\ndef make(classes):\n    return x\n",
        "x = 1\n\ndef make(classes, wide=1):\n    return x\n",
        "x = '1'\n",
        "x =\n",
    ]
    found = []
    for text in other:
        (tmp_path / "net.py").write_text(text)
        found.append(code(name))
    assert len({before, *found}) == 5
    assert code("resnet20") == code("torchvision:resnet18") == ""


def test_networks_are_told_apart_by_name_options_layers_and_code_and_not_by_weights(tmp_path):
    def of(name, options=None, *, seed=0, change=None, **image):
        network = build(name, **{"classes": 10, **image}, options=options, seed=seed)
        if change is not None:
            change(network)
        return identity(name, options or {}, network)

    def stride(network):
        network.conv1.stride = (2, 2)

    def activation(network):
        network.extra = nn.GELU()

    base = of("resnet8")
    assert of("resnet8", seed=1) == base
    write(tmp_path, net="from autokd.models.build import build\n\ndef make(classes): return build('resnet8', classes=classes)\n")
    own = f"{tmp_path}/net.py:make"
    found = [base, of("resnet14"), of("resnet8", classes=11), of("resnet8", channels=1), of("resnet8", change=stride),
             of("resnet8", change=activation), of("vgg8"), of(own), of("torchvision:resnet18"),
             of("torchvision:resnet18", {"zero_init_residual": True})]  # fmt: skip
    assert len(set(found)) == len(found)
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "net.py").rename(moved / "net.py")
    assert of(f"{moved}/net.py:make") == of(own.replace("net.py", "moved/net.py")) == found[7]


@pytest.mark.parametrize("seeded", [True, False])
def test_first_values_are_the_same_for_one_seed_and_none_where_chance_decides(seeded):
    def make(scale=1.0):
        generator = torch.Generator().manual_seed(0) if seeded else None
        layer = nn.Linear(50, 20)
        with torch.no_grad():
            layer.weight.normal_(generator=generator).mul_(scale)
            layer.bias.zero_()
        return layer

    if not seeded:
        assert first_values(make) == ""
        return
    told = first_values(make)
    assert told == first_values(make) != ""
    assert told == first_values(lambda: make(1 + 1e-7))  # another machine's rounding
    assert told != first_values(lambda: make(1.05))


def test_an_option_that_names_a_file_counts_by_the_files_content(tmp_path):
    write(tmp_path, net="from torch import nn\n\ndef make(classes, start=None): return nn.Linear(4, classes)\n")
    name, network = f"{tmp_path}/net.py:make", nn.Linear(4, 10)
    (tmp_path / "a.json").write_text(json.dumps([1]))
    (tmp_path / "b.json").write_text(json.dumps([1]))
    found = [identity(name, {"start": str(tmp_path / f"{word}.json")}, network) for word in ("a", "b")]
    assert found[0] == found[1]
    (tmp_path / "b.json").write_text(json.dumps([2]))
    assert identity(name, {"start": str(tmp_path / "b.json")}, network) != found[0]
    assert identity(name, {"start": "a.json"}, network) not in found  # no file of that name here
