"""The spaces that are shipped: each is valid where its data do not lie, and every budget has students."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from autokd.cli.main import main
from autokd.config import shipped as room
from autokd.config.search_space import load_space
from autokd.config.shipped import base_of, find_space, shipped
from autokd.methods.build import build_method
from autokd.train.batches import divide

ROOT = Path(__file__).resolve().parents[2]
SPACES = {path.stem: path for path in sorted((ROOT / "search_spaces").glob("*.yaml"))}
PUBLISHED = {path.stem: path for path in sorted((ROOT / "search_spaces" / "published").glob("*.yaml"))}


def validate(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["validate", str(path), *options])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder without data; what a space names of the repository is found from anywhere."""
    monkeypatch.chdir(tmp_path)


def test_the_five_are_there_and_each_is_known_by_its_name():
    assert {"digits", "cifar10", "cifar100", "cifar100-small", "imagenet"} <= set(SPACES)
    assert shipped() == SPACES | {f"published/{name}": path for name, path in PUBLISHED.items()}


def test_a_space_is_found_by_its_name_from_anywhere_and_that_is_told(elsewhere, tmp_path, capsys):
    for word in ("digits", "digits.yaml", "search_spaces/digits", "search_spaces/digits.yaml", Path("digits")):
        assert find_space(word) == SPACES["digits"]
    code, out, err = validate(capsys, "digits", "--json")
    assert code == 0 and json.loads(out)["space"] == "digits"
    assert err == f"space digits: {SPACES['digits']}, which comes with autokd\n"


def test_a_name_in_a_folder_of_spaces_is_known_with_its_folder(tmp_path, monkeypatch):
    package = tmp_path / "autokd"
    (package / "config").mkdir(parents=True)
    (package / "search_spaces/published").mkdir(parents=True)
    file = package / "search_spaces/published/kd.yaml"
    file.write_text("name: kd\n")
    monkeypatch.setattr(room, "__file__", str(package / "config/shipped.py"))
    assert shipped() == {"published/kd": file} and find_space("published/kd") == find_space("published/kd.yaml") == file
    assert base_of(file.parent) == package and base_of(tmp_path) is None


def test_ones_own_file_comes_first_and_a_folder_of_that_name_does_not_stand_in_the_way(elsewhere, tmp_path, capsys):
    (tmp_path / "digits").mkdir()  # of images, say
    assert find_space("digits") == SPACES["digits"]
    own = SPACES["digits"].read_text().replace("name: digits", "name: mine", 1)
    (tmp_path / "digits.yaml").write_text(own)
    code, out, err = validate(capsys, "digits.yaml", "--json")
    assert code == 0 and json.loads(out)["space"] == "mine" and not err
    (tmp_path / "digits").rmdir()
    (tmp_path / "digits").write_text(own)
    assert find_space("digits") == Path("digits")


