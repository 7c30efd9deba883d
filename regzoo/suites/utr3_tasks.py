"""Data sets of the suite 'utr3'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import zscore

from regzoo.effects.windows import check_alleles
from regzoo.errors import InputError
from regzoo.sequence import Genome, decode, encode
from regzoo.sequence.alleles import STATUS_TEXTS, Status
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.fasta import read_fasta
from regzoo.sequence.genome import as_genome
from regzoo.sequence.shared_kmers import clusters
from regzoo.sequence.variants import read_alleles
from regzoo.suites import probe
from regzoo.suites.data import DataFolder
from regzoo.suites.protocol import Measure, Task

CELLS = ("GM12878", "HEK293FT", "HEPG2", "HMEC", "K562", "SKNSH")
_MPRA = "utr3/mpra_griesemer/"
_TESTED_RBPS = ("ELAVL1", "FUS", "HNRNPC", "IGF2BP123", "PUM2", "QKI")
_SHARED = 24  # bases that two sequences of one group share
CENTRAL = 5  # bases whose probability is averaged, as of the published 5-mers
_MEASURED_STUDIES = 10  # studies that must have measured a gene


@dataclass
class SequenceSet(Task):
    """Sequences with one or more measured values, cross-validated.

    Attributes
    ----------
    sequences : list of numpy.ndarray, uint8
        Base codes.
    values : dict of str to numpy.ndarray, float, shape (N,)
        Name -> measured value; NaN where it is missing.
    groups : numpy.ndarray, int, shape (N,)
        Rows of one group stay in one fold.
    alphas : numpy.ndarray, float
        Penalties of the ridge regression.
    trials, seed : int
        Of the tuning of the support vector regression.
    """

    sequences: list[np.ndarray]
    values: dict[str, np.ndarray]
    groups: np.ndarray
    alphas: np.ndarray
    trials: int
    seed: int

    def columns(self) -> dict[str, list[str]]:
        """The sequences as text."""
        return {"sequence": [decode(codes) for codes in self.sequences]}


@dataclass
class BaseSet(Task):
    """Sequences with a class, scored by what the model expects at their central bases; see `SequenceSet`."""

    sequences: list[np.ndarray]

    def columns(self) -> dict[str, list[str]]:
        """The sequences as text."""
        return {"sequence": [decode(codes) for codes in self.sequences]}


@dataclass
class VariantSet(Task):
    """Single-base variants with a measured effect or a class.

    Attributes
    ----------
    variants : pandas.DataFrame
        Columns chrom, pos, ref, alt.
    genome : Genome
    labels : dict of str to numpy.ndarray, float, shape (N,)
        Name of a data set -> measured effects, or 0 and 1.
    classes : bool
        Whether the labels are classes.
    trials, seed : int
        Of the tuning of the perceptron.
    """

    variants: pd.DataFrame
    genome: Genome
    labels: dict[str, np.ndarray]
    classes: bool
    trials: int = 0
    seed: int = 0

    def columns(self) -> dict[str, list[str]]:
        """Position and alleles."""
        return {name: [str(value) for value in self.variants[name]] for name in ("chrom", "pos", "ref", "alt")}


@dataclass
class AllelePairs(VariantSet):
    """Variants whose alleles are embedded: features are those of the reference followed by those of the alternate."""


def tasks(
    data: DataFolder,
    seed: int = 0,
    rows: int = 10_000,
    *,
    utrs: Any = None,
    positives: Any = None,
    negatives: Any = None,
    genome: Any = None,
    trials: int = 0,
) -> list[Task]:
    """Data sets of the suite.

    Parameters
    ----------
    data : DataFolder
    seed : int
        Seed of the rows that are drawn, and of tuning.
    rows : int
        Most rows of a data set; of training and test rows each, where there are both. A fifth of it for variants.
    utrs : str or pathlib.Path, optional
        FASTA of 3'UTRs, named by Ensembl gene, for the data set 'half-life'.
    positives, negatives : VCF files, data frames or lists, optional
        Variants of two classes, for the data set 'variants'.
    genome : str, pathlib.Path or Genome, optional
        Of these variants.
    trials : int
        Optuna trials of support vector regressions and perceptrons; 0 leaves these out.

    Returns
    -------
    list of Task

    Raises
    ------
    InputError
        If a file is missing or has another digest, or the inputs of a data set are incomplete.
    """
    found = [*_reporters(data, seed, rows, trials), *_sites(data, seed, rows)]
    if utrs is not None:
        found.append(_half_life(data, utrs, seed, rows, trials))
    if any(one is not None for one in (positives, negatives, genome)):
        found += _classes(positives, negatives, genome, seed, rows, trials)
    return found


def _chosen(count, rows, seed):
    """Indices of at most so many rows, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:rows])


