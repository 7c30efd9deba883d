"""Data formats: every reader against files written here, in the layouts of the published sets."""

import gzip

import h5py
import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.io import savemat

from regzoo.errors import InputError
from regzoo.sequence import decode, encode, one_hot, reverse_complement
from regzoo.sequence.shared_kmers import clusters, near_duplicates
from training.data import load_examples
from training.data.sources import Data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGZOO_DATA", str(tmp_path))
    return tmp_path


def section(**content):
    return TypeAdapter(Data).validate_python({"folder": "."} | content)


def random_texts(rng, count, length=40):
    return ["".join(rng.choice(list("ACGT"), length)) for _ in range(count)]


def texts(examples):
    return [decode(row) for row in examples.codes]


def write_fasta(path, records):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as out:
        out.writelines(f">{name}\n{sequence[:25]}\n{sequence[25:]}\n" for name, sequence in records)


def test_fasta_labels_by_file_and_by_header_and_tables_by_column(folder):
    rng = np.random.default_rng(0)
    a, b, c, d = (random_texts(rng, n) for n in (6, 6, 4, 4))
    write_fasta(folder / "pos.fa.gz", [(i, s) for i, s in enumerate(a)])
    write_fasta(folder / "neg.fa", [(i, s) for i, s in enumerate(b)])
    write_fasta(folder / "clip.fasta", [(f" chr1,+,5,9; class:{i % 2}", s) for i, s in enumerate(c)])
    kmers = [" ".join(s[i : i + 6] for i in range(35)) for s in d]
    (folder / "dev.tsv").write_text("sequence\tlabel\n" + "".join(f"{k}\t{i % 2}\n" for i, k in enumerate(kmers)))
    (folder / "dev.csv").write_text("x,y\n" + "".join(f"{s},{i % 2}\n" for i, s in enumerate(random_texts(rng, 4))))
    data = section(
        format="files",
        files=[
            {"path": "pos.fa.gz", "labels": {"one": 1}},
            {"path": "neg.fa", "labels": {"one": 0}},
            {"path": "clip.fasta", "labels": {"two": "class:([01])"}},
            {"path": "dev.tsv", "split": "dev", "labels": {"one": "label"}},
            {"path": "dev.csv", "split": "dev", "labels": {"two": "y"}, "sequence": "x"},
        ],
    )
    splits, report = load_examples(data)
    assert data.targets == ["one", "two"]
    assert texts(splits["train"]) == a + b + c and texts(splits["dev"])[:4] == d
    np.testing.assert_array_equal(splits["train"].labels[:, 0], [1] * 6 + [0] * 6 + [np.nan] * 4)
    np.testing.assert_array_equal(splits["train"].labels[12:, 1], [0, 1, 0, 1])
    assert report["targets"]["one"]["dev"] == {"rows": 4, "positive": 2}


def test_regressions_average_repeats_and_pad_what_is_shorter(folder):
    rng = np.random.default_rng(1)
    rows = random_texts(rng, 8)
    lines = [f"{s}\t{i}\tNA" for i, s in enumerate(rows)] + [f"{rows[0]}\t4\t1.5", f"{rows[1][:30]}\t7\t"]
    (folder / "t.txt").write_text("\n".join(lines) + "\n")
    (folder / "d.txt").write_text("".join(f"{s}\t{i}\t{i}\n" for i, s in enumerate(random_texts(rng, 3))))
    columns = ["sequence", "a", "b"]
    data = section(
        format="files",
        task="regression",
        length=40,
        stranded=True,
        files=[
            {"path": "t.txt", "columns": columns, "labels": {"a": "a", "b": "b"}},
            {"path": "d.txt", "split": "dev", "columns": columns, "labels": {"a": "a", "b": "b"}},
        ],
        overlap_kmer=40,
    )
    splits, report = load_examples(data)
    assert splits["train"].labels[0].tolist() == [2.0, 1.5] and report["merged_rows"] == 1
    assert texts(splits["train"])[8] == "NNNNN" + rows[1][:30] + "NNNNN"
    assert np.isnan(splits["train"].labels[1:, 1]).all()
    assert report["targets"]["a"]["dev"] == {"rows": 3, "mean": 1.0, "sd": pytest.approx(np.std([0, 1, 2]))}


