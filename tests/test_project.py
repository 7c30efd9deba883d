"""The project holds together: locks and pyproject.toml, index and models/, README."""

import re

import h5py
import kipoi
import numpy as np
import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

import regzoo.kipoi  # noqa: F401 - patches kipoi
from regzoo.nets.checkpoint import file_digest
from regzoo.sequence import from_one_hot
from regzoo.zoo import catalogue, load_model, load_module, read_targets
from tests.conftest import ROOT, SHIPPED
from training.index import END, START, model_tables
from training.recipe import load_recipe

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def locked(file, python):
    """Package -> version of a lock, for a Python on Linux."""
    pins = {}
    for line in (ROOT / file).read_text().splitlines():
        requirement = Requirement(line)
        environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
        if not requirement.marker or Marker(str(requirement.marker)).evaluate(environment):
            [pin] = requirement.specifier
            assert pin.operator == "==", line
            pins[requirement.name.lower()] = pin.version
    return pins


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("requirements.lock", ["veff", "report"]),
        ("requirements-dev.lock", ["veff", "report", "training", "test", "lint"]),
    ],
)
def test_the_locks_satisfy_the_project_on_every_python(file, extras, python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + [text for extra in extras for text in project["optional-dependencies"][extra]]
    pins = locked(file, python)
    for requirement in map(Requirement, texts):
        assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement
    assert pins["torch"] == "2.13.0" and not {"pyranges", "ncls", "sorted-nearest", "pyvcf", "enum34"} & set(pins)


def test_users_do_not_install_the_tools_of_training_and_tests():
    assert not {"wandb", "tensorboard", "optuna", "pytest", "pybigwig", "mypy"} & set(
        locked("requirements.lock", "3.11")
    )
    both = locked("requirements.lock", "3.11"), locked("requirements-dev.lock", "3.11")
    assert both[0].items() <= both[1].items()


def test_the_index_is_what_models_holds():
    folders = {str(path.parent.relative_to(ROOT / "models")) for path in (ROOT / "models").glob("*/*/model.yaml")}
    recipes = {name: entry for name, entry in catalogue().items() if entry["status"] == "recipe"}
    assert set(catalogue()) - set(recipes) == folders
    for name, entry in recipes.items():
        assert load_recipe(ROOT / entry["recipe"]).model == name
    for name, entry in catalogue().items():
        if name in recipes:
            continue
        folder = ROOT / "models" / name
        content = yaml.safe_load((folder / "model.yaml").read_text())
        assert (
            len(read_targets(folder / "targets.txt"))
            == len(set(read_targets(folder / "targets.txt")))
            == entry["targets"]
        )
        assert content["args"]["arguments"]["input_length"] == entry["input_length"]
        if entry["status"] == "trained":
            assert content["args"]["sha256"] == file_digest(folder / "model.safetensors")
            module = load_module(folder, name, **content["args"])
            assert sum(p.numel() for p in module.parameters()) == entry["parameters"]
            assert (folder / "README.md").exists()


LANGUAGE_MODELS = ("LM/", "Probe/", "NT-", "DNABERT", "Caduceus")  # slow on a CPU; two stay in the default run
SHIPPED_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.slow)
    if name.startswith(LANGUAGE_MODELS) and name not in ("LM/nt-mini", "Probe/rbp-caduceus-mini")
    else name
    for name in SHIPPED
]


@pytest.mark.parametrize("name", SHIPPED_PARAMETERS)
def test_a_shipped_model_predicts_what_its_expectation_holds(name):
    model = load_model(name, device="cpu")
    with h5py.File(ROOT / "models" / name / "expected.h5") as file:
        found = model.predict(from_one_hot(file["inputs"][()]))
        np.testing.assert_allclose(found, file["preds"][()], atol=1e-5)
        assert found.std(axis=0).min() > 0  # no output is constant


def test_the_readme_lists_every_model():
    text = (ROOT / "README.md").read_text()
    assert START + model_tables(catalogue()) + END in text
    assert set(re.findall(r"^\|.*?\[`([^`]+)`\]\(", text, re.M)) == set(catalogue())


def test_every_trained_model_has_its_recipe():
    files = [p for p in (ROOT / "training" / "recipes").glob("*/*.yaml") if p.name != "data.yaml"]
    recipes = {load_recipe(p).model for p in files}
    assert {name for name, entry in catalogue().items() if entry["status"] == "trained"} <= recipes


def test_environments_of_models_install_this_library_from_where_it_is(monkeypatch):
    """No package index has the name: a model.yaml that asked one for it would install whatever somebody uploads."""
    for path in (*(ROOT / "models").glob("*/*/model.yaml"), ROOT / "dataloaders/sequence/dataloader.yaml"):
        assert not [
            text for text in yaml.safe_load(path.read_text())["dependencies"].get("pip", []) if "regzoo" in text
        ]
    for repository, expected in (("", ROOT.as_uri()), ("git+https://example.org/r@v1", "git+https://example.org/r@v1")):
        monkeypatch.setenv("REGZOO_REPOSITORY", repository)
        found = kipoi.get_model_descr(SHIPPED[0], source="regzoo").dependencies.pip
        assert f"regzoo @ {expected}" in found


def test_the_architecture_page_lists_every_module():
    text = (ROOT / "docs" / "architecture.md").read_text()
    sections = dict(re.findall(r"### (\S+)\n(.*?)(?=\n### |\Z)", text, re.S))
    for package in ("regzoo", "training"):
        for path in (ROOT / package).rglob("*.py"):
            assert f"| `{path.name}` |" in sections[str(path.parent.relative_to(ROOT))], path
