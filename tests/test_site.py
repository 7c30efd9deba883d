"""The documentation site: the catalogue, results, references, notebooks and links that `make docs` builds."""

import html
import inspect
import json
import re
import shutil

import pytest
import typer

import regzoo
from regzoo.cli import app
from regzoo.home import zoo_folder
from regzoo.reports.cards import measured
from regzoo.zoo import catalogue
from tests.conftest import ROOT
from website.catalogue import Entry, catalogue_page, entries, files, model_page, usage
from website.links import problems, rewritten
from website.results import read_result, results_page, tables_of
from website.text import escaped, fenced, raw

SCRIPT = "<script>document.title='x'</script>"


@pytest.fixture(scope="module")
def models():
    return entries()


def made(**changes):
    """An entry without files."""
    values = {
        "name": "A/one",
        "title": "A title",
        "status": "recipe",
        "task": "a task",
        "architecture": "basset",
        "input_length": 100,
        "targets": ["t"],
        "count": 1,
        "parameters": 10,
        "recipe": "training/recipes/a.yaml",
    }
    return Entry(**values | changes)


def test_the_catalogue_has_a_row_and_a_page_for_every_model(models):
    index = catalogue()
    page = catalogue_page(models)
    assert re.findall(r'<tr data-name="([^"]+)"', page) == list(index)
    assert re.findall(r'<a href="models/([^"]+)\.html">', page) == list(index)
    for one in models:
        entry = index[one.name]
        assert (one.status, one.input_length, one.count) == (
            entry["status"],
            entry["input_length"],
            entry["targets"],
        )
        row = re.search(rf'<tr data-name="{re.escape(one.name)}".*?</tr>', page, re.S)[0]
        assert f">{entry['parameters']:,}</td>" in row
        means = entry.get("mean_metrics", {}).get("test", {})
        if "auroc" in means or "pearson" in means:
            assert f">{means.get('auroc', means.get('pearson')):.3f}</td>" in row
    words = json.loads(re.search(r'id="catalogue-words">(.*?)</script>', page, re.S)[1])
    assert set(words) == set(index) and "ctcf_hepg2" in words["MotifResNet/tf-dream"]


def test_the_page_of_a_model_has_its_files_card_uses_and_relatives(models):
    one = next(entry for entry in models if entry.name == "Probe/rbp-nt-mini")
    page = model_page(one, models)
    for path in (ROOT / "models" / one.name).iterdir():
        assert f"<td>{path.name}</td>" in page and f"{path.stat().st_size:,}</td>" in page
    digest = re.search(r"sha256: (\w{64})", (ROOT / "models" / one.name / "model.yaml").read_text())[1]
    assert digest in page and ("model.safetensors", 8368, digest) in files(ROOT / "models" / one.name)
    assert [title for title, _, _ in usage(one)] == ["Command line", "Python", "Kipoi"]
    assert "Stands on: [LM\\/nt\\-mini](../LM/nt-mini.md)" in page and "](../MotifResNet/rbp.md)" in page
    accuracies = measured(one.name)
    for row in accuracies.itertuples():
        assert f"{row.target}: {row.value:.3f} ({row.low:.3f} to {row.high:.3f})" in page
    assert len(accuracies) == 8 and "AUROC on test (dev for targets without test data)" in page
    assert "ELAVL1, FUS, HNRNPC" in page and "<h2>Limits</h2>" in page
    backbone = next(entry for entry in models if entry.name == "LM/nt-mini")
    assert "](../Probe/rbp-nt-mini.md)" in model_page(backbone, models)


def test_texts_of_models_are_escaped(tmp_path, models):
    bad = made(title=SCRIPT, task=SCRIPT, targets=[SCRIPT, "```\n# heading"])
    page = catalogue_page([bad])
    outside = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.S)
    assert SCRIPT not in page and "<script" not in outside and "&lt;script&gt;" in outside
    page = model_page(bad, [bad])
    assert not re.search(r"(?<!\\)<script", page) and "\\<script\\>" in page and "&lt;script&gt;" in page
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "models" / "Probe" / "rbp-nt-mini", folder)
    (folder / "README.md").write_text(f"# x\n\n{SCRIPT}\n\n```{{include}} /etc/hostname\n```\n\n{{{{ 1 }}}}\n")
    page = model_page(made(status="trained", recipe=None, name="Probe/rbp-nt-mini", folder=folder), models)
    assert not re.search(r"(?<!\\)<script", page) and "&lt;script&gt;" in page
    card = page.partition("## Card")[2]
    assert "\n```{include}" not in card.replace("```{raw} html", "")  # nothing of a card is a directive


def test_markdown_of_texts():
    assert escaped("a*b_c [d](e)\n# f") == r"a\*b\_c \[d\]\(e\) \# f"
    assert fenced("", "x\n````\ny").startswith("`````\n") and raw("<p>").startswith("```{raw} html\n")


