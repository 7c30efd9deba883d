"""Saturation mutagenesis: every substitution and one-base deletion of a locus, with its effect on every target."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.mutation_files import check_outputs, open_output
from regzoo.effects.scores import score
from regzoo.effects.scoring import check_score, target_columns, turns
from regzoo.errors import InputError
from regzoo.options import STRANDS, check_choice
from regzoo.sequence import Genome, read_bed, reverse_complement
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.files import refuse_overwrite
from regzoo.zoo import load_model

#: Columns of the effects: bases in the reference's place, its deletion; and on request a base inserted before it.
ALLELES = ("A", "C", "G", "T", "-")
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
        Columns are `alleles`; 0 for the reference's own base, NaN where it is unknown.
    alleles : tuple of str
        `ALLELES`, or `ALLELES` and `INSERTIONS`.
    """

    contig: str
    start: int
    name: str
    reference: np.ndarray
    effects: np.ndarray
    alleles: tuple = ALLELES


def saturate(
    evaluator, genome, contig, start, end, name="", kind="diff", columns=None, insertions=False, strands="model"
):
    """Every change of a locus.

    A locus that fits the model's window is changed within one centred window; a longer one is cut evenly into pieces of
    at most half a window, each with a centred window of its own. A deletion draws the next base of the genome into the
    window, an insertion pushes the last one out.

    Parameters
    ----------
    evaluator : regzoo.effects.evaluator.Evaluator
    genome : regzoo.sequence.Genome
    contig : str
    start, end : int
        0-based, half-open.
    name : str
    kind : str
        A key of `regzoo.options.SCORES`.
    columns : list of int, optional
        Targets to keep.
    insertions : bool
        Also every base inserted before every position.
    strands : str
        A key of `regzoo.options.STRANDS`.

    Returns
    -------
    Saturation

    Raises
    ------
    InputError
        If the contig is missing or the locus does not lie on it.
    """
    check_locus(genome, contig, start, end)
    columns = list(range(len(evaluator.model.targets))) if columns is None else columns
    length = evaluator.model.input_length
    pieces = 1 if end - start <= length else -(-(end - start) // max(1, length // 2))
    cuts = np.linspace(start, end, pieces + 1).astype(int).tolist()
    parts = [
        _piece(evaluator, genome, contig, low, high, kind, columns, insertions, strands)
        for low, high in zip(cuts, cuts[1:])
    ]
    alleles = ALLELES + INSERTIONS if insertions else ALLELES
    return Saturation(contig, start, name, np.array(genome.codes(contig)[start:end]), np.concatenate(parts), alleles)


def check_locus(genome, contig, start, end):
    """Raise an InputError if a 0-based, half-open locus does not lie on a contig of the genome."""
    size = int(genome.lengths[genome.number(contig)])
    if not 0 <= start < end <= size:
        raise InputError(f"locus {contig}:{start + 1}-{end} does not lie on its contig of {size} bases")


def _piece(evaluator, genome, contig, low, high, kind, columns, insertions, strands):
    length = evaluator.model.input_length
    first = (low + high) // 2 - length // 2
    starts = first + np.array([0, 1, -1])  # what a deletion, an insertion has on its right
    windows = genome.windows(np.full(3, genome.number(contig)), starts, length)
    place = np.arange(low - first, high - first)
    sides = [
        side
        for turn in turns(evaluator.model, strands)
        for side in _predictions(evaluator, windows, place, insertions, turn)
    ]
    sides = [side.reshape(-1, *side.shape[2:])[:, columns] for side in sides]
    ref, alt, *turned = [np.broadcast_to(side, sides[1].shape) for side in sides]
    merge = "max" if strands == "max" else "mean"
    effects = score(kind, ref, alt, *turned, strands=merge).reshape(len(place), -1, len(columns))
    effects[windows[0, place] == UNKNOWN] = np.nan
    return effects


def _predictions(evaluator, windows, place, insertions, turn):
    """Predictions of the reference, (1, 1, targets …), and of the changes, (P, alleles, targets …), on one strand."""
    window, later, earlier = windows
    length, count = len(window), len(place)
    changed = np.repeat(window[None], 4 * count, axis=0).reshape(count, 4, length)
    for base in range(4):
        changed[np.arange(count), base, place] = base
    changed = changed.reshape(-1, length)
    joined = [(later, place, np.empty((count, 0), dtype=np.uint8))]
    if insertions:
        joined.append((earlier, np.repeat(place, 4), np.tile(np.arange(4, dtype=np.uint8), count)[:, None]))
    own = np.zeros(4 * count, dtype=np.int64)
    if turn:
        ref, alt = evaluator.predict(reverse_complement(window[None]), own, reverse_complement(changed))
    else:
        ref, alt = evaluator.predict(window[None], own, changed)
    sides = [alt]
    for right, at, bases in joined:
        if turn:
            pair = (reverse_complement(codes[None])[0] for codes in (right, window))
            sides.append(evaluator.predict_joined(*pair, length - at - bases.shape[1], np.ascontiguousarray(3 - bases)))
        else:
            sides.append(evaluator.predict_joined(window, right, at, bases))
    if turn and ref.ndim == 3:
        ref, sides = ref[:, :, ::-1], [side[:, :, ::-1] for side in sides]
    return ref[:, None], np.concatenate([side.reshape(count, -1, *side.shape[1:]) for side in sides], axis=1)


def mutate_loci(
    fasta, model, outputs, bed=None, loci=(), kind="diff", targets=None, insertions=False, strands="model",
    precision="float32", progress=True,
):  # fmt: skip
    """Saturation mutagenesis of BED regions, or of loci by name, to files.

    Parameters
    ----------
    fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model
    outputs : str or pathlib.Path, or a list of them
        .h5 (a group a locus), .tsv (a row a change), .mutmap.h5 (kipoi's mutation map), or .png, .svg, .pdf (one locus).
    bed : str or pathlib.Path, optional
    loci : sequence of str
        CONTIG:START-END, 1-based and inclusive as genome browsers write it.
    kind : str
        A key of `regzoo.options.SCORES`.
    targets : sequence of str, optional
        All without it.
    insertions : bool
        Also every base inserted before every position.
    strands : str
        A key of `regzoo.options.STRANDS`.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    int
        Number of loci.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input or an output is not usable; nothing is written then.
    """
    outputs = list(dict.fromkeys(outputs if isinstance(outputs, (list, tuple)) else [outputs]))
    for output in outputs:
        refuse_overwrite(output, (fasta, bed))
    check_choice("choice of strands", strands, STRANDS)
    model = load_model(model) if isinstance(model, (str, Path)) else model
    check_score(model, kind)
    columns = target_columns(model, list(dict.fromkeys(targets or ())))
    names = [model.targets[i] for i in columns]
    genome, evaluator = Genome(fasta), Evaluator(model, precision=precision)
    wanted = [_parse_locus(text) for text in loci] + (_bed_loci(bed, genome) if bed else [])
    for contig, start, end, _ in wanted:
        check_locus(genome, contig, start, end)
    check_outputs(outputs, [end - start for _, start, end, _ in wanted], len(names))
    alleles = ALLELES + INSERTIONS if insertions else ALLELES
    with ExitStack() as stack:
        writers = [stack.enter_context(open_output(path, names, alleles, kind, model.name)) for path in outputs]
        for contig, start, end, name in tqdm(wanted, desc="mutating", unit=" loci", disable=not progress):
            result = saturate(evaluator, genome, contig, start, end, name, kind, columns, insertions, strands)
            for write in writers:
                write(result)
    return len(wanted)


def _bed_loci(path, genome):
    bed = read_bed(path)
    loci = [(str(c), int(s), int(e), str(n)) for c, s, e, n in zip(bed.contigs, bed.starts, bed.ends, bed.names)]
    for (contig, start, end, _), line in zip(loci, bed.lines):
        try:
            check_locus(genome, contig, start, end)
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from error
    return loci


def _parse_locus(text):
    contig, _, span = text.rpartition(":")
    start, _, end = span.replace(",", "").partition("-")
    if not (contig and all(number.isascii() and number.isdigit() and len(number) <= 12 for number in (start, end))):
        raise InputError(f"locus {text!r}: expected CONTIG:START-END, e.g. chr1:1,000-1,100")
    return contig, int(start) - 1, int(end), text