def test_labels_average_columns_and_rows_of_evaluation_sets_are_left_out(folder):
    rng = np.random.default_rng(2)
    rows = random_texts(rng, 12, 60)
    lines = [f"{s}\t{i}\t{i + 1}" for i, s in enumerate(rows[:6])] + [f"{rows[6]}\tNA\t4", f"{rows[7]}\tNA\t"]
    (folder / "t.tsv").write_text("sequence\ta\tb\n" + "\n".join(lines) + "\n")
    (folder / "d.tsv").write_text("sequence\ta\n" + "".join(f"{s}\t{i}\n" for i, s in enumerate(rows[8:])))
    element = decode(reverse_complement(encode(rows[2][:30])))
    write_fasta(folder / "elements.fa", [("e", "ACGT" * 10 + element + "T" * 25), ("short", "ACGTTGCA" * 4)])
    files = [
        {"path": "t.tsv", "labels": {"both": ["a", "b"]}},
        {"path": "d.tsv", "split": "dev", "labels": {"both": "a"}},
    ]
    options = {"format": "files", "task": "regression", "overlap_kmer": 30}
    whole = load_examples(section(files=files, **options))[0]["train"]
    assert whole.labels[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 4.0]
    splits, report = load_examples(section(files=files, evaluation=["elements.fa"], **options))
    assert texts(splits["train"]) == [row for row in rows[:7] if row != rows[2]]
    assert report["targets"]["both"]["train"]["overlapping"] == 1
    assert len(splits["dev"]) == 4
    with pytest.raises(InputError, match="missing.fa"):
        load_examples(section(files=files, evaluation=["missing.fa"], **options))
    files[0] = {"path": "elements.fa", "labels": {"both": ["a", "b"]}}
    with pytest.raises(InputError, match="a list of columns need a table"):
        load_examples(section(files=files, **options))


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.tsv", "sequence\tlabel\nACGT\t2\n", {}, "record 1: t is 2, but must be 0 or 1"),
        ("x.tsv", "sequence\tlabel\nACGT\tyes\n", {}, "x.tsv, line 2: label is 'yes', which is not a number"),
        ("x.tsv", "sequence\tlabel\nACGT\t1\nACG\t0\n", {}, "sequences of 3 to 4 bases; set `length`"),
        ("x.tsv", "sequence\tlabel\nACGT\n", {}, "x.tsv, line 2: 1 fields, but 2 are expected"),
        ("x.tsv", "sequence\tvalue\nACGT\t1\n", {}, "no column 'label'; it has 'sequence', 'value'"),
        ("x.tsv", "sequence\tlabel\nACG CGA TTT\t1\n", {}, "line 2: CGA TTT are not overlapping k-mers"),
        ("x.tsv", "sequence\tlabel\nACGT\t1\n", {}, "only one class"),
        ("x.tsv", "sequence\tlabel\nACGT\t1\nCCGT\t0\n", {}, "no row in dev for t"),
        ("x.fa", "ACGT\n", {"labels": {"t": 1}}, "not a FASTA file"),
        ("x.fa", ">a\n>b\nACGT\n", {"labels": {"t": 1}}, "record 'a': no sequence"),
        ("x.fa", ">a\nACGT\n", {"labels": {"t": "class:(.)"}}, "record 'a': no match of 'class:"),
    ],
)
def test_bad_files_name_the_file_and_the_record(name, content, options, message, folder):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_examples(section(format="files", files=[{"path": name, "labels": {"t": "label"}} | options]))


def test_infinite_values_and_missing_folders_are_refused(folder):
    (folder / "x.tsv").write_text("sequence\tlabel\nACGT\tinf\n")
    with pytest.raises(InputError, match="must be a finite number"):
        load_examples(section(format="files", task="regression", files=[{"path": "x.tsv", "labels": {"t": "label"}}]))
    with pytest.raises(InputError, match="set REGZOO_DATA to the folder that holds 'nowhere'"):
        load_examples(section(folder="nowhere", tasks={"a": "a"}))


def test_clusters_are_the_components_of_shared_kmers_on_either_strand():
    rng = np.random.default_rng(2)
    rows = random_texts(rng, 6, 60)
    rows[2] = rows[0][20:50] + rows[2][:30]
    rows[4] = decode(reverse_complement(encode(rows[2][35:60]))) + rows[4][:35]
    codes = np.stack([encode(row) for row in rows])
    found = clusters(codes, 20)
    assert found[0] == found[2] == found[4] and len(set(found)) == 4
    codes[:, 10:50] = 4  # nothing but unknown bases in common
    assert len(set(clusters(codes, 20))) == 6


