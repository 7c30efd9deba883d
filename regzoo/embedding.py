"""Embeddings of sequences by a language model: pooled, or a vector for each token or base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from regzoo.errors import InputError
from regzoo.model import Model
from regzoo.nets.language_models import LanguageModel
from regzoo.nets.sequence_model import POOLINGS, SEQUENCE_TOKENS, encode_codes, pool
from regzoo.options import PER, PRECISIONS, check_at_least, check_choice
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import Schema, Vector, check_suffix, open_table
from regzoo.sequence.codes import UNKNOWN, encode_checked
from regzoo.sequence.genome import as_genome
from regzoo.sequence.intervals import as_intervals
from regzoo.tokenizers import Tokenizer, per_base
from regzoo.zoo import load_language_model

GROUP = 256  # sequences encoded between two writes
_GROUP_BASES = 1 << 22  # bases after which they are written anyway
#: Most tokens that are read at once by a model whose positions have no limit of their own.
MOST_TOKENS = 512


def embed(
    model: Any,
    inputs: Any,
    genome: Any = None,
    *,
    per: str = "mean",
    layer: int | None = None,
    precision: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame | int:
    """Embed sequences, or intervals of a genome, with a language model.

    Parameters
    ----------
    model : str, pathlib.Path or LanguageModel
        As `regzoo.zoo.load_language_model` takes it.
    inputs : str, pathlib.Path, list of str, or pandas.DataFrame
        Without `genome`: a FASTA file, of which every record is embedded, or a list of sequences. With `genome`:
        intervals, which are embedded as they are: a BED file ('-' for standard input), loci CHROM:START-END (1-based,
        inclusive), or a data frame with columns chrom, start, end.
    genome : str, pathlib.Path or Genome, optional
        FASTA or .2bit that the intervals are of.
    per : str
        A key of `regzoo.options.PER`.
    layer : int, optional
        Layer to take, 0 for the token embedding. By default the last, with its norm.
    precision : str
        A key of `regzoo.options.PRECISIONS`.
    batch_size : int
        Sequences of 64 tokens in one pass; fewer of longer ones, more of shorter ones.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for a model given by name or path.
    output : str or pathlib.Path, optional
        Write .h5 (datasets name, chrom, start, end, embedding) or .parquet (the same as columns) instead of returning a
        table.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or int
        One row for each vector: columns name, chrom, start and end (0-based, half-open, on the contig) and embedding
        (arrays of float32, shape (hidden,)). With `output`, the number of sequences.

    Raises
    ------
    regzoo.RegzooError
        If an input, the model or the output is not usable, or a sequence is too short or has unknown bases only.
        Nothing is written then.

    Notes
    -----
    A sequence of more tokens than the model reads at once (its limit, or 512) is cut between tokens into pieces that
    are read one by one. For 'mean' and 'cls', the result is the mean of the pieces' vectors weighted by their number of
    tokens; for 'max', the largest value over the pieces.
    """
    check_choice("choice of vectors", per, PER)
    check_choice("precision", precision, PRECISIONS)
    check_at_least(1, batch_size=batch_size)
    if output is not None:
        check_suffix(output, (".h5", ".hdf5", ".parquet"), stdout=False)
        refuse_overwrite(output, [given for given in (inputs, genome) if isinstance(given, (str, Path))])
    regions, source = read_regions(inputs, genome)
    lm = load_language_model(model, device)
    check_regions(regions, lm.tokenizer, source)
    schema: Schema = {"name": str, "chrom": str, "start": int, "end": int, "embedding": Vector(lm.net.hidden)}
    total = sum(len(region.codes) for region in regions)
    about = {"model": name_of(model, lm), "per": per}
    table: Any
    with (
        open_table(output, schema, about) as table,
        tqdm(total=total, desc="embedding", unit=" bases", unit_scale=True, smoothing=0, disable=not progress) as bar,
    ):
        for group in _groups(regions):
            found = vectors_of(lm, [region.codes for region in group], per, layer, precision, batch_size, bar.update)
            table.write(_columns(group, found))
    return table.frame() if output is None else len(regions)


def name_of(model: Any, lm: LanguageModel) -> str:
    """What to call a language model that was given as `embed` takes it."""
    return str(getattr(model, "name", model) if isinstance(model, (str, Path, Model)) else lm.kind)


def _columns(regions, found):
    """Columns of the table, of the vectors of several sequences."""
    counts = [len(starts) for starts, _, _ in found]
    shift = np.repeat([region.start for region in regions], counts)
    starts, ends, vectors = (np.concatenate(parts) for parts in zip(*found))
    names, contigs = (np.repeat([getattr(r, key) for r in regions], counts) for key in ("name", "contig"))
    return {"name": names, "chrom": contigs, "start": starts + shift, "end": ends + shift, "embedding": vectors}


@torch.inference_mode()
def vectors_of(
    lm: LanguageModel,
    sequences: Sequence[np.ndarray],
    per: str = "mean",
    layer: int | None = None,
    precision: str = "float32",
    batch_size: int = 64,
    advance: Callable[[int], Any] | None = None,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Vectors of several sequences.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    sequences : list of numpy.ndarray, uint8
        Base codes.
    per, layer, precision, batch_size
        As of `embed`.
    advance : callable, optional
        Called with the number of bases that have been read, after each batch.

    Returns
    -------
    list of (starts, ends, vectors)
        numpy.ndarray, int64, shape (V,), twice, and float32, shape (V, hidden); V is 1 for a pooled vector.

    Notes
    -----
    Sequences that are too long are read in pieces; see `embed`.
    """
    pieces, owner, offset = _pieces(lm, sequences)
    found: list[Any] = [None] * len(pieces)
    with torch.autocast(next(lm.net.parameters()).device.type, torch.bfloat16, enabled=precision == "bf16"):
        for rows, tokens, hidden in encode_codes(
            lm.net, lm.tokenizer, pieces, layer=layer, tokens_per_batch=SEQUENCE_TOKENS * batch_size
        ):
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
    most = lm.net.limit or MOST_TOKENS
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
class Region:
    """A sequence with its place on a contig."""

    name: str
    contig: str
    start: int
    codes: np.ndarray


