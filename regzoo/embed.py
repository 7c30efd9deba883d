"""Embeddings of sequences by a language model: pooled, or a vector for each token or base."""

import re
from contextlib import ExitStack

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from regzoo.errors import InputError, OutputError
from regzoo.nets.lookup import load_language_model
from regzoo.nets.sequence_model import encode_codes, pool
from regzoo.options import PER, PRECISIONS, check_choice
from regzoo.sequence import Genome, read_bed
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.files import finished_file
from regzoo.tokenizers import OverlappingKmers, per_base

GROUP = 256  # sequences encoded between two writes


def embed(fasta, model, output, bed=None, per="mean", layer=None, precision="float32", progress=True):
    """Embed every record of a FASTA file, or every interval of a BED file, and write the vectors.

    Parameters
    ----------
    fasta : str or pathlib.Path
    model : str
        As `regzoo.nets.lookup.load_language_model` takes it.
    output : str or pathlib.Path
        .h5 (datasets name, start, end, embedding) or .parquet (the same as columns): a row for each vector, with the bases
        of its sequence that it is of.
    bed : str or pathlib.Path, optional
        Intervals of the FASTA, embedded as they are.
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
        If an input, the model or the output is not usable, or a sequence is of unknown bases only, too short or too long;
        nothing is written then.
    """
    check_choice("choice of vectors", per, PER)
    check_choice("precision", precision, PRECISIONS)
    if not str(output).endswith((".h5", ".hdf5", ".parquet")):
        raise OutputError(f"{output}: unknown suffix; use one of .h5, .hdf5, .parquet")
    lm = load_language_model(model)
    names, sequences = _sequences(fasta, bed)
    _check(names, sequences, lm.tokenizer, bed or fasta)
    with ExitStack() as stack:
        path = stack.enter_context(finished_file(output))
        write = stack.enter_context(_Writer(path, lm.net.hidden, {"model": str(model), "per": per}))
        bar = stack.enter_context(
            tqdm(total=len(names), desc="embedding", unit=" sequences", smoothing=0, disable=not progress)
        )
        for start in range(0, len(names), GROUP):
            rows = slice(start, start + GROUP)
            for name, (starts, ends, vectors) in zip(
                names[rows], vectors_of(lm, sequences[rows], per, layer, precision)
            ):
                write(name, starts, ends, vectors)
            bar.update(len(names[rows]))
    return len(names)


@torch.inference_mode()
def vectors_of(lm, sequences, per="mean", layer=None, precision="float32"):
    """Vectors of several sequences.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    sequences : list of numpy.ndarray, uint8
        Base codes.
    per, layer, precision
        As of `embed`.

    Returns
    -------
    list of (starts, ends, vectors)
        numpy.ndarray, int64, shape (V,), twice, and float32, shape (V, hidden); V is 1 for a pooled vector.

    Notes
    -----
    A model with overlapping k-mers reads a sequence that is too long for it in pieces of 510 k-mers, as DNABERT-XL does.
    """
    pieces, owner, offset = _pieces(lm, sequences)
    found = [None] * len(pieces)
    with torch.autocast(next(lm.net.parameters()).device.type, torch.bfloat16, enabled=precision == "bf16"):
        for rows, tokens, hidden in encode_codes(lm.net, lm.tokenizer, pieces, layer=layer):
            hidden = hidden.float()
            mask = torch.from_numpy(tokens.mask).to(hidden.device)
            pooled = pool(hidden, mask, per).cpu().numpy() if per in ("mean", "cls", "max") else None
            for i, row in enumerate(rows.tolist()):
                count = int(tokens.mask[i].sum())
                found[row] = (tokens.rows([i]), hidden[i, :count].cpu().numpy(), None if pooled is None else pooled[i])
    result = []
    for number, codes in enumerate(sequences):
        parts = [found[i] for i in np.flatnonzero(owner == number)]
        starts = [offset[i] for i in np.flatnonzero(owner == number)]
        result.append(_joined(parts, starts, per, len(codes)))
    return result