def test_near_duplicates_agree_with_the_exact_jaccard_index():
    rng = np.random.default_rng(3)
    rows = [np.array(list(t)) for t in random_texts(rng, 30, 300)]
    for i, changes in ((10, 1), (11, 2), (12, 30), (13, 60)):  # of row i - 10
        rows[i] = rows[i - 10].copy()
        rows[i][rng.choice(300, changes, replace=False)] = "A"
    rows[14] = np.array(list(decode(reverse_complement(encode("".join(rows[4]))))))
    codes = np.stack([encode("".join(row)) for row in rows])

    def kmers(text):
        pieces = {text[i : i + 16] for i in range(len(text) - 15)}
        return {min(p, decode(reverse_complement(encode(p)))) for p in pieces}

    sets = [kmers("".join(row)) for row in rows]
    jaccard = [max((len(s & t) / len(s | t) for t in sets[:i]), default=0) for i, s in enumerate(sets)]
    found = near_duplicates([codes[:7], codes[7:]], 0.7)
    clear = np.abs(np.array(jaccard) - 0.7) > 0.15
    assert (found == (np.array(jaccard) > 0.7))[clear].all() and found[[10, 14]].all() and not found[[12, 13]].any()


def test_holdouts_keep_clusters_and_groups_whole_and_random_ones_keep_fractions(folder):
    rng = np.random.default_rng(4)
    base = random_texts(rng, 50, 60)
    rows = [b[:5] + x + b[6:] for b in base for x in "ACGT"]
    lines = [f"{s}\t{i % 4 // 2}\tg{i % 10}" for i, s in enumerate(rows)]
    (folder / "x.tsv").write_text("sequence\tlabel\tgroup\n" + "\n".join(lines) + "\n")
    file = {"path": "x.tsv", "labels": {"t": "label"}, "group": "group"}

    def split(by, **options):
        holdout = {"by": by, "dev": 0.2, "test": 0.2, "kmer": 30}
        return load_examples(section(format="files", files=[file | options], holdout=holdout, overlap_kmer=60))[0]

    for by, key in (("cluster", lambda s: s[6:]), ("group", lambda s: f"g{rows.index(s) % 10}")):
        parts = {name: {key(s) for s in texts(part)} for name, part in split(by).items()}
        assert all(len(part) >= 2 for part in parts.values())
        assert not (parts["train"] & parts["dev"] | parts["train"] & parts["test"] | parts["dev"] & parts["test"])
    parts = split("random")
    assert [parts[s].labels.mean() for s in ("dev", "test")] == [0.5, 0.5] and len(parts["dev"]) == 40
    with pytest.raises(InputError, match="holdout.by: group needs records with groups"):
        split("group", group=None)
    (folder / "x.tsv").write_text("sequence\tlabel\n" + "".join(f"{s}\t{rng.normal()}\n" for s in rows))
    values = section(
        format="files",
        task="regression",
        files=[{"path": "x.tsv", "labels": {"t": "label"}}],
        holdout={"by": "random", "dev": 0.2, "test": 0.1},
        overlap_kmer=60,
    )
    assert {name: len(part) for name, part in load_examples(values)[0].items()} == {"train": 140, "dev": 40, "test": 20}


