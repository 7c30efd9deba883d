"""Marginalisation: the mean effect of a motif, or of two at a distance, inserted into background sequences."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import t as student

from regzoo.effects.motif_changes import read_motifs
from regzoo.errors import InputError
from regzoo.explanation_windows import explained_windows
from regzoo.model import Model
from regzoo.motif_finding.motif import Motif
from regzoo.options import check_at_least
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix, open_table
from regzoo.sequence.codes import UNKNOWN, reverse_complement
from regzoo.sequence.genome import as_genome
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.zoo import load_model

_IUPAC = {
    **{base: base for base in "ACGT"},
    **{"U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
_CLIP = 1e-7  # probabilities are clipped before the logit
LEVEL = 0.95


def marginalise(
    model: Any,
    motif: Any,
    inputs: Any = None,
    genome: Any = None,
    *,
    second: Any = None,
    distances: Sequence[int] = (),
    targets: Sequence[str] = (),
    position: int | None = None,
    count: int = 100,
    shuffle: bool = True,
    seed: int = 0,
    device: str = "auto",
    output: str | Path | None = None,
) -> pd.DataFrame | int:
    """Insert a motif into background sequences and measure the mean change of each prediction.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    motif : str, Motif, numpy.ndarray, or 'FILE.meme:NAME'
        A sequence, also with IUPAC letters; a motif; a matrix of probabilities, shape (W, 4); or a motif of a MEME
        file. Ambiguous positions are drawn anew for each sequence.
    inputs : as of `regzoo.explain`, optional
        Background sequences. By default random ones, with equal frequencies of the bases.
    genome : str, pathlib.Path or Genome, optional
        For background intervals.
    second : as `motif`, optional
        A second motif, inserted with the first.
    distances : sequence of int
        Bases between the end of the first motif and the start of the second; needed with `second`.
    targets : sequence of str
        All by default.
    position : int, optional
        0-based position of the first base of the motif (with `second`: of the pair) in the window. By default it is
        centred.
    count : int
        Background sequences: of the inputs, the first ones, repeated if there are fewer and they are shuffled.
    shuffle : bool
        Shuffle the dinucleotides of the inputs.
    seed : int
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for a model given by name or path.
    output : str or pathlib.Path, optional
        Write .tsv, .tsv.gz or .parquet instead of returning the table.

    Returns
    -------
    pandas.DataFrame or int
        One row for each target: target, before and after (mean prediction), effect (mean change of the log odds, or of
        the value), low and high (95% t-interval of the effect over sequences), n. With `second` one row for each
        distance, relative orientation (++, +-, -+, --) and target, with effect of both, first, second (effects of each
        alone at its place) and interaction: both minus the sum of the two, with its interval low to high. With
        `output`, the number of rows.

    Raises
    ------
    regzoo.RegzooError
        If an input or option is not valid, or the motifs do not fit into the window.
    """
    check_at_least(2, count=count)
    check_at_least(0, seed=seed)
    if output is not None:
        check_suffix(output, (".tsv", ".tsv.gz", ".parquet"), stdout=False)
        refuse_overwrite(output, [one for one in (inputs, genome) if isinstance(one, (str, Path))])
    if (second is None) == bool(len(distances)):
        raise InputError("give `second` and `distances` together")
    loaded, rng = load_model(model, device), np.random.default_rng(seed)
    columns = loaded.columns(targets)
    before = _background(loaded, inputs, genome, count, shuffle, rng)
    first = _drawn(as_matrix(motif), len(before), rng)
    if second is None:
        table = _single(loaded, columns, before, first, position)
    else:
        other = _drawn(as_matrix(second), len(before), rng)
        table = _pairs(loaded, columns, before, first, other, distances, position)
    if output is None:
        return table
    kinds = {"O": str, "f": float, "i": int}
    with open_table(output, {name: kinds.get(table[name].dtype.kind, str) for name in table}) as writer:
        writer.write({name: table[name].tolist() for name in table})
    return len(table)


def as_matrix(motif: Any) -> np.ndarray:
    """Probabilities of A, C, G, T of a motif given as `marginalise` takes it, float64, shape (W, 4).

    Raises
    ------
    InputError
        If it is none.
    """
    if isinstance(motif, Motif):
        return motif.pwm
    if isinstance(motif, np.ndarray):
        if motif.ndim != 2 or motif.shape[1] != 4 or not np.allclose(motif.sum(axis=1), 1, atol=1e-3):
            raise InputError(f"motif: expected probabilities of shape (W, 4), got an array of shape {motif.shape}")
        return motif / motif.sum(axis=1, keepdims=True)
    text = str(motif)
    path, _, name = text.rpartition(":")
    if path:
        known = read_motifs(path)
        if name not in known:
            raise InputError(f"{path}: no motif {name!r}; it has {', '.join(list(known)[:5])}")
        return known[name].T / known[name].T.sum(axis=1, keepdims=True)
    wrong = [letter for letter in text.upper() if letter not in _IUPAC]
    if wrong or not text:
        raise InputError(f"motif {text!r}: {wrong[0]!r} is not a base" if wrong else "motif: the sequence is empty")
    rows = np.array([[base in _IUPAC[letter] for base in "ACGT"] for letter in text.upper()], dtype=float)
    return rows / rows.sum(axis=1, keepdims=True)


def _drawn(matrix, count, rng):
    """Base codes of `count` sequences drawn from a matrix, uint8, shape (count, W)."""
    limits = np.cumsum(matrix, axis=1)[None, :, :3]
    return (rng.random((count, len(matrix), 1)) > limits).sum(axis=2).astype(np.uint8)


def _background(model: Model, inputs, genome, count, shuffle, rng):
    if inputs is None:
        return rng.integers(0, 4, (count, model.input_length)).astype(np.uint8)
    opened = None if genome is None else as_genome(genome)
    windows = explained_windows(inputs, opened, model, None)
    codes = np.stack([reverse_complement(one.codes) if one.minus else one.codes for one in windows])
    if not shuffle:
        return codes[:count]
    known = codes[(codes < UNKNOWN).all(axis=1)]
    if not len(known):
        raise InputError("all background sequences have unknown bases, which cannot be shuffled")
    return shuffled_dinucleotides(known[np.arange(count) % len(known)], rng)


def _place(length, width, position):
    start = (length - width) // 2 if position is None else position
    if not 0 <= start <= length - width:
        raise InputError(f"a motif of {width} bases at position {start} does not fit into a window of {length}")
    return start


def _with(codes, *parts):
    """Sequences with motifs, (bases, start), in place."""
    result = codes.copy()
    for bases, start in parts:
        result[:, start : start + bases.shape[1]] = bases
    return result


def _values(model, columns, codes):
    """Predictions and the scale that effects are on (log odds or values), float64, shape (N, targets)."""
    found = model.predict(codes).astype(float)
    found = (found.mean(axis=2) if found.ndim == 3 else found)[:, columns]
    return found, logit(np.clip(found, _CLIP, 1 - _CLIP)) if model.outputs == "probabilities" else found


def _interval(values):
    """Mean of each column, and its t-interval."""
    mean, n = values.mean(axis=0), len(values)
    half = student.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def _single(model, columns, before, bases, position):
    start = _place(before.shape[1], bases.shape[1], position)
    (old, base), (new, changed) = (_values(model, columns, one) for one in (before, _with(before, (bases, start))))
    effect, low, high = _interval(changed - base)
    names = [model.targets[i] for i in columns]
    values = {"before": old.mean(axis=0), "after": new.mean(axis=0), "effect": effect, "low": low, "high": high}
    return pd.DataFrame({"target": names, **values, "n": len(before)})


def _pairs(model, columns, before, first, second, distances, position):
    base = _values(model, columns, before)[1]
    rows = []
    for distance in distances:
        check_at_least(0, distance=distance)
        width = first.shape[1] + distance + second.shape[1]
        start = _place(before.shape[1], width, position)
        after = start + first.shape[1] + distance
        for one, two in itertools.product("+-", repeat=2):
            a = first if one == "+" else reverse_complement(first)
            b = second if two == "+" else reverse_complement(second)
            both, alone, other = (
                _values(model, columns, _with(before, *parts))[1] - base
                for parts in (((a, start), (b, after)), ((a, start),), ((b, after),))
            )
            interaction, low, high = _interval(both - alone - other)
            for i, column in enumerate(columns):
                means = [values[:, i].mean() for values in (both, alone, other)]
                fixed = distance, one + two, model.targets[column]
                rows.append((*fixed, *means, interaction[i], low[i], high[i], len(before)))
    names = ["distance", "orientation", "target", "effect", "first", "second", "interaction", "low", "high", "n"]
    return pd.DataFrame(rows, columns=names)
