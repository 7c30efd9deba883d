"""Tables: the same rows in every format, and files that are whole or not there."""

import gzip

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regzoo.errors import OutputError
from regzoo.output.tables import FrameTable, Matrix, Vector, check_suffix, open_table

NUMBERS = np.array([0.1, -1e-30, 123456789, np.nan, 3e-5, 1 / 3], dtype=np.float32)
SCHEMA = {"name": str, "start": int, "diff": Matrix(["tf0", "é"], "diff:", "columns/diff"), "score": float}


def blocks():
    """Two blocks of three rows; strings as a list and as a dictionary of pyarrow."""
    values = np.stack([NUMBERS, NUMBERS[::-1]], axis=1)
    names = ['say "x"', "b c", ""]
    yield {"name": names, "start": [1, 2, 2**40], "diff": values[:3], "score": NUMBERS[:3]}
    names = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), ["d", "é"])
    yield {"name": names, "start": np.arange(3), "diff": values[3:], "score": NUMBERS[3:]}


def expected():
    return pd.DataFrame(
        {
            "name": ['say "x"', "b c", "", "d", "é", "d"],
            "start": [1, 2, 2**40, 0, 1, 2],
            "diff:tf0": NUMBERS,
            "diff:é": NUMBERS[::-1],
            "score": NUMBERS,
        }
    )


def write(output):
    with open_table(output, SCHEMA, {"model": "m"}, {"name": "rows/name"}) as table:
        for block in blocks():
            table.write(block)
    return table


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb"])
def test_tsv_refuses_text_that_would_break_its_lines(text, tmp_path):
    """Other formats hold it. No file is left."""
    schema = {"name": str, "kind": str, "start": int}
    columns = {"name": ["x", text], "kind": pa.DictionaryArray.from_arrays([0, 0], ["k"]), "start": [1, 2]}
    with pytest.raises(OutputError, match="column name: 'a.+b' has a tab or a line end"):
        with open_table(tmp_path / "o.tsv", schema) as table:
            table.write(columns)
    with pytest.raises(OutputError, match="the name of a column: 'a.+b'"):
        with open_table(tmp_path / "o.tsv", {text: str}):
            pass
    assert not list(tmp_path.iterdir())
    with open_table(tmp_path / "o.parquet", schema) as table:
        table.write(columns)
    assert pd.read_parquet(tmp_path / "o.parquet").name.tolist() == ["x", text]


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz", ".TSV"])
def test_tsv_gives_the_same_float32_when_it_is_read_back(suffix, tmp_path):
    path = tmp_path / f"o{suffix}"
    write(path)
    data = path.read_bytes()
    text = (gzip.decompress(data) if suffix.endswith("gz") else data).decode()
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    assert rows[0] == ["name", "start", "diff:tf0", "diff:é", "score"]
    columns = list(zip(*rows[1:]))
    assert list(columns[0]) == list(expected().name) and columns[1] == ("1", "2", str(2**40), "0", "1", "2")
    for column, name in zip(columns[2:], rows[0][2:]):
        got = np.array([float(cell) if cell else np.nan for cell in column], dtype=np.float32)
        np.testing.assert_array_equal(got, expected()[name])


def test_parquet_hdf5_and_frames_hold_the_same_rows(tmp_path):
    frame = write(None).frame()
    write(tmp_path / "o.parquet")
    write(tmp_path / "o.h5")
    for found in (frame, pd.read_parquet(tmp_path / "o.parquet")):
        pd.testing.assert_frame_equal(found, expected(), check_dtype=False)
        assert found["start"].dtype == np.int64 and found["score"].dtype == np.float32
    assert pq.read_schema(tmp_path / "o.parquet").metadata[b"model"] == b"m"
    with h5py.File(tmp_path / "o.h5") as file:
        assert file.attrs["model"] == "m" and list(file["columns/diff"].asstr()) == ["tf0", "é"]
        assert list(file["rows/name"].asstr()) == list(expected().name)
        np.testing.assert_array_equal(file["diff"], expected()[["diff:tf0", "diff:é"]])
        np.testing.assert_array_equal(file["score"], NUMBERS)


def test_vectors(tmp_path):
    schema, values = {"name": str, "embedding": Vector(3)}, np.arange(6, dtype=np.float32).reshape(2, 3)
    for name in ("o.parquet", "o.h5"):
        with open_table(tmp_path / name, schema) as table:
            table.write({"name": ["a", "b"], "embedding": values})
    np.testing.assert_array_equal(np.stack(pd.read_parquet(tmp_path / "o.parquet").embedding), values)
    with h5py.File(tmp_path / "o.h5") as file:
        np.testing.assert_array_equal(file["embedding"], values)


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz", ".parquet", ".h5"])
def test_an_error_leaves_what_was_there(suffix, tmp_path):
    path = tmp_path / f"o{suffix}"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), open_table(path, SCHEMA) as table:
        table.write(next(blocks()))
        raise ZeroDivisionError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_table_without_rows_has_its_columns(tmp_path):
    for name in ("o.tsv", "o.parquet"):
        with open_table(tmp_path / name, SCHEMA):
            pass
    assert (tmp_path / "o.tsv").read_text() == "name\tstart\tdiff:tf0\tdiff:é\tscore\n"
    assert list(pd.read_parquet(tmp_path / "o.parquet")) == list(FrameTable(SCHEMA).frame()) == list(expected())


def test_standard_output_is_tsv(capfdbinary):
    write("-")
    lines = capfdbinary.readouterr().out.decode().split("\n")
    assert len(lines) == 8 and lines[1].startswith('say "x"\t1\t0.1\t')


def test_the_suffix_is_checked_before_anything_is_written(tmp_path):
    assert [check_suffix(f"o{s}") for s in (".tsv", ".TSV.gz", ".hdf5")] == [".tsv", ".tsv.gz", ".hdf5"]
    assert check_suffix("-") == "-" and check_suffix("o.vcf.gz", (".gz", ".vcf.gz")) == ".vcf.gz"
    with pytest.raises(
        OutputError, match="o.xls: unknown suffix; use one of .tsv, .tsv.gz, .parquet, .h5, .hdf5, or - "
    ):
        with open_table(tmp_path / "o.xls", SCHEMA):
            pass
    with pytest.raises(OutputError, match="-: unknown suffix; use one of .h5$"):
        check_suffix("-", (".h5",), stdout=False)
    assert list(tmp_path.iterdir()) == []
