"""Haplotypes of a sample: alleles on one homologue that a model's window can hold together."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.errors import InputError
from regzoo.options import close_names
from regzoo.sequence import Genome, decode
from regzoo.sequence.variants import open_variants

logger = logging.getLogger(__name__)

#: Status of a haplotype whose alleles change the same bases.
OVERLAP = "alleles of the haplotype overlap"
_EVERY = ""  # phase set of genotypes that are on every homologue, whatever the phase


@dataclass(frozen=True)
class Carried:
    """An allele that a homologue of the sample carries.

    Attributes
    ----------
    row : int
        Of the table of alleles.
    homologue : int
        From 1, the place in the genotype.
    phase_set : str
        PS of the record, '.' where there is none, or '' for genotypes that need no phase.
    """

    row: int
    homologue: int
    phase_set: str


def carried_alleles(variants: Any, sample: str | None) -> tuple[str, list[Carried]]:
    """Alleles that a sample carries on known homologues.

    Genotypes with `|` are phased. Those of one allele or with the same allele on every homologue need no phase. Other
    genotypes are left out, and counted in the log.

    Parameters
    ----------
    variants : str or pathlib.Path
        VCF or BCF file with genotypes.
    sample : str, optional
        Its name. Not needed if there is one only.

    Returns
    -------
    sample : str
    carried : list of Carried
        In the order of the file; `row` counts the alternates of all records from 0.

    Raises
    ------
    InputError
        If the file has no genotypes or not this sample, no sample is named and there are several, a genotype is not
        valid, or no genotype is phased.
    """
    if not isinstance(variants, (str, Path)) or str(variants) == "-":
        raise InputError("phased: expected a VCF or BCF file with genotypes, which is read twice")
    found, unphased, row, number = [], 0, 0, 0
    with open_variants(variants) as source:
        name, column = _column(source.name, source.header[-1].split("\t")[9:], sample)
        for batch in source.batches():
            for i, count in enumerate(batch.counts.tolist()):
                number += 1
                where = f"{variants}, record {number}, sample {name}"
                genotype, phase_set = _genotype(batch.text(i).split("\t", 10 + column), column, where)
                homologues, known = _homologues(genotype, phase_set, count, where)
                found += [Carried(row + allele - 1, copy, of) for copy, allele, of in homologues]
                unphased, row = unphased + (not known), row + count
    if unphased:
        logger.warning("%s: %s heterozygous genotypes without phase are in no haplotype", name, f"{unphased:,}")
    if not any(one.phase_set != _EVERY for one in found):
        raise InputError(f"{variants}: no genotype of {name} is phased (0|1); phase the sample, or leave out `phased`")
    return name, found


def _column(path, samples, wanted):
    """Name and number of the sample."""
    if not samples:
        raise InputError(f"{path}: phased: the VCF has no sample; genotypes are needed")
    if wanted is None and len(samples) > 1:
        raise InputError(f"{path}: phased: name one of the {len(samples):,} samples{close_names('', samples)}")
    if wanted is not None and wanted not in samples:
        raise InputError(f"{path}: there is no sample {wanted!r}{close_names(wanted, samples)}")
    name = samples[0] if wanted is None else wanted
    return name, samples.index(name)


def _genotype(fields, column, where):
    """GT and PS of a sample in the columns of a record; '.' where there is none."""
    keys = fields[8].split(":") if len(fields) > 8 else []
    values = dict(zip(keys, fields[9 + column].split(":")))
    genotype = values.get("GT", ".")
    if not re.fullmatch(r"(\d+|\.)([|/](\d+|\.))*", genotype):
        raise InputError(f"{where}: GT {genotype[:40]!r} is not a genotype; expected such as 0|1")
    return genotype, values.get("PS", ".")


def _homologues(genotype, phase_set, count, where):
    """(homologue, number of the alternate, phase set) of a genotype, and whether all that it carries is in them."""
    alleles = re.split(r"[|/]", genotype)
    wrong = [text for text in alleles if text != "." and int(text) > count]
    if wrong:
        raise InputError(f"{where}: GT {genotype!r}: the record has {count} alternates, not {wrong[0]}")
    carried = [(i, int(text)) for i, text in enumerate(alleles, 1) if text not in (".", "0")]
    if "/" not in genotype or len(set(alleles)) == 1:
        of = phase_set or "." if "|" in genotype else _EVERY
        return [(copy, allele, of) for copy, allele in carried], True
    return [], not carried


def haplotypes(table: pd.DataFrame, carried: list[Carried], sample: str, genome: Genome, longest: int) -> pd.DataFrame:
    """Haplotypes of two or more alleles, as complex alleles.

    Alleles of one homologue and phase set are taken together if they, and what is between them, are at most `longest`
    bases long. Every largest such set is one haplotype, so that an allele may be in several.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns record, chrom, pos, id, ref, alt and known (whether both are letters): one row for each allele of the
        file. Alleles that are not letters are in no haplotype.
    carried : list of Carried
    sample : str
    genome : Genome
    longest : int

    Returns
    -------
    pandas.DataFrame
        record (of the first allele), chrom, pos, id, ref, alt, known; haplotype (SAMPLE|HOMOLOGUE, of several
        homologues SAMPLE|1,2), phase_set, members (POS:REF:ALT joined by '+'), rows (of the table, a tuple) and status
        (`OVERLAP` or '').
    """
    found: dict[tuple[int, ...], tuple[list[int], set[str]]] = {}
    for homologue, stretches in _stretches(table, carried):
        sets: dict[tuple[int, ...], str] = {}
        for phase_set, rows in stretches:
            sets |= dict.fromkeys(_largest(table, rows, longest), phase_set)
        for members in _without_parts(sets):
            copies, names = found.setdefault(members, ([], set()))
            copies.append(homologue)
            names.add(sets[members])
    lines = [
        _complex(table.iloc[list(members)], genome)
        | {
            "haplotype": f"{sample}|{','.join(map(str, sorted(copies)))}",
            "phase_set": ",".join(sorted(names - {_EVERY})) or ".",
            "rows": members,
        }
        for members, (copies, names) in found.items()
    ]
    columns = "record chrom pos id ref alt known members status haplotype phase_set rows".split()
    return pd.DataFrame(lines, columns=columns).sort_values("record", kind="stable", ignore_index=True)


def _stretches(table, carried) -> Iterator[tuple[int, list[tuple[str, list[int]]]]]:
    """For each homologue of a contig: phase sets, and the rows, sorted by place, that may be taken together."""
    known, alts = table["known"].to_numpy(), table["alt"].to_numpy()
    left_out = {one.row for one in carried if not known[one.row] and alts[one.row] != "*"}
    if left_out:
        logger.warning("%s alleles that are not letters are in no haplotype", f"{len(left_out):,}")
    chroms, places = table["chrom"].tolist(), table["pos"].tolist()
    groups: dict[tuple[str, int], dict[str, list[int]]] = {}
    for one in carried:
        if known[one.row]:
            groups.setdefault((chroms[one.row], one.homologue), {}).setdefault(one.phase_set, []).append(one.row)
    for (_, homologue), sets in groups.items():
        everywhere = sets.pop(_EVERY, [])
        parts = list(sets.items()) or [(_EVERY, [])]
        yield (
            homologue,
            [(of, sorted([*rows, *everywhere], key=lambda row: (places[row], row))) for of, rows in parts],
        )


def _without_parts(sets):
    """Those sets of rows that are no part of another one: alleles that need no phase come in every phase set."""
    holding: dict[int, list[set[int]]] = {}
    for members in sets:
        for row in members:
            holding.setdefault(row, []).append(set(members))
    return [members for members in sets if not any(set(members) < other for other in holding[members[0]])]


def _largest(table, rows, longest) -> Iterator[tuple[int, ...]]:
    """Every largest run of two or more rows that is at most `longest` bases long in both alleles."""
    starts = table["pos"].to_numpy()[rows]
    sizes, added = (table[column].str.len().to_numpy()[rows] for column in ("ref", "alt"))
    ends, added = starts + sizes, np.maximum(added - sizes, 0)
    last = 0
    for first in range(len(rows)):
        end = first
        while end + 1 < len(rows):
            part = slice(first, end + 2)
            if ends[part].max() - starts[first] + added[part].sum() > longest:
                break
            end += 1
        if end > first and end + 1 > last:
            last = end + 1
            yield tuple(rows[first:last])


def _complex(part, genome):
    """Alleles of a haplotype as one REF and ALT."""
    start, end = part["pos"].min(), int((part["pos"] + part["ref"].str.len()).max())
    ref = list(_bases(genome, part["chrom"].iloc[0], start, end))
    edits = []
    for row in part.itertuples():
        at = row.pos - start
        ref[at : at + len(row.ref)] = row.ref
        edits.append(_trimmed(at, row.ref, row.alt))
    edits.sort()
    overlap = any(before[1] > after[0] or before[:2] == after[:2] for before, after in zip(edits[:-1], edits[1:]))
    alt = list(ref)
    for first, last, letters in reversed(edits):
        alt[first:last] = letters
    first = part.iloc[0]
    return {
        "record": first["record"],
        "chrom": first["chrom"],
        "pos": start,
        "id": ";".join(part["id"]),
        "ref": "".join(ref),
        "alt": "." if overlap else "".join(alt),
        "known": not overlap,
        "members": "+".join(f"{row.pos}:{row.ref}:{row.alt}" for row in part.itertuples()),
        "status": OVERLAP if overlap else "",
    }


def _bases(genome, chrom, start, end):
    """Letters of the genome from 1-based `start` up to `end`, N where it has none."""
    try:
        codes = genome.codes(chrom)
    except InputError:
        codes = np.empty(0, dtype=np.uint8)  # the status says that the contig is missing
    text = decode(np.asarray(codes[max(start - 1, 0) : end - 1]))
    return text.ljust(end - start, "N")


def _trimmed(start, ref, alt):
    """Start, end and letters of a change, without the bases at either end that it leaves as they are."""
    while ref and alt and ref[0] == alt[0]:
        start, ref, alt = start + 1, ref[1:], alt[1:]
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    return start, start + len(ref), alt
