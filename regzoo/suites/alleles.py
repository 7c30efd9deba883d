"""Suite 'alleles': effects of variants on accessibility, binding and expression, both alleles given as sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.sequence import Genome, decode, encode
from regzoo.sequence.codes import BASES
from regzoo.suites.data import DataFolder
from regzoo.suites.protocol import Measure, Task, halves
from regzoo.suites.windows import allele_windows, readout

BASELINE = "change in G+C"
_SIGNIFICANT = 0.1  # false discovery rate of allelic imbalance in UDACHA
_FLANK = 49  # bases beside the variant that all rows of the deltaSVM benchmark have


@dataclass
class AlleleTask(Task):
    """Variants with both alleles.

    Attributes
    ----------
    refs, alts : list of numpy.ndarray, uint8
        Base codes of both alleles.
    indices : numpy.ndarray, int, shape (N,)
        First base in which the alleles differ.
    """

    refs: list[np.ndarray]
    alts: list[np.ndarray]
    indices: np.ndarray

    def columns(self) -> dict[str, list[str]]:
        """Both sequences as text."""
        return {"ref": [decode(codes) for codes in self.refs], "alt": [decode(codes) for codes in self.alts]}


def tasks(data: DataFolder, genome: Genome | None = None, flank: int = 100, seed: int = 0) -> list[Task]:
    """Data sets of the suite.

    Parameters
    ----------
    data : DataFolder
    genome : Genome, optional
        GRCh38. Variants of UDACHA and Codebook without a sequence in the table are then read from it.
    flank : int
        Bases of the genome on both sides of a variant.
    seed : int
        Seed of the halves.

    Returns
    -------
    list of AlleleTask

    Raises
    ------
    InputError
        If a file is missing or has another digest, or a reference base differs from the genome.
    """
    cagi = _cagi(data, seed)
    return [
        _dsqtl(data, seed),
        _lee(data, seed),
        *cagi,
        _udacha(data, genome, flank, seed),
        _codebook(data, genome, flank, seed),
    ]


def scores(model: Model, task: AlleleTask, batch_size: int = 64) -> np.ndarray:
    """Effects of the alternate allele: differences of logits, or of predicted values.

    Parameters
    ----------
    model : Model
    task : AlleleTask
    batch_size : int
        Windows per batch.

    Returns
    -------
    numpy.ndarray, float64, shape (N, targets)
    """
    ref, alt = allele_windows(task.refs, task.alts, task.indices, model.input_length)
    values = readout(model, np.concatenate([ref, alt]), batch_size)
    return values[len(ref) :] - values[: len(ref)]


def baseline(task: AlleleTask) -> np.ndarray:
    """Scores of a baseline, shape (N, 1): change in the number of G and C."""
    counts = [np.array([np.isin(codes, (1, 2)).sum() for codes in side]) for side in (task.refs, task.alts)]
    return (counts[1] - counts[0]).astype(float)[:, None]


def _task(name, ids, measures, groups, seed, refs, alts, published=None):
    """A task of alleles given as text, halved by chromosome."""
    ref, alt = ([encode(text.replace("-", "")) for text in side] for side in (refs, alts))
    indices = np.array([_first_difference(one, other, name, row) for row, one, other in zip(ids, ref, alt)])
    chosen, text = halves(groups, seed), "halves by chromosome"
    return AlleleTask(name, [str(i) for i in ids], measures, chosen, text, ref, alt, indices, published=published or {})


def _first_difference(ref, alt, name, row):
    shortest = min(len(ref), len(alt))
    differ = np.flatnonzero(ref[:shortest] != alt[:shortest])
    if not len(differ) and len(ref) == len(alt):
        raise InputError(f"data set {name}, row {row}: both alleles have the same sequence")
    return int(differ[0]) if len(differ) else shortest


def _dsqtl(data, seed):
    """DNase QTLs of Degner et al. 2012. An effect is positive if the alternate allele is the more accessible one."""
    table = data.table("variants/dsqtl_lcl_degner2012_hg18.tsv.gz")
    high = (table.seq_high.str[_FLANK] == table.alt).to_numpy()
    measured = np.where(high, 1, -1) * table.beta.abs().to_numpy()
    refs, alts = np.where(high, table.seq_low, table.seq_high), np.where(high, table.seq_high, table.seq_low)
    measures = [Measure("direction", measured), Measure("pearson", measured), Measure("spearman", measured)]
    return _task("dsqtl", table.id, measures, table.chrom_hg18, seed, refs, alts)


def _lee(data, seed):
    """DNase QTLs against controls of Lee et al. 2015, those with 49 bases on both sides."""
    table = data.table("variants/dsqtl_benchmark_lee2015.tsv.gz")
    known = data.table("variants/dsqtl_lcl_degner2012_hg18.tsv.gz")
    known = dict(zip(zip(known.chrom_hg18, known.pos), known.seq_high))
    middle = slice(0, 2 * _FLANK + 1)
    texts = []
    for row in table.itertuples():
        if row.label == 1:
            texts.append(known.get((row.chrom_hg18, row.pos_hg18), "")[middle])
        else:
            texts.append("" if row.seq_101bp_hg19 != row.seq_101bp_hg19 else row.seq_101bp_hg19.upper()[1:-1])
    table = table.assign(text=texts)
    table = table[table.text != ""]
    alleles = [
        [text[:_FLANK] + base + text[_FLANK + 1 :] for text, base in zip(table.text, table[name])]
        for name in ("allele1", "allele2")
    ]
    labels = (table.label == 1).to_numpy(float)
    measures = [Measure("average_precision", labels, magnitude=True), Measure("auroc", labels, magnitude=True)]
    published = {
        "published: deltaSVM (magnitude)": table.gkmSVM_delta.to_numpy(),
        "published: kmer-SVM (magnitude)": table.kmerSVM_delta.to_numpy(),
        "published: CADD": _above(table.CADD),
        "published: GWAVA TSS": _above(table.GWAVA_tss),
    }
    refs, alts = alleles
    return _task("dsqtl-lee2015", table.rsid, measures, table.chrom_hg19, seed, refs, alts, published)


def _above(values):
    """Scores shifted to be positive, so that their magnitude has their order."""
    return (values - values.min()).to_numpy()


def _cagi(data, seed):
    """Reporter assay of eQTLs (Tewhey et al. 2016): all variants, and those with a significant allelic effect."""
    table = data.table("variants/cagi4_eqtl_mpra_train.tsv.gz")
    found = []
    for name, part in (("cagi4", table), ("cagi4-emvars", table[table.emVar_Hit == 1])):
        skew = part["LogSkew.Comb"].to_numpy()
        measures = [Measure("pearson", skew), Measure("spearman", skew)]
        if name == "cagi4":
            measures.append(Measure("auroc", part.emVar_Hit.to_numpy(float), magnitude=True))
        else:
            measures.append(Measure("direction", skew))
        found.append(_task(name, part.ID, measures, part.chr, seed, part.ref_sequence, part.alt_sequence))
    return found


def _udacha(data, genome, flank, seed):
    """Allele-specific accessible chromatin in HepG2 and K562, at a false discovery rate below 0.1."""
    table = data.table("variants/asv_chromatin_udacha_hg38.tsv.gz")
    table = table[table.fdr < _SIGNIFICANT]
    table = table.assign(name=table.rsid + ":" + table.alt + ":" + table.cell + ":" + table.assay)
    return _imbalance("udacha", table, table.alt_es - table.ref_es, genome, flank, seed)


def _codebook(data, genome, flank, seed):
    """Allele-specific binding of 155 transcription factors."""
    table = data.table("variants/asb_codebook_hg38.tsv.gz")
    table = table.assign(name=table.id + ":" + table.alt + ":" + table.TF + ":" + table.exp)
    return _imbalance(
        "codebook", table, table.comb_es * np.where(table.pref_allele == "alt", 1, -1), genome, flank, seed
    )


def _imbalance(name, table, measured, genome, flank, seed):
    """Task of allelic imbalance; sequences come from the table or a genome."""
    if genome is None:
        keep = table.ref_seq_101bp.notna()
        table, measured = table[keep], measured[keep]
        texts = table.ref_seq_101bp.str.upper().tolist()
    else:
        texts = [_from_genome(genome, row, flank, name) for row in table.itertuples()]
    measured = measured.to_numpy(float)
    alts = []
    for text, row in zip(texts, table.itertuples()):
        middle = len(text) // 2
        if row.ref not in BASES or row.alt not in BASES or text[middle] != row.ref:
            where = f"data set {name}, {row.name}, {row.chrom_hg38}:{row.pos}"
            raise InputError(f"{where}: expected REF {row.ref}, found {text[middle]}; expected GRCh38")
        alts.append(text[:middle] + row.alt + text[middle + 1 :])
    measures = [Measure("direction", measured), Measure("pearson", measured), Measure("spearman", measured)]
    return _task(name, table.name, measures, table.chrom_hg38, seed, texts, alts)


def _from_genome(genome, row, flank, name):
    """2 * flank + 1 bases around a variant, N beyond the contig."""
    number = genome.number(row.chrom_hg38)
    start = np.array([row.pos - 1 - flank])
    if not 0 < row.pos <= genome.lengths[number]:
        raise InputError(
            f"data set {name}, {row.name}: {row.chrom_hg38}:{row.pos} lies beyond the contig; expected GRCh38"
        )
    return decode(genome.windows(np.array([number]), start, 2 * flank + 1)[0])