def _sequence_set(name, ids, sequences, values, alphas, trials, seed, rows):
    keep = _chosen(len(ids), rows, seed)
    kept = [sequences[i] for i in keep]
    width = max(len(codes) for codes in kept)
    padded = np.full((len(kept), width), UNKNOWN, dtype=np.uint8)
    for row, codes in zip(padded, kept):
        row[: len(codes)] = codes
    groups = clusters(padded, _SHARED)
    text = f"{len(keep):,} of {len(ids):,} rows; folds share no {_SHARED}-mer"
    chosen = {key: np.asarray(value, dtype=float)[keep] for key, value in values.items()}
    none = np.zeros(len(keep), dtype=bool)
    return SequenceSet(name, [ids[i] for i in keep], [], none, text, kept, chosen, groups, alphas, trials, seed)


def _reporters(data, seed, rows, trials):
    """MPRAu: activity of both alleles, and effects of variants; and the stability of reporters."""
    table = data.table(f"{_MPRA}fastUTR_mpra.txt.gz")
    oligos: dict[str, np.ndarray] = {}
    for file in ("ENCFF770UJN", "ENCFF090JTW"):
        for header, codes in data.fasta(f"{_MPRA}{file}.fasta.gz"):
            for name in header.split("/"):  # an oligo can belong to several variants
                oligos.setdefault(name, codes)
    pairs = [[oligo_name(one, side, oligos) for side in ("ref", "alt")] for one in table.mpra_variant_id]
    known = [None not in pair for pair in pairs]
    table = table[known]
    refs, alts = zip(*([oligos[str(name)] for name in pair] for pair, keep in zip(pairs, known) if keep))
    ids = [f"{one}:{side}" for side in ("ref", "alt") for one in table.mpra_variant_id]
    values = {
        cell: np.concatenate([table[f"log2FoldChange_{side}_{cell}"] for side in ("Ref", "Alt")]) for cell in CELLS
    }
    alphas = np.logspace(1, 4, 10)
    yield _sequence_set("mprau", ids, [*refs, *alts], values, alphas, trials, seed, rows)
    yield _skews(table, refs, alts, seed, rows)
    stability = data.table("utr3/mpra_siegel/fastUTR_mpra.txt.gz", ["sequence", "Jurkat", "Beas2B"])
    alphas = np.logspace(0, 4.5, 10)
    texts = [encode(text) for text in stability.sequence]
    values = {cell: stability[cell].to_numpy(float) for cell in ("Beas2B", "Jurkat")}
    yield _sequence_set("stability", [str(i) for i in range(len(texts))], texts, values, alphas, trials, seed, rows)


def oligo_name(variant: str, allele: str, names: Any) -> str | None:
    """Name of an oligo of MPRAu.

    Parameters
    ----------
    variant : str
        Name in the table of measurements.
    allele : str
        'ref' or 'alt'. It comes before the suffix of repeated variants ('_2', '_+', '_bash_v1T'), if there is one.
    names : container of str
        Names of oligos.

    Returns
    -------
    str or None
        None if there is no such oligo.
    """
    parts = variant.split("_")
    for end in range(len(parts), 0, -1):
        name = "_".join([*parts[:end], allele, *parts[end:]])
        if name in names:
            return name
    return None


