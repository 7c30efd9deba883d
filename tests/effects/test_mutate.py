"""Saturation mutagenesis against windows changed one by one, in every format."""

import h5py
import numpy as np
import pandas as pd
import pytest

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutate import ALLELES, mutate_loci, saturate
from regzoo.errors import InputError, OutputError
from regzoo.sequence import Genome, decode, encode_many
from regzoo.zoo import load_model
from tests.conftest import FASTA, MODEL, run


@pytest.fixture(scope="module")
def model():
    return load_model(MODEL, device="cpu")


@pytest.mark.parametrize(("start", "end"), [(1550, 1651), (0, 30), (23_990, 24_000), (1000, 1001), (3000, 3140)])
def test_every_change_equals_its_own_window(start, end, model):
    genome = Genome(FASTA)
    result = saturate(Evaluator(model), genome, "chr1", start, end)
    assert result.effects.shape == (end - start, len(ALLELES), 5)
    contig, length = "N" * 101 + decode(genome.codes("chr1")) + "N" * 102, model.input_length
    pieces = 1 if end - start <= length else -(-(end - start) // (length // 2))
    cuts = np.linspace(start, end, pieces + 1).astype(int)
    texts, expected_rows = [], []
    for low, high in zip(cuts, cuts[1:]):
        first = (low + high) // 2 - length // 2 + 101
        for at in range(low + 101, high + 101):
            for allele in ALLELES:
                text = contig[:at] + allele.replace("-", "") + contig[at + 1 :]
                texts.append(text[first : first + length])
                expected_rows.append(contig[first : first + length])
    expected = model.predict(encode_many(texts)) - model.predict(encode_many(expected_rows))
    assert np.abs(result.effects.reshape(-1, 5) - expected).max() <= 1e-5
    own = result.reference
    assert np.abs(result.effects[np.arange(len(own)), own]).max() <= 1e-6


def test_formats_agree(tmp_path, model):
    bed = tmp_path / "loci.bed"
    bed.write_text("chr1\t1580\t1620\tap1\nchr2\t10\t20\tother\n")
    for suffix in ("h5", "tsv"):
        assert mutate_loci(FASTA, model, tmp_path / f"o.{suffix}", bed, targets=["tf3"], progress=False) == 2
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert len(table) == (40 + 10) * 4
    with h5py.File(tmp_path / "o.h5") as file:
        group = file["loci/000000"]
        assert (group.attrs["contig"], group.attrs["start"], group.attrs["name"]) == ("chr1", 1580, "ap1")
        for row in table[table.name == "ap1"].itertuples():
            column = [a.decode() for a in file["alleles"]].index(row.alt)
            assert row[6] == pytest.approx(group["effects"][row.pos - 1 - 1580, column, 0], abs=1e-6)
            assert group["reference"][row.pos - 1 - 1580].decode() == row.ref


def test_the_planted_motif_stands_out(tmp_path, model):
    run(
        "regzoo",
        "mutate",
        "-l",
        "chr1:1,551-1,651",
        "-f",
        FASTA,
        "-m",
        MODEL,
        "-t",
        "tf3",
        "-o",
        tmp_path / "o.tsv",
        "-q",
    )
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    strongest = table.loc[table["diff:tf3"].nsmallest(10).index].pos
    assert strongest.between(1595, 1606).all()  # where GATGACTCATCC is planted
    for suffix in ("png", "svg"):
        run(
            "regzoo",
            "mutate",
            "-l",
            "chr1:1551-1651",
            "-f",
            FASTA,
            "-m",
            MODEL,
            "-t",
            "tf3",
            "-o",
            tmp_path / f"o.{suffix}",
        )
        assert (tmp_path / f"o.{suffix}").stat().st_size > 10_000


def test_what_is_refused(tmp_path, model):
    bed = tmp_path / "two.bed"
    bed.write_text("chr1\t1\t5\nchr1\t10\t15\n")
    with pytest.raises(OutputError, match="one locus, but there are 2"):
        mutate_loci(FASTA, model, tmp_path / "o.png", bed)
    with pytest.raises(OutputError, match="unknown suffix"):
        mutate_loci(FASTA, model, tmp_path / "o.txt", bed)
    with pytest.raises(InputError, match="does not lie on its contig of 24000"):
        mutate_loci(FASTA, model, tmp_path / "o.tsv", loci=["chr1:23,990-24,001"], progress=False)
    with pytest.raises(InputError, match="expected CONTIG:START-END"):
        mutate_loci(FASTA, model, tmp_path / "o.tsv", loci=["chr1"])
    assert [p.name for p in tmp_path.iterdir()] == ["two.bed"]
