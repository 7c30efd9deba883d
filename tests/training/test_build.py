"""Data sets of peaks: every window, label, split and count against the genome and the peaks themselves."""

import json

import h5py
import numpy as np
import pybigtools
import pyBigWig
import pytest
import yaml

from regzoo.errors import InputError
from regzoo.sequence import Genome, decode
from tests.training.commands import train
from training.data import load_examples
from training.data.build import SPLITS, build
from training.data.peaks import read_peaks
from training.data.sources.built import BuiltData


@pytest.fixture
def sources(tmp_path):
    """Four contigs, two tracks of which the second covers the first's first peak, a blacklist."""
    rng = np.random.default_rng(0)
    contigs = {f"chr{i}": "".join(rng.choice(list("ACGT"), 6000)) for i in (1, 2, 7, 8)}
    contigs["chr1"] = contigs["chr1"][:3000] + contigs["chr1"][100:400] + contigs["chr1"][3300:]  # a repeat
    (tmp_path / "g.fa").write_text("".join(f">{n}\n{t}\n" for n, t in contigs.items()))
    peaks = [(c, s) for c in contigs for s in (300, 1500, 2500, 4500)]
    lines = [f"{c}\t{s}\t{s + 200}\tp\t0\t.\t1\t-1\t-1\t100\n" for c, s in peaks] + [
        "chr2\t10\t20\tp\t0\t.\t1\t-1\t-1\t2\n"
    ]
    (tmp_path / "a.narrowPeak").write_text("".join(lines))
    (tmp_path / "b.bed").write_text("".join(f"{c}\t290\t600\n{c}\t5200\t5400\n" for c in contigs))
    (tmp_path / "black.bed").write_text("chr2\t4500\t4510\n")
    options = {
        "genome": "g.fa",
        "tracks": {"A": "a.narrowPeak", "B": "b.bed"},
        "blacklist": "black.bed",
        "windows": {"length": 300, "bin": 100},
        "negatives": {"kind": "gc_matched"},
        "split": {"dev": ["chr7"], "test": ["chr8"]},
    }
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(options))
    return tmp_path, contigs, options


def test_summit_windows(sources):
    folder, contigs, _ = sources
    manifest = build(folder / "set.yaml", folder / "set.h5", progress=False)
    with h5py.File(folder / "set.h5") as file:
        data = {name: file[name][()] for name in ("codes", "labels", "contig", "start", "split", "peak")}
        assert json.loads(file.attrs["manifest"]) == manifest
    names = list(contigs)
    labels = np.unpackbits(data["labels"], axis=1)[:, :2].astype(bool)
    for codes, contig, start, split in zip(data["codes"], data["contig"], data["start"], data["split"]):
        assert decode(codes) == contigs[names[contig]][start : start + 300]
        assert SPLITS[split] == {"chr7": "dev", "chr8": "test"}.get(names[contig], "train")
    peak = data["peak"]
    found = {
        (names[c], int(s) + 150): tuple(row)
        for c, s, row in zip(data["contig"][peak], data["start"][peak], labels[peak])
    }
    for name in contigs:
        assert found[name, 400] == (True, True)  # A's summit; B covers its bin
        assert found[name, 5300] == (False, True) and found[name, 1600] == (True, False)
        assert (name, 4600) not in found or name != "chr2"  # blacklisted
    assert ("chr2", 12) not in found
    assert manifest["left out"]["over a contig's end"] == 1 and manifest["left out"]["blacklisted"] == 1
    assert not labels[~peak].any() and manifest["negatives"] != {"train": 0, "dev": 0, "test": 0}
    assert sum(manifest["windows"].values()) == len(peak) == 2 * peak.sum()
    assert manifest["positive"]["dev"] == {"A": 4, "B": 2}


