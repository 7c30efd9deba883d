"""Base class of tokenizers, and padded token ids with the bases that each token covers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from regzoo.errors import InputError


@dataclass
class Tokens:
    """Token ids of several sequences, padded on the right.

    Attributes
    ----------
    ids : numpy.ndarray, int64, shape (N, T)
    mask : numpy.ndarray, bool, shape (N, T)
        True for tokens, False for padding.
    starts, ends : numpy.ndarray, int32, shape (N, T)
        Bases [start, end) covered by each token; both 0 for special tokens and padding.
    """

    ids: np.ndarray
    mask: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each sequence, including special tokens, int64, shape (N,)."""
        return self.mask.sum(axis=1)

    def rows(self, chosen: ArrayLike) -> "Tokens":
        """Tokens of selected sequences, padded to the longest of them."""
        chosen = np.asarray(chosen)
        width = int(self.lengths[chosen].max(initial=0))
        return Tokens(*(a[chosen, :width] for a in (self.ids, self.mask, self.starts, self.ends)))


class Tokenizer(ABC):
    """Base class of tokenizers.

    Attributes
    ----------
    vocabulary : list of str
        Token of each id.
    pad, unknown, mask : int
        Ids of special tokens.
    cls, sep : int or None
        Ids of the tokens before and after a sequence, or None if there are none.
    shortest : int
        Smallest length of a sequence, in bases.
    """

    vocabulary: list[str]
    pad: int
    unknown: int
    mask: int
    cls: int | None = None
    sep: int | None = None
    shortest = 1

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, codes: np.ndarray | list[np.ndarray], lengths: np.ndarray | None = None) -> Tokens:
        """Tokenize sequences.

        Parameters
        ----------
        codes : numpy.ndarray, uint8, shape (N, L), or list of numpy.ndarray, uint8, shape (length,)
            Base codes.
        lengths : numpy.ndarray, int, shape (N,), optional
            Length of each row of an array. By default L.

        Returns
        -------
        Tokens

        Raises
        ------
        InputError
            If a sequence is shorter than `shortest`. The message gives its number, from 1.
        """
        if isinstance(codes, list):
            lengths = np.array([len(row) for row in codes], dtype=np.int64)
            padded = np.zeros((len(codes), int(lengths.max(initial=0))), dtype=np.uint8)
            padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.concatenate([*codes, np.empty(0, np.uint8)])
            codes = padded
        codes = np.atleast_2d(codes)
        lengths = np.full(len(codes), codes.shape[1], dtype=np.int64) if lengths is None else np.asarray(lengths)
        short = np.flatnonzero(lengths < self.shortest)
        if len(short):
            raise InputError(
                f"sequence {short[0] + 1} has {lengths[short[0]]} bases; "
                f"{type(self).__name__} needs at least {self.shortest}"
            )
        return self._encode(codes, lengths)

    @abstractmethod
    def _encode(self, codes, lengths):
        """Tokens of rows whose lengths are valid."""

    def _assembled(self, rows, starts, ends, ids, count):
        """`Tokens` from flat arrays of the tokens of `count` sequences, in order. Special tokens are added."""
        front = self.cls is not None
        inner = np.bincount(rows, minlength=count)
        lengths = inner + front + (self.sep is not None)
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(inner) - inner, inner) + front
        shape = (count, int(lengths.max(initial=0)))
        result = Tokens(
            np.full(shape, self.pad, dtype=np.int64),
            np.arange(shape[1]) < lengths[:, None],
            np.zeros(shape, dtype=np.int32),
            np.zeros(shape, dtype=np.int32),
        )
        result.ids[rows, columns], result.starts[rows, columns], result.ends[rows, columns] = ids, starts, ends
        if front:
            result.ids[:, 0] = self.cls
        if self.sep is not None:
            result.ids[np.arange(count), lengths - 1] = self.sep
        return result


def per_base(tokens: Tokens, values: np.ndarray, length: int, empty: float = np.nan) -> np.ndarray:
    """Map values of tokens to bases. A base covered by several tokens gets their mean.

    Parameters
    ----------
    tokens : Tokens
    values : numpy.ndarray, float, shape (N, T) or (N, T, D)
    length : int
        Length of the sequences, in bases.
    empty : float
        Value of bases that no token covers.

    Returns
    -------
    numpy.ndarray, float64, shape (N, length) or (N, length, D)
    """
    values = np.asarray(values, dtype=np.float64)
    rows, columns = np.nonzero(tokens.ends > tokens.starts)
    starts, ends = tokens.starts[rows, columns], tokens.ends[rows, columns]
    change = np.zeros((len(values), length + 1, *values.shape[2:]))
    count = np.zeros((len(values), length + 1))
    for at, sign in ((starts, 1), (ends, -1)):
        np.add.at(change, (rows, at), sign * values[rows, columns])
        np.add.at(count, (rows, at), sign)
    count = np.cumsum(count, axis=1)[:, :-1].reshape(len(values), length, *[1] * (values.ndim - 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, np.cumsum(change, axis=1)[:, :-1] / count, empty)
