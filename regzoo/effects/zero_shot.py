"""Variant scores of masked language models without any training: what a model expects at a base that it cannot see."""

from dataclasses import dataclass

import numpy as np
import torch

from regzoo.effects.alleles import allele_windows, problem_with
from regzoo.errors import InputError
from regzoo.nets.sequence_model import in_batches
from regzoo.options import ZERO_SHOT, check_choice, distinct
from regzoo.sequence import Genome
from regzoo.sequence.codes import UNKNOWN
from regzoo.tokenizers import OverlappingKmers, SingleBases, SixMers

SMALLEST = 1e-14  # added to probabilities before a logarithm, as Vilov & Heinig do


@dataclass(frozen=True)
class ZeroShot:
    """What is computed for each variant.

    Attributes
    ----------
    scores : tuple of str
        Keys of `regzoo.options.ZERO_SHOT`.
    length : int
        Bases of the window that the model sees.
    around : int
        Bases on each side of the variant over which its influence is measured.
    batch_size : int
        Alleles scored together at the least; the machinery of `score_vcf` makes groups by it.
    """

    scores: tuple = ("p_ref", "llr")
    length: int = 512
    around: int = 10
    batch_size: int = 64
    normalise: bool = False

    def __post_init__(self):
        object.__setattr__(self, "scores", distinct(self.scores))
        for name in self.scores:
            check_choice("zero-shot score", name, ZERO_SHOT)
        if self.length <= 2 * self.around:
            raise InputError(f"a window of {self.length} bases does not hold {self.around} on each side of its variant")


@torch.inference_mode()
def base_log_probabilities(lm, codes, places):
    """log p of A, C, G and T at one place of each window, which the model does not see.

    A single base: its token is masked. A 6-mer: its token is masked, and p sums over the 6-mers that have the base there.
    Overlapping k-mers: all k that cover the base are masked, and the middle one is read likewise. BPE: the four
    alternatives are tokenised anew, the tokens that cover the base are masked, and p is proportional to the product of
    their probabilities.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    codes : numpy.ndarray, uint8, shape (N, L)
    places : numpy.ndarray, int, shape (N,)

    Returns
    -------
    numpy.ndarray, float64, shape (N, 4)
        Normalised over the four bases.
    """
    tokenizer, rows = lm.tokenizer, np.arange(len(codes))
    if not isinstance(tokenizer, (SingleBases, SixMers, OverlappingKmers)):
        four = np.repeat(codes, 4, axis=0)
        four[np.arange(len(four)), np.repeat(places, 4)] = np.tile(np.arange(4, dtype=np.uint8), len(codes))
        return _normalised(_sum_of_covering(lm, four, np.repeat(places, 4), np.repeat(places, 4) + 1).reshape(-1, 4))
    tokens = tokenizer.encode(codes)
    covering = (tokens.starts <= places[:, None]) & (places[:, None] < tokens.ends)
    ids = np.where(covering, tokenizer.mask, tokens.ids)
    # Of several tokens that cover the base, the middle one.
    count = covering.sum(axis=1)
    read = covering.argmax(axis=1) + (count - 1) // 2
    log_p = _at(lm.net, ids, tokens.mask, rows, read)
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


def _at(net, ids, mask, rows, places):
    """log p over the vocabulary at one token of each row, in batches by token count, float32."""
    result, lengths = np.empty((len(rows), len(_vocabulary(net))), dtype=np.float32), mask.sum(axis=1)
    for group in in_batches(lengths):
        for same in _of_one_length(net, group, lengths):
            width = int(lengths[same].max())
            hidden = net.encode(torch.from_numpy(ids[same, :width]), torch.from_numpy(mask[same, :width]))
            chosen = hidden[torch.arange(len(same)), torch.from_numpy(places[same])]
            result[same] = net.logits(chosen).float().log_softmax(-1).numpy()
    return result


