"""Motifs that a variant breaks or makes: the best match of each motif over both alleles (FIMO, Grant et al. 2011)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from regzoo.errors import InputError
from regzoo.sequence import Genome
from regzoo.sequence.codes import UNKNOWN, encode, one_hot
from regzoo.sequence.files import require_file

#: p-value up to which a motif matches, as FIMO's default.
MATCH = 1e-4
_WEAKEST = 1e-2  # matches that are looked for, so that a weakened one has a p-value
_SMALLEST = 1e-9  # below it p-values of the largest scores are rounded to 0
_BATCH = 100  # alleles scanned at once: each has thousands of weak matches


@contextmanager
def same_threads() -> Iterator[None]:
    """Keep torch's number of threads: numba's parallel functions, as memelite has, set that of all of OpenMP."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_motifs(path: str | Path) -> dict[str, np.ndarray]:
    """Motifs of a MEME file.

    Returns
    -------
    dict of str to numpy.ndarray, float, shape (4, width)

    Raises
    ------
    InputError
        If memelite is not installed, or the file is missing or has no motif.
    """
    if find_spec("memelite") is None:
        raise InputError("motifs need the package memelite; run: pip install memelite")
    from memelite.io import read_meme

    path = require_file(path, "MEME file")
    try:
        motifs = read_meme(str(path))
    except (ValueError, IndexError, OSError, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"{path}: not a MEME file ({error})") from error
    if not motifs:
        raise InputError(f"{path}: no motif in this MEME file")
    return motifs


def motif_changes(table: pd.DataFrame, genome: Genome, motifs: str | Path | dict[str, np.ndarray]) -> list[str]:
    """The motif that changes most between the two alleles of each variant.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns chrom, pos, ref, alt, known (whether both are letters).
    genome : Genome
    motifs : str, pathlib.Path or dict
        MEME file, or what `read_motifs` returns.

    Returns
    -------
    list of str
        Such as 'breaks CTCF.H12CORE.0.P.B (p 2e-07 → 3e-04)', or '' where no motif matches either allele with p <=
        `MATCH` and changes at least threefold. p-values are FIMO's: for one position, not corrected for the number of
        motifs.

    Raises
    ------
    InputError
        As of `read_motifs`.
    """
    from memelite import fimo

    known = motifs if isinstance(motifs, dict) else read_motifs(motifs)
    flank = max(pwm.shape[1] for pwm in known.values()) - 1
    texts, rows = [""] * len(table), np.flatnonzero(table["known"])
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        sides = [_windows(table.iloc[batch], genome, flank, column) for column in ("ref", "alt")]
        width = max(len(codes) for side in sides for codes in side)
        padded = np.full((2, len(batch), width), UNKNOWN, dtype=np.uint8)
        for side, codes_of_side in enumerate(sides):
            for i, codes in enumerate(codes_of_side):
                padded[side, i, : len(codes)] = codes
        with same_threads():
            hits = fimo(known, one_hot(padded.reshape(-1, width)).astype(np.int8), threshold=_WEAKEST, dim=0)
        best = np.full((len(known), 2 * len(batch)), np.nan)
        for number, found in enumerate(hits):
            if len(found):
                smallest = found.groupby("sequence_name")["p-value"].min()
                best[number, smallest.index.to_numpy(int)] = smallest.to_numpy()
        best = np.clip(np.where(np.isnan(best), _WEAKEST, best), _SMALLEST, _WEAKEST)
        sides_of = best.reshape(len(known), 2, len(batch))
        for i, row in enumerate(batch):
            texts[row] = _text(list(known), sides_of[:, 0, i], sides_of[:, 1, i])
    return texts


def _windows(table, genome, flank, column):
    """Base codes around each variant with one of its alleles in place."""
    windows = []
    for row in table.itertuples():
        try:
            contig = genome.codes(row.chrom)
        except InputError:
            contig = np.full(row.pos + len(row.ref) + flank, UNKNOWN, dtype=np.uint8)
        start, end = row.pos - 1, row.pos - 1 + len(row.ref)
        allele = encode(getattr(row, column))
        windows.append(np.concatenate([contig[max(0, start - flank) : start], allele, contig[end : end + flank]]))
    return windows


def _text(names, ref, alt):
    matched = np.minimum(ref, alt) <= MATCH
    change = np.where(matched, np.abs(np.log10(ref) - np.log10(alt)), 0)
    top = int(change.argmax())
    if change[top] < np.log10(3):
        return ""
    verb = "breaks" if ref[top] < alt[top] else "makes"
    return f"{verb} {names[top]} (p {_p_text(ref[top])} → {_p_text(alt[top])})"


def _p_text(p):
    return f"> {_WEAKEST:g}" if p >= _WEAKEST else f"< {_SMALLEST:.0e}" if p <= _SMALLEST else f"{p:.0e}"