def _skews(table, refs, alts, seed, rows):
    """Effects of single-base variants within their oligos, in every cell type."""
    single = [len(a) == len(b) and int((a != b).sum()) == 1 for a, b in zip(refs, alts)]
    known = np.flatnonzero(np.array(single) & table.filter(regex="_Skew_").notna().all(axis=1).to_numpy())
    keep = known[_chosen(len(known), max(1, rows // 5), seed)]
    at = [int(np.flatnonzero(refs[i] != alts[i])[0]) for i in keep]
    ids = [str(table.mpra_variant_id.iloc[i]) for i in keep]
    variants = pd.DataFrame(
        {
            "chrom": ids,
            "pos": [place + 1 for place in at],
            "ref": [decode(refs[i][[place]]) for i, place in zip(keep, at)],
            "alt": [decode(alts[i][[place]]) for i, place in zip(keep, at)],
        }
    )
    genome = Genome.from_sequences(dict(zip(ids, (refs[i] for i in keep))))
    text = f"{len(keep):,} of {len(known):,} single-base variants"
    measured, name = table.iloc[keep], "mprau variants"
    skews = {f"{name} {cell}": measured[f"log2FoldChange_Skew_{cell}"].to_numpy(float) for cell in CELLS}
    return VariantSet(name, ids, [], np.zeros(len(ids), dtype=bool), text, variants, genome, skews, False)


def _sites(data, seed, rows):
    """CLIP sites, read by a logistic regression, and by what is expected at their central bases."""
    for protein in _TESTED_RBPS:
        sequences, labels, train, ids = [], [], [], []
        for split in ("train", "test"):
            records = data.fasta(f"utr3/rbp/{protein}_{split}.fa.gz")
            for i in _chosen(len(records), rows, seed):
                header, codes = records[i]
                sequences.append(codes)
                labels.append(float(re.findall(r"class:([01])", header)[0]))
                train.append(split == "train")
                ids.append(f"{split}:{i}")
        half, classes = np.array(train), np.array(labels)
        text = f"{half.sum():,} training rows"
        yield probe.ProbeTask(f"clip {protein}", ids, [Measure("auroc", classes)], half, text, sequences, classes, seed)
        tested = np.flatnonzero(~half)
        own = tested[_chosen(len(tested), max(1, rows // 5), seed)]
        measures = [Measure("auroc", classes[own])]
        none = np.zeros(len(own), dtype=bool)
        text = f"mean over the {CENTRAL} central bases; {len(own):,} of {len(records):,} test rows"
        yield BaseSet(
            f"clip {protein}, bases", [ids[i] for i in own], measures, none, text, [sequences[i] for i in own]
        )


def _half_life(data, utrs, seed, rows, trials):
    """Half-life of mRNA: the mean over studies of standardised half-lives, by gene."""
    table = data.table("utr3/half_life/all_HLs_human.txt.gz").set_index("ensembl_gene_id")
    studies = table.drop(columns=["external_gene_name"]).apply(pd.to_numeric, errors="coerce")
    studies = studies[studies.notna().sum(axis=1) >= _MEASURED_STUDIES]
    value = studies.apply(lambda column: zscore(column, nan_policy="omit")).mean(axis=1)
    names, sequences = read_fasta(Path(utrs))
    genes = [name.split()[0].split(".")[0] for name in names]
    repeated = pd.Series(genes)[pd.Series(genes).duplicated()]
    if len(repeated):
        raise InputError(f"{utrs}: gene {repeated.iloc[0]} occurs twice; give one 3'UTR for each gene")
    own = [i for i, gene in enumerate(genes) if gene in value.index]
    if len(own) < 100:
        raise InputError(
            f"{utrs}: {len(own)} of {len(genes)} records are named by an Ensembl gene with a known half-life, such as "
            f"{value.index[0]}; at least 100 are needed"
        )
    values = {"half-life": np.array([value[genes[i]] for i in own])}
    ids, texts = [genes[i] for i in own], [sequences[i] for i in own]
    return _sequence_set("half-life", ids, texts, values, np.logspace(-5, 5, 11), trials, seed, rows)


def _classes(positives, negatives, genome, seed, rows, trials):
    """Variants of two classes that the user gives, scored zero-shot, and by a perceptron on both alleles."""
    if positives is None or negatives is None or genome is None:
        raise InputError("the data set 'variants' needs positives, negatives, and their genome; give all three")
    opened, given = as_genome(genome), {"positives": positives, "negatives": negatives}
    found = [_single_bases(one, what, opened, max(1, rows // 2), seed) for what, one in given.items()]
    tables = [table for table, _ in found]
    table = pd.concat(tables, ignore_index=True)
    labels = np.repeat([1.0, 0.0], [len(one) for one in tables])
    ids = [f"{kind}:{i}" for kind, one in zip(("positive", "negative"), tables) for i in range(len(one))]
    text = ", ".join(f"{len(table):,} of {count:,} {what}" for what, (table, count) in zip(given, found))
    half = np.zeros(len(ids), dtype=bool)
    yield VariantSet("variants", ids, [], half, text, table, opened, {"variants": labels}, True)
    if trials:
        name = "variants, both alleles embedded"
        yield AllelePairs(name, ids, [], half, text, table, opened, {name: labels}, True, trials, seed)


def _single_bases(variants, what, genome, most, seed):
    """Single-base variants as a table, after their REF was compared with the genome, and the number of all alleles."""
    alleles = read_alleles(variants)
    count = len(alleles)
    alleles = alleles.take(np.flatnonzero(alleles.single & (alleles.status == Status.SCORED)))
    if not len(alleles):
        raise InputError(f"{what}: no single-base variant")
    _check_reference(alleles, what, genome)
    alleles = alleles.take(_chosen(len(alleles), most, seed))
    names = np.array(alleles.contigs)
    ref, alt = (decode(alleles.codes[start]) for start in (alleles.ref_start, alleles.alt_start))
    table = pd.DataFrame({"chrom": names[alleles.contig], "pos": alleles.pos, "ref": list(ref), "alt": list(alt)})
    return table, count


def _check_reference(alleles, what, genome):
    status = check_alleles(alleles, genome, 1)
    status[(status == Status.SCORED) & (alleles.codes[alleles.ref_start] == UNKNOWN)] = Status.REF_LETTERS
    bad = np.flatnonzero(status != Status.SCORED)
    if len(bad):
        first = bad[0]
        ref, alt = (decode(alleles.codes[[start[first]]]) for start in (alleles.ref_start, alleles.alt_start))
        name = f"{alleles.contigs[alleles.contig[first]]}:{alleles.pos[first]}:{ref}:{alt}"
        reason = "REF is not A, C, G or T" if status[first] == Status.REF_LETTERS else STATUS_TEXTS[status[first]]
        raise InputError(
            f"{what}: {name}: {reason} ({genome.path}); {len(bad):,} of {len(alleles):,} single-base "
            "variants do not fit the genome. Give variants of the genome's assembly"
        )
