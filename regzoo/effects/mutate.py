"""Saturation mutagenesis: every substitution and one-base deletion of a locus, with its effect on every target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutation_files import check_outputs, open_output
from regzoo.effects.scores import score as compute_score
from regzoo.effects.scoring import check_score
from regzoo.errors import InputError
from regzoo.options import STRANDS, check_at_least, check_choice, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.sequence import Genome, decode, reverse_complement
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.genome import as_genome
from regzoo.sequence.intervals import as_intervals
from regzoo.strands import strands_read, to_forward
from regzoo.zoo import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Columns of the effects: the base that replaces the reference, '-' for its deletion.
ALLELES = ("A", "C", "G", "T", "-")
#: Further columns on request: a base inserted before the position.
INSERTIONS = ("+A", "+C", "+G", "+T")


@dataclass
class Saturation:
    """The effects of every change of one locus.

    Attributes
    ----------
    contig, name : str
    start : int
        0-based position of the first row.
    reference : numpy.ndarray, uint8, shape (P,)
        Base codes.
    effects : numpy.ndarray, float32, shape (P, alleles, targets)
        0 for the reference's own base, NaN where the reference is unknown.
    alleles : tuple of str
        `ALLELES`, or `ALLELES` and `INSERTIONS`.
    targets : list of str
    score : str
        What an effect is, a key of `regzoo.options.SCORES`.
    model : str
        Name of the model.
    """

    contig: str
    start: int
    name: str
    reference: np.ndarray = field(repr=False)
    effects: np.ndarray = field(repr=False)
    alleles: tuple[str, ...] = ALLELES
    targets: list[str] = field(default_factory=list)
    score: str = "diff"
    model: str = ""

    @property
    def end(self) -> int:
        """0-based end of the locus, exclusive."""
        return self.start + len(self.reference)

    @property
    def sequence(self) -> str:
        """Letters of the reference."""
        return decode(self.reference)

    def to_frame(self) -> pd.DataFrame:
        """One row for each change.

        Returns
        -------
        pandas.DataFrame
            Columns chrom, pos (1-based), name, ref, alt ('-' for a deletion, '+A' for an A inserted before the
            position), and SCORE:TARGET for each target. The reference's own base has no row.
        """
        alt = np.tile(self.alleles, len(self.reference))
        ref = np.repeat(list(self.sequence), len(self.alleles))
        keep = alt != ref
        fixed = {
            "chrom": self.contig,
            "pos": np.repeat(np.arange(self.start, self.end) + 1, len(self.alleles)),
            "name": self.name,
            "ref": ref,
            "alt": alt,
        }
        effects = pd.DataFrame(
            self.effects.reshape(-1, len(self.targets)), columns=[f"{self.score}:{target}" for target in self.targets]
        )
        return pd.concat([pd.DataFrame(fixed), effects], axis=1)[keep].reset_index(drop=True)

    def plot(self, path: str | Path | None = None, targets: Sequence[str] = ()) -> Figure:
        """Draw a logo of base importance over a heat map of all changes, for each target.

        Parameters
        ----------
        path : str or pathlib.Path, optional
            .png, .svg or .pdf to write.
        targets : sequence of str
            All by default.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        OutputError
            If matplotlib or logomaker is not installed, or the picture would be too large.
        InputError
            If there is no such target.
        """
        from regzoo.effects.mutation_files import save_picture

        unknown = [target for target in targets if target not in self.targets]
        if unknown:
            raise InputError(f"no target {unknown[0]!r}; there are {', '.join(self.targets[:8])}")
        return save_picture(self, path, list(targets) or self.targets)


def saturation_mutagenesis(
    model: Any,
    loci: Any,
    genome: Any,
    *,
    score: str = "diff",
    targets: Sequence[str] = (),
    insertions: bool = False,
    strands: str = "model",
    precision: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> Saturation | list[Saturation] | int:
    """Effect of every substitution and every one-base deletion of one or more loci.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    loci : str, pathlib.Path, list of str or pandas.DataFrame
        A locus CHROM:START-END (1-based, inclusive) or a list of them; a BED file; or a data frame with columns chrom,
        start, end (0-based, half-open).
    genome : str, pathlib.Path or Genome
        FASTA or .2bit.
    score : str
        A key of `regzoo.options.SCORES`.
    targets : sequence of str
        All by default.
    insertions : bool
        Also insert each base before each position.
    strands : str
        A key of `regzoo.options.STRANDS`.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    batch_size : int
        Windows in one pass, where windows are evaluated in full.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for a model given by name or path.
    output : str, pathlib.Path, or a list of them, optional
        Write files instead of returning data: .h5 (one group for each locus), .tsv, .tsv.gz or .parquet (one row for
        each change), .mutmap.h5 (mutation map of kipoi-veff), or for one locus .png, .svg or .pdf.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Saturation, list of Saturation, or int
        One result for one locus given as a string, otherwise a list; with `output`, the number of loci.

    Raises
    ------
    regzoo.RegzooError
        If an input, an option or an output is not valid. Nothing is written then.

    Notes
    -----
    A locus that fits the model's window is changed within one centred window. A longer one is cut into equal pieces of
    at most half a window, each with its own centred window. A deletion moves the next base of the genome into the
    window, an insertion moves the last one out.
    """
    outputs = [] if output is None else list(distinct(output if isinstance(output, (list, tuple)) else [output]))
    paths = [given for given in (genome, loci) if isinstance(given, (str, Path))]
    for path in outputs:
        refuse_overwrite(path, paths)
    check_choice("choice of strands", strands, STRANDS)
    check_at_least(1, batch_size=batch_size)
    loaded = load_model(model, device)
    check_score(loaded, score)
    columns = loaded.columns(targets)
    names = [loaded.targets[i] for i in columns]
    opened, evaluator = as_genome(genome), Evaluator(loaded, precision=precision)
    wanted = _loci(loci, opened)
    check_outputs(outputs, [end - start for _, start, end, _ in wanted], len(names))
    alleles = ALLELES + INSERTIONS if insertions else ALLELES
    results: list[Saturation] = []
    with ExitStack() as stack:
        writers = [stack.enter_context(open_output(path, names, alleles, score, loaded.name)) for path in outputs]
        for contig, start, end, name in tqdm(wanted, desc="mutating", unit=" loci", disable=not progress):
            effects = locus_effects(
                evaluator, opened, contig, start, end, score, columns, insertions, strands, batch_size
            )
            reference = np.array(opened.codes(contig)[start:end])
            result = Saturation(contig, start, name, reference, effects, alleles, names, score, loaded.name)
            for write in writers:
                write(result)
            if not outputs:
                results.append(result)
    if outputs:
        return len(wanted)
    return results[0] if isinstance(loci, str) and len(results) == 1 else results


def locus_effects(
    evaluator: Evaluator,
    genome: Genome,
    contig: str,
    start: int,
    end: int,
    score: str = "diff",
    columns: Sequence[int] | None = None,
    insertions: bool = False,
    strands: str = "model",
    batch_size: int = 64,
) -> np.ndarray:
    """Effects of every change of one locus, float32, shape (P, alleles, targets).

    Parameters
    ----------
    evaluator : regzoo.effects.evaluator.Evaluator
    genome : regzoo.sequence.Genome
    contig : str
    start, end : int
        0-based, half-open.
    score, insertions, strands, batch_size
        As of `saturation_mutagenesis`.
    columns : sequence of int, optional
        Targets to keep; all by default.

    Raises
    ------
    InputError
        If the contig is missing or the locus does not lie on it.
    """
    check_locus(genome, contig, start, end)
    keep = list(range(len(evaluator.model.targets))) if columns is None else list(columns)
    length = evaluator.model.input_length
    pieces = 1 if end - start <= length else -(-(end - start) // max(1, length // 2))
    cuts = np.linspace(start, end, pieces + 1).astype(int).tolist()
    return np.concatenate(
        [
            _piece(evaluator, genome, contig, low, high, score, keep, insertions, strands, batch_size)
            for low, high in zip(cuts, cuts[1:])
        ]
    )


def check_locus(genome: Genome, contig: str, start: int, end: int) -> None:
    """Raise an InputError if a 0-based, half-open locus does not lie on a contig of the genome."""
    size = int(genome.lengths[genome.number(contig)])
    if not 0 <= start < end <= size:
        raise InputError(f"locus {contig}:{start + 1}-{end} does not lie on its contig of {size} bases")


def _piece(evaluator, genome, contig, low, high, kind, columns, insertions, strands, batch_size):
    model, length = evaluator.model, evaluator.model.input_length
    first = (low + high) // 2 - length // 2
    starts = first + np.array([0, 1, -1])  # the window, and what lies right of a deletion or of an insertion
    windows = genome.windows(np.full(3, genome.number(contig)), starts, length)
    place = np.arange(low - first, high - first)
    sides = [
        side
        for reverse in strands_read(strands, model.merge_strands)
        for side in _predictions(evaluator, windows, place, insertions, reverse, batch_size)
    ]
    sides = [side.reshape(-1, *side.shape[2:])[:, columns] for side in sides]
    ref, alt, *of_reverse = [np.broadcast_to(side, sides[1].shape) for side in sides]
    merge = "max" if strands == "max" else "mean"
    ref_reverse, alt_reverse = of_reverse if of_reverse else (None, None)
    effects = compute_score(kind, ref, alt, ref_reverse, alt_reverse, merge).reshape(len(place), -1, len(columns))
    effects[windows[0, place] == UNKNOWN] = np.nan
    return effects


def _predictions(evaluator, windows, place, insertions, reverse, batch_size):
    """Predictions of the reference, (1, 1, targets …), and of the changes, (P, alleles, targets …), on one strand."""
    window, later, earlier = windows
    length, count = len(window), len(place)
    cube = np.repeat(window[None], 4 * count, axis=0).reshape(count, 4, length)
    for base in range(4):
        cube[np.arange(count), base, place] = base
    changed = cube.reshape(-1, length)
    joined = [(later, place, np.empty((count, 0), dtype=np.uint8))]
    if insertions:
        joined.append((earlier, np.repeat(place, 4), np.tile(np.arange(4, dtype=np.uint8), count)[:, None]))
    own = np.zeros(4 * count, dtype=np.int64)
    orient = reverse_complement if reverse else np.asarray
    ref, alt = evaluator.predict(orient(window[None]), own, orient(changed), batch_size=batch_size)
    sides = [alt]
    for right, at, bases in joined:
        if reverse:
            pair = (reverse_complement(codes[None])[0] for codes in (right, window))
            at, bases = length - at - bases.shape[1], np.ascontiguousarray(3 - bases)
            sides.append(evaluator.predict_joined(*pair, at, bases, batch_size))
        else:
            sides.append(evaluator.predict_joined(window, right, at, bases, batch_size))
    if reverse:
        ref, sides = to_forward(ref), [to_forward(side) for side in sides]
    return ref[:, None], np.concatenate([side.reshape(count, -1, *side.shape[1:]) for side in sides], axis=1)


def _loci(loci, genome):
    """(contig, start, end, name) of each locus; all lie on the genome."""
    intervals, source = as_intervals(loci)
    found = list(
        zip(intervals.contigs.tolist(), intervals.starts.tolist(), intervals.ends.tolist(), intervals.names.tolist())
    )
    for i, (contig, start, end, _) in enumerate(found):
        try:
            check_locus(genome, contig, start, end)
        except InputError as error:
            if intervals.unit == "locus":
                raise
            raise InputError(f"{source}, {intervals.unit} {intervals.lines[i]}: {error}") from error
    return found