@pytest.mark.parametrize("version", [5, 7.3])
def test_the_deepsea_bundle_is_read_in_both_matlab_formats(version, folder):
    rng = np.random.default_rng(5)
    written = {}
    for split, (file, prefix) in {
        "train": ("train", "train"),
        "dev": ("valid", "valid"),
        "test": ("test", "test"),
    }.items():
        codes = rng.integers(0, 5, (12, 50)).astype(np.uint8)
        labels = rng.integers(0, 2, (12, 3)).astype(np.uint8)
        labels[:2] = [[0, 0, 0], [1, 1, 1]]
        written[split] = codes, labels
        x = one_hot(codes)[:, [0, 2, 1, 3]].astype(np.uint8)  # channels A, G, C, T
        if version == 5 or split != "train":  # the bundle's valid and test are MATLAB 5, train is 7.3
            savemat(folder / f"{file}.mat", {f"{prefix}xdata": x, f"{prefix}data": labels})
        else:
            with h5py.File(folder / f"{file}.mat", "w") as out:
                out[f"{prefix}xdata"], out[f"{prefix}data"] = x.transpose(2, 1, 0), labels.T
    (folder / "targets.txt").write_text("a\nb\nb\n")
    data = section(format="deepsea", overlap_kmer=50, target_names="targets.txt")
    splits, _ = load_examples(data)
    assert data.targets == ["a", "b#1", "b#2"]
    for split, (codes, labels) in written.items():
        np.testing.assert_array_equal(splits[split].codes, codes)
        np.testing.assert_array_equal(splits[split].labels, labels)
    (folder / "targets.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="3 labels per window, but 2 target names"):
        load_examples(data)
    (folder / "train.mat").write_text("not MATLAB")
    with pytest.raises(InputError, match="train.mat: not a MATLAB file"):
        load_examples(data)


def test_coordinates_are_read_from_a_genome_on_their_strand(folder):
    rng = np.random.default_rng(6)
    genome = "".join(rng.choice(list("ACGT"), 3000))
    (folder / "g.fa").write_text(f">chr1\n{genome}\n")
    for split, at in (("train", 0), ("test", 1500)):
        (folder / split).mkdir()
        for name, shift in (("enhancer", 0), ("promoter", 500), ("ocr", 1000)):
            lines = [f"{i},chr1,{at + shift + 50 * i},{at + shift + 50 * i + 40 + i},{'+-'[i % 2]}" for i in range(9)]
            (folder / split / f"{name}.csv").write_text("id,region,start,end,strand\n" + "\n".join(lines) + "\n")
    classes = {"enhancer": "enhancer", "promoter": "promoter", "ocr": "ocr"}
    data = section(
        format="coordinates",
        genome="g.fa",
        classes=classes,
        task="multiclass",
        length=40,
        holdout={"by": "random", "dev": 0.2},
    )
    splits, _ = load_examples(data)
    assert data.targets == list(classes) and (splits["test"].labels.sum(axis=1) == 1).all()
    first = [decode(row) for row in splits["test"].codes[:2]]
    assert first == [genome[1500:1540], decode(reverse_complement(encode(genome[1550:1591]))[0:40])]
    (folder / "train" / "ocr.csv").write_text("id,region,start,end,strand\n0,chr1,2990,3050,+\n")
    with pytest.raises(InputError, match="ocr.csv, line 2: chr1:2990-3050 is not within.*one assembly"):
        load_examples(data)


def test_variants_become_windows_of_their_alternates(folder, caplog):
    rng = np.random.default_rng(9)
    genome = {c: "".join(rng.choice(list("ACGT"), 500)) for c in ("chr1", "chr2", "chr3")}
    (folder / "g.fa").write_text("".join(f">{n}\n{t}\n" for n, t in genome.items()))
    written = {}
    for name, places in (("pos", (100, 200, 300)), ("neg", (150, 250, 350))):
        lines = [
            "##fileformat=VCFv4.2",
            *(f"##contig=<ID={c}>" for c in genome),
            "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
        ]
        for contig, text in genome.items():
            for at in places:
                ref = text[at - 1]
                alt = "A" if ref != "A" else "C"
                lines.append(f"{contig}\t{at}\t.\t{ref}\t{alt}\t.\t.\t.")
                written[text[at - 20 : at - 1] + alt + text[at : at + 20]] = float(name == "pos")
        if name == "neg":
            wrong = "A" if genome["chr1"][9] != "A" else "C"
            lines.append(f"chr1\t10\t.\t{wrong}\tG\t.\t.\t.")
        (folder / f"{name}.vcf").write_text("\n".join(lines) + "\n")
    data = section(
        format="variants",
        genome="g.fa",
        length=40,
        positive=["pos.vcf"],
        negative=["neg.vcf"],
        holdout={"by": "group", "dev": 0.34, "test": 0.33},
    )
    splits, _ = load_examples(data)
    assert {t: label for part in splits.values() for t, label in zip(texts(part), part.labels[:, 0])} == written
    for part in splits.values():  # a contig each
        assert len(part) == 6 and len({next(c for c, t in genome.items() if s[20:] in t) for s in texts(part)}) == 1
    assert "1 alleles left out, first of record 10: REF differs from the FASTA" in caplog.text


def test_substitutions_of_saturation_mutagenesis_stand_in_the_middle(folder):
    rng = np.random.default_rng(10)
    elements = {f"E{i}": random_texts(rng, 1, 60)[0] for i in range(10)}
    write_fasta(
        folder / "elements.fa",
        [(f"{n} chr1:{1000 * i + 1}-{1000 * i + 60}", t) for i, (n, t) in enumerate(elements.items())],
    )
    lines, written = ["Pos\tRef\tAlt\tBarcodes\tCoefficient\tElement"], {}
    for i, (name, text) in enumerate(elements.items()):
        for place in (0, 30, 59):
            alt = "A" if text[place] != "A" else "G"
            value = round(float(rng.normal()), 3)
            lines += [
                f"{1000 * i + 1 + place}\t{text[place]}\t{a}\t{t}\t{v}\t{name}"
                for a, t, v in ((alt, 10, value), (alt, 9, 5), ("-", 50, 5))
            ]  # too few barcodes; a deletion
            padded = "N" * 20 + text[:place] + alt + text[place + 1 :] + "N" * 20
            written[padded[place : place + 40]] = value
    (folder / "effects.tsv.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    data = section(format="satmut", task="regression", length=40, holdout={"by": "group", "dev": 0.2, "test": 0.2})
    splits, _ = load_examples(data)
    found = {t: v for part in splits.values() for t, v in zip(texts(part), part.labels[:, 0].round(3).tolist())}
    assert found == pytest.approx(written) and {len(p) % 3 for p in splits.values()} == {0}
    lines[1] = lines[1].replace("\tE0", "\tE1")
    (folder / "effects.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(InputError, match="effects.tsv.gz, line 2: REF . at 1 is not the base of E1 there"):
        load_examples(data)


def test_griesemer_oligos_are_found_by_allele_and_what_has_none_is_told(folder, caplog):
    rng = np.random.default_rng(7)
    oligo = random_texts(rng, 64)
    names = [f"v{i}" if i % 2 else f"v{i}_2" for i in range(30)]

    def tag(name, allele):  # noqa: E306
        return f"{name[:-2]}_{allele}_2" if name.endswith("_2") else f"{name}_{allele}"

    records = [(tag(n, "ref"), oligo[2 * i]) for i, n in enumerate(names)]
    records += [(f"{tag(n, 'alt')}/other_{i}", oligo[2 * i + 1]) for i, n in enumerate(names)]
    write_fasta(folder / "a.fasta.gz", records)
    head = ["mpra_variant_id", "log2FoldChange_Ref_K562", "log2FoldChange_Alt_K562"]
    lines = ["\t".join(head)] + [f"{n}\t{i}\t{-i}" for i, n in enumerate(names)] + ["gone\t1\t1"]
    (folder / "fastUTR_mpra.txt.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    data = section(
        format="griesemer",
        task="regression",
        oligos=["a.fasta.gz"],
        cells=["K562"],
        stranded=True,
        holdout={"by": "group", "dev": 0.2, "test": 0.2},
    )
    splits, _ = load_examples(data)
    found = {text: value for part in splits.values() for text, value in zip(texts(part), part.labels[:, 0])}
    assert found == {oligo[2 * i + a]: value for i in range(30) for a, value in ((0, i), (1, -i))}
    assert "1 of 31 variants have no oligo" in caplog.text and "such as gone" in caplog.text
    for part in splits.values():  # both alleles of a variant are in one part
        assert sorted(-part.labels[:, 0]) == sorted(part.labels[:, 0])


def test_peaks_label_each_other_and_have_negatives_of_their_own_split(folder):
    rng = np.random.default_rng(8)
    place = lambda c, i: f"{c}:{i}-{i + 40}"  # noqa: E731
    peaks = {c: random_texts(rng, 20) for c in ("chr1", "chr7", "chr8")}
    write_fasta(folder / "a.fa", [(place(c, 100 * i), s) for c, rows in peaks.items() for i, s in enumerate(rows)])
    other = {c: random_texts(rng, 4) for c in peaks}
    write_fasta(
        folder / "b.fa",
        [(place(c, 100 * i + 20 + 5 * (i == 1)), s) for c, rows in other.items() for i, s in enumerate(rows)],
    )
    background = "".join(random_texts(rng, 30, 400))
    write_fasta(folder / "g.fa", [("c", background)])
    half = len(background) // 2
    data = section(
        format="peak_fasta",
        tracks={"A": "a.fa", "B": "b.fa"},
        contigs={"dev": ["chr7"], "test": ["chr8"]},
        shuffled=1,
        gc_matched=0.5,
        step=10,
        overlap_kmer=40,
        background={"train": [f"g.fa:0-{half}"], "dev": [f"g.fa:{half}-"], "test": [f"g.fa:{half}-"]},
    )
    splits, report = load_examples(data)
    train = splits["train"]
    assert report["targets"]["A"]["train"]["rows"] == 24 + 24 + 12
    label = dict(zip(texts(train), train.labels.tolist()))
    assert [label[s] for s in peaks["chr1"][:2]] == [[1, 1], [1, 0]]  # by half, and by less
    assert [label[s] for s in other["chr1"][:2]] == [[1, 1], [0, 1]]
    negatives = [s for s, value in label.items() if value == [0, 0]]
    real = [s for s in negatives if s in background[:half]]
    assert len(real) == 12 and not any(s in background[half:] for s in negatives)
    shuffled = [s for s in negatives if s not in real]
    counts = lambda s: sorted(s[i : i + 2] for i in range(39))  # noqa: E731
    wanted = sorted(counts(s) for s in peaks["chr1"] + other["chr1"])
    assert sorted(counts(s) for s in shuffled) == wanted
