"""Variant scores of masked language models without any training: what a model expects at a base that it cannot see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from regzoo.effects.scoring import FLAGS
from regzoo.effects.strands import Strands
from regzoo.effects.windows import allele_windows, check_alleles, contig_numbers, unknown_bases
from regzoo.errors import InputError
from regzoo.nets.language_models import LanguageModel
from regzoo.nets.sequence_model import SEQUENCE_TOKENS, TOKENS, in_batches
from regzoo.options import ZERO_SHOT, check_at_least, check_choice, distinct
from regzoo.sequence import Alleles, Genome
from regzoo.sequence.alleles import Status, all_of
from regzoo.sequence.codes import UNKNOWN
from regzoo.sequence.genome import as_genome
from regzoo.tokenizers import OverlappingKmers, SingleBases, SixMers

SMALLEST = 1e-14  # added to probabilities before a logarithm, as Vilov & Heinig do


@dataclass(frozen=True)
class ZeroShot:
    """What is computed for each variant.

    Attributes
    ----------
    scores : sequence of str
        Keys of `regzoo.options.ZERO_SHOT`.
    length : int
        Bases of the window that the model reads.
    around : int
        Bases on each side of the variant over which its influence is measured.
    batch_size : int
        Windows of 64 tokens in one pass; fewer of longer ones, more of shorter ones.

    Raises
    ------
    InputError
        If there is no such score, or the window is too short.
    """

    scores: Sequence[str] = ("p_ref", "llr")
    length: int = 512
    around: int = 10
    batch_size: int = 64

    def __post_init__(self):
        if isinstance(self.scores, str):
            raise InputError(f"scores: expected a list, got the string {self.scores!r}")
        object.__setattr__(self, "scores", distinct(self.scores))
        if not self.scores:
            raise InputError(f"no score is given; there are {', '.join(ZERO_SHOT)}")
        for name in self.scores:
            check_choice("zero-shot score", name, ZERO_SHOT)
        check_at_least(1, batch_size=self.batch_size)
        if self.length <= 2 * self.around:
            raise InputError(f"a window of {self.length} bases does not hold {self.around} on each side of its variant")


@torch.inference_mode()
def base_log_probabilities(
    lm: LanguageModel, codes: np.ndarray, places: np.ndarray, tokens_per_batch: int = TOKENS
) -> np.ndarray:
    """Log p of A, C, G and T at one place of each window, which the model does not see.

    A single base: its token is masked. A 6-mer: its token is masked, and p sums over the 6-mers that have the base
    there. Overlapping k-mers: all k that cover the base are masked, and the middle one is read likewise. BPE: the four
    alternatives are tokenised anew, the tokens that cover the base are masked, and p is proportional to the product of
    their probabilities.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    codes : numpy.ndarray, uint8, shape (N, L)
    places : numpy.ndarray, int, shape (N,)
    tokens_per_batch : int

    Returns
    -------
    numpy.ndarray, float64, shape (N, 4)
        Normalised over the four bases.
    """
    tokenizer, rows = lm.tokenizer, np.arange(len(codes))
    if not isinstance(tokenizer, (SingleBases, SixMers, OverlappingKmers)):
        four = np.repeat(codes, 4, axis=0)
        four[np.arange(len(four)), np.repeat(places, 4)] = np.tile(np.arange(4, dtype=np.uint8), len(codes))
        at = np.repeat(places, 4)
        return _normalised(_sum_of_covering(lm, four, at, at + 1, tokens_per_batch).reshape(-1, 4))
    tokens = tokenizer.encode(codes)
    covering = (tokens.starts <= places[:, None]) & (places[:, None] < tokens.ends)
    ids = np.where(covering, tokenizer.mask, tokens.ids)
    # Of several tokens that cover the base, the middle one.
    count = covering.sum(axis=1)
    read = covering.argmax(axis=1) + (count - 1) // 2
    log_p = _at(lm.net, ids, tokens.mask, rows, read, tokens_per_batch)
    offset = places - tokens.starts[rows, read]
    letters = _letters(tokenizer)
    result = np.empty((len(codes), 4))
    for at in np.unique(offset):
        chosen = offset == at
        for base in range(4):
            result[chosen, base] = _logsumexp(log_p[chosen][:, letters[:, at] == base])
    return _normalised(result)


def _letters(tokenizer):
    """Base code of each letter of each token, (vocabulary, longest); 4 for other tokens and beyond a token's end."""
    words = [word if set(word) <= set("ACGT") else "" for word in tokenizer.vocabulary]
    table = np.full((len(words), max(map(len, words))), UNKNOWN, dtype=np.uint8)
    for row, word in enumerate(words):
        table[row, : len(word)] = ["ACGT".index(letter) for letter in word]
    return table


