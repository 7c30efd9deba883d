"""Attention of a language model, base by base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from regzoo.embedding import Region, check_regions, name_of, read_regions
from regzoo.errors import InputError, ModelError, OutputError
from regzoo.explanation import Explanation
from regzoo.explanation_files import OUTPUTS, check_outputs, write_explanations
from regzoo.nets.language_models import LanguageModel
from regzoo.nets.sequence_model import SEQUENCE_TOKENS, in_batches
from regzoo.nets.transformer import Encoder, MaskedLM
from regzoo.options import check_at_least, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix
from regzoo.sequence.genome import as_genome
from regzoo.tokenizers import per_base
from regzoo.zoo import load_language_model

NAME = "attention"  # in place of a target's name
#: Most tokens of a sequence, for models without a limit of their own: the matrices of one layer with 12 heads then take
#: 200 MB.
MOST_TOKENS = 2048
_GROUP = 256  # sequences between two writes


def attention(
    model: Any,
    inputs: Any,
    genome: Any = None,
    *,
    layers: Sequence[int] = (),
    heads: Sequence[int] = (),
    rollout: bool = False,
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> list[Explanation] | int:
    """How much a language model's first token attends to each base.

    Parameters
    ----------
    model : str, pathlib.Path, Model or LanguageModel
        A transformer: a language model, or a model fine-tuned from one.
    inputs : str, pathlib.Path, list of str, or pandas.DataFrame
        Sequences, or with `genome` intervals, as of `regzoo.embed`.
    genome : str, pathlib.Path or Genome, optional
        FASTA or .2bit that the intervals are of.
    layers : sequence of int
        Layers to average, from 1; negative numbers count from the last. By default the last, as in DNABERT.
    heads : sequence of int
        Heads to average, from 1; all by default.
    rollout : bool
        Attention rollout (Abnar & Zuidema 2020) instead of the attention of single layers: the product over all layers
        of (A + I) / 2, where A is the mean over heads.
    batch_size : int
        Sequences of 64 tokens in one pass; fewer of longer ones, more of shorter ones.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for a model given by name or path.
    output : str, pathlib.Path, or a list of them, optional
        Write files instead of returning data: .h5, .tsv, .tsv.gz or .parquet (one row for each base), .bw (the mean
        where sequences overlap), or for one sequence .png, .svg or .pdf.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    list of Explanation, or int
        One for each sequence, with a single target called 'attention'; `contributions` are the attention of each base.
        `hypothetical`, `prediction` and `baseline` are NaN. With `output`, the number of sequences.

    Raises
    ------
    regzoo.RegzooError
        If an input, an option or an output is not valid, the model has no attention, or a sequence has more tokens than
        the model reads. Nothing is written then.

    Notes
    -----
    Each base has the attention of its token. A base that several tokens cover, as with overlapping k-mers, has their
    mean (Ji et al. 2021). Attention to special tokens is left out, so that the sum over tokens is below 1.

    Attention shows what a model reads, not in which direction it changes the prediction: see `regzoo.explain`.
    """
    check_at_least(1, batch_size=batch_size)
    outputs = [] if output is None else list(distinct(output if isinstance(output, (list, tuple)) else [output]))
    for path in outputs:
        if check_suffix(path, OUTPUTS, stdout=False) == ".npz":
            raise OutputError(f"{path}: attention has no hypothetical contributions; use .h5, .tsv or .parquet")
        refuse_overwrite(path, [given for given in (inputs, genome) if isinstance(given, (str, Path))])
    regions, source = read_regions(inputs, genome)
    check_outputs(outputs, len(regions), 1)
    opened = as_genome(inputs if genome is None else genome) if any(str(p).endswith(".bw") for p in outputs) else None
    lm = load_language_model(model, device)
    check_regions(regions, lm.tokenizer, source)
    encoder = _encoder(lm, name_of(model, lm))
    chosen = _chosen("layer", layers, len(encoder.layers), [len(encoder.layers)])
    use = _chosen("head", heads, encoder.config.heads, range(1, encoder.config.heads + 1))
    if rollout and layers:
        raise InputError("rollout multiplies all layers: give either rollout or layers")
    read = _Reader(lm, encoder, None if rollout else chosen, use, SEQUENCE_TOKENS * batch_size)
    read.check(regions, source)
    found = _explanations(read, regions, name_of(model, lm), progress)
    if outputs:
        write_explanations(outputs, found, [NAME], opened)
        return len(regions)
    return list(found)


def _encoder(lm: LanguageModel, name: str) -> Encoder:
    if not isinstance(lm.net, MaskedLM):
        raise ModelError(f"{name} has no attention: it is not a transformer")
    if lm.tokenizer.cls is None:
        raise ModelError(f"{name}: its sequences have no first token whose attention could be read")
    return lm.net.encoder


def _chosen(what, given, count, default):
    """Indices, from 0, of layers or heads that are numbered from 1."""
    numbers = distinct(given) or default
    for number in numbers:
        if not (isinstance(number, (int, np.integer)) and 1 <= abs(number) <= count):
            raise InputError(f"no {what} {number!r}; this model has {what}s 1 to {count}")
    return sorted({int(number) - 1 if number > 0 else count + int(number) for number in numbers})


class _Reader:
    """Reads the attention of each base of sequences."""

    def __init__(self, lm: LanguageModel, encoder: Encoder, layers: list[int] | None, heads: list[int], tokens: int):
        self.lm, self.encoder, self.layers, self.heads, self.tokens = lm, encoder, layers, heads, tokens

    def check(self, regions: list[Region], source: str) -> None:
        """Raise an InputError for a sequence of more tokens than can be read at once."""
        most = self.lm.net.limit or MOST_TOKENS
        for start in range(0, len(regions), _GROUP):
            group = regions[start : start + _GROUP]
            counts = self.lm.tokenizer.encode([region.codes for region in group]).lengths
            for region, count in zip(group, counts):
                if count > most:
                    raise InputError(
                        f"{source}: {region.name} has {count} tokens, and attention is read of at most {most} at once; "
                        "cut it into pieces"
                    )

    @torch.inference_mode()
    def __call__(self, sequences: list[np.ndarray]) -> list[np.ndarray]:
        """Attention of each base, float64, shape (L,), of each sequence."""
        tokens = self.lm.tokenizer.encode(sequences)
        counts = tokens.lengths
        result: list[Any] = [None] * len(sequences)
        for batch in in_batches(counts, self.tokens):
            for count in np.unique(counts[batch]):
                rows = batch[counts[batch] == count]
                part = tokens.rows(rows)
                ids = torch.from_numpy(part.ids).to(self.encoder.words.weight.device)
                scores = self._of_first(ids).float().cpu().numpy()
                for i, row in enumerate(rows.tolist()):
                    result[row] = per_base(part.rows([i]), scores[i : i + 1], len(sequences[row]), empty=0)[0]
        return result

    def _of_first(self, ids: torch.Tensor) -> torch.Tensor:
        """Attention of the first token to each token, shape (N, T)."""
        if self.layers is None:
            total = torch.eye(ids.shape[1], device=ids.device).expand(len(ids), -1, -1)
            for found in self.encoder.attentions(ids):
                total = (found[:, self.heads].mean(1) @ total + total) / 2
            return total[:, 0]
        parts = []
        for number, found in enumerate(self.encoder.attentions(ids)):
            if number in self.layers:
                parts.append(found[:, self.heads, 0].mean(1))
            if number == max(self.layers):
                break
        return torch.stack(parts).mean(0)


def _explanations(read: _Reader, regions: list[Region], model: str, progress: bool) -> Iterator[Explanation]:
    method = "attention rollout" if read.layers is None else "attention"
    nothing = np.full(1, np.nan, dtype=np.float32)
    with tqdm(total=len(regions), desc="reading attention", unit=" sequences", disable=not progress) as bar:
        for start in range(0, len(regions), _GROUP):
            group = regions[start : start + _GROUP]
            for region, values in zip(group, read([region.codes for region in group])):
                yield Explanation(
                    region.contig,
                    region.start,
                    region.name,
                    region.codes,
                    values[:, None].astype(np.float32),
                    np.full((len(values), 4, 1), np.nan, dtype=np.float32),
                    nothing,
                    nothing,
                    [NAME],
                    method,
                    model,
                )
                bar.update()
