"""Reports: what is in the file, that it is safe, and what bad input gives."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from io import StringIO
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import regzoo
from regzoo import cli
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.reports import variants as variants_module
from regzoo.sequence import encode
from tests.conftest import BED, FASTA, MODEL, ROOT, VCF

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>\"'&<!--🧬"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv1d(4, 6, 9, padding=4), nn.ReLU(), nn.MaxPool1d(5), nn.Flatten(), nn.Linear(48, 3))
    return regzoo.Model.from_module(net, 40, ["a", "b", "c"], name="tiny", device="cpu")


@pytest.fixture(scope="module")
def genome():
    codes = np.random.default_rng(0).integers(0, 4, 2000).astype(np.uint8)
    return regzoo.Genome.from_sequences({"chr1": codes, "chr2": codes[::-1].copy()})


def letters(genome, contig, pos, count=1):
    return regzoo.sequence.decode(genome.codes(contig)[pos - 1 : pos - 1 + count])


@pytest.fixture(scope="module")
def alleles(model, genome):
    """A table of alleles: substitutions, a deletion, an insertion, and three that are not scored."""
    rows = [
        ("chr1", p, letters(genome, "chr1", p), "ACGT"["ACGT".index(letters(genome, "chr1", p)) - 1])
        for p in range(300, 340, 4)
    ]
    rows += [("chr2", 500, letters(genome, "chr2", 500, 3), letters(genome, "chr2", 500))]
    rows += [("chr2", 900, letters(genome, "chr2", 900), letters(genome, "chr2", 900) + "ACG")]
    rows += [("chr1", 700, "ACGT"["ACGT".index(letters(genome, "chr1", 700)) - 1], letters(genome, "chr1", 700))]
    rows += [("chr9", 5, "A", "C"), ("chr1", 800, letters(genome, "chr1", 800), "<DEL>")]
    table = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"]).assign(id=NASTY)
    return regzoo.alleles(model, table, genome, step=0)


class Page(HTMLParser):
    """Elements of a page, checked for nesting, with the text of its scripts."""

    VOID = {"meta", "link", "input", "br", "hr", "img"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.scripts, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append([dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
        else:
            self.text.append(data)

    def data(self, name):
        return next(json.loads(text) for attributes, text in self.scripts if attributes.get("id") == f"{name}-data")

    def frame(self, name, **options):
        return pd.read_csv(StringIO(self.data(name)), sep="\t", **options)

    def having(self, key):
        return [attributes[key] for _, attributes in self.elements if key in attributes]


def written(path, *arguments, **options):
    found = regzoo.report(*arguments, output=path, **options)
    text = found.read_text(encoding="utf-8")
    page = Page(text)
    check_self_contained(page, text)
    return page, text


def check_self_contained(page, text):
    """Nothing is loaded from elsewhere, the script has the digest of the policy, ids are distinct, pictures are XML."""
    programs = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(programs) == 1
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(programs[0].encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    for key in ("src", "srcset", "action", "data", "poster"):
        assert not page.having(key)
    loaded = [a["href"] for t, a in page.elements if t in ("link", "use", "image")]
    assert loaded == ["data:,"] and not any(key.startswith("on") for _, a in page.elements for key in a)
    assert "@import" not in text and "url(" not in text
    ids = page.having("id")
    assert len(ids) == len(set(ids)) and {"content", "tip"} <= set(ids)
    inner = [
        href[1:] for tag, a in page.elements if tag == "a" for href in [a.get("href", "#content")] if href[0] == "#"
    ]
    assert set(inner) <= set(ids)
    for picture in pictures(text):
        assert picture.find(f"{SVG}title").text and picture.find(f"{SVG}desc").text
        places = [value for part in picture.iter() for key, value in part.attrib.items() if key != "data-t"]
        assert not any(re.search(r"\bnan\b|\binf\b", value) for value in places)


def pictures(text):
    return [ElementTree.fromstring(one) for one in re.findall(r"<svg .*?</svg>", text, re.S)]


def test_every_allele_is_in_the_report(alleles, tmp_path):
    page, text = written(tmp_path / "r.html", alleles, top=4)
    data = page.data("table")
    assert data["size"] == len(alleles) == 12 * 3 + 3 and sum(data["flag"]) == 15
    status = next(column for column in data["columns"] if column["name"] == "status")
    counts = pd.Series(np.array(status["levels"])[status["codes"]])[np.array(data["flag"]) == 1].value_counts()
    expected = alleles.drop_duplicates(["record", "alt"]).status.value_counts()
    assert counts.to_dict() == expected.to_dict() and counts["scored"] == 12 and len(counts) == 4
    drawn = page.frame("statuses").set_index("name")["count"]
    assert drawn.to_dict() == expected.to_dict()
    assert [link for link in dict.fromkeys(data["links"]) if link] == ["v1", "v2", "v3", "v4"]
    assert "15 alleles, of which 12 scored, on 3 targets." in text
    assert "1 of 15 alleles: swapped." in text
    values = next(column["values"] for column in data["columns"] if column["name"] == "diff")
    scored = alleles[alleles.status == "scored"]
    np.testing.assert_allclose(values[:36], scored["diff"], rtol=1e-5)
    assert values[36:] == [None] * 3
    first = alleles.iloc[0]
    assert f"{first.chrom}:{first.pos} {first.ref}&gt;{first.alt}" in text


def test_texts_of_the_input_are_escaped(alleles, tmp_path):
    table = alleles.assign(target=alleles.target + NASTY + "\x01", motif=NASTY, effect=NASTY + "</script>")
    page, text = written(tmp_path / "r.html", table, top=3)
    assert "<script>alert" not in text and "<!--" not in text
    assert {tuple(sorted(attributes)) for attributes, _ in page.scripts} == {(), ("id", "type")}
    columns = {column["name"]: column for column in page.data("table")["columns"]}
    assert "not checked" in written(tmp_path / "n.html", table.drop(columns="orientation"), top=0)[1]
    assert columns["id"]["levels"] == [NASTY] and f"a{NASTY}\x01" in columns["target"]["levels"]
    assert NASTY in " ".join(page.text)


def test_heat_maps_are_the_saturation_of_both_alleles(alleles, model, genome, tmp_path):
    page, text = written(tmp_path / "r.html", alleles, model, genome, top=12)
    rows = alleles[alleles.status == "scored"].drop_duplicates(["record", "alt"]).head(12)
    for number, row in enumerate(rows.itertuples(), 1):
        data = page.frame(f"v{number}-bases")
        contig = np.array(genome.codes(row.chrom))
        column = model.targets.index(row.target)
        for side, allele in enumerate((row.ref, row.alt)):
            part = data[data.allele.str.startswith(("Reference", "Alternate")[side])].reset_index(drop=True)
            own = np.concatenate([contig[: row.pos - 1], encode(allele), contig[row.pos - 1 + len(row.ref) :]])
            start = row.pos - 1 - 20
            assert "".join(part.base) == regzoo.sequence.decode(own[start : start + 40]) and len(part) == 40
            window = own[start : start + 40]
            for place in (0, 20, 39):
                for base in range(4):
                    changed = window.copy()
                    changed[place] = base
                    expected = (model.predict(changed[None]) - model.predict(window[None]))[0, column]
                    assert part.loc[place, f"to {'ACGT'[base]}"] == pytest.approx(expected, abs=2e-5)
        assert str(data.position[20]) == f"{row.pos:,}"
    insertion = next(i for i, row in enumerate(rows.itertuples(), 1) if len(row.alt) == 4)
    positions = page.frame(f"v{insertion}-bases", dtype=str).position.tolist()
    assert positions[40 + 20 : 40 + 25] == ["900", "+1", "+2", "+3", "901"]


def test_a_motif_is_drawn_where_it_matches(tmp_path):
    from regzoo.reports.sequences import Locus
    from regzoo.reports.surroundings import placed_motif

    sequence = "A" * 12 + "TTGACG" + "A" * 12
    locus = Locus("Reference", [str(i) for i in range(30)], sequence, np.zeros((30, 5)), (15, 16))
    for word, strand in (("TTGACG", "+"), ("CGTCAA", "-")):
        pwm = np.full((4, 6), 0.01)
        pwm[encode(word), np.arange(6)] = 0.97
        found = placed_motif("breaks X y (p 1e-05 → > 0.01)", [locus, locus], {"X y": pwm})
        assert (found.start, found.strand, found.side) == (12, strand, 0)
        np.testing.assert_allclose(found.heights.sum(axis=0), 2 + 0.97 * np.log2(0.97) + 3 * 0.01 * np.log2(0.01))
        assert placed_motif("makes X y (p 1e-05 → 0.01)", [locus, locus], {"X y": pwm}).side == 1
    assert placed_motif("", [locus, locus], {"X y": pwm}) is None
    assert placed_motif("breaks Z (p 1e-05 → 0.01)", [locus, locus], {"X y": pwm}) is None


def test_variants_are_ranked_by_pip_and_drawn_with_their_motifs_and_regions(tmp_path):
    lines = [f"{letter} 0.02 0.94 0.02 0.02\n".split(" ", 1)[1] for letter in "CC"]
    (tmp_path / "m.meme").write_text(
        "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF CC\nletter-probability matrix: alength= 4 w= 2\n" + "".join(lines)
    )
    (tmp_path / "genes.gff3").write_text(
        "##gff-version 3\nchr1\tx\tgene\t9000\t9700\t.\t-\t.\tID=g1;Name=<b>GENE</b>\n"
        "chr1\tx\texon\t9500\t9700\t.\t-\t.\tParent=g1\n"
    )
    rows = [line.split("\t") for line in VCF.read_text().splitlines() if not line.startswith("#")][8:13]
    table = pd.DataFrame(
        [(r[0], int(r[1]), r[2], r[3], r[4]) for r in rows], columns=["chrom", "pos", "id", "ref", "alt"]
    )
    table["pip"] = [0.1, 0.2, 0.9, np.nan, 0.05]
    page, text = written(
        tmp_path / "r.html", table, MODEL, FASTA, targets=["tf3", "tf4"], step=0, pip="pip", top=1,
        motifs=tmp_path / "m.meme", regions=tmp_path / "genes.gff3",
    )  # fmt: skip
    expected = regzoo.alleles(MODEL, table, FASTA, targets=["tf3", "tf4"], step=0, pip="pip")
    columns = {column["name"]: column for column in page.data("table")["columns"]}
    shown = np.array(columns["priority"]["values"], dtype=float)
    capped = np.minimum(expected.percentile, 100 * (1 - expected.p))
    np.testing.assert_allclose(shown, expected.pip * capped / 100, rtol=1e-4)
    assert columns["accuracy"]["label"] == "AUROC" and set(columns["target"]["levels"]) == {"tf3", "tf4"}
    first = ElementTree.fromstring(re.search(r'<figure id="v1-genome".*?(<svg .*?</svg>)', text, re.S)[1])
    assert any("<b>GENE</b> chr1:9,000-9,700" == part.get("data-t") for part in first.iter())
    assert len(re.findall(r'<figure id="v1-bases"', text)) == 1


def test_a_table_of_scores_gives_the_same_differences(tmp_path):
    for models, name in ((MODEL, "one"), ([MODEL, "Basset/tf-human"], "two")):
        table = regzoo.score_variants(
            models,
            [f"chr1:1600:{regzoo.sequence.decode(regzoo.Genome(FASTA).codes('chr1')[1599:1600])}:<X>", *SOME],
            FASTA,
        )
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
        page, text = written(tmp_path / "r.html", tmp_path / f"{name}.tsv")
        columns = {column["name"]: column for column in page.data("table")["columns"]}
        count = 5 if name == "one" else 10
        assert page.data("table")["size"] == len(SOME) * count + 1 and "heat maps" in text
        expected = np.sort(table.filter(regex="(^|:)diff:").to_numpy(float).ravel())
        found = np.sort([value for value in columns["diff"]["values"] if value is not None])
        np.testing.assert_allclose(found, expected[np.isfinite(expected)], rtol=1e-5)


SOME = ["chr1:9597:GCCA:G", "chr2:8799:ACGT:A"]


def test_scores_that_are_no_numbers_and_large_tables(alleles, tmp_path, monkeypatch):
    monkeypatch.setattr(variants_module, "MOST_ROWS", 20)
    table = alleles.copy()
    table.loc[[0, 5], ["diff", "value_alt", "percentile"]] = [np.nan, np.inf, np.nan]
    page, text = written(tmp_path / "r.html", table, top=3)
    data = page.data("table")
    assert data["size"] == 20 and sum(data["flag"]) == 15  # every allele before second targets
    assert "The table holds 20 of 39 rows" in text and "2 scores are not numbers" in text


def test_a_report_of_a_thousand_variants_is_small(alleles, tmp_path):
    many = pd.concat([alleles[alleles.status == "scored"].assign(pos=alleles.pos + 7 * i) for i in range(84)])
    many = many.assign(
        record=np.repeat(np.arange(84), 36) * 100 + many.record.to_numpy(), rank=np.arange(1, len(many) + 1)
    )
    page, text = written(tmp_path / "r.html", many)
    assert len(text) < 3_000_000 and sum(page.data("table")["flag"]) == 84 * 12
    assert text.count('<tr class="opens"') + text.count("<tr><td") < 120  # the other rows are data


def test_the_table_of_the_page_is_what_the_script_reads():
    from regzoo.reports.tables import Column, Table

    rows = pd.DataFrame({"rank": [1, 2], "name": ["x", None], "value": [-0.12345678, np.nan]})
    table = Table("t", "T", [Column("rank", "Rank", 0), Column("name", "N"), Column("value", "V", 2, True)], rows)
    assert [row["cells"] for row in table.first()] == [["1", "x", "−0.12"], ["2", "–", "–"]]
    packed = table.data()["columns"]
    assert (
        packed[1]["levels"] == ["x", ""] and packed[1]["codes"] == [0, 1] and packed[2]["values"] == [-0.123457, None]
    )


def test_the_card_of_a_model(tmp_path):
    page, text = written(tmp_path / "r.html", MODEL)
    assert f"<h1>{MODEL}</h1>" in text and "regzoo score variants.vcf" in text and '<h2 id="card">' in text
    accuracy = page.frame("accuracy").set_index("name")
    card = (ROOT / "models" / MODEL / "README.md").read_text()
    cell = re.search(
        r"### test.*?\| tf0 \|.*?\| ([\d.]+) \(([\d.]+) to ([\d.]+)\) \| [\d.]+ \([^|]*\| [^|]*\|\n", card, re.S
    )
    assert accuracy.loc["tf0", ["value", "low", "high"]].tolist() == [float(part) for part in cell.groups()]
    assert accuracy.loc["tf2", "split"] == "dev"


def test_html_in_a_card_is_text():
    from regzoo.reports.cards import markdown, metrics_of

    found = markdown(
        "# T\n\n<img src=x onerror=alert(1)> ![p](http://x/y.png) [l](javascript:alert(1))\n\n|a|\n|-|\n|<b>|\n"
    )
    assert (
        "<img" not in found
        and 'href="javascript' not in found
        and "&lt;b&gt;" in found
        and '<div class="scroll"' in found
    )
    assert metrics_of("# T\n\n### test\n\nno table\n").empty


def test_benchmarks_and_evaluations(tmp_path):
    page, text = written(tmp_path / "r.html", ROOT / "benchmarks" / "results" / "mpra.json")
    rows = json.loads((ROOT / "benchmarks" / "results" / "mpra.json").read_text())["rows"]
    data = page.data("numbers-table")
    assert data["size"] == len(rows)
    values = next(column["values"] for column in data["columns"] if column["name"] == "value")
    assert values == [pytest.approx(row["value"], rel=1e-5) for row in rows]
    pd.DataFrame(
        {
            "target": ["x", "macro mean"],
            "examples": [9, 9],
            "auroc": [0.7, 0.7],
            "auroc_low": [0.6, np.nan],
            "auroc_high": [0.8, np.nan],
        }
    ).to_csv(tmp_path / "e.tsv", sep="\t", index=False)
    page, text = written(tmp_path / "e.html", tmp_path / "e.tsv")
    assert page.data("auroc") == "name\tvalue\tlow\thigh\nx\t0.7\t0.6\t0.8\n"


def test_comparisons_and_transfer(tmp_path):
    rng = np.random.default_rng(0)
    codes = regzoo.Genome(FASTA).windows(np.zeros(60, int), rng.integers(0, 20_000, 60), 101)
    loaded = regzoo.load_model(MODEL, device="cpu")
    labels = (loaded.predict(codes)[:, 3] > 0.3).astype(int)
    labels[:6] = 1 - labels[:6]
    sets = {"tf3": (["".join("ACGTN"[c] for c in row) for row in codes], labels)}
    compared = regzoo.compare(loaded, sets, output=tmp_path / "c.html")
    check_self_contained(page := Page(text := (tmp_path / "c.html").read_text()), text)
    curve = page.frame("roc-1")
    area = np.trapezoid(curve["true positive rate"], curve["false positive rate"])
    assert area == pytest.approx(compared.metrics.auroc[0], abs=1e-4)
    assert "Peak memory" in text and {"pr-1", "reliability-1", "auroc-1"} <= set(page.having("id"))
    compared.metrics.to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    assert "auroc-1" in written(tmp_path / "d.html", tmp_path / "c.tsv")[0].having("id")
    moved = regzoo.transfer(loaded, sets, targets=["tf3", "tf0"], output=tmp_path / "t.tsv")
    page, text = written(tmp_path / "t.html", tmp_path / "t.tsv")
    matrix = page.frame("transfer-1").set_index("row")
    np.testing.assert_allclose(matrix["tf3"], moved.matrix["tf3"], rtol=1e-4)


def test_regions_of_predict_scan_and_explain(model, genome, tmp_path):
    loci = pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [100, 200], "end": [140, 240]})
    regzoo.predict(model, loci, genome, output=tmp_path / "p.tsv")
    regzoo.scan(model, genome, targets=["a"], threshold=0.5, output=[tmp_path / "e.tsv", tmp_path / "t.bedgraph"])
    regzoo.explain(model, loci, genome, method="gradient", output=[tmp_path / "x.h5", tmp_path / "x.tsv"])
    files = [tmp_path / name for name in ("p.tsv", "e.tsv", "t.bedgraph", "x.h5", "x.tsv")]
    page, text = written(tmp_path / "r.html", files)
    ids = page.having("id")
    assert {"track-1", "track-2", "rows-1", "rows-2", "logo-4-1-1", "logo-5-2-3"} <= set(ids)
    assert page.data("logo-4-2-3") == page.data("logo-5-2-3") != page.data("logo-4-1-3")
    track = page.frame("track-1")
    written_track = pd.read_csv(tmp_path / "t.bedgraph", sep="\t", skiprows=1, header=None)
    np.testing.assert_allclose(track.value, written_track[written_track[0] == "chr1"][3], rtol=1e-5)


BAD = {
    "a column too few": (
        "chrom\tpos\tref\talt\tstatus\tmodel\ttarget\tvalue_ref\nc\t1\tA\tC\tscored\tm\tt\t0\n",
        "without diff, value_alt; write it again",
    ),
    "scores of another kind": (
        "record\tchrom\tpos\tref\talt\tstatus\tllr\n1\tc\t1\tA\tC\tscored\t0\n",
        "no column diff:TARGET",
    ),
    "variants with a column of that name": ("chrom\tpos\tref\talt\tstatus\nc\t1\tA\tC\tx\n", "need a model"),
    "another table": ("a\tb\n1\t2\n", "columns a, b are of no known table"),
    "no row": ("chrom\tpos\tref\talt\n", "has a header, but no row"),
    "nothing": ("", "is empty"),
    "not text": ("\0\xff\n1\t2\t3\n4", "no known table|cannot read"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_tables_that_are_not_ours(kind, tmp_path):
    content, message = BAD[kind]
    (tmp_path / "t.tsv").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=f"t.tsv: .*({message})"):
        regzoo.report(tmp_path / "t.tsv", output=tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_what_is_not_accepted_is_said(alleles, model, genome, tmp_path):
    out = {"output": tmp_path / "r.html"}
    (tmp_path / "b.json").write_text('{"rows": [{"x": 1}]}')
    (tmp_path / "x.h5").write_text("no")
    (tmp_path / "x.bedgraph").write_text("chr1\t1\n")
    (tmp_path / "x.gff").write_text("chr1\tx\tgene\t9\t3\t.\t-\t.\tID=g\n")
    for error, message, arguments, options in (
        (InputError, "variants need a genome", (SOME, MODEL), out),
        (InputError, "variants need a model", (SOME,), out),
        (InputError, "no such file, and no model", ("nothing.txt",), out),
        (InputError, "unknown kind of file", (ROOT / "LICENSE",), out),
        (InputError, "no input is given", ([],), out),
        (InputError, "got int", (5,), out),
        (InputError, "expected JSON that|without", (tmp_path / "b.json",), out),
        (InputError, "expected HDF5 that", (tmp_path / "x.h5",), out),
        (InputError, "x.bedgraph, line 1", (tmp_path / "x.bedgraph",), out),
        (InputError, "x.gff, line 1", (alleles,), out | {"regions": tmp_path / "x.gff"}),
        (InputError, "has one input", ([alleles, alleles],), out),
        (InputError, "cannot stand on a page", ([BED, MODEL],), out),
        (InputError, "pip is an option of the command", (alleles,), out | {"pip": "pip"}),
        (InputError, "models is for reports of variants", (MODEL, MODEL), out),
        (InputError, "top: expected 0 or more", (alleles,), out | {"top": -1}),
        (InputError, "missing.fa", (SOME, MODEL, "missing.fa"), out),
        (ModelError, "names a model that cannot be loaded.*tiny", (alleles, (), genome), out),
        (OutputError, "r.pdf", (alleles,), {"output": tmp_path / "r.pdf"}),
        (OutputError, "cannot write there", (alleles,), {"output": tmp_path / "no" / "r.html"}),
    ):
        with pytest.raises(error, match=message):
            regzoo.report(*arguments, **options)
    assert not (tmp_path / "r.html").exists()


def test_the_command(alleles, tmp_path):
    alleles.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    done = CliRunner().invoke(
        cli.app, ["report", str(tmp_path / "a.tsv"), "-q", "--top", "1", "-o", str(tmp_path / "r.html")]
    )
    assert done.exit_code == 0 and "r.html (0.1 MB)" in done.stderr
    check_self_contained(Page(text := (tmp_path / "r.html").read_text()), text)
    assert text.count('<article class="variant"') == 1 and "Without a genome" in text


def test_pictures_have_the_values_of_their_data():
    from regzoo.reports import charts
    from regzoo.reports.svg import Scale

    values = np.r_[np.random.default_rng(0).normal(size=200), np.nan]
    found = charts.histogram("h", "H", values, "x")
    assert found.data["count"].sum() == 200 and "1 have no value" in found.description
    rows = pd.DataFrame({"target": ["t"], "value_ref": [0.25], "value_alt": [0.75]})
    drawn = ElementTree.fromstring(charts.dumbbells("d", "D", rows, (0.0, 1.0), {"p": ["1"]}).svg)
    group = next(part for part in drawn.iter(f"{SVG}g"))
    first, second = (float(part.get("cx")) for part in group.findall(f"{SVG}circle"))
    ticks = {part.text: float(part.get("x")) for part in drawn.iter(f"{SVG}text") if part.text in ("0.25", "0.75")}
    assert (first, second) == (pytest.approx(ticks["0.25"], abs=0.01), pytest.approx(ticks["0.75"], abs=0.01))
    assert Scale(0, 0.97, 0, 100).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert Scale(3, 3, 0, 10)(3) == 5 and Scale(3, 3, 0, 10).ticks() == [3]


def test_a_report_says_how_it_was_made(alleles, genome, tmp_path):
    """Options that were given, and files by their names alone."""
    out = tmp_path / "r.html"
    regzoo.report(alleles, "MotifResNet/tf-human", genome, top=1, output=out)
    text = out.read_text()
    made = text[text.index('id="made"') : text.index("</main>")]
    assert f"<dt>regzoo</dt><dd>{regzoo.__version__}</dd>" in made and "<dt>top</dt><dd>1</dd>" in made
    assert "<dd>MotifResNet/tf-human</dd>" in made and "<dt>Genome</dt>" in made
    assert (
        str(tmp_path) not in made
        and "/" not in made[made.index("<dt>Genome</dt>") :].split("</dd>")[0].split("<dd>")[1]
    )


def test_ref_is_compared_with_the_genome_that_is_given(alleles, model, genome, tmp_path):
    same = "REF is the genome&#39;s base for all alleles that were scored."
    out, scored = tmp_path / "r.html", alleles[alleles.status == "scored"]
    codes = {name: np.array(genome.codes(name)) for name in genome.contigs}
    codes["chr1"] = (codes["chr1"] + 1) % 4
    other = regzoo.Genome.from_sequences(codes)
    wrong = scored[scored.chrom == "chr1"].drop_duplicates(["record", "alt"])
    first = wrong.iloc[0]
    own = "ACGT"[codes["chr1"][first.pos - 1]]
    message = rf"record {first.record}, chr1:{first.pos} .*REF is {first.ref}, but .* has {own} there; REF differs for "
    for table in (alleles, alleles.drop(columns="orientation")):
        with pytest.raises(InputError, match=message + f"{len(wrong)} of 12 scored alleles"):
            regzoo.report(table, model, other, output=out)
    assert not out.exists()
    assert same in written(out, alleles, model, genome, top=0)[1]
    text = written(out, alleles.drop(columns="orientation"), model, genome, top=0)[1]
    assert same in text and "not checked" not in text
    part = regzoo.Genome.from_sequences({"chr1": np.array(genome.codes("chr1"))})
    text = written(out, alleles, model, part, top=0)[1]
    assert (
        same not in text and f"base for {len(wrong)} of 12 alleles that were scored; the genome has no contig" in text
    )
    assert same in written(out, alleles, top=0)[1]  # compared when the table was made
    assert same not in written(out, alleles.assign(orientation="swapped"), top=0)[1]


@pytest.mark.parametrize("known", ["none", "all", "one of two models"])
def test_the_product_with_pip_is_called_what_it_is(known, alleles, tmp_path):
    from regzoo.reports.variants import normalised

    table = alleles[alleles.status == "scored"].assign(pip=0.5, percentile=90.0).drop(columns=["p", "rank"])
    if known == "none":
        table["percentile"] = np.nan
    if known == "one of two models":
        table = pd.concat([table, table.assign(model="other", percentile=np.nan, diff=50.0)], ignore_index=True)
    shown = normalised(table)
    expected = 0.5 * table["diff"].abs() if known == "none" else 0.5 * table["percentile"] / 100
    np.testing.assert_allclose(np.sort(shown.priority), np.sort(expected))
    assert shown.model[0] != "other" and shown.priority[shown.model == "other"].isna().all()
    page, text = written(tmp_path / "r.html", table, top=1)
    names = ("PIP × |Δ|", "PIP × percentile")
    name, wrong = names if known == "none" else names[::-1]
    assert {column["name"]: column["label"] for column in page.data("table")["columns"]}["priority"] == name
    assert f"<dt>{name}</dt>" in text and f"Height: {name}" in text and f"<b>{name}</b> combines" in text
    assert wrong not in text


def test_contigs_and_neighbours_that_are_not_drawn_are_counted(alleles, tmp_path, monkeypatch):
    monkeypatch.setattr(variants_module, "_CONTIGS", 1)
    monkeypatch.setattr(variants_module, "_NEIGHBOURS", 4)
    part = alleles[alleles.chrom == "chr1"]
    both = pd.concat([alleles, part.assign(chrom="chr2", record=part.record + 100)])
    assert "1 of 2 contigs with several variants are drawn." in written(tmp_path / "r.html", both, top=1)[1]
    text = written(tmp_path / "s.html", part, top=1)[1]
    assert "The 4 highest of 9 neighbours are drawn." in text


def test_regions_on_contigs_without_a_track_are_drawn(tmp_path):
    (tmp_path / "t.bedgraph").write_text("chr1\t100\t200\t1.5\nchr1\t200\t300\t2.5\n")
    (tmp_path / "e.bed").write_text("1\t120\t180\ta\n1\t900\t950\tb\nchr2\t40\t90\tc\nchr3\t5\t9\td\n")
    files = [tmp_path / "t.bedgraph", tmp_path / "e.bed"]
    page, text = written(tmp_path / "r.html", files)
    assert {"track-1", "track-2", "track-3"} <= set(page.having("id")) and "are drawn.</p>" not in text
    assert page.frame("track-1").value.tolist() == [1.5, 2.5]
    assert page.frame("track-2")[["chrom", "start", "end", "name"]].to_numpy().tolist() == [["chr2", 40, 90, "c"]]
    assert "1 of 2 regions of this contig are drawn; the others lie beyond the tracks." in text
    page, text = written(tmp_path / "r.html", files, top=1)
    assert "track-2" not in page.having("id") and "1 of 3 contigs are drawn." in text
    page, text = written(tmp_path / "r.html", files[0], regions=files[1])
    assert "track-3" in page.having("id")


def test_tracks_windows_targets_and_bases_that_are_not_drawn_are_counted(model, genome, tmp_path, monkeypatch):
    from regzoo.reports import regions

    monkeypatch.setattr(regions, "_TARGETS", 2)
    monkeypatch.setattr(regions, "_BASES", 30)
    loci = pd.DataFrame({"chrom": ["chr1", "chr2", "chr2"], "start": [100, 200, 400], "end": [140, 240, 440]})
    regzoo.explain(model, loci, genome, method="gradient", output=[tmp_path / "x.h5", tmp_path / "x.tsv"])
    for name in "abc":
        (tmp_path / f"{name}.bedgraph").write_text("chr1\t100\t200\t1.5\n")
    files = [tmp_path / name for name in ("x.h5", "x.tsv", "a.bedgraph", "b.bedgraph", "c.bedgraph")]
    page, text = written(tmp_path / "r.html", files, top=2)
    for name in ("x.h5", "x.tsv"):
        assert f"{name}: 2 of 3 windows are drawn." in text and f"{name}: 2 of 3 targets are drawn." in text
    assert "30 of 40 bases of this window, those in its middle, are drawn." in text
    assert "2 of 3 tracks are drawn." in text and "contigs are drawn" not in text
    assert {"logo-1-2-2", "logo-2-2-2"} <= set(page.having("id")) and "logo-1-3-1" not in page.having("id")


def test_a_missing_cell_of_a_heat_map_is_a_dash():
    from regzoo.reports import charts

    values = pd.DataFrame([[0.75, np.nan]], index=["x"], columns=["s", "t"])
    picture = ElementTree.fromstring(charts.matrix("m", "M", values, "AUROC", 0.5).svg)
    assert [part.text for part in picture.iter(f"{SVG}text")][-2:] == ["0.750", "–"]
    tips = [part.get("data-t") for part in picture.iter(f"{SVG}rect")]
    assert tips == ["x on s: AUROC 0.750", "x on t: AUROC –"]
