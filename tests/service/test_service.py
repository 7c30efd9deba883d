"""The service: its answers are those of the library, bad requests get a message, and limits hold."""

import asyncio
import dataclasses
import json
import logging
import socket
import threading

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi", reason="run: pip install fastapi uvicorn")
pytest.importorskip("uvicorn", reason="run: pip install fastapi uvicorn")

import torch
import uvicorn
from starlette.testclient import TestClient
from torch import nn

import regzoo
from regzoo import cli
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.reports.page import digest
from regzoo.sequence import decode
from regzoo.service.analysis import answer
from regzoo.service.app import _Answers, make_app
from regzoo.service.guard import MOST_BYTES
from regzoo.service.queries import read_query
from regzoo.service.shelf import Shelf
from regzoo.service.turns import Busy, TooSlow, Turns
from tests.conftest import FASTA, MODEL, SHIPPED
from tests.reports.test_report import Page

SCRIPT = "<script>alert(1)</script>"
HEATMAP = 61


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(1)
    nets = [
        nn.Sequential(nn.Conv1d(4, 6, 9, padding=4), nn.ReLU(), nn.MaxPool1d(5), nn.Flatten(), nn.Linear(n, 3))
        for n in (48, 60)
    ]
    first = regzoo.Model.from_module(nets[0], 40, ["a", "b", SCRIPT], name="tiny", device="cpu")
    return [first, regzoo.Model.from_module(nets[1], 50, ["a", "b", "c"], name="other", device="cpu")]


@pytest.fixture(scope="module")
def genome():
    codes = np.random.default_rng(0).integers(0, 4, 2000).astype(np.uint8)
    codes[1500:1520] = 4
    return regzoo.Genome.from_sequences({"chr1": codes})


@pytest.fixture(scope="module")
def client(models, genome):
    with TestClient(make_app(Shelf(models, genome)), base_url="http://127.0.0.1:8000") as opened:
        yield opened


def ask(client, query, names=("tiny",), path="answer", **more):
    return client.post(f"/api/{path}", json={"query": query, "models": list(names), **more})


def base(genome, pos):
    """The genome's base at a position of chr1 from 1, and another one."""
    code = int(genome.codes("chr1")[pos - 1])
    return "ACGT"[code], "ACGT"[(code + 1) % 4]


def test_a_locus_is_predicted_as_by_the_library(client, models, genome):
    found = ask(client, "chr1:1,001-1,040", ("tiny", "other")).json()
    assert found["kind"] == "locus" and found["label"] == "chr1:1,001-1,040" and found["notes"] == []
    window = decode(genome.codes("chr1")[1000:1040])
    rows = pd.DataFrame(found["rows"]).set_index(["model", "target"])["value"]
    np.testing.assert_allclose(rows["tiny"], models[0].predict([window])[0], atol=1e-6)
    np.testing.assert_allclose(rows["other"], models[1].predict([decode(genome.codes("chr1")[995:1045])])[0], atol=1e-6)


def test_a_sequence_is_predicted_in_the_middle_of_the_window(client, models, genome):
    letters = decode(genome.codes("chr1")[1000:1040])
    exact = ask(client, f">mine and more\n{letters[:20].lower()}\n{letters[20:].replace('T', 'U')}\n").json()
    np.testing.assert_allclose([row["value"] for row in exact["rows"]], models[0].predict([letters])[0], atol=1e-6)
    assert exact["label"] == "mine, 40 bases" and exact["notes"] == []
    short = ask(client, letters[:20]).json()
    padded = "N" * 10 + letters[:20] + "N" * 10
    np.testing.assert_allclose([row["value"] for row in short["rows"]], models[0].predict([padded])[0], atol=1e-6)
    assert short["notes"] == ["tiny reads 40 bases: the 20 given with N on either side."]
    long = ask(client, "ACG" * 10 + letters + "TTG" * 10).json()
    np.testing.assert_allclose([row["value"] for row in long["rows"]], models[0].predict([letters])[0], atol=1e-6)
    assert long["notes"] == ["tiny reads 40 bases: the middle of the 100 given."]