def _at(net, ids, mask, rows, places, tokens_per_batch):
    """Log p over the vocabulary at one token of each row, in batches by token count, float32."""
    result, lengths = np.empty((len(rows), net.vocabulary), dtype=np.float32), mask.sum(axis=1)
    for group in in_batches(lengths, tokens_per_batch):
        for same in _of_one_length(net, group, lengths):
            width = int(lengths[same].max())
            hidden = _encoded(net, ids[same, :width], mask[same, :width])
            chosen = hidden[torch.arange(len(same)), torch.from_numpy(places[same])]
            result[same] = _log_probabilities(net, chosen)
    return result


def _encoded(net, ids, mask):
    """Hidden vectors of tokens, on the network's device."""
    device = next(net.parameters()).device
    return net.encode(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))


def _log_probabilities(net, hidden):
    """Log p over the vocabulary, numpy.ndarray, float32."""
    return net.logits(hidden).float().log_softmax(-1).cpu().numpy()


def _of_one_length(net, rows, lengths):
    """A state-space model takes rows of one length only."""
    if net.accepts_padding:
        return [rows]
    return [rows[lengths[rows] == n] for n in np.unique(lengths[rows])]


def _sum_of_covering(lm, codes, starts, ends, tokens_per_batch):
    """Sum of log p of the tokens that cover bases [start, end) of each row, all of them masked, float64, (N,)."""
    tokens = lm.tokenizer.encode(codes)
    covering = (tokens.starts < ends[:, None]) & (tokens.ends > starts[:, None])
    ids, lengths = np.where(covering, lm.tokenizer.mask, tokens.ids), tokens.lengths
    result = np.zeros(len(codes))
    for group in in_batches(lengths, tokens_per_batch):
        for same in _of_one_length(lm.net, group, lengths):
            width = int(lengths[same].max())
            part, mask = covering[same, :width], tokens.mask[same, :width]
            hidden = _encoded(lm.net, ids[same, :width], mask)
            log_p = _log_probabilities(lm.net, hidden[torch.from_numpy(part)])
            values = log_p[np.arange(len(log_p)), tokens.ids[same, :width][part]]
            np.add.at(result, same[np.nonzero(part)[0]], values)
    return result


def _logsumexp(values):
    top = values.max(axis=1, keepdims=True)
    return np.log(np.exp(values.astype(np.float64) - top).sum(axis=1)) + top[:, 0]


def _normalised(log_p):
    return log_p - _logsumexp(log_p)[:, None]


@torch.inference_mode()
def allele_log_likelihood(
    lm: LanguageModel, codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, tokens_per_batch: int = TOKENS
) -> np.ndarray:
    """Log p of bases [start, end) of each window, which the model does not see.

    All tokens that cover them are masked at once and their log probabilities summed; with overlapping k-mers, whose
    tokens tell of each other, the bases are hidden one by one and theirs are summed.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    codes : numpy.ndarray, uint8, shape (N, L)
    starts, ends : numpy.ndarray, int, shape (N,)
    tokens_per_batch : int

    Returns
    -------
    numpy.ndarray, float64, shape (N,)
    """
    if not isinstance(lm.tokenizer, OverlappingKmers):
        return _sum_of_covering(lm, codes, starts, ends, tokens_per_batch)
    widths = ends - starts
    rows = np.repeat(np.arange(len(codes)), widths)
    places = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends)])
    bases = codes[rows, places]
    log_p = base_log_probabilities(lm, codes[rows], places, tokens_per_batch)
    values = np.where(bases < UNKNOWN, log_p[np.arange(len(rows)), np.minimum(bases, 3)], np.log(0.25))
    return np.bincount(rows, values, minlength=len(codes))