@pytest.mark.parametrize("word", ["digts", "../search_spaces/digits", "/search_spaces/digits.yaml", "nowhere/digits.yaml"])
def test_what_is_neither_is_refused_in_words(elsewhere, capsys, word):
    code, out, err = validate(capsys, word)
    assert code == 2 and "Traceback" not in err
    if word == "digts":
        assert "comes with autokd" in err and "did you mean 'digits'?" in err and "cifar100-small" in err
    else:
        assert "no such file" in err


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_is_valid_without_its_data_and_every_budget_has_students(name, elsewhere, tmp_path, capsys):
    code, out, err = validate(capsys, SPACES[name], "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["budgets"] and all(budget["students"] >= 1 for budget in told["budgets"])
    for student in told["students"]:
        assert student["budgets"], f"{student['name']} fits no budget: it could as well be left out"
        for budget in told["budgets"]:
            limits = {key: budget[key] for key in ("params", "macs") if key in budget}
            keeps = all(student[key] <= limit for key, limit in limits.items())
            assert keeps or budget["name"] not in student["budgets"]
    assert list(tmp_path.iterdir()) == []  # nothing was downloaded or made


@pytest.mark.parametrize("name", SPACES)
def test_in_words_it_fits_a_hundred_columns_and_no_name_is_torn(name, elsewhere, capsys):
    code, out, _ = validate(capsys, SPACES[name])
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    for knob in json.loads(validate(capsys, SPACES[name], "--json")[1])["knobs"]:
        assert re.search(rf"^{re.escape(knob['path'])} ", out, re.MULTILINE), knob["path"]
    assert "True" not in out and "None" not in out  # YAML's words, not Python's
    assert "configurations" in out and "work at most" in out


def test_what_is_told_of_the_zoo_agrees_with_the_published_counts(elsewhere, capsys):
    told = json.loads(validate(capsys, SPACES["cifar100"], "--json")[1])
    students = {student["name"]: (student["params"], student["macs"]) for student in told["students"]}
    # shared by the public implementations of the field: 278,324 and 703,284 parameters, at 100 classes
    assert students["resnet20"][0] == 278_324 and students["wrn_16_2"][0] == 703_284
    assert told["data"]["training_images"] == 45_000  # 50,000 but a tenth
    # 400 trials of 240 epochs
    assert told["work"]["images"] == 400 * 240 * 45_000
    assert told["work"]["steps"] == [400 * 240 * 45_000 // 256, 400 * 240 * 45_000 // 64]


def test_a_folder_that_is_not_there_is_told_by_its_options_and_without_them_is_missing(elsewhere, tmp_path, capsys):
    code, out, _ = validate(capsys, SPACES["imagenet"], "--json")
    data = json.loads(out)["data"]
    assert (data["classes"], data["image"], data["training_images"]) == (1000, [3, 224, 224], None)
    code, _, err = validate(capsys, SPACES["imagenet"], "--set", "data.options={size: 224}")
    assert code == 2 and "there is no such folder" in err


# -- published protocols -------------------------------------------------------------------------------------------------

# name: (images of the training part that a step reads, rate, weight decay, Nesterov, passes over the images, passes after which
# the rate falls, seeds), from the papers' text or their code
HOUSE = (64, 0.05, 5e-4, False, 240, (150, 180, 210))
PROTOCOLS = {
    "cifar100": HOUSE,
    "cifar100-light": (64, 0.01, 5e-4, False, 240, (150, 180, 210)),
    "cifar100-dkd2": HOUSE,
    "cifar100-dkd6": HOUSE,
    "cifar100-dkd8": HOUSE,
    "cifar100-dkd-light": (64, 0.01, 5e-4, False, 240, (150, 180, 210)),
    "cifar100-reviewkd": HOUSE,
    "cifar100-hsakd": (64, 0.05, 5e-4, True, 240, (150, 180, 210)),
    "cifar100-sskd": HOUSE,
    "cifar100-ccd": (128, 0.1, 1e-4, True, 240, (150, 180, 210)),
    "cifar10-ccd": (64, 0.1, 1e-4, True, 182, (91, 136)),
    "imagenet": (512, 0.2, 1e-4, False, 100, (30, 60, 90)),
    "imagenet-256": (256, 0.1, 1e-4, False, 100, (30, 60, 90)),
    "imagenet-ccd": (768, 0.1, 1e-4, False, 200, (60, 120, 180)),
}
# pairs: the tables of CRD, same family and different families, by whether the student trains at 0.05
SAME = ("wrn_40_2>wrn_16_2", "wrn_40_2>wrn_40_1", "resnet56>resnet20", "resnet110>resnet20", "resnet110>resnet32",
        "resnet32x4>resnet8x4", "vgg13>vgg8", "resnet50>vgg8")  # fmt: skip
LIGHT = ("vgg13>mobilenetv2_half", "resnet50>mobilenetv2_half", "resnet32x4>shufflenetv1", "resnet32x4>shufflenetv2",
         "wrn_40_2>shufflenetv1")  # fmt: skip
# beta of DKD by pair
BETAS = {"resnet56>resnet20": 2, "resnet110>resnet32": 2, "wrn_40_2>wrn_16_2": 6, "wrn_40_2>wrn_40_1": 6, "vgg13>vgg8": 6,
         "resnet32x4>resnet8x4": 8, "resnet32x4>shufflenetv1": 8, "resnet32x4>shufflenetv2": 8, "wrn_40_2>shufflenetv1": 8,
         "resnet50>mobilenetv2_half": 8}  # fmt: skip


class First:
    """Draws the first of all choices, or those that are told."""

    def __init__(self, **told):
        self.told = told

    def choose(self, path, values):
        return self.told.get(path, values[0])


def pairs_of(space):
    return {f"{teacher}>{student}" for teacher, student in space.pairs() if teacher is not None}


def test_every_published_space_has_its_protocol_here():
    assert set(PROTOCOLS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_space_is_the_published_protocol(name):
    images, rate, decay, nesterov, passes, milestones = PROTOCOLS[name]
    space = load_space(PUBLISHED[name])
    assert space.data.validation == 0 and space.data.fraction == 1 and space.data.split_file is None
    assert space.search.select == "last" and space.search.rungs.count == 0
    assert space.search.trials == space.size().points and space.size().ranges == 0  # each configuration once
    for method in space.methods:
        trial = space.sample(First(method=method), space.pairs(), 0)
        recipe = trial.recipe
        assert (recipe.lr, recipe.weight_decay, recipe.nesterov, recipe.momentum) == (rate, decay, nesterov, 0.9)
        assert (recipe.optimizer, recipe.schedule, recipe.decay, recipe.warmup) == ("sgd", "step", 0.1, 0)
        assert recipe.ema is None and recipe.label_smoothing == 0 and recipe.precision == "float32"
        assert recipe.clip == (20 if name == "imagenet-ccd" else None)
        assert [passes * share for share in recipe.milestones] == pytest.approx(milestones, abs=1e-6)
        turns = build_method(method, trial.method.settings).turns
        division = divide(recipe.batch // turns, trial.ratio if trial.policy.name != "none" else 0.0)
        assert division.images == images  # that a step reads
        assert trial.epochs * division.images / recipe.batch == pytest.approx(passes)
    for teacher in space.teachers.values():
        assert not teacher.saw_validation
        if teacher.training is not None:
            own = teacher.training.recipe
            assert (teacher.training.epochs, own.lr, own.batch, own.nesterov, own.precision) == (240, 0.05, 64, False, "float32")
            assert (own.schedule, own.milestones, own.warmup, own.ema) == ("step", (0.625, 0.75, 0.875), 0, None)


def test_the_published_pairs_of_a_table_train_each_at_its_rate():
    assert pairs_of(load_space(PUBLISHED["cifar100"])) == set(SAME)
    assert pairs_of(load_space(PUBLISHED["cifar100-light"])) == set(LIGHT)
    found = {}
    for name in PUBLISHED:
        if "-dkd" in name:
            space = load_space(PUBLISHED[name])
            for method in ("dkd", "logit_standardise"):
                trial = space.sample(First(method=method), space.pairs(), 0)
                weights = (trial.loss.ce_weight, trial.loss.kd_weight)
                assert weights == ((1, 1) if method == "dkd" else (1, 9))
                found |= {pair: trial.method.settings["beta"] for pair in pairs_of(space)}
    assert found == BETAS


def test_the_weights_and_views_of_the_published_methods():
    def of(name, method):
        space = load_space(PUBLISHED[name])
        trial = space.sample(First(method=method), space.pairs(), 0)
        return trial, (trial.loss.ce_weight, trial.loss.kd_weight)

    weights = {"kd": (0.1, 0.9), "fitnet": (1, 100), "at": (1, 1000), "spkd": (1, 3000), "rkd_park": (1, 1), "crd": (1, 0.8)}
    weights |= {"dist": (1, 2), "logit_standardise": (0.1, 9)}
    for method, told in weights.items():
        for name in ("cifar100", "cifar100-light"):
            assert of(name, method)[1] == told, (name, method)
    assert of("imagenet", "kd")[1] == (0.5, 0.5) and of("imagenet", "kd")[0].method.settings == {"temperature": 1}
    assert of("imagenet", "dkd")[0].method.settings == {"temperature": 1, "alpha": 1, "beta": 0.5, "warmup": 1}
    for data, probability in (("cifar100", 0.3), ("cifar10", 0.5), ("imagenet", 0.2)):
        for method in ("ccd", "kd"):
            trial, told = of(f"{data}-ccd", method)
            assert told == (1, 1) and trial.method.settings["temperature"] == 4
            assert trial.policy.name == f"jda_{data}" and trial.policy.settings == {"probability": probability, "strength": 1}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_space_is_valid_without_its_data(name, elsewhere, tmp_path, capsys):
    code, out, err = validate(capsys, PUBLISHED[name])
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 100 and "none is ranked" in " ".join(out.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cifar100", ["pairs=[[resnet32x4, resnet8x4]]", "space.method=crd", "search.trials=1"]),
        ("cifar100-dkd-light", ["pairs=[[vgg13, mobilenetv2_half]]", "space.method.choose.dkd.beta=6",
                                "space.method.choose.logit_standardise.beta=6"]),
        ("cifar100-reviewkd", ["pairs=[[resnet56, resnet20]]", "space.method.reviewkd.kd_weight=0.6"]),
        ("cifar100-reviewkd", ["space.recipe.batch=128", "space.recipe.lr=0.1", "space.recipe.nesterov=true"]),
        ("cifar100-hsakd", ["space.method.hsakd.teacher_mode=joint"]),
        ("cifar100-ccd", ["space.policy=none", "space.method=kd", "space.loss.ce_weight=1", "space.loss.kd_weight=1"]),
    ],
)  # fmt: skip
def test_what_a_published_space_says_to_change_can_be_changed(name, changes):
    said = " ".join(PUBLISHED[name].read_text(encoding="utf-8").replace("#", "").split())
    for change in changes:
        if change != "search.trials=1":
            assert f"--set {change}" in said or f"--set '{change}'" in said, change
    assert load_space(PUBLISHED[name], overrides=changes).search.select == "last"
