"""The service's page in Chromium: run with `make test-browser`."""

import os
import re
import socket
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

import regzoo
from tests.browser.test_report import browser  # noqa: F401 - a fixture
from tests.conftest import FASTA, MODEL

pytestmark = pytest.mark.browser

SEQUENCE = "ACGTTGACTCATCGGATGAGTCATTACGGAACTTCCGGTAGCTAGGCATCG"
WAIT = 60_000  # ms


@pytest.fixture(scope="module")
def address():
    """A running service with two models and the example's genome."""
    uvicorn = pytest.importorskip("uvicorn", reason="run: pip install fastapi uvicorn")
    from regzoo.service.app import make_app
    from regzoo.service.shelf import Shelf

    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(Shelf([MODEL, "Basset/tf-human"], FASTA))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    listener.close()


class Service:
    """The page, with what it said and asked for."""

    def __init__(self, browser, address, width=1280, scheme="light", path="/"):  # noqa: F811
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page, self.said, self.asked = self.context.new_page(), [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address + path)

    def ask(self, query):
        self.page.locator("#query").fill(query)
        self.page.get_by_role("button", name="Predict", exact=True).click()
        self.wait()

    def wait(self):
        """Until the answer is there."""
        from playwright.sync_api import expect  # the policy forbids wait_for_function

        expect(self.page.locator("#state")).to_have_text(re.compile("^Done in [0-9.]+ s$"), timeout=WAIT)

    def saved(self, button):
        with self.page.expect_download() as waiting:
            button.click()
        return waiting.value.suggested_filename, Path(waiting.value.path()).read_text(encoding="utf-8")


@pytest.fixture
def service(browser, address):  # noqa: F811
    opened = Service(browser, address)
    yield opened
    assert not opened.said
    assert all(url.startswith((address, "data:", f"blob:{address}")) for url in opened.asked)
    opened.context.close()


def test_a_sequence_gives_predictions_a_logo_and_a_heat_map(service):
    service.ask(SEQUENCE)
    page = service.page
    assert page.evaluate("document.activeElement.id") == "answer-head"
    cells = page.locator("#predictions tbody tr td:nth-child(3)").all_inner_texts()
    padded = "N" * 25 + SEQUENCE + "N" * 25
    assert [float(cell) for cell in cells] == pytest.approx(
        regzoo.load_model(MODEL, device="cpu").predict([padded])[0], abs=6e-4
    )
    assert page.locator("#results .note").inner_text().startswith(f"{MODEL} reads 101 bases: the 51 given")
    assert page.locator("#m1-logo path").count() > 20
    cell = page.locator("#m1-bases rect[data-t]").nth(100)
    cell.scroll_into_view_if_needed()
    cell.hover()
    assert page.locator("#tip").inner_text() == cell.get_attribute("data-t")  # parts that were added are wired
    page.locator("#predictions th[data-column=value] button").click()
    values = [float(cell) for cell in page.locator("#predictions tbody tr td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values, reverse=True)


def test_a_variant_gives_its_heat_maps_and_files(service):
    service.ask("chr1:1602:C:A")
    page = service.page
    assert "percentile" in page.locator("#results .lead").inner_text()
    assert page.locator("#v1-bases rect[data-t]").count() > 2 * 41 * 3
    name, text = service.saved(page.get_by_role("button", name="Save as HTML"))
    assert name == "answer.html" and "default-src 'none'" in text and "v1-bases" in text
    name, text = service.saved(page.get_by_role("button", name="Save table as TSV"))
    assert name == "answer.tsv" and len(text.splitlines()) == 6 and text.startswith("rank\t")
    name, text = service.saved(page.locator("button[data-of=v1-bases][data-save=svg]"))
    assert name == "v1-bases.svg" and ElementTree.fromstring(text).tag.endswith("svg")


def test_two_models_a_target_and_the_keyboard(service):
    page = service.page
    page.get_by_role("checkbox", name="Basset/tf-human").check()
    page.locator("#target").fill("tf3")
    page.get_by_role("button", name="a locus", exact=True).click()
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.press("Control+Enter")
    service.wait()
    titles = page.locator("#results h3").all_inner_texts()
    assert titles == [MODEL, "Basset/tf-human"]
    assert page.locator("#results").get_by_text(re.compile("^Pictures of tf3: 0")).count() == 2


def test_bad_input_is_said_and_the_earlier_answer_stays(service):
    page = service.page
    service.ask("chr1:1572-1632")
    service.said.clear()
    page.locator("#query").fill("no DNA at all <b>")
    page.get_by_role("button", name="Predict", exact=True).click()
    page.wait_for_selector("#trouble:not([hidden])", timeout=WAIT)
    assert "no letter of DNA or RNA" in page.locator("#trouble").inner_text()
    assert page.locator("#m1-bases").count() == 1 and page.locator("#trouble").get_attribute("role") == "alert"
    assert all("422" in words for words in service.said)  # which the browser logs of any such response
    service.said.clear()
    page.get_by_role("checkbox", name=MODEL).uncheck()
    page.get_by_role("button", name="Predict", exact=True).click()
    assert page.locator("#trouble").inner_text() == "Choose a model."


def test_the_catalogue_is_searched_and_opens_cards(service):
    page = service.page
    page.locator("#zoo-table input[type=search]").fill("histone yeast MotifResNet")
    page.get_by_text("1–1 of 1 rows").wait_for()
    page.locator("#zoo-table tbody a").click()
    page.wait_for_url("**/models/MotifResNet/histone-yeast")
    assert page.locator("h1").inner_text() == "MotifResNet/histone-yeast"


def test_the_page_is_used_by_keyboard_alone(service):
    page = service.page
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "query":
            break
    page.keyboard.type("chr1:1572-1632")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "submit":
            break
    page.keyboard.press("Enter")
    service.wait()
    assert page.locator("#results").get_attribute("aria-live") == "polite"
    assert page.locator("#results").get_attribute("aria-busy") == "false"


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (768, "dark"), (1920, "dark")])
def test_no_overflow_and_no_serious_violation(browser, address, width, scheme):  # noqa: F811
    axe = Path(os.environ.get("AXE", "no axe.min.js"))
    opened = Service(browser, address, width, scheme)
    for query in (None, "chr1:1572-1632", "chr1:1602:C:A"):
        if query:
            opened.ask(query)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        if axe.is_file():
            opened.page.evaluate(axe.read_text())
            found = opened.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
            assert not [
                (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
            ]
        opened.page.evaluate("document.querySelector('#state').textContent = ''")
    assert not opened.said
    opened.context.close()