def test_variants_are_reported_as_by_the_library(client, models, genome):
    texts = [f"chr1:{pos}:{base(genome, pos)[0]}:{base(genome, pos)[1]}" for pos in (900, 950)]
    texts.append(f"chr1:900:{base(genome, 900)[1]}:{base(genome, 900)[0]}")
    expected = regzoo.alleles(models, texts, genome)
    found = ask(client, "\n".join(texts), ("tiny", "other")).json()
    rows = pd.DataFrame(found["rows"])
    assert found["kind"] == "variants" and found["label"] == "3 variants" and list(rows) == list(expected)
    for name in ("value_ref", "value_alt", "diff"):
        np.testing.assert_allclose(rows[name].astype(float), expected[name], atol=1e-6)
    assert rows["status"].tolist() == expected["status"].tolist() and rows["percentile"].isna().all()
    assert rows["orientation"].iloc[-1] == "swapped"
    one = ask(client, texts[0], ("tiny", "other"), target="c").json()
    assert {(row["model"], row["target"]) for row in one["rows"]} == {("other", "c")}
    assert one["notes"] == ["tiny has no target c."]


def test_a_variant_has_its_percentile_where_the_model_has_a_background():
    found = answer(read_query("chr1:1602:C:A"), [regzoo.load_model(MODEL, device="cpu")], regzoo.Genome(FASTA), "tf3")
    expected = regzoo.alleles(MODEL, ["chr1:1602:C:A"], FASTA, targets=["tf3"])
    assert (
        found.table["percentile"].iloc[0] == pytest.approx(expected["percentile"].iloc[0]) and "ercentile" in found.html
    )


def test_pictures_hold_the_librarys_numbers(models, genome):
    found = answer(read_query("chr1:1,001-1,040"), models[:1], genome, "b")
    page = Page(found.html)
    rows = [line.split("\t") for line in page.data("m1-bases").splitlines()[1:]]
    exact = regzoo.saturation_mutagenesis(models[0], "chr1:1001-1040", genome, targets=["b"])
    drawn = np.array([[float(cell or "nan") for cell in row[3:]] for row in rows])
    np.testing.assert_allclose(drawn, exact.effects[:, :5, 0], atol=1e-5)
    rows = [line.split("\t") for line in page.data("m1-logo").splitlines()[1:]]
    one = regzoo.explain(models[0], "chr1:1001-1040", genome, method="taylor", checked=0, targets=["b"])
    np.testing.assert_allclose([float(row[2]) for row in rows], one.contributions[:, 0], rtol=1e-4, atol=1e-6)
    assert [row[0] for row in rows] == [f"{at:,}" for at in range(1001, 1041)]
    assert f"Pictures of b: {models[0].predict([exact.sequence])[0, 1]:.3f}".replace("-", "−") in found.html


