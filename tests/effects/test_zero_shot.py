"""Zero-shot scores against masks written out one variant at a time."""

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
from typer.testing import CliRunner

from regzoo.cli import app
from regzoo.effects.masked_scores import base_log_probabilities
from regzoo.effects.pipeline import zero_shot
from regzoo.errors import InputError
from regzoo.sequence import Genome, decode, encode
from regzoo.zoo import load_language_model
from tests.conftest import FASTA, VCF

LENGTH = 60


def log_p(lm, ids):
    with torch.inference_mode():
        return lm.net(torch.tensor([ids]))[0].log_softmax(-1).double().numpy()


def expected_base(lm, text, place):
    """Probabilities of the four bases at a place, from the rule of each tokenizer, by strings and lists."""
    tokenizer, words = lm.tokenizer, lm.tokenizer.vocabulary
    name = type(tokenizer).__name__
    if name == "BPE":
        totals = []
        for base in "ACGT":
            tokens = tokenizer.encode(encode(text[:place] + base + text[place + 1 :])[None])
            hit = [i for i in range(tokens.ids.shape[1]) if tokens.starts[0, i] <= place < tokens.ends[0, i]]
            ids = tokens.ids[0].tolist()
            masked = [tokenizer.mask if i in hit else t for i, t in enumerate(ids)]
            totals.append(sum(log_p(lm, masked)[i][ids[i]] for i in hit))
        p = np.exp(np.array(totals) - max(totals))
        return p / p.sum()
    tokens = tokenizer.encode(encode(text)[None])
    hit = [i for i in range(tokens.ids.shape[1]) if tokens.starts[0, i] <= place < tokens.ends[0, i]]
    masked = [tokenizer.mask if i in hit else t for i, t in enumerate(tokens.ids[0].tolist())]
    read = hit[(len(hit) - 1) // 2]
    at, values = place - tokens.starts[0, read], np.exp(log_p(lm, masked)[read])
    p = np.array(
        [sum(v for w, v in zip(words, values) if set(w) <= set("ACGT") and w[at : at + 1] == b) for b in "ACGT"]
    )
    return p / p.sum()


def window(pos, chrom):
    start = pos - 1 - (LENGTH // 2 - 1)
    return decode(Genome(FASTA).codes(chrom)[start : start + LENGTH]), LENGTH // 2 - 1


def test_every_place_of_a_sequence(language_model):
    lm = load_language_model(language_model)
    text = decode(Genome(FASTA).codes("chr1")[500 : 500 + 40])
    got = np.exp(base_log_probabilities(lm, np.repeat(encode(text)[None], 40, axis=0), np.arange(40)))
    assert got.shape == (40, 4)
    for place in (0, 1, 5, 20, 37, 39):
        np.testing.assert_allclose(got[place], expected_base(lm, text, place), atol=1e-5)


def test_batches_of_any_size_give_the_same_probabilities(language_model, monkeypatch):
    lm = load_language_model(language_model)
    codes = np.repeat(Genome(FASTA).codes("chr1")[500 : 500 + 40][None], 12, axis=0)
    sizes, encode_ = [], lm.net.encode
    monkeypatch.setattr(lm.net, "encode", lambda ids, mask: (sizes.append(ids.numel()), encode_(ids, mask))[1])
    whole = base_log_probabilities(lm, codes, np.arange(12))
    most = max(sizes)
    sizes.clear()
    np.testing.assert_allclose(base_log_probabilities(lm, codes, np.arange(12), 64), whole, atol=2e-5)
    assert len(sizes) > 1 and max(sizes) <= 64 < most
    with pytest.raises(InputError, match="batch_size"):
        zero_shot(lm, VCF, FASTA, batch_size=0)


def test_scores_of_a_vcf(language_model, tmp_path):
    lm = load_language_model(language_model)
    scores = ("p_ref", "llr", "vis_mean", "vis_max")
    counts = zero_shot(language_model, VCF, FASTA, output=tmp_path / "o.tsv", scores=scores, length=LENGTH, around=2)
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert counts == {"scored": 46} and list(table.columns[7:]) == [f"zero_shot:{s}" for s in scores]
    single = table[(table.ref.str.len() == 1) & (table["alt"].str.len() == 1)]
    for row in single.iloc[:4].itertuples(index=False):
        text, place = window(row.pos, row.chrom)
        p = expected_base(lm, text, place)
        ref, alt = "ACGT".index(row.ref), "ACGT".index(row.alt)
        assert row[7] == pytest.approx(p[ref], abs=1e-5)
        assert row[8] == pytest.approx(np.log(p[alt] / p[ref]), abs=1e-4)
        other = text[:place] + row.alt + text[place + 1 :]
        changes = []
        for shift in (-2, -1, 1, 2):
            odds = [np.log2(q) - np.log2(1 - q) for q in (expected_base(lm, t, place + shift) for t in (text, other))]
            changes.append(np.abs(odds[1] - odds[0]).max())
        assert row[9] == pytest.approx(np.mean(changes), abs=1e-3)
        assert row[10] == pytest.approx(np.max(changes), abs=1e-3)
    longer = table.drop(single.index)
    assert len(longer) and longer["zero_shot:p_ref"].isna().all() and longer["zero_shot:llr"].notna().all()


def test_an_indel_s_ratio_is_of_its_bases_and_the_next(language_model, tmp_path):
    lm = load_language_model(language_model)
    if type(lm.tokenizer).__name__ not in ("SingleBases", "SixMers"):
        pytest.skip("tokens that do not overlap, and are not tokenised by what is near")
    table = tmp_path / "o.tsv"
    zero_shot(language_model, VCF, FASTA, output=table, scores=("llr",), length=LENGTH)
    row = next(r for r in pd.read_csv(table, sep="\t").itertuples() if len(r.ref) > len(r.alt))
    text, place = window(row.pos, row.chrom)
    contig = decode(Genome(FASTA).codes(row.chrom))
    other = (contig[: row.pos - 1] + row.alt + contig[row.pos - 1 + len(row.ref) :])[row.pos - 1 - place :][:LENGTH]
    sides = []
    for sequence, letters in ((text, row.ref), (other, row.alt)):
        tokens = lm.tokenizer.encode(encode(sequence)[None])
        end = place + len(letters) + 1
        hit = [i for i in range(tokens.ids.shape[1]) if tokens.starts[0, i] < end and tokens.ends[0, i] > place]
        ids = tokens.ids[0].tolist()
        values = log_p(lm, [lm.tokenizer.mask if i in hit else t for i, t in enumerate(ids)])
        sides.append(sum(values[i][ids[i]] for i in hit))
    assert row[8] == pytest.approx(sides[1] - sides[0], abs=1e-3)


def test_probabilities_sum_to_one_beside_unknown_bases(language_model):
    lm = load_language_model(language_model)
    codes = encode("ACGTNNACGTACGTTGCANACGT")[None]
    for place in (3, 8, 17):
        p = np.exp(base_log_probabilities(lm, codes, np.array([place])))
        assert p.sum() == pytest.approx(1)


def test_what_is_refused(language_model, tmp_path):
    with pytest.raises(InputError, match="no zero-shot score 'lr'; there are p_ref"):
        zero_shot(language_model, VCF, FASTA, output=tmp_path / "o.tsv", scores=("lr",))
    with pytest.raises(InputError, match="a window of 20 bases does not hold 10 on each side"):
        zero_shot(language_model, VCF, FASTA, output=tmp_path / "o.tsv", length=20)
    assert list(tmp_path.iterdir()) == []


def test_scores_that_no_allele_of_a_kind_has_are_reasons_and_keys_hold_numbers(language_model, tmp_path):
    options = {"scores": ("p_ref", "p_ref"), "length": LENGTH}
    counts = zero_shot(language_model, VCF, FASTA, output=tmp_path / "o.vcf", **options)
    with pysam.VariantFile(str(tmp_path / "o.vcf")) as file:
        assert (file.header.info["REGZOO_ZERO_SHOT"].type, file.header.info["REGZOO_ZERO_SHOT"].number) == (
            "Float",
            "A",
        )
        records = list(file)
    single = [len(r.ref) == len(r.alts[0]) == 1 for r in records]
    assert [r.info["REGZOO_ZERO_SHOT"][0] is not None for r in records] == single
    assert counts == {"scored": sum(single), "none of the scores is defined for this allele": 46 - sum(single)}
    zero_shot(language_model, VCF, FASTA, output=tmp_path / "e.vcf", vcf_keys="each", length=LENGTH)
    with pysam.VariantFile(str(tmp_path / "e.vcf")) as file:
        both = [(r.info["REGZOO_ZERO_SHOT_p_ref"][0], r.info["REGZOO_ZERO_SHOT_llr"][0]) for r in file]
    assert [b[0] for b in both] == [r.info["REGZOO_ZERO_SHOT"][0] for r in records]
    assert all(isinstance(b[1], float) for b in both)


def test_the_command(language_model, tmp_path):
    options = ["-f", FASTA, "-m", language_model, "-o", tmp_path / "o.vcf.gz", "-q", "--length", "60"]
    done = CliRunner().invoke(app, ["zero-shot", str(VCF), *map(str, options)], catch_exceptions=False)
    assert "46  scored" in done.stderr and (tmp_path / "o.vcf.gz.tbi").exists()


def test_without_an_output_the_table_of_the_file_is_returned(language_model, tmp_path):
    """By a name, and by a loaded model and genome."""
    options = {"scores": ("llr",), "length": LENGTH}
    counts = zero_shot(language_model, VCF, FASTA, output=tmp_path / "o.parquet", **options)
    frame = zero_shot(load_language_model(language_model), VCF, Genome(FASTA), **options)
    pd.testing.assert_frame_equal(frame, pd.read_parquet(tmp_path / "o.parquet"), check_dtype=False)
    assert counts == frame.status.value_counts().to_dict() and frame.attrs == {"padded": 0, "unknown": 0}
    with pytest.raises(InputError, match="scores: expected a list, got the string 'llr'"):
        zero_shot(language_model, VCF, FASTA, scores="llr")
