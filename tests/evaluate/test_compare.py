"""`regzoo compare` against scikit-learn on the same predictions, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from regzoo.errors import InputError, OutputError
from regzoo.evaluate.compare import compare_models
from regzoo.sequence import Genome, decode, encode_many, read_bed
from regzoo.sequence.codes import fitted
from regzoo.zoo import load_model
from tests.conftest import BED, FASTA, MODEL, run

MODELS = [MODEL, "Basset/tf-human"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The example's intervals as labelled sequences: a motif's windows against the others."""
    bed, genome = read_bed(BED), Genome(FASTA)
    rows = genome.windows(np.array([genome.number(str(c)) for c in bed.contigs]), bed.resized(101), 101)
    labels = np.array(["ap1" in name for name in bed.names]).astype(int)
    path = tmp_path_factory.mktemp("data") / "ap1.csv"
    path.write_text("sequence,label\n" + "".join(f"{decode(row)},{label}\n" for row, label in zip(rows, labels)))
    return path, rows, labels


def test_the_table_holds_scikit_learn_s_numbers(data, tmp_path):
    path, rows, labels = data
    outputs = [tmp_path / f"o.{suffix}" for suffix in ("tsv", "md", "svg")]
    out, _ = run("regzoo", "compare", *MODELS, "-d", f"tf3={path}", "-d", f"tf1={path}", "-q",
                 *(part for output in outputs for part in ("-o", output)))  # fmt: skip
    table = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(table.target) == ["tf3", "tf3", "tf1", "tf1"] and list(table.model) == MODELS * 2
    for row in table.itertuples():
        scores = load_model(row.model, device="cpu").predict(rows)[:, int(row.target[2])]
        assert row.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
        assert row.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-4)
        assert row.mcc == pytest.approx(matthews_corrcoef(labels, scores >= 0.5), abs=1e-4)
        assert row.auroc_low <= row.auroc <= row.auroc_high
    assert table.p.isna().tolist() == [True, False, True, False]
    assert (tmp_path / "o.md").read_text().strip() == out.strip() and "sequences a second" in out
    assert (tmp_path / "o.svg").stat().st_size > 10_000


def test_sequences_of_other_lengths_stand_in_the_middle():
    codes = encode_many(["ACGTA"])
    assert [decode(fitted(codes, n)[0]) for n in (3, 5, 7, 8)] == ["CGT", "ACGTA", "NACGTAN", "NNACGTAN"]


def test_what_is_refused(data, tmp_path):
    path = data[0]
    with pytest.raises(OutputError, match="unknown suffix"):
        compare_models(MODELS, [f"tf3={path}"], [tmp_path / "o.pdf"])
    with pytest.raises(InputError, match="expected TARGET=FILE"):
        compare_models(MODELS, [str(path)])
    with pytest.raises(InputError, match="no such data file"):
        compare_models(MODELS, ["tf3=none.csv"])
    with pytest.raises(InputError, match="has no target 'tf9'"):
        compare_models([MODEL], [f"tf9={path}"], progress=False)
    bad = tmp_path / "bad.csv"
    bad.write_text("sequence,label\nACGT,2\n")
    with pytest.raises(InputError, match="bad.csv, line 2: expected"):
        compare_models(MODELS, [f"tf3={bad}"])
    bad.write_text("sequence,label\nACGT,1\nACGA,1\n")
    with pytest.raises(InputError, match="only one class"):
        compare_models(MODELS, [f"tf3={bad}"])
