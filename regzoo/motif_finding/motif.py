"""Motifs as counts of bases with the sites that they come from, their files and their matches in a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from regzoo.effects.motif_changes import read_motifs, same_threads
from regzoo.errors import InputError, OutputError
from regzoo.output.files import finished_file
from regzoo.output.tables import check_suffix
from regzoo.pictures import SUFFIXES, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUTS = (".meme", ".tsv", ".bed", *SUFFIXES)
#: Added to the count of each base before probabilities are taken.
PSEUDOCOUNT = 0.25
_IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "AG": "R", "CT": "Y", "CG": "S", "AT": "W", "GT": "K", "AC": "M"}
_SITES = ["chrom", "start", "end", "motif", "score", "strand", "window"]


@dataclass
class Motif:
    """A motif.

    Attributes
    ----------
    name, target : str
    counts : numpy.ndarray, float64, shape (W, 4)
        Counts of A, C, G, T at each position, over the sites.
    sites : pandas.DataFrame
        Columns chrom, start, end (0-based, half-open), motif, score (summed contribution, activation or attention),
        strand, and window (name of the sequence).
    contributions : numpy.ndarray, float64, shape (W, 4), optional
        Mean contribution of each base, for motifs found by contributions.
    p : float
        Enrichment against negative sequences, for motifs found by attention; NaN otherwise.
    """

    name: str
    target: str
    counts: np.ndarray = field(repr=False)
    sites: pd.DataFrame = field(repr=False)
    contributions: np.ndarray | None = field(default=None, repr=False)
    p: float = float("nan")

    @property
    def pwm(self) -> np.ndarray:
        """Probabilities of A, C, G, T at each position, float64, shape (W, 4)."""
        counts = self.counts + PSEUDOCOUNT
        return counts / counts.sum(axis=1, keepdims=True)

    @property
    def consensus(self) -> str:
        """IUPAC letters: the bases of at least 0.3 where there are one or two, N otherwise."""
        rows = ["".join(b for b, p in zip("ACGT", row) if p >= 0.3) for row in self.pwm]
        rows = ["ACGT"[row.argmax()] if row.max() >= 0.6 else text for row, text in zip(self.pwm, rows)]
        return "".join(_IUPAC.get(text, "N") for text in rows)


@dataclass
class Motifs:
    """The motifs of a model.

    Attributes
    ----------
    motifs : list of Motif
        By number of sites, the most first.
    matches : pandas.DataFrame
        With a database: columns motif, match, p, q (Benjamini-Hochberg over the database), offset, overlap and strand
        of TOMTOM (Gupta et al. 2007), for the best matches of each motif.
    model, method : str
    """

    motifs: list[Motif]
    matches: pd.DataFrame = field(repr=False)
    model: str
    method: str

    def __len__(self) -> int:
        return len(self.motifs)

    def to_frame(self) -> pd.DataFrame:
        """One row for each motif: motif, target, consensus, sites, mean score, p, and the best match with its q."""
        best = self.matches.drop_duplicates("motif").set_index("motif")
        rows = [
            {
                "motif": one.name,
                "target": one.target,
                "consensus": one.consensus,
                "sites": len(one.sites),
                "score": float(one.sites.score.mean()),
                "p": one.p,
                "match": best.match.get(one.name, ""),
                "match_q": best.q.get(one.name, np.nan),
            }
            for one in self.motifs
        ]
        return pd.DataFrame(rows, columns=["motif", "target", "consensus", "sites", "score", "p", "match", "match_q"])

    @property
    def sites(self) -> pd.DataFrame:
        """The sites of all motifs; see `Motif.sites`."""
        return pd.concat([one.sites for one in self.motifs] or [pd.DataFrame(columns=_SITES)], ignore_index=True)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw a logo of each motif (information content, in bits)."""
        return picture(path, ("matplotlib", "logomaker"), lambda: _logos(self))

    def write(self, path: str | Path) -> None:
        """Write a file: .meme (motifs), .tsv (table), .bed (sites), or .png, .svg or .pdf (logos)."""
        suffix = check_suffix(path, OUTPUTS, stdout=False)
        if suffix in SUFFIXES:
            self.plot(path)
            return
        with finished_file(path) as temporary:
            if suffix == ".meme":
                temporary.write_text(meme_text(self.motifs))
            elif suffix == ".tsv":
                self.to_frame().to_csv(temporary, sep="\t", index=False, float_format="%.4g")
            else:
                bed = self.sites[["chrom", "start", "end", "motif", "score", "strand"]]
                bed.to_csv(temporary, sep="\t", index=False, header=False, float_format="%.4g")


