"""Reports in Chromium: run with `make test-browser`."""

import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import regzoo
from tests.conftest import FASTA, MODEL, VCF

pytestmark = pytest.mark.browser

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
BIG = 10_000
NAME = "<script>document.title='x'</script>"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="run: pip install playwright")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM}; install chromium, or set CHROMIUM")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A report of the example's variants, one of a large table, a card and a benchmark."""
    folder = tmp_path_factory.mktemp("reports")
    variants = [line.split("\t")[:5] for line in VCF.read_text().splitlines() if line[0] != "#"][:60]
    table = pd.DataFrame(variants, columns=["chrom", "pos", "id", "ref", "alt"]).astype({"pos": int})
    table.loc[1, "id"] = NAME
    found = {"table": table}
    found["alleles"] = regzoo.alleles(MODEL, table, FASTA, step=0)
    found["variants"] = regzoo.report(found["alleles"], MODEL, FASTA, top=3, output=folder / "variants.html")
    rng = np.random.default_rng(0)
    big = pd.concat([found["alleles"].head(10)] * (BIG // 10), ignore_index=True)
    big = big.assign(
        record=np.arange(BIG), pos=rng.integers(1, 20_000, BIG), diff=rng.normal(size=BIG), rank=np.arange(BIG)
    )
    found["big"] = regzoo.report(big, top=0, output=folder / "big.html")
    found["card"] = regzoo.report(MODEL, output=folder / "card.html")
    results = Path(__file__).parents[2] / "benchmarks" / "results"
    found["benchmark"] = regzoo.report(results / "alleles.json", output=folder / "benchmark.html")
    return found


class Opened:
    """A page with what it said and asked for."""

    def __init__(self, browser, path, width=1280, scheme="light"):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page, self.said, self.asked = self.context.new_page(), [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def rows(self):
        return self.page.locator("#table tbody tr")

    def wait_for_rows(self, count):
        from playwright.sync_api import expect

        expect(self.rows()).to_have_count(count)

    def column(self, name):
        heads = self.page.locator("#table th[data-column]").evaluate_all("all => all.map((one) => one.dataset.column)")
        return self.page.locator(f"#table tbody td:nth-child({heads.index(name) + 1})").all_inner_texts()

    def saved(self, button):
        with self.page.expect_download() as waiting:
            button.click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_text(encoding="utf-8")


@pytest.fixture
def variants(browser, files):
    opened = Opened(browser, files["variants"])
    yield opened
    assert not opened.said
    assert all(url.startswith(("file:", "data:", "blob:")) for url in opened.asked)
    opened.context.close()


@pytest.mark.parametrize("name", ["variants", "big", "card", "benchmark"])
@pytest.mark.parametrize("width", [360, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_without_errors_requests_or_overflow(browser, files, name, width, scheme):
    opened = Opened(browser, files[name], width, scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert not opened.said and len([url for url in opened.asked if not url.startswith("data:")]) == 1
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    opened.context.close()


def test_texts_are_not_elements(variants):
    assert variants.page.title().startswith("Variants of")
    assert NAME in variants.column("id") and variants.page.locator("td script").count() == 0


def test_the_table_sorts_filters_and_searches(variants, files):
    page, expected = variants.page, files["alleles"].drop_duplicates(["record", "alt"])
    assert variants.column("rank")[0] == "1" and variants.rows().count() == min(50, len(expected))
    head = page.locator("th[data-column=diff]")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    largest = expected["diff"].sort_values(ascending=False).head(5)
    assert [float(text.replace("−", "-")) for text in variants.column("diff")[:5]] == pytest.approx(largest, abs=6e-4)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator("#table select[name=target]").select_option("tf4")
    assert set(variants.column("target")) == {"tf4"} and variants.rows().count() == (expected.target == "tf4").sum()
    page.locator("#table input[type=checkbox]").uncheck()
    shown = int((files["alleles"]["target"] == "tf4").sum())
    assert f"of {shown} rows" in page.locator("[data-state]").inner_text()
    page.locator("#table input[type=search]").fill(expected["id"].iloc[3])
    variants.wait_for_rows(1)
    assert variants.column("id") == [expected["id"].iloc[3]]
    name, text = variants.saved(page.locator("button[data-rows]"))
    assert name == "table.tsv" and len(text.splitlines()) == 2
    page.locator("#table input[type=search]").fill("no such thing")
    variants.wait_for_rows(0)
    assert "No row matches" in page.locator("[data-state]").inner_text()


def test_a_row_opens_its_section(variants):
    variants.rows().nth(1).locator("td").nth(3).click()
    assert variants.page.url.endswith("#v2")
    assert variants.page.evaluate("document.activeElement.id") == "v2"
    box = variants.page.locator("#v2-head").bounding_box()
    assert 0 <= box["y"] < 900


def test_values_are_shown_under_the_pointer_and_by_keys(variants):
    page, tip = variants.page, variants.page.locator("#tip")
    part = page.locator("#v1-bases rect[data-t]").nth(200)
    part.scroll_into_view_if_needed()
    part.hover()
    assert tip.inner_text() == part.get_attribute("data-t")
    page.locator("#v1-m1 svg").focus()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() == page.locator("#v1-m1 [data-t]").first.get_attribute("data-t")
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text() == page.locator("#v1-m1 [data-t]").last.get_attribute("data-t")
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_pictures_and_their_data_are_saved(variants):
    name, text = variants.saved(variants.page.locator("button[data-of=v1-bases][data-save=tsv]"))
    assert name == "v1-bases.tsv"
    assert (
        text.splitlines()[0].split("\t")[:3] == ["allele", "position", "base"] and len(text.splitlines()) == 1 + 2 * 61
    )
    name, text = variants.saved(variants.page.locator("button[data-of=v1-bases][data-save=svg]"))
    picture = ElementTree.fromstring(text)
    style = picture.find("{http://www.w3.org/2000/svg}style").text
    assert name == "v1-bases.svg" and "var(" not in style and ".base-A { fill: #0f8542" in style


def test_everything_is_reached_by_keyboard(variants):
    page = variants.page
    wanted = page.evaluate(
        "[...document.querySelectorAll('a[href], button:not(:disabled), input, select, svg, .scroll')].length"
    )
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    focusable = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap((one, i) => "
        "one.matches('a[href], button:not(:disabled), input, select, svg, .scroll') ? [i] : [])"
    )
    assert set(focusable) <= reached


def test_ten_thousand_rows_stay_fluid(browser, files):
    opened = Opened(browser, files["big"])
    assert opened.rows().count() == 50
    spent = opened.page.evaluate(
        "(() => { const start = performance.now();"
        "document.querySelector('th[data-column=diff] button').click(); return performance.now() - start; })()"
    )
    print(f"sorting {BIG:,} rows: {spent:.0f} ms")
    values = [float(text.replace("−", "-")) for text in opened.column("diff")]
    assert values == sorted(values, reverse=True) and opened.rows().count() == 50
    opened.page.locator("button[data-step='1']").click()
    assert "51–100 of 10,000 rows" in opened.page.locator("[data-state]").inner_text()
    opened.context.close()


@pytest.mark.parametrize("name", ["variants", "card", "benchmark"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser, files, name, scheme):
    axe = Path(os.environ.get("AXE", "no axe.min.js"))
    if not axe.is_file():
        pytest.skip("set AXE to axe.min.js, as `make test-browser` does")
    opened = Opened(browser, files[name], scheme=scheme)
    opened.page.evaluate(axe.read_text())  # the page's policy forbids a script element
    found = opened.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert not serious
    opened.context.close()