def test_results_are_those_of_the_cards_and_mark_models_below_their_baseline(models):
    text = results_page(models)
    assert (ROOT / "docs" / "models.md").read_text() == text, "write it: python -m website.results"
    assert set(re.findall(r"\[`([^`]+)`\]", text)) == set(catalogue())
    index = catalogue()
    for one in models:
        result = read_result(one)
        if result is None:
            continue
        rows = re.findall(rf"^\| \[`{re.escape(one.name)}`\].*$", text, re.M)
        entry = index[one.name]["mean_metrics"]["test"]
        scale, digits = (100, 1) if result.metric.startswith("MCC") else (1, 3)
        expected = entry["mcc" if scale == 100 else "pearson"] * scale
        assert len(rows) == 1 and float(rows[0].split("|")[2].split("(")[0]) == pytest.approx(
            expected, abs=0.06 * scale
        )
        assert abs(result.mean(result.metric) - expected) < 0.0011 * scale
        if result.baselines:
            other = max(result.mean(name) for name in result.baselines)
            assert ("below baseline" in rows[0]) == (result.mean(result.metric) <= other)
        else:
            assert "no baseline" in rows[0]
    below = [line for line in text.splitlines() if line.endswith("| **below baseline** |")]
    assert any("Probe/rbp-nt-mini" in line for line in below) and not any("MotifResNet/rbp" in line for line in below)


def test_a_table_of_a_card():
    card = "# x\n\n### test\n\nA note.\n\n| target | MCC |\n|---|---|\n| a | 1.0 (0.9 to 1.1) |\n\n## Limits\n\n| b |\n"
    assert tables_of(card, "test") == ("A note.", {"a": {"target": "a", "MCC": "1.0 (0.9 to 1.1)"}})
    assert tables_of(card, "dev") == ("", {})


def test_the_reference_has_every_public_name_with_all_parameters():
    reference = pytest.importorskip("website.reference", reason="numpydoc is in the extra docs")
    index = reference.api_index()
    assert sorted(re.findall(r"\[`regzoo\.(\w+)`\]\(\1\.md\)", index)) == sorted(regzoo.__all__)
    for name in regzoo.__all__:
        item = getattr(regzoo, name)
        page = reference.api_page(name)
        assert page.startswith("# regzoo\\.")
        if inspect.isfunction(item):
            for parameter in inspect.signature(item).parameters:
                assert re.search(rf"<code>[^<]*\b{parameter}\b[^<]*</code>", page), (name, parameter)
    members = reference.api_page("Model")
    assert "## predict\n" in members and "_fold" not in members
    assert '<a href="Genome.html">' in reference._linked("<code>regzoo.Genome</code>")


def test_the_reference_has_every_command_with_all_options():
    reference = pytest.importorskip("website.reference", reason="numpydoc is in the extra docs")
    page = html.unescape(reference.cli_page())
    sections = dict(re.findall(r"^## regzoo (\S+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    commands = typer.main.get_command(app).commands
    assert [name.replace("\\", "") for name in sections] == list(commands)
    for name, text in sections.items():
        for one in commands[name.replace("\\", "")].params:
            for option in [*one.opts, *one.secondary_opts]:
                shown = option.upper() if one.param_type_name == "argument" else option
                assert f"<code>{shown}</code>" in text, (name, option)


def test_links_of_the_repository_lead_to_pages(tmp_path):
    for name in ("docs/a.md", "models/x/y", "data.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    path = tmp_path / "docs" / "a.md"
    pages = {(tmp_path / "models" / "x").resolve(): "models/x.md"}
    text = "[m](../models/x) [f](../data.yaml) [h](#here) [w](https://example.org)\n\n```sh\necho [x](nowhere)\n```\n"
    found, copied = rewritten(text, path, tmp_path, pages)
    assert found == text.replace("(../models/x)", "(../models/x.md)")
    assert [one.name for one in copied] == ["data.yaml"]
    with pytest.raises(regzoo.InputError, match=r"docs/a\.md: the link nowhere\.md"):
        rewritten("[n](nowhere.md)", path, tmp_path, pages)


def test_broken_links_and_files_from_elsewhere_are_found(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.html").write_text(
        '<h1 id="top">x</h1><a href="../a.html#here">a</a><a href="https://x.org">w</a>'
    )
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b/c.html#top">c</a><a href="b/c.html#none">c</a><a href="d.html">d</a>'
        '<a href="/a.html">a</a><img src="https://x.org/p.png"><script src="//x.org/s.js"></script>'
        '<link href="s.css" rel="stylesheet"><img src="data:image/png;base64,">'
    )
    assert problems(tmp_path) == [
        "a.html: loads https://x.org/p.png from elsewhere",
        "a.html: loads //x.org/s.js from elsewhere",
        "a.html: b/c.html#none: no such anchor",
        "a.html: d.html: no such file",
        "a.html: /a.html: not relative",
        "a.html: s.css: no such file",
    ]


def test_every_markdown_file_of_the_site_has_links_that_hold(tmp_path):
    site = pytest.importorskip("website.__main__", reason="numpydoc is in the extra docs")
    pages = site._pages(zoo_folder())
    for path in site._markdown(zoo_folder()):
        rewritten(path.read_text(), path, zoo_folder(), pages)
    navigation = site._extra(zoo_folder())
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in (".md", ".ipynb"):
            assert f"{path.relative_to(ROOT).with_suffix('')}\n" in navigation


NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_and_name_no_machine(path):
    text = path.read_text()
    assert path.stat().st_size < 300_000
    plain = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"(?<![\w.])/(work|tmp|home|root|usr|Users)/", plain)
    cells = json.loads(text)["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert not [out for cell in cells for out in cell.get("outputs", ()) if out["output_type"] == "error"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path):
    execution = pytest.importorskip("website.notebooks", reason="nbclient is in the extra docs")
    found = execution.execute(path)
    kept = pytest.importorskip("nbformat").read(path, as_version=4)
    for new, old in zip(found.cells, kept.cells):
        kinds = [[out.output_type for out in cell.get("outputs", ())] for cell in (new, old)]
        assert kinds[0] == kinds[1], new.source
