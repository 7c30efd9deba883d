"""The documentation site in Chromium: run with `make test-browser`."""

import os
from pathlib import Path

import pytest

from regzoo.zoo import catalogue
from tests.browser.test_report import Opened, browser  # noqa: F401 - a fixture

pytestmark = pytest.mark.browser

PAGES = {
    "home": "index.html",
    "catalogue": "catalogue.html",
    "model": "models/MotifResNet/tf-human.html",
    "function": "api/score_variants.html",
    "commands": "cli.html",
    "notebook": "docs/notebooks/vcf-to-variants.html",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, in a folder of another name than that of its source, with the outputs that the notebooks hold."""
    website = pytest.importorskip("website.__main__", reason="run: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "a path" / "site"
    folder.parent.mkdir()
    assert website.build(folder, execute=False) == []
    return folder


@pytest.fixture
def opened(browser, site):  # noqa: F811
    pages = []

    def open_page(name, **options):
        pages.append(Opened(browser, site / PAGES[name], **options))
        return pages[-1]

    yield open_page
    for one in pages:
        assert not one.said
        assert all(url.startswith(("file:", "data:", "blob:")) for url in one.asked)
        one.context.close()


def shown(page):
    return page.locator("#catalogue tbody tr:visible").evaluate_all("all => all.map((one) => one.dataset.name)")


def lightness(colour):
    red, green, blue = (int(part) for part in colour[4:-1].split(","))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 800, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_without_errors_requests_or_overflow(opened, name, width, scheme):
    page = opened(name, width=width, scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    style = "getComputedStyle(document.body)"
    paper, ink = (lightness(page.evaluate(f"{style}.{part}")) for part in ("backgroundColor", "color"))
    assert (paper > 240 and ink < 40) if scheme == "light" else (paper < 40 and ink > 200)


def test_the_catalogue_searches_filters_and_sorts(opened):
    page, index = opened("catalogue").page, catalogue()
    assert shown(page) == list(index)
    page.locator("select[name=status]").select_option("official")
    official = [name for name, entry in index.items() if entry["status"] == "official"]
    assert shown(page) == official
    assert page.locator("[data-state]").inner_text() == f"{len(official)} of {len(index)} models"
    page.locator("select[name=group]").select_option("DeepSEA")
    assert shown(page) == [name for name in official if name.startswith("DeepSEA/")]
    page.locator("button[type=reset]").click()
    page.locator("#catalogue input[type=search]").fill("gabpa motifresnet")
    assert shown(page) == ["MotifResNet/tf-dream"]
    page.locator("#catalogue input[type=search]").fill("")
    page.locator("select[name=metric]").select_option("AUROC")
    head = page.locator("#catalogue thead th").last
    head.locator("button").click()
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    found = [index[name]["mean_metrics"].get("test", {}).get("auroc") for name in shown(page)]
    assert found == sorted(found, reverse=True) and len(found) > 20


def test_a_model_is_reached_from_the_catalogue_and_its_code_is_copied(opened):
    one = opened("catalogue")
    one.page.locator("#catalogue a", has_text="Probe/rbp-nt-mini").click()
    assert one.page.locator("h1").inner_text().startswith("Probe/rbp-nt-mini")
    assert one.page.locator("button.copybtn").count() == 3
    one.page.locator("section#related-models a", has_text="LM/nt-mini").first.click()
    assert one.page.locator("h1").inner_text().startswith("LM/nt-mini")


def test_the_search_finds_a_function(opened):
    page = opened("home").page
    page.locator("input[name=q]").first.fill("saturation_mutagenesis")
    page.keyboard.press("Enter")
    page.locator("ul.search li a", has_text="regzoo.saturation_mutagenesis").first.wait_for()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(opened, name, scheme):
    axe = Path(os.environ.get("AXE", "no axe.min.js"))
    if not axe.is_file():
        pytest.skip("set AXE to axe.min.js, as `make test-browser` does")
    page = opened(name, scheme=scheme).page
    page.evaluate(axe.read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert not serious
