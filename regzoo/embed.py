"""Embeddings of sequences by a language model: pooled, or a vector for each token or base."""

import re
from contextlib import ExitStack
from dataclasses import dataclass

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from regzoo.errors import InputError, OutputError
from regzoo.nets.lookup import load_language_model
from regzoo.nets.sequence_model import POOLINGS, encode_codes, pool
from regzoo.options import PER, PRECISIONS, check_choice
from regzoo.sequence import Genome, read_bed
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.files import finished_file, refuse_overwrite
from regzoo.sequence.hdf5 import NewHdf5
from regzoo.tokenizers import per_base

GROUP = 256  # sequences encoded between two writes
_GROUP_BASES = 1 << 22  # bases after which they are written anyway
#: Most tokens that are read at once by a model whose positions have no limit of their own.
MOST_TOKENS = 512


def embed(fasta, model, output, bed=None, per="mean", layer=None, precision="float32", progress=True):
    """Embed every record of a FASTA file, or every interval of a BED file, and write the vectors.

    A sequence of more tokens than the model reads at once (its limit, or 512) is cut between tokens into pieces, which are
    read one by one. A pooled vector is then the mean over the pieces, weighted by their tokens, of their 'mean' or 'cls'
    vectors, or the largest value over the pieces of their 'max' vectors.

    Parameters
    ----------
    fasta : str or pathlib.Path
    model : str
        As `regzoo.nets.lookup.load_language_model` takes it.
    output : str or pathlib.Path
        .h5 (datasets name, chrom, start, end, embedding) or .parquet (the same as columns): a row for each vector, with the
        0-based, half-open stretch of the contig that it is of.
    bed : str or pathlib.Path, optional
        Intervals of the FASTA, embedded as they are; '-' is standard input. Names are those of its fourth column, or
        CONTIG:START-END where it has none.
    per : str
        A key of `regzoo.options.PER`.
    layer : int, optional
        Layer to take, 0 for the token embedding; the last, with its norm, without it.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    int
        Number of sequences.

    Raises
    ------
    regzoo.errors.RegzooError
        If an input, the model or the output is not usable, or a sequence is of unknown bases only or too short; nothing is
        written then.
    """
    check_choice("choice of vectors", per, PER)
    check_choice("precision", precision, PRECISIONS)
    if not str(output).endswith((".h5", ".hdf5", ".parquet")):
        raise OutputError(f"{output}: unknown suffix; use one of .h5, .hdf5, .parquet")
    refuse_overwrite(output, (fasta, bed))
    lm = load_language_model(model)
    regions = _regions(fasta, bed)
    _check(regions, lm.tokenizer, bed or fasta)
    with ExitStack() as stack:
        path = stack.enter_context(finished_file(output))
        write = stack.enter_context(_Writer(path, lm.net.hidden, {"model": str(model), "per": per}))
        total = sum(len(region.codes) for region in regions)
        bar = stack.enter_context(
            tqdm(total=total, desc="embedding", unit=" bases", unit_scale=True, smoothing=0, disable=not progress)
        )
        for group in _groups(regions):
            found = vectors_of(lm, [region.codes for region in group], per, layer, precision, bar.update)
            for region, (starts, ends, vectors) in zip(group, found):
                write(region, starts + region.start, ends + region.start, vectors)
    return len(regions)


@torch.inference_mode()
def vectors_of(lm, sequences, per="mean", layer=None, precision="float32", advance=None):
    """Vectors of several sequences.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    sequences : list of numpy.ndarray, uint8
        Base codes.
    per, layer, precision
        As of `embed`.
    advance : callable, optional
        Called with the number of bases that have been read, after each batch.

    Returns
    -------
    list of (starts, ends, vectors)
        numpy.ndarray, int64, shape (V,), twice, and float32, shape (V, hidden); V is 1 for a pooled vector.

    Notes
    -----
    Sequences that are too long are read in pieces, as `embed` says.
    """
    pieces, owner, offset = _pieces(lm, sequences)
    found = [None] * len(pieces)
    with torch.autocast(next(lm.net.parameters()).device.type, torch.bfloat16, enabled=precision == "bf16"):
        for rows, tokens, hidden in encode_codes(lm.net, lm.tokenizer, pieces, layer=layer):
            hidden = hidden.float()
            if per in POOLINGS:
                pooled = pool(hidden, torch.from_numpy(tokens.mask).to(hidden.device), per).cpu().numpy()
            for i, row in enumerate(rows.tolist()):
                count = int(tokens.mask[i].sum())
                vectors = pooled[i] if per in POOLINGS else hidden[i, :count].cpu().numpy()
                found[row] = (tokens.rows([i]), vectors, count)
            if advance:
                # Pieces of overlapping k-mers share some bases: those that the next piece reads again count there.
                advance(sum(_advance(pieces, owner, offset, row) for row in rows.tolist()))
    bounds = np.searchsorted(owner, np.arange(len(sequences) + 1))
    return [
        _joined(found[low:high], offset[low:high], per, len(codes))
        for codes, low, high in zip(sequences, bounds, bounds[1:])
    ]


def _advance(pieces, owner, offset, row):
    """Bases of a piece up to where the next one of the same sequence starts."""
    last = row + 1 == len(pieces) or owner[row + 1] != owner[row]
    return len(pieces[row]) if last else offset[row + 1] - offset[row]