def _of_one_length(net, rows, lengths):
    """A state-space model takes rows of one length only."""
    if hasattr(net, "config"):
        return [rows]
    return [rows[lengths[rows] == n] for n in np.unique(lengths[rows])]


def _vocabulary(net):
    return range(net.config.vocabulary if hasattr(net, "config") else net.words.num_embeddings)


def _sum_of_covering(lm, codes, starts, ends):
    """Sum of log p of the tokens that cover bases [start, end) of each row, all of them masked, float64, (N,)."""
    tokens = lm.tokenizer.encode(codes)
    covering = (tokens.starts < ends[:, None]) & (tokens.ends > starts[:, None])
    ids, lengths = np.where(covering, lm.tokenizer.mask, tokens.ids), tokens.lengths
    result = np.zeros(len(codes))
    for group in in_batches(lengths):
        for same in _of_one_length(lm.net, group, lengths):
            width = int(lengths[same].max())
            part, mask = covering[same, :width], tokens.mask[same, :width]
            hidden = lm.net.encode(torch.from_numpy(ids[same, :width]), torch.from_numpy(mask))
            log_p = lm.net.logits(hidden[torch.from_numpy(part)]).float().log_softmax(-1).numpy()
            values = log_p[np.arange(len(log_p)), tokens.ids[same, :width][part]]
            np.add.at(result, same[np.nonzero(part)[0]], values)
    return result


def _logsumexp(values):
    top = values.max(axis=1, keepdims=True)
    return np.log(np.exp(values.astype(np.float64) - top).sum(axis=1)) + top[:, 0]


def _normalised(log_p):
    return log_p - _logsumexp(log_p)[:, None]


@torch.inference_mode()
def allele_log_likelihood(lm, codes, starts, ends):
    """log p of bases [start, end) of each window, which the model does not see.

    All tokens that cover them are masked at once and their log probabilities summed; with overlapping k-mers, whose tokens
    tell of each other, the bases are hidden one by one and theirs are summed.

    Parameters
    ----------
    lm : regzoo.nets.language_models.LanguageModel
    codes : numpy.ndarray, uint8, shape (N, L)
    starts, ends : numpy.ndarray, int, shape (N,)

    Returns
    -------
    numpy.ndarray, float64, shape (N,)
    """
    if not isinstance(lm.tokenizer, OverlappingKmers):
        return _sum_of_covering(lm, codes, starts, ends)
    widths = ends - starts
    rows = np.repeat(np.arange(len(codes)), widths)
    places = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends)])
    bases = codes[rows, places]
    log_p = base_log_probabilities(lm, codes[rows], places)
    values = np.where(bases < UNKNOWN, log_p[np.arange(len(rows)), np.minimum(bases, 3)], np.log(0.25))
    return np.bincount(rows, values, minlength=len(codes))


def _meaningful(allele):
    """Scores that have a meaning for an allele."""
    if len(allele.ref) == len(allele.alt) == 1 and allele.ref != "N":
        return tuple(ZERO_SHOT)
    return () if "N" in allele.ref else ("llr",)