class ZeroShotScorer:
    """Scores of alleles by a masked language model; a `regzoo.effects.scoring.AlleleScorer`.

    Parameters
    ----------
    genome : str, pathlib.Path or regzoo.sequence.Genome
    lm : regzoo.nets.language_models.LanguageModel
    options : ZeroShot

    Attributes
    ----------
    groups : dict of str to list of str
        One table, 'zero_shot', whose columns are the scores.
    """

    def __init__(self, genome: str | Path | Genome, lm: LanguageModel, options: ZeroShot):
        self.genome, self.lm, self.options = as_genome(genome), lm, options
        self.tokens = SEQUENCE_TOKENS * options.batch_size
        self.batch_size, self.normalise = 0, False
        self.groups: dict[str, list[str]] = {"zero_shot": list(options.scores)}
        self.named: dict[str, list[str]] = {}
        self.strands: Strands | None = None

    def check(self, alleles: Alleles) -> np.ndarray:
        """See `AlleleScorer`."""
        return check_alleles(alleles, self.genome, self.options.length)

    def check_scores(self, alleles: Alleles, tables: dict[str, np.ndarray]) -> np.ndarray:
        """See `AlleleScorer`: alleles without a defined score, and scores that are not finite."""
        defined = np.stack([self._defined(alleles, name) for name in self.options.scores], axis=1)
        finite = (np.isfinite(tables["zero_shot"]) | ~defined).all(axis=1)
        status = np.where(finite, Status.SCORED, Status.NOT_FINITE)
        return np.where(defined.any(axis=1), status, Status.NOT_DEFINED).astype(np.uint8)

    @staticmethod
    def _defined(alleles, name):
        """Whether a score is defined, bool, shape (N,): REF has no N, and for scores other than llr one base."""
        known = all_of(alleles.codes < UNKNOWN, alleles.ref_start, alleles.ref_length)
        return known if name == "llr" else known & alleles.single

    def __call__(self, alleles: Alleles) -> dict[str, np.ndarray]:
        """See `AlleleScorer`. Scores are NaN where they are not defined.

        The probability of a base and the influence are defined for single-base variants. The log-likelihood ratio is
        defined for all whose REF has no N; for insertions and deletions it is over the bases that change and one base
        after them.
        """
        ref, alt, places = allele_windows(alleles, self.genome, self.options.length)
        first = alleles.start - places[:, 1]
        table = np.full((len(alleles), len(self.options.scores)), np.nan)
        wanted = set(self.options.scores)
        rows = np.flatnonzero(self._defined(alleles, "p_ref"))
        columns = {name: table[:, i] for i, name in enumerate(self.options.scores)}
        if len(rows) and wanted & {"p_ref", "llr"}:
            log_p = base_log_probabilities(self.lm, ref[rows], first[rows], self.tokens)
            own, other = (log_p[np.arange(len(rows)), side[rows, first[rows]]] for side in (ref, alt))
            for name, values in (("p_ref", np.exp(own)), ("llr", other - own)):
                if name in wanted:
                    columns[name][rows] = values
        if len(rows) and wanted & {"vis_mean", "vis_max"}:
            change = self._influence(ref[rows], alt[rows], first[rows])
            for name, summary in (("vis_mean", np.nanmean), ("vis_max", np.nanmax)):
                if name in wanted:
                    columns[name][rows] = summary(change, axis=1)
        if "llr" in wanted:
            rows = np.flatnonzero(self._defined(alleles, "llr") & ~alleles.single)
            columns["llr"][rows] = self._ratio(alleles.take(rows), ref[rows], alt[rows], first[rows])
        flags = unknown_bases(ref, contig_numbers(alleles, self.genome), places[:, 1], self.genome)
        return {"zero_shot": table.astype(np.float32)} | dict(zip(FLAGS, flags))

    def _ratio(self, alleles, ref, alt, first):
        """Log-likelihood ratios of alleles of several bases, float64, shape (N,)."""
        if not len(alleles):
            return np.empty(0)
        more = (alleles.ref_length != alleles.alt_length).astype(np.int64)
        sides = [
            allele_log_likelihood(self.lm, side, first, np.minimum(first + length + more, side.shape[1]), self.tokens)
            for side, length in ((ref, alleles.ref_length), (alt, alleles.alt_length))
        ]
        return sides[1] - sides[0]

    def _influence(self, ref, alt, first):
        """Largest absolute change of a base's log2 odds at each place around a variant, float64, shape (N, 2 x around).

        NaN where a place is outside the window.
        """
        around, length = self.options.around, ref.shape[1]
        shifts = np.array([s for s in range(-around, around + 1) if s])
        places = first[:, None] + shifts
        inside = (places >= 0) & (places < length)
        rows = np.repeat(np.arange(len(ref)), len(shifts))[inside.ravel()]
        odds = []
        for side in (ref, alt):
            p = np.exp(base_log_probabilities(self.lm, side[rows], places[inside], self.tokens))
            odds.append(np.log2(p + SMALLEST) - np.log2(1 - p + SMALLEST))
        change = np.full(places.shape, np.nan)
        change[inside] = np.abs(odds[1] - odds[0]).max(axis=1)
        return change