def read_regions(inputs: Any, genome: Any) -> tuple[list[Region], str]:
    """Sequences or intervals as of `embed`, and what to call their source in errors."""
    if genome is None:
        if isinstance(inputs, (list, tuple)) and all(isinstance(text, str) for text in inputs):
            rows = [encode_checked(text, f"sequence {i}") for i, text in enumerate(inputs)]
            return [Region(str(i), "", 0, one) for i, one in enumerate(rows)], "the sequences"
        fasta = as_genome(inputs)
        return [Region(name, name, 0, fasta.codes(name)) for name in fasta.contigs], str(fasta.path)
    opened, (intervals, source) = as_genome(genome), as_intervals(inputs)
    regions = []
    for i, (contig, start, end) in enumerate(zip(intervals.contigs.tolist(), intervals.starts, intervals.ends)):
        where = f"{source}, {intervals.unit} {intervals.lines[i]}"
        try:
            codes = opened.codes(contig)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if end > len(codes):
            raise InputError(f"{where}: {contig}:{start}-{end} reaches over the contig's end at {len(codes)}")
        named = intervals.unit == "line" and not intervals.columns[i]
        name = f"{contig}:{start}-{end}" if named else str(intervals.names[i])
        regions.append(Region(name, contig, int(start), codes[start:end]))
    return regions, source


def _groups(regions):
    """Lists of regions that are encoded together."""
    group: list[Region] = []
    bases = 0
    for region in regions:
        if group and (len(group) == GROUP or bases + len(region.codes) > _GROUP_BASES):
            yield group
            group, bases = [], 0
        group.append(region)
        bases += len(region.codes)
    yield group


def check_regions(regions: list[Region], tokenizer: Tokenizer, path: str) -> None:
    """Raise an InputError for a sequence that the tokenizer cannot read."""
    for region in regions:
        size = len(region.codes)
        if size < tokenizer.shortest:
            raise InputError(f"{path}: {region.name} has {size} bases, but a token needs {tokenizer.shortest}")
        if (region.codes == UNKNOWN).all():
            raise InputError(f"{path}: {region.name} has no base that is A, C, G, T or U")