class ZeroShotScorer:
    """Scores of alleles, in the place of `regzoo.effects.scoring.Scorer`.

    Parameters
    ----------
    fasta : str or pathlib.Path
    lm : regzoo.nets.language_models.LanguageModel
    options : ZeroShot

    Attributes
    ----------
    groups : dict of str to list of str
        One table, 'zero_shot', whose columns are the scores.
    named : dict
        Empty; see `regzoo.effects.scoring.Scorer`.
    strands : None
    """

    def __init__(self, fasta, lm, options):
        self.genome, self.lm, self.options = Genome(fasta), lm, options
        self.groups, self.named, self.strands = {"zero_shot": list(options.scores)}, {}, None

    def problem(self, allele):
        """Why an allele cannot be scored, or '' when it can."""
        return problem_with(allele, self.genome, self.options.length)

    def unscored(self, alleles, tables):
        """Why an allele has no score although it was computed, '' where it has; list of length N."""
        table, scores = tables["zero_shot"], self.options.scores
        reasons = []
        for allele, row in zip(alleles, table):
            means = _meaningful(allele)
            wanted = [value for name, value in zip(scores, row) if name in means]
            reasons.append(
                "none of the scores is defined for this allele" if not wanted
                else "" if np.isfinite(wanted).all() else "prediction is not a finite number"
            )  # fmt: skip
        return reasons

    def __call__(self, alleles):
        """Scores of alleles without a problem, {'zero_shot': float32, shape (N, scores)}; NaN where one has no meaning.

        The probability of a base and the influence are of single-base variants; the log-likelihood ratio is of any whose
        REF has no N, of an insertion or deletion over the bases that change and one base after them.
        """
        ref, alt, places = allele_windows(alleles, self.genome, self.options.length)
        first = np.array([a.pos - 1 for a in alleles], dtype=np.int64) - places[:, 1]
        functions = {"p_ref": self._p_ref, "llr": self._llr, "vis_mean": self._influence, "vis_max": self._influence}
        table = np.full((len(alleles), len(self.options.scores)), np.nan)
        for column, name in enumerate(self.options.scores):
            chosen = np.flatnonzero([name in _meaningful(a) for a in alleles])
            if len(chosen):
                part = [alleles[i] for i in chosen]
                table[chosen, column] = functions[name](name, part, ref[chosen], alt[chosen], first[chosen])
        return {"zero_shot": table.astype(np.float32)}

    def _p_ref(self, name, alleles, ref, alt, first):
        log_p = base_log_probabilities(self.lm, ref, first)
        rows = np.arange(len(ref))
        return np.exp(log_p[rows, ref[rows, first]])

    def _llr(self, name, alleles, ref, alt, first):
        single = np.array([len(a.ref) == len(a.alt) == 1 for a in alleles])
        result = np.empty(len(alleles))
        rows = np.flatnonzero(single)
        if len(rows):
            log_p = base_log_probabilities(self.lm, ref[rows], first[rows])
            own, other = (side[rows, first[rows]] for side in (ref, alt))
            at = np.arange(len(rows))
            result[rows] = log_p[at, other] - log_p[at, own]
        for rows in np.flatnonzero(~single)[:, None]:
            allele, more = alleles[rows[0]], len(alleles[rows[0]].ref) != len(alleles[rows[0]].alt)
            sides = []
            for side, letters in ((ref, allele.ref), (alt, allele.alt)):
                end = np.minimum(first[rows] + len(letters) + more, side.shape[1])
                sides.append(allele_log_likelihood(self.lm, side[rows], first[rows], end)[0])
            result[rows] = sides[1] - sides[0]
        return result

    def _influence(self, name, alleles, ref, alt, first):
        """Mean or largest, over the bases around the variant, of the largest absolute change of a base's log2 odds."""
        around, length = self.options.around, ref.shape[1]
        shifts = np.array([s for s in range(-around, around + 1) if s])
        places = first[:, None] + shifts
        inside = (places >= 0) & (places < length)
        rows = np.repeat(np.arange(len(ref)), len(shifts))[inside.ravel()]
        odds = []
        for side in (ref, alt):
            p = np.exp(base_log_probabilities(self.lm, side[rows], places[inside]))
            odds.append(np.log2(p + SMALLEST) - np.log2(1 - p + SMALLEST))
        change = np.full(places.shape, np.nan)
        change[inside] = np.abs(odds[1] - odds[0]).max(axis=1)
        return np.nanmean(change, axis=1) if name == "vis_mean" else np.nanmax(change, axis=1)


def per_base_probabilities(lm, codes, batch=512):
    """Probability of A, C, G and T at every base of one sequence, each hidden in turn; float64, shape (L, 4)."""
    parts = []
    for start in range(0, len(codes), batch):
        places = np.arange(start, min(start + batch, len(codes)))
        parts.append(np.exp(base_log_probabilities(lm, np.repeat(codes[None], len(places), axis=0), places)))
    return np.concatenate(parts)