def _pieces(lm, sequences):
    """Sequences, cut between tokens where they have too many: pieces, whose they are, and where they start."""
    most = getattr(getattr(lm.net, "config", None), "limit", None) or MOST_TOKENS
    special = sum(token is not None for token in (lm.tokenizer.cls, lm.tokenizer.sep))
    pieces, owner, offset = [], [], []
    for number, codes in enumerate(sequences):
        cuts = [(0, len(codes))]
        if len(codes) + special > most:  # no token is shorter than a base
            tokens = lm.tokenizer.encode(np.asarray(codes)[None])
            own = tokens.ends[0] > tokens.starts[0]
            starts, ends = tokens.starts[0][own], tokens.ends[0][own]
            firsts = range(0, len(starts), most - special)
            cuts = [(int(starts[i]), int(ends[min(i + most - special, len(ends)) - 1])) for i in firsts]
        for start, end in cuts:
            pieces.append(codes[start:end])
            owner.append(number)
            offset.append(start)
    return pieces, np.array(owner), offset


def _joined(parts, offsets, per, length):
    if per in POOLINGS:
        pooled, weights = (
            np.stack([vector for _, vector, _ in parts]),
            np.array([count for _, _, count in parts], dtype=float),
        )
        vector = pooled.max(0) if per == "max" else (pooled * (weights / weights.sum())[:, None]).sum(0)
        return np.array([0]), np.array([length]), vector[None].astype(np.float32)
    if per == "token":
        starts = np.concatenate([tokens.starts[0] + at for (tokens, _, _), at in zip(parts, offsets)])
        ends = np.concatenate([tokens.ends[0] + at for (tokens, _, _), at in zip(parts, offsets)])
        vectors = np.concatenate([vectors for _, vectors, _ in parts])
        own = np.concatenate([tokens.ends[0] > tokens.starts[0] for tokens, _, _ in parts])
        return starts[own].astype(np.int64), ends[own].astype(np.int64), vectors[own]
    total, count = np.zeros((length, parts[0][1].shape[1])), np.zeros((length, 1))
    for (tokens, vectors, _), at in zip(parts, offsets):
        size = int(tokens.ends.max())
        own = tokens.ends > tokens.starts
        change = np.bincount(tokens.starts[own], minlength=size + 1) - np.bincount(tokens.ends[own], minlength=size + 1)
        covering = np.cumsum(change)[:size, None]  # tokens of the piece over each base
        total[at : at + size] += covering * per_base(tokens, vectors[None], size, empty=0)[0]
        count[at : at + size] += covering
    return np.arange(length), np.arange(1, length + 1), (total / np.maximum(count, 1)).astype(np.float32)


@dataclass
class _Region:
    name: str
    contig: str
    start: int
    codes: np.ndarray


def _regions(fasta, bed):
    genome = Genome(fasta)
    if bed is None:
        return [_Region(name, name, 0, genome.codes(name)) for name in genome.contigs]
    intervals = read_bed(bed)
    regions = []
    for i, (contig, start, end) in enumerate(zip(intervals.contigs.tolist(), intervals.starts, intervals.ends)):
        try:
            codes = genome.codes(contig)
        except InputError as error:
            raise InputError(f"{bed}, line {intervals.lines[i]}: {error}") from error
        if end > len(codes):
            raise InputError(
                f"{bed}, line {intervals.lines[i]}: {contig}:{start}-{end} reaches over the contig's end at {len(codes)}"
            )
        name = intervals.columns[i][0] if intervals.columns[i] else f"{contig}:{start}-{end}"
        regions.append(_Region(name, contig, int(start), codes[start:end]))
    return regions


def _groups(regions):
    """Lists of regions that are encoded together."""
    group, bases = [], 0
    for region in regions:
        if group and (len(group) == GROUP or bases + len(region.codes) > _GROUP_BASES):
            yield group
            group, bases = [], 0
        group.append(region)
        bases += len(region.codes)
    yield group


def _check(regions, tokenizer, path):
    for region in regions:
        size = len(region.codes)
        if size < tokenizer.shortest:
            raise InputError(f"{path}: {region.name} has {size} bases, but a token needs {tokenizer.shortest}")
        if (region.codes == UNKNOWN).all():
            raise InputError(f"{path}: {region.name} has no base that is A, C, G, T or U")


class _Writer:
    """A row for each vector; calling it writes those of one sequence."""

    def __init__(self, path, width, about):
        self.parquet = re.search(r"\.parquet$", str(path)) is not None
        if self.parquet:
            vector = pa.list_(pa.float32(), width)
            fields = [("name", pa.string()), ("chrom", pa.string()), ("start", pa.int64()), ("end", pa.int64())]
            fields.append(("embedding", vector))
            self.schema = pa.schema(fields, metadata=about)
            self.out = pq.ParquetWriter(path, self.schema)
            return
        self.out = NewHdf5(path)
        self.out.attrs.update(about)
        text = h5py.string_dtype()
        for name, kind in (("name", text), ("chrom", text), ("start", np.int64), ("end", np.int64)):
            self.out.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(4096,))
        self.out.create_dataset("embedding", (0, width), np.float32, maxshape=(None, width), chunks=(64, width))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.out.close()

    def __call__(self, region, starts, ends, vectors):
        names, contigs = [region.name] * len(starts), [region.contig] * len(starts)
        if self.parquet:
            flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
            arrays = [pa.array(names), pa.array(contigs), pa.array(starts), pa.array(ends), flat]
            self.out.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
            return
        columns = {"name": names, "chrom": contigs, "start": starts, "end": ends, "embedding": vectors}
        for key, values in columns.items():
            data = self.out[key]
            data.resize(len(data) + len(starts), axis=0)
            data[len(data) - len(starts) :] = values