def _pieces(lm, sequences):
    """Sequences, cut where they are too long for a model of overlapping k-mers: pieces, whose they are, where they start."""
    limit = getattr(getattr(lm.net, "config", None), "limit", None)
    if not (limit and isinstance(lm.tokenizer, OverlappingKmers)):
        return list(sequences), np.arange(len(sequences)), [0] * len(sequences)
    k, room = lm.tokenizer.k, limit - 2
    pieces, owner, offset = [], [], []
    for number, codes in enumerate(sequences):
        for start in range(0, max(1, len(codes) - k + 1), room):
            pieces.append(codes[start : start + room + k - 1])
            owner.append(number)
            offset.append(start)
    return pieces, np.array(owner), offset


def _joined(parts, offsets, per, length):
    if per in ("mean", "cls", "max"):
        pooled = np.stack([pooled for _, _, pooled in parts])
        if per == "mean":
            weights = np.array([len(vectors) for _, vectors, _ in parts], dtype=float)
            vector = (pooled * (weights / weights.sum())[:, None]).sum(0)
        else:
            vector = pooled[0] if per == "cls" else pooled.max(0)
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
        covering = per_base(tokens, np.ones(tokens.ids.shape), size, empty=0)[0][:, None]
        total[at : at + size] += per_base(tokens, vectors[None], size, empty=0)[0]
        count[at : at + size] += covering
    return np.arange(length), np.arange(1, length + 1), (total / np.maximum(count, 1)).astype(np.float32)


def _sequences(fasta, bed):
    genome = Genome(fasta)
    if bed is None:
        return genome.contigs, [np.array(genome.codes(name)) for name in genome.contigs]
    intervals = read_bed(bed)
    names, sequences = [], []
    for contig, start, end, line in zip(intervals.contigs, intervals.starts, intervals.ends, intervals.lines):
        try:
            codes = genome.codes(str(contig))
        except InputError as error:
            raise InputError(f"{bed}, line {line}: {error}") from error
        if end > len(codes):
            raise InputError(
                f"{bed}, line {line}: {contig}:{start}-{end} reaches over the contig's end at {len(codes)}"
            )
        names.append(f"{contig}:{start}-{end}")
        sequences.append(np.array(codes[start:end]))
    return names, sequences


def _check(names, sequences, tokenizer, path):
    for name, codes in zip(names, sequences):
        if len(codes) < tokenizer.shortest:
            raise InputError(f"{path}: {name} has {len(codes)} bases, but a token needs {tokenizer.shortest}")
        if (codes == UNKNOWN).all():
            raise InputError(f"{path}: {name} has no base that is A, C, G or T")


class _Writer:
    """A row for each vector; calling it writes those of one sequence."""

    def __init__(self, path, width, about):
        self.parquet = re.search(r"\.parquet$", str(path)) is not None
        if self.parquet:
            vector = pa.list_(pa.float32(), width)
            fields = [("name", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("embedding", vector)]
            self.schema = pa.schema(fields, metadata=about)
            self.out = pq.ParquetWriter(path, self.schema)
            return
        self.out = h5py.File(path, "w")
        self.out.attrs.update(about)
        for name, kind in (("name", h5py.string_dtype()), ("start", np.int64), ("end", np.int64)):
            self.out.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(4096,))
        self.out.create_dataset("embedding", (0, width), np.float32, maxshape=(None, width), chunks=(64, width))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.out.close()

    def __call__(self, name, starts, ends, vectors):
        if self.parquet:
            flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
            arrays = [pa.array([name] * len(starts)), pa.array(starts), pa.array(ends), flat]
            self.out.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
            return
        for key, values in (("name", [name] * len(starts)), ("start", starts), ("end", ends), ("embedding", vectors)):
            data = self.out[key]
            data.resize(len(data) + len(starts), axis=0)
            data[len(data) - len(starts) :] = values
