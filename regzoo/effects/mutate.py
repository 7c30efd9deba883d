"""Saturation mutagenesis: every substitution and one-base deletion of a locus, with its effect on every target."""

from contextlib import ExitStack
from dataclasses import dataclass

import h5py
import numpy as np
from tqdm import tqdm

from regzoo.effects.evaluator import Evaluator
from regzoo.effects.scoring import target_columns
from regzoo.effects.scores import score
from regzoo.errors import InputError, OutputError
from regzoo.sequence import Genome, decode, read_bed
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.files import finished_file
from regzoo.zoo import load_model

ALLELES = ("A", "C", "G", "T", "-")


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
    effects : numpy.ndarray, float32, shape (P, 5, targets)
        Columns are `ALLELES`; '-' deletes the base; 0 for the reference's own base, NaN where it is unknown.
    """

    contig: str
    start: int
    name: str
    reference: np.ndarray
    effects: np.ndarray


def saturate(evaluator, genome, contig, start, end, name="", kind="diff", columns=None):
    """Every change of a locus.

    A locus that fits the model's window is changed within one centred window; a longer one is cut evenly into pieces of
    at most half a window, each with a centred window of its own.

    Parameters
    ----------
    evaluator : regzoo.effects.evaluator.Evaluator
    genome : regzoo.sequence.Genome
    contig : str
    start, end : int
        0-based, half-open.
    name : str
    kind : str
        A score of `regzoo.effects.SCORES`.
    columns : list of int, optional
        Targets to keep.

    Returns
    -------
    Saturation

    Raises
    ------
    InputError
        If the contig is missing or the locus does not lie on it.
    """
    size = int(genome.lengths[genome.number(contig)])
    if not 0 <= start < end <= size:
        raise InputError(f"locus {contig}:{start}-{end} does not lie on its contig of {size} bases")
    columns = list(range(len(evaluator.model.targets))) if columns is None else columns
    length = evaluator.model.input_length
    pieces = 1 if end - start <= length else -(-(end - start) // max(1, length // 2))
    cuts = np.linspace(start, end, pieces + 1).astype(int).tolist()
    parts = [_piece(evaluator, genome, contig, low, high, kind)[:, :, columns] for low, high in zip(cuts, cuts[1:])]
    return Saturation(contig, start, name, np.array(genome.codes(contig)[start:end]), np.concatenate(parts))


def _piece(evaluator, genome, contig, low, high, kind):
    length, count = evaluator.model.input_length, high - low
    first = (low + high) // 2 - length // 2
    number = genome.number(contig)
    # One base more than the window: what a deletion draws in.
    longer = genome.windows(np.array([number]), np.array([first]), length + 1)[0]
    window = longer[:length]
    place = np.arange(low - first, high - first)
    known = window[place] != UNKNOWN
    changed = np.repeat(window[None], 5 * count, axis=0).reshape(count, 5, length)
    for base in range(4):
        changed[np.arange(count), base, place] = base
    for row, at in enumerate(place):
        changed[row, 4, at:] = longer[at + 1 :]
    windows = np.zeros(5 * count, dtype=np.int64)
    ref, alt = evaluator.predict(window[None], windows, changed.reshape(-1, length))
    effects = score(kind, np.broadcast_to(ref, alt.shape), alt).reshape(count, 5, -1)
    effects[~known] = np.nan
    return effects


def mutate_bed(bed, fasta, model, output, kind="diff", targets=None, progress=True, locus=None):
    """Saturation mutagenesis of BED regions, or of one locus, to a file.

    Parameters
    ----------
    bed : str or pathlib.Path or None
        Regions; not with `locus`.
    fasta : str or pathlib.Path
    model : str or regzoo.zoo.Model
    output : str or pathlib.Path
        .h5 (a group a locus: effects (positions, 5, targets), reference; alleles, targets), .tsv (a row a change), or
        .png / .svg (one locus: heat map under a logo, a panel a target).
    kind : str
        A score of `regzoo.effects.SCORES`.
    targets : sequence of str, optional
        All without it.
    progress : bool
    locus : str, optional
        CONTIG:START-END, 1-based and inclusive as genome browsers write it.

    Returns
    -------
    int
        Number of loci.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input or the output is not usable; nothing is written then.
    """
    model = load_model(model) if isinstance(model, str) else model
    columns = target_columns(model, targets)
    names = [model.targets[i] for i in columns]
    genome, evaluator = Genome(fasta), Evaluator(model)
    loci = [_parse_locus(locus)] if locus else _bed_loci(bed)
    suffix = str(output).rsplit(".", 1)[-1]
    if suffix in ("png", "svg") and len(loci) > 1:
        raise OutputError(f"{output}: a picture shows one locus, but there are {len(loci)}; use .h5 or .tsv")
    if suffix not in _WRITERS:
        raise OutputError(f"{output}: unknown suffix; use one of {', '.join('.' + s for s in _WRITERS)}")
    with ExitStack() as stack:
        temporary = stack.enter_context(finished_file(output))
        write, close = _WRITERS[suffix](temporary, names, kind, model.name)
        stack.callback(close)
        for contig, start, end, name in tqdm(loci, desc="mutating", unit=" loci", disable=not progress):
            write(saturate(evaluator, genome, contig, start, end, name, kind, columns))
    return len(loci)


def _bed_loci(path):
    bed = read_bed(path)
    return [(str(c), int(s), int(e), str(n)) for c, s, e, n in zip(bed.contigs, bed.starts, bed.ends, bed.names)]


def _parse_locus(text):
    contig, _, span = text.rpartition(":")
    start, _, end = span.replace(",", "").partition("-")
    if not (contig and start.isdigit() and end.isdigit()):
        raise InputError(f"locus {text!r}: expected CONTIG:START-END, e.g. chr1:1,000-1,100")
    return contig, int(start) - 1, int(end), text


def _hdf5(path, targets, kind, model_name):
    out = h5py.File(path, "w")
    out.attrs.update(model=model_name, score=kind)
    out.create_dataset("targets", data=targets, dtype=h5py.string_dtype())
    out.create_dataset("alleles", data=ALLELES, dtype=h5py.string_dtype())

    def write(result):
        group = out.create_group(f"loci/{len(out['loci']) if 'loci' in out else 0:06d}")
        group.attrs.update(
            contig=result.contig, start=result.start, name=result.name, reference=decode(result.reference)
        )
        group.create_dataset("effects", data=result.effects, compression="gzip", compression_opts=1)

    return write, out.close


def _tsv(path, targets, kind, model_name):
    out = open(path, "w")
    out.write("\t".join(["chrom", "pos", "name", "ref", "alt", *(f"{kind}:{t}" for t in targets)]) + "\n")

    def write(result):
        for offset, base in enumerate(decode(result.reference)):
            for allele, row in zip(ALLELES, result.effects[offset]):
                if allele != base:
                    values = ("" if np.isnan(v) else f"{v:.7g}" for v in row)
                    fixed = (result.contig, result.start + offset + 1, result.name, base, allele)
                    out.write("\t".join([*map(str, fixed), *values]) + "\n")

    return write, out.close


def _picture(path, targets, kind, model_name):
    def write(result):
        from regzoo.effects.picture import draw

        figure = draw(result, targets, kind, model_name)
        figure.savefig(path, bbox_inches="tight", dpi=150)

    return write, lambda: None


_WRITERS = {"h5": _hdf5, "hdf5": _hdf5, "tsv": _tsv, "png": _picture, "svg": _picture}