def test_tiles_are_bins_that_half_a_peak_covers(sources):
    folder, contigs, options = sources
    options |= {"windows": {"kind": "tiles", "length": 300, "bin": 100}, "negatives": {"kind": "none"}}
    (folder / "set.yaml").write_text(yaml.safe_dump(options))
    build(folder / "set.yaml", folder / "set.h5", progress=False)
    with h5py.File(folder / "set.h5") as file:
        own = file["contig"][()] == 2
        bins = sorted((file["start"][()][own] + 100).tolist())
        labels = np.unpackbits(file["labels"][()], axis=1)[own][np.argsort(file["start"][()][own]), :2]
    assert bins == [300, 400, 500, 1500, 1600, 2500, 2600, 4500, 4600, 5200, 5300]
    assert labels.tolist() == [[1, 1], [1, 1], [0, 1]] + [[1, 0]] * 6 + [[0, 1]] * 2


def test_a_recipe_reads_the_set_and_repeats_are_left_out(sources):
    folder, contigs, options = sources
    options["negatives"] = {"kind": "dinucleotide_shuffle", "ratio": 2}
    (folder / "set.yaml").write_text(yaml.safe_dump(options))
    text = contigs["chr1"]
    (folder / "a.narrowPeak").write_text(
        (folder / "a.narrowPeak").read_text()
        + "".join(f"chr1\t{s}\t{s + 300}\tp\t0\t.\t1\t-1\t-1\t150\n" for s in (100, 3000))
    )
    assert text[100:400] == text[3000:3300]
    manifest = build(folder / "set.yaml", folder / "set.h5", progress=False)
    assert manifest["left out"]["repeated on either strand"] == 1
    splits, report = load_examples(
        BuiltData(format="built", folder=str(folder / "set.h5"), tasks={"one": "B", "two": "A"})
    )
    assert {name: len(part) for name, part in splits.items()}["dev"] == manifest["windows"]["dev"]
    assert splits["dev"].labels.sum(axis=0).tolist() == [2, 4] and report["targets"]["two"]["dev"]["positive"] == 4
    with pytest.raises(InputError, match="no target 'C'; it has A, B"):
        load_examples(BuiltData(format="built", folder=str(folder / "set.h5"), tasks={"c": "C"}))


def test_bigbed_peaks_and_bigwig_signal(sources):
    folder, contigs, options = sources
    header = [(name, len(text)) for name, text in contigs.items()]
    with pyBigWig.open(str(folder / "a.bb.tmp"), "w") as file:  # pyBigWig writes bigWig alone
        file.addHeader(header)
        for name in contigs:
            file.addEntries(name, 0, values=np.arange(0, 3000) / 1000, span=1, step=1)
    (folder / "a.bb.tmp").rename(folder / "s.bw")
    options |= {"signal": {"S": "s.bw"}, "negatives": {"kind": "none"}}
    (folder / "set.yaml").write_text(yaml.safe_dump(options))
    build(folder / "set.yaml", folder / "set.h5", progress=False)
    with h5py.File(folder / "set.h5") as file:
        first, signal = file["start"][()] + 100, file["signal"][()][:, 0]
    values = np.concatenate([np.arange(3000) / 1000, np.zeros(4000)])
    np.testing.assert_allclose(signal, [values[a : a + 100].mean() for a in first], rtol=1e-4)
    splits, _ = load_examples(
        BuiltData(format="built", folder=str(folder / "set.h5"), tasks={"s": "S"}, task="regression")
    )
    assert 0 < splits["train"].labels.max() < 3
    options["tracks"] = {"A": "s.bb"}
    (folder / "s.bb").write_bytes((folder / "s.bw").read_bytes())
    (folder / "set.yaml").write_text(yaml.safe_dump(options))
    with pytest.raises(InputError, match="s.bb: not a bigBed file"):
        build(folder / "set.yaml", folder / "o.h5", progress=False)
    (folder / "g.fa").write_text((folder / "g.fa").read_text().replace(">chr2\n", ">chr2\nACGT"))
    options["tracks"] = {"A": "a.narrowPeak"}
    (folder / "set.yaml").write_text(yaml.safe_dump(options))
    with pytest.raises(InputError, match="s.bw: chr2 has 6000 bases, but 6004 in .*one assembly"):
        build(folder / "set.yaml", folder / "o.h5", progress=False)