@pytest.mark.parametrize("size", [30, 31, 99, 100])
def test_the_heat_map_is_of_the_window_that_is_predicted(models, size):
    """An effect is the difference of the predictions of the sequence with and without the change."""
    letters = "".join(np.random.default_rng(size).choice(list("ACGT"), size))
    for model in models:
        page = Page(answer(read_query(letters), [model], None, "b").html)
        rows = [line.split("\t") for line in page.data("m1-bases").splitlines()[1:]]
        for row in (rows[0], rows[len(rows) // 2], rows[-1]):
            at = int(row[1].replace(",", "")) - 1
            assert row[2] == letters[at]
            other = "ACGT"[("ACGT".index(letters[at]) + 1) % 4]
            changed = letters[:at] + other + letters[at + 1 :]
            before, after = (answer(read_query(one), [model], None).table["value"][1] for one in (letters, changed))
            assert float(row[3 + "ACGT".index(other)]) == pytest.approx(after - before, abs=1e-5)


@pytest.mark.parametrize("locus", ["chr1:1-9", "chr1:600-600", "chr1:601-700", "chr1:1995-2000"])
def test_the_heat_map_of_a_locus_is_of_its_window_at_ends_too(models, genome, locus):
    model, query = models[1], read_query(locus)
    page = Page(answer(query, [model], genome, "b").html)
    before = answer(query, [model], genome).table["value"][1]
    rows = [line.split("\t") for line in page.data("m1-bases").splitlines()[1:]]
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        codes = np.array(genome.codes("chr1"))
        at = int(row[1].replace(",", "")) - 1
        assert row[2] == "ACGTN"[codes[at]]
        codes[at] = (codes[at] + 1) % 4
        after = answer(query, [model], regzoo.Genome.from_sequences({"chr1": codes})).table["value"][1]
        assert float(row[3 + codes[at]]) == pytest.approx(after - before, abs=1e-5)


@pytest.mark.parametrize("query", ["chr1:1-1", "chr1:2000-2000", "chr1:1,400-1,600", "A", "NNNNNA" * 300])
def test_loci_at_ends_and_unknown_bases_are_drawn(models, genome, query):
    found = answer(read_query(query), models, genome)
    page = Page(found.html)
    for number in (1, 2):
        rows = page.data(f"m{number}-bases").splitlines()[1:]
        assert 1 <= len(rows) <= HEATMAP and "nan" not in found.html.lower().replace("nanmax", "")


def test_a_language_model_has_a_heat_map_and_no_gradient(monkeypatch):
    monkeypatch.setattr("regzoo.service.analysis.SPAN", 5)
    model = regzoo.load_model("NT-mini/tf-human", device="cpu")
    found = answer(read_query("ACGTTGACTCAGG"), [model], None)
    assert len(Page(found.html).data("m1-bases").splitlines()) == 1 + 5 and "m1-logo" not in found.html


def test_the_strand_that_was_read_is_said(models, genome):
    stranded = dataclasses.replace(models[0], stranded=True)
    note = ("tiny predicts for one strand; the forward strand was read.",)
    ref, alt = base(genome, 900)
    for query, notes in (("chr1:1001-1040", note), (f"chr1:900:{ref}:{alt}", note), ("ACGT" * 10, ())):
        assert answer(read_query(query), [stranded], genome).notes == notes


def test_answers_in_every_format(client, genome):
    ref, alt = base(genome, 900)
    for query in ("chr1:1001-1040", f"chr1:900:{ref}:{alt}"):
        rows = ask(client, query).json()["rows"]
        table = ask(client, query, path="table")
        assert table.headers["content-type"] == "text/tab-separated-values; charset=utf-8"
        lines = [line.split("\t") for line in table.text.splitlines()]
        assert lines[0] == list(rows[0]) and len(lines) == 1 + len(rows)
        fragment = ask(client, query, path="fragment")
        Page(fragment.text)  # well nested
        report = ask(client, query, path="report").text
        page = Page(report)
        assert "default-src 'none'" in report and "<svg" in report and not any("src" in a for a, _ in page.scripts)


def test_texts_of_requests_and_models_are_escaped(client):
    for query in (f">{SCRIPT}\nACGTACGTAA", "chr1:1001-1040"):
        for path in ("fragment", "report"):
            found = ask(client, query, path=path)
            assert found.status_code == 200 and SCRIPT not in found.text and "&lt;script&gt;" in found.text
    refused = ask(client, f"{SCRIPT}:5:A:C")
    assert refused.status_code == 200 and refused.json()["rows"][0]["status"] != "scored"  # no such contig
    assert SCRIPT not in ask(client, f"{SCRIPT}:5:A:C", path="fragment").text


QUESTIONS = {
    "no DNA": ("EELLPRKKQW", "base 1 is 'E', which is no letter of DNA"),
    "an emoji": ("ACGT🧬", "base 5 is '🧬'"),
    "nothing": (" \n ", "the query is empty"),
    "a header alone": (">x\n", "has no bases"),
    "two records": (">x\nACG\n>y\nACG", "several FASTA records"),
    "unknown bases": ("NNNN", "no A, C, G, T or U"),
    "a long sequence": ("A" * 10_001, "at most 10,000"),
    "a long text": ("A " * 10_001, "at most 20000|at most 20,000"),
    "a control character": ("ACGT\x00", "U.0000"),
    "a hidden line": ("ACGT\x0bACGT", "U.000B"),
    "a missing contig": ("chr7:1-50", "no contig 'chr7'; its contigs are chr1"),
    "a long name": (f"{'c' * 90}:1-50", "at most 80 characters"),
    "a locus off its contig": ("chr1:1990-2001", "has 2,000 bases"),
    "a locus of 0": ("chr1:0-5", "start must be at least 1"),
    "a long locus": ("chr1:1-10001", "at most 10,000 bases"),
    "a huge number": (f"chr1:1-{'9' * 400}", "expected a DNA sequence, a locus"),
    "two loci": ("chr1:1-50\nchr1:60-70", "a query has one locus"),
    "a path": ("../../etc/passwd", "base 1 is '.'|no letter of DNA"),
    "a path as contig": ("/etc/passwd:1-5", "no contig '/etc/passwd'"),
    "a file of variants": ("/etc/hosts.vcf", "no letter of DNA"),
    "a symbolic allele": ("chr1:5:A:<DEL>", "allele '<DEL>'"),
    "a long allele": (f"chr1:5:A:{'A' * 101}", "up to 100 letters"),
    "position 0": ("chr1:0:A:C", "position 0 is not 1 or more"),
    "not a variant": ("chr1:5:A:C\nchr1:6", "line 2: expected CHROM:POS:REF:ALT"),
    "many variants": ("chr1:5:A:C\n" * 21, "21 variants; at most 20"),
}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_bad_queries_get_a_message(client, kind):
    query, message = QUESTIONS[kind]
    found = ask(client, query)
    assert found.status_code == 422 and list(found.json()) == ["error"]
    with pytest.raises(InputError, match=message):
        raise InputError(found.json()["error"])
    assert "Traceback" not in found.text and str(FASTA.parent) not in found.text


BODIES = {
    "no JSON": (b"{", 422),
    "NaN": (b'{"query": NaN, "models": ["tiny"]}', 422),
    "a lone surrogate": (b'{"query": "\\ud800ACGT", "models": ["tiny"]}', 422),
    "deep JSON": (b"[" * 30_000, (400, 422)),
    "no UTF-8": (b'{"query": "\xff"}', (400, 422)),
    "an unknown key": (b'{"query": "ACGT", "models": ["tiny"], "genome": "/etc/passwd"}', 422),
    "no model": (b'{"query": "ACGT", "models": []}', 422),
    "many models": (json.dumps({"query": "ACGT", "models": ["tiny"] * 6}).encode(), 422),
    "an unknown model": (b'{"query": "ACGT", "models": ["Basset/official"]}', 422),
    "a model by its path": (b'{"query": "ACGT", "models": ["../../models/MotifResNet/tf-human"]}', 422),
    "an unknown target": (b'{"query": "ACGT", "models": ["tiny"], "target": "x"}', 422),
    "too many bytes": (b'{"query": "ACGT", "models": ["tiny"]}' + b" " * MOST_BYTES, 413),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bad_bodies_get_a_message(client, kind):
    body, status = BODIES[kind]
    found = client.post("/api/answer", content=body, headers={"content-type": "application/json"})
    assert found.status_code in (status if isinstance(status, tuple) else (status,))
    assert list(found.json()) == ["error"] and len(found.json()["error"]) < 700


def test_bodies_in_pieces_are_limited_too(client):
    def pieces():
        for _ in range(3 * MOST_BYTES // 1024):
            yield b" " * 1024

    found = client.post("/api/answer", content=pieces(), headers={"content-type": "application/json"})
    assert found.status_code == 413
    small = iter([b'{"query": "chr1:1001-1040",', b' "models": ["tiny"]}'])
    found = client.post("/api/answer", content=small, headers={"content-type": "application/json"})
    assert found.status_code == 200


def test_a_form_of_another_page_is_not_read(client):
    body = b'{"query": "ACGT", "models": ["tiny"]}'
    assert client.post("/api/answer", content=body, headers={"content-type": "text/plain"}).status_code == 422
    found = ask(client, "ACGT")
    assert found.status_code == 200 and "access-control-allow-origin" not in found.headers
    for origin, status in (("http://127.0.0.1:8000", 200), ("http://evil.example", 403), ("null", 403)):
        found = client.post("/api/answer", content=body, headers={"content-type": "application/json", "origin": origin})
        assert found.status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("192.168.1.5", 200),
        ("box.lan:80", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost.evil.example:8000", 400),
        ("", 400),
        ("a:b:c", 400),
    ],
)
def test_the_host_header_is_checked(models, host, status):
    client = TestClient(make_app(Shelf(models), {"box.lan"}), base_url="http://127.0.0.1:8000")
    found = client.get("/api/models", headers={"host": host})
    assert found.status_code == status and found.headers["x-content-type-options"] == "nosniff"


def test_pages_have_a_strict_policy_and_load_nothing(client):
    for path in ("/", "/docs", f"/models/{MODEL}"):
        found = client.get(path)
        page, policy = Page(found.text), found.headers["content-security-policy"]
        assert found.status_code == 200 and policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "frame-ancestors 'none'" in policy and "script-src 'unsafe" not in policy
        for attributes, script in page.scripts:
            assert "src" not in attributes
            assert attributes.get("type") == "application/json" or f"'{digest(script)}'" in policy
        for tag, attributes in page.elements:
            for name in ("src", "href", "action"):
                assert not attributes.get(name, "").startswith(("http", "//")) or tag == "a"
            assert not any(name.startswith("on") for name in attributes)


def test_the_catalogue_lists_every_model(models):
    client = TestClient(make_app(Shelf()), base_url="http://localhost")
    rows = {row["model"]: row for row in client.get("/api/models").json()}
    assert set(rows) == set(regzoo.list_models().index)
    usable = {name for name, row in rows.items() if row["usable"]}
    assert usable == {name for name in SHIPPED if not name.startswith("LM/")}
    assert rows[MODEL]["targets"] == 5 and rows[MODEL]["input_length"] == 101
    page = client.get("/").text
    assert "No genome is open" in page and f'href="/models/{MODEL}"' in page
    details = client.get(f"/api/models/{MODEL}").json()
    assert details["targets"] == regzoo.load_model(MODEL).targets and "folder" not in details
    for name in ("Basset/bundle", "No/model", "..%2F../etc"):
        for path in ("/api/models/", "/models/"):
            assert client.get(path + name).status_code == 404
    found = ask(client, "chr1:1-50", [MODEL])
    assert found.status_code == 422 and "start the service with --genome" in found.json()["error"]


def test_own_models_are_listed_beside_the_zoo(client):
    rows = {row["model"]: row for row in client.get("/api/models").json()}
    assert rows["tiny"]["usable"] and rows["tiny"]["targets"] == 3 and not rows[MODEL]["usable"]


def test_the_description_for_programs_names_every_endpoint(client):
    found = client.get("/openapi.json").json()
    assert set(found["paths"]) == {
        "/api/models",
        "/api/models/{group}/{name}",
        "/api/answer",
        "/api/table",
        "/api/report",
        "/api/fragment",
        "/models/{group}/{name}",
    }
    text = client.get("/docs").text
    assert all(path in text for path in found["paths"]) and "Question" in text
    assert client.get("/api/answer").status_code == 405 and client.get("/redoc").status_code == 404


def test_models_are_loaded_once_and_answers_remembered(monkeypatch):
    shelf, calls = Shelf(), []
    from regzoo.service import shelf as shelf_module

    monkeypatch.setattr(shelf_module, "load_model", lambda *given: calls.append(given) or regzoo.load_model(*given))
    with TestClient(make_app(shelf), base_url="http://localhost") as client:
        first = ask(client, "ACGTTGACTCAGG", [MODEL])
        monkeypatch.setattr("regzoo.service.app.answer", None)
        assert ask(client, "acgttgactcagg ", [MODEL, MODEL]).json() == first.json() and len(calls) == 1


def test_one_computation_at_a_time_and_a_short_queue():
    async def check():
        turns, gate, running = Turns(waiting=1), threading.Event(), []

        def work(number):
            running.append(number)
            gate.wait(30)
            return number

        tasks = [asyncio.create_task(turns.take(work, number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await turns.take(work, 3)
        assert running in ([], [1])  # the second waits
        gate.set()
        assert await asyncio.gather(*tasks) == [1, 2] and running == [1, 2]
        assert await turns.take(work, 4) == 4  # there is place again
        turns.close()

    asyncio.run(check())


def test_what_takes_too_long_is_given_up_and_its_place_kept_until_it_ends():
    async def check():
        turns, gate = Turns(waiting=0, seconds=0.01), threading.Event()
        with pytest.raises(TooSlow):
            await turns.take(gate.wait, 30)
        with pytest.raises(Busy):
            await turns.take(print)
        gate.set()
        turns.close()

    asyncio.run(check())


class Refusing(Turns):
    def __init__(self, error):
        super().__init__()
        self.error = error

    async def take(self, function, *arguments):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (Busy(), 429, "too many"),
        (TooSlow(), 503, "too long"),
        (ModelError("no such weights"), 422, "no such weights"),
        (ZeroDivisionError("secret /path"), 500, "the service failed"),
    ],
)
def test_failures_are_json_without_a_traceback(models, error, status, message):
    app = make_app(Shelf(models), turns=Refusing(error))
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    found = ask(client, "ACGT")
    assert found.status_code == status and message in found.json()["error"]
    assert "secret" not in found.text and "Traceback" not in found.text
    assert found.headers["content-security-policy"]


def test_remembered_answers_are_limited(models):
    async def check():
        answers = _Answers(Shelf(models), Turns())
        for count in range(1, 20):
            question = type("Q", (), {"query": "ACGT" * count, "models": ["tiny"], "target": None})
            await answers.of(question)
        assert len(answers._known) == 16

    asyncio.run(check())


def test_models_of_profiles_are_refused(profile_model):
    with pytest.raises(InputError, match="predicts profiles"):
        Shelf([profile_model])


def test_the_command_starts_a_server(monkeypatch, caplog):
    seen = {}

    def run(self, sockets):
        seen["address"], seen["app"] = sockets[0].getsockname(), self.config.app

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with caplog.at_level(logging.WARNING):
        done = CliRunner().invoke(cli.app, ["serve", "--model", MODEL, "--genome", str(FASTA), "--port", "0"])
    assert done.exit_code == 0 and seen["address"][0] == "127.0.0.1"
    assert f"http://127.0.0.1:{seen['address'][1]}" in caplog.text
    client = TestClient(seen["app"], base_url="http://127.0.0.1")
    page = client.get("/").text
    assert "example.fa" in page and str(FASTA.parent) not in page and "chr1:1602:C:A" in page
    found = ask(client, "chr9:1-50", [MODEL]).json()
    assert found["error"].startswith("example.fa: no contig 'chr9'")


def test_an_address_that_cannot_be_used_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(InputError, match="choose others with --host, --port"):
            regzoo.serve(MODEL, port=taken.getsockname()[1])
    for host in ("203.0.113.7", "x" * 70):
        with pytest.raises(InputError, match="cannot listen at"):
            regzoo.serve(MODEL, host=host, port=0)
    with pytest.raises(InputError, match="expected 0 to 65535"):
        regzoo.serve(MODEL, port=70_000)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("regzoo.pictures.find_spec", lambda name: None)
    with pytest.raises(OutputError, match="run: pip install fastapi uvicorn"):
        regzoo.serve(MODEL)


@pytest.mark.slow
def test_no_request_of_the_description_makes_the_service_fail(models, genome):
    schemathesis = pytest.importorskip("schemathesis", reason="run: pip install schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import checks

    app = make_app(Shelf(models, genome), {"testserver"})
    schema, statuses = schemathesis.openapi.from_asgi("/openapi.json", app), set()
    wanted = [
        checks.not_a_server_error,
        checks.CHECKS.get_one("status_code_conformance"),
        checks.CHECKS.get_one("content_type_conformance"),
        checks.CHECKS.get_one("response_schema_conformance"),
    ]
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
        @given(case=operation.as_strategy())
        def check(case):
            statuses.add(case.call_and_validate(checks=wanted).status_code)

        check()
    assert {200, 404, 422} <= statuses and max(statuses) < 500