def meme_text(motifs: Sequence[Motif]) -> str:
    """Motifs in MEME's minimal format, version 4."""
    lines = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", ""]
    lines += ["Background letter frequencies", "A 0.25 C 0.25 G 0.25 T 0.25", ""]
    for one in motifs:
        name = "_".join(one.name.split())
        lines += [f"MOTIF {name}"]
        lines += [f"letter-probability matrix: alength= 4 w= {len(one.pwm)} nsites= {len(one.sites)} E= 0"]
        lines += [" ".join(f"{p:.6f}" for p in row) for row in one.pwm] + [""]
    return "\n".join(lines)


def match_database(motifs: Sequence[Motif], database: str | Path, count: int = 3) -> pd.DataFrame:
    """The best matches of motifs in a MEME file, by TOMTOM.

    Parameters
    ----------
    motifs : sequence of Motif
    database : str or pathlib.Path
    count : int
        Matches of each motif.

    Returns
    -------
    pandas.DataFrame
        See `Motifs.matches`.

    Raises
    ------
    InputError
        If the file is not a MEME file, or memelite is not installed.

    Notes
    -----
    The functions of memelite are compiled when they are first used in an installation, which takes about two minutes.
    """
    known = read_motifs(database)
    columns = ["motif", "match", "p", "q", "offset", "overlap", "strand"]
    if not motifs:
        return pd.DataFrame(columns=columns)
    from memelite import tomtom

    names = list(known)
    with same_threads():
        p, _, offset, overlap, strand = tomtom([one.pwm.T for one in motifs], list(known.values()))
    rows = []
    for number, one in enumerate(motifs):
        q = benjamini_hochberg(p[number])
        for i in np.argsort(p[number], kind="stable")[:count]:
            place = int(offset[number, i]), int(overlap[number, i]), "-" if strand[number, i] else "+"
            rows.append((one.name, names[i], float(p[number, i]), float(q[i]), *place))
    return pd.DataFrame(rows, columns=columns)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values of p-values (Benjamini & Hochberg 1995), float64, shape (N,)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(np.clip(p, 0, 1)) if len(p) else p, dtype=float)


def check_outputs(outputs: Sequence[str | Path]) -> None:
    """Raise an OutputError for a file that `Motifs.write` could not write."""
    for path in outputs:
        if check_suffix(path, OUTPUTS, stdout=False) in SUFFIXES:
            missing = [name for name in ("matplotlib", "logomaker") if find_spec(name) is None]
            if missing:
                raise OutputError(
                    f"{path}: pictures need packages that are missing; run: pip install {' '.join(missing)}"
                )


def check_database(database: str | Path | None) -> None:
    """Raise an InputError for a file that is not a database of motifs, before any work is done."""
    if database is not None and not read_motifs(database):
        raise InputError(f"{database}: no motif in this MEME file")


def _logos(found: Motifs) -> Figure:
    import logomaker
    from matplotlib.figure import Figure

    rows = max(1, len(found.motifs))
    figure = Figure(figsize=(6.5, 1.25 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    matches = found.matches.drop_duplicates("motif").set_index("motif").match
    for axis, one in zip(axes, found.motifs):
        bits = one.pwm * (2 + (one.pwm * np.log2(one.pwm)).sum(axis=1, keepdims=True))
        logomaker.Logo(pd.DataFrame(bits, columns=list("ACGT")), ax=axis)
        match = f"; like {matches[one.name]}" if one.name in matches else ""
        axis.set_title(f"{one.name} ({one.target}, {len(one.sites)} sites{match})", fontsize=8, loc="left")
        axis.set(ylim=(0, 2), ylabel="bits", xticks=[])
        axis.spines[["top", "right"]].set_visible(False)
    if not found.motifs:
        axes[0].text(0.5, 0.5, "no motif found", ha="center")
        axes[0].set_axis_off()
    return figure