def test_bigbed_intervals_become_peaks(sources):
    folder, contigs, _ = sources
    rows = [
        ("chr2", 40, 90, ""),
        ("chr7", 300, 500, "p\t0\t.\t1\t-1\t-1\t120"),
        ("chr7", 700, 900, "q\t0\t.\t1\t-1\t-1\t-1"),
    ]
    pybigtools.open(str(folder / "x.bigBed"), "w").write({name: len(text) for name, text in contigs.items()}, rows)
    genome = Genome(folder / "g.fa")
    found = read_peaks(folder / "x.bigBed", genome)
    assert found.numbers.tolist() == [genome.number(name) for name, *_ in rows]
    assert found.starts.tolist() == [40, 300, 700] and found.ends.tolist() == [90, 500, 900]
    assert found.summits.tolist() == [65, 420, 800]


def test_near_duplicates_are_left_out_and_repeats_matched(sources):
    folder, contigs, options = sources
    texts = {name: list(text) for name, text in contigs.items()}
    copy = texts["chr1"][250:550]
    copy[150] = "A" if copy[150] != "A" else "C"
    texts["chr2"][1450:1750] = copy  # A's second window of chr2 is its first of chr1 but for a base
    for name in texts:
        for start in range(0, 5800, 410):
            texts[name][start : start + 200] = [base.lower() for base in texts[name][start : start + 200]]
    (folder / "g.fa").write_text("".join(f">{n}\n{''.join(t)}\n" for n, t in texts.items()))
    options |= {
        "windows": {"length": 300, "bin": 100, "near_duplicates": 0.8},
        "tracks": {"A": "a.narrowPeak"},
        "negatives": {"kind": "gc_repeat_matched", "ratio": 2},
    }
    (folder / "set.yaml").write_text(yaml.safe_dump(options))
    manifest = build(folder / "set.yaml", folder / "set.h5", progress=False)
    assert manifest["left out"]["nearly the same as another"] == 1
    with h5py.File(folder / "set.h5") as file:
        contig, start, peak = (file[name][()] for name in ("contig", "start", "peak"))
    names = list(texts)
    share = np.array([np.mean([b.islower() for b in texts[names[c]][s : s + 300]]) for c, s in zip(contig, start)])
    quarter = np.minimum((share * 4).astype(int), 3)
    assert len(set(quarter[peak])) > 1
    np.testing.assert_array_equal(2 * np.bincount(quarter[peak], minlength=4), np.bincount(quarter[~peak], minlength=4))


def test_what_is_refused(sources, tmp_path):
    folder, _, options = sources

    def refused(changes, message):
        (folder / "set.yaml").write_text(yaml.safe_dump(options | changes))
        with pytest.raises(InputError, match=message):
            build(folder / "set.yaml", folder / "set.h5", progress=False)
        assert not (folder / "set.h5").exists()

    refused({"split": {"dev": ["chr1", "chr2", "chr7"], "test": ["chr8"]}}, "no window in train")
    refused({"split": {"dev": ["chr7"], "test": ["chr7"]}}, "contig chr7 is in dev and in test")
    refused({"track": {}}, r"track: .*\(did you mean 'tracks'\?\)")
    refused({"tracks": {"A": "none.bed"}}, "none.bed: no such BED file")
    (folder / "b.bed").write_text("chr1\t1\t7000\n")
    refused({}, "use peaks and a genome of one assembly")


def test_the_command(sources):
    folder = sources[0]
    out = train("build", folder / "set.yaml", "-o", folder / "o.h5")
    assert json.loads(out)["windows"]["train"] > 0 and (folder / "o.h5").exists()
