"""Base codes, the internal representation of sequence: uint8, 0 to 3 for A, C, G, T, and 4 for any other base."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from regzoo.errors import InputError

BASES = "ACGT"
UNKNOWN = 4

#: Byte value -> base code. Lower case (soft-masked) letters are bases, and U is read as T.
CODE_OF_BYTE = np.full(256, UNKNOWN, dtype=np.uint8)
for _code, _base in [*enumerate(BASES), (3, "U")]:
    CODE_OF_BYTE[ord(_base)] = CODE_OF_BYTE[ord(_base.lower())] = _code

#: Code of bytes that are not nucleotides, used in `CODE_OR_FOREIGN` only.
FOREIGN = 5
#: Like `CODE_OF_BYTE`, but `FOREIGN` for bytes other than IUPAC letters of DNA and RNA, X, '-', '.' and '*'.
CODE_OR_FOREIGN = np.where(
    np.isin(np.arange(256), list(b"ACGTUNRYSWKMBDHVXacgtunryswkmbdhvx-.*")), CODE_OF_BYTE, FOREIGN
)
CODE_OR_FOREIGN = CODE_OR_FOREIGN.astype(np.uint8)
#: Largest fraction of such bytes in a sequence of DNA or RNA.
MOST_FOREIGN = 0.1

_BYTE_OF_CODE = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)
_CHANNELS = np.arange(4, dtype=np.uint8)[:, None]


def encode(sequence: str | bytes) -> np.ndarray:
    """Encode one sequence as base codes.

    Parameters
    ----------
    sequence : str or bytes
        Upper or lower case letters. U is read as T. IUPAC ambiguity codes and any other letters become 4.

    Returns
    -------
    numpy.ndarray, uint8, shape (L,)
    """
    if isinstance(sequence, str):
        sequence = sequence.encode("ascii", "replace")
    return CODE_OF_BYTE[np.frombuffer(sequence, dtype=np.uint8)]


def check_nucleotides(foreign: int, letters: int, where: Any) -> None:
    """Reject a sequence that is not DNA or RNA, such as a protein.

    Parameters
    ----------
    foreign, letters : int
        Number of letters of code `FOREIGN`, and number of all letters.
    where : str or pathlib.Path
        File and record, for the error message.

    Raises
    ------
    InputError
        If the fraction of letters that are not nucleotides is above `MOST_FOREIGN`.
    """
    if foreign > MOST_FOREIGN * letters:
        raise InputError(
            f"{where}: {foreign:,} of {letters:,} letters are not DNA or RNA; is this a protein? Expected nucleotides "
            "(A, C, G, T or U, and IUPAC codes such as N for unknown bases)"
        )


def encode_checked(sequence: str, where: str) -> np.ndarray:
    """Encode one sequence like `encode`; an InputError with the location `where` if it is not DNA or RNA."""
    codes = CODE_OR_FOREIGN[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    check_nucleotides(int(np.count_nonzero(codes == FOREIGN)), len(codes), where)
    return np.minimum(codes, UNKNOWN)


def encode_many(sequences: Sequence[str]) -> np.ndarray:
    """Encode sequences of equal length as base codes.

    Parameters
    ----------
    sequences : sequence of str
        N strings of length L.

    Returns
    -------
    numpy.ndarray, uint8, shape (N, L)

    Raises
    ------
    InputError
        If the lengths differ.
    """
    lengths = {len(s) for s in sequences}
    if len(lengths) > 1:
        raise InputError(f"expected sequences of one length, found lengths {sorted(lengths)[:5]}")
    length = lengths.pop() if lengths else 0
    return encode("".join(sequences)).reshape(len(sequences), length)


def encode_windows(sequences: Any, length: int, name: str = "the model") -> np.ndarray:
    """Convert windows in any accepted form to base codes.

    Parameters
    ----------
    sequences : str, sequence of str, or array
        Strings of `length` letters (one string is one window); base codes, uint8, shape (N, length) or (length,); or
        one-hot of any numeric type, shape (N, 4, length) or, except for uint8, (4, length), channels A, C, G, T. A
        one-hot position is an unknown base unless exactly one channel is 1.
    length : int
        Window length, in bases.
    name : str
        Name of the model, for error messages.

    Returns
    -------
    numpy.ndarray, uint8, shape (N, length)

    Raises
    ------
    InputError
        If a window has another length, letters are not DNA or RNA, or the array has another shape or type.
    """
    if isinstance(sequences, (str, bytes)):
        sequences = [sequences]
    if not hasattr(sequences, "ndim"):
        return _encode_strings(list(sequences), length, name)
    array = sequences if isinstance(sequences, np.ndarray) else np.asarray(sequences)
    if array.dtype.kind in "OUS" and array.ndim == 1:
        return _encode_strings(array.tolist(), length, name)
    one_hot_dimensions = (
        (3,) if array.dtype == np.uint8 else (2, 3)
    )  # uint8 of shape (4, length) is base codes of 4 windows
    if array.shape[-2:] == (4, length) and array.ndim in one_hot_dimensions and array.dtype.kind in "fiub":
        return from_one_hot(array if array.ndim == 3 else array[None])
    if array.dtype == np.uint8 and array.shape[-1:] == (length,) and array.ndim in (1, 2):
        codes = array if array.ndim == 2 else array[None]
        if codes.max(initial=0) > UNKNOWN:
            raise InputError(f"{name}: expected base codes 0 to 4 (A, C, G, T, unknown), found {codes.max()}")
        return codes
    raise InputError(
        f"{name} reads windows of {length} bases: strings, base codes (uint8, shape (N, {length})) or one-hot "
        f"(shape (N, 4, {length})); got {array.dtype} of shape {array.shape}"
    )


def _encode_strings(strings, length, name):
    for i, text in enumerate(strings):
        if not isinstance(text, (str, bytes)):
            raise InputError(f"{name}: expected strings of {length} letters, got {type(text).__name__} in row {i}")
        if len(text) != length:
            raise InputError(f"{name} reads windows of {length} bases; sequence {i} has {len(text)}")
    joined = "".join(text if isinstance(text, str) else text.decode("ascii", "replace") for text in strings)
    return encode_checked(joined, name).reshape(len(strings), length)


def decode(codes: ArrayLike) -> str:
    """Decode base codes, shape (L,), as a string of A, C, G, T and N."""
    return _BYTE_OF_CODE[np.asarray(codes)].tobytes().decode("ascii")


def reverse_complement(codes: ArrayLike) -> np.ndarray:
    """Reverse complement of base codes along the last axis; uint8, same shape."""
    return _COMPLEMENT[np.asarray(codes)[..., ::-1]]


def one_hot(codes: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """One-hot encode base codes with channels A, C, G, T. Code 4 is all zeros.

    Parameters
    ----------
    codes : array_like, uint8, shape (N, L) or (L,)
    out : numpy.ndarray, float32, shape (N, 4, L) or (4, L), optional
        Array to write to. By default a new array.

    Returns
    -------
    numpy.ndarray, float32, shape (N, 4, L) or (4, L)
    """
    codes = np.asarray(codes, dtype=np.uint8)
    if out is None:
        out = np.empty(codes.shape[:-1] + (4, codes.shape[-1]), dtype=np.float32)
    # numpy casts to float32 through a small buffer that stays in the cache.
    np.equal(codes[..., None, :], _CHANNELS, out=out, casting="unsafe")
    return out


def from_one_hot(array: ArrayLike) -> np.ndarray:
    """Base codes of a one-hot array. A position becomes 4 unless exactly one channel is 1.

    Parameters
    ----------
    array : array_like, shape (N, 4, L) or (4, L)

    Returns
    -------
    numpy.ndarray, uint8, shape (N, L) or (L,)
    """
    array = np.asarray(array)
    codes = array.argmax(axis=-2).astype(np.uint8)
    codes[(array == 1).sum(axis=-2) != 1] = UNKNOWN
    return codes


def fitted(codes: np.ndarray, length: int) -> np.ndarray:
    """Cut or pad windows to another length around their centres.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L)
    length : int

    Returns
    -------
    numpy.ndarray, uint8, shape (N, length)
        Padding has code 4.
    """
    own = codes.shape[1]
    start = own // 2 - length // 2
    result = np.full((len(codes), length), UNKNOWN, dtype=np.uint8)
    low, high = max(start, 0), min(start + length, own)
    result[:, low - start : high - start] = codes[:, low:high]
    return result
