"""Base codes: the one internal form of sequence (uint8; 0..3 = A, C, G, T; 4 = anything else)."""

import numpy as np

from regzoo.errors import InputError

BASES = "ACGT"
UNKNOWN = 4

#: Byte value -> base code. Lower case (soft-masked) letters are bases, and U is read as T.
CODE_OF_BYTE = np.full(256, UNKNOWN, dtype=np.uint8)
for _code, _base in [*enumerate(BASES), (3, "U")]:
    CODE_OF_BYTE[ord(_base)] = CODE_OF_BYTE[ord(_base.lower())] = _code

#: The code of bytes that stand for no nucleotide at all, in `CODE_OR_FOREIGN` alone.
FOREIGN = 5
#: As `CODE_OF_BYTE`, but 5 for what is no IUPAC letter of DNA or RNA, X, or sign of a gap or an end ('-', '.', '*').
CODE_OR_FOREIGN = np.where(
    np.isin(np.arange(256), list(b"ACGTUNRYSWKMBDHVXacgtunryswkmbdhvx-.*")), CODE_OF_BYTE, FOREIGN
)
CODE_OR_FOREIGN = CODE_OR_FOREIGN.astype(np.uint8)
#: A text with a larger share of such bytes is not DNA or RNA.
MOST_FOREIGN = 0.1

_BYTE_OF_CODE = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)
_CHANNELS = np.arange(4, dtype=np.uint8)[:, None]


def encode(sequence):
    """Turn one sequence of letters into base codes.

    Parameters
    ----------
    sequence : str or bytes
        Letters of any case. U is read as T; IUPAC ambiguity codes and everything else become 4.

    Returns
    -------
    numpy.ndarray, uint8, shape (L,)
    """
    if isinstance(sequence, str):
        sequence = sequence.encode("ascii", "replace")
    return CODE_OF_BYTE[np.frombuffer(sequence, dtype=np.uint8)]


def check_nucleotides(foreign, letters, where):
    """Refuse a text that is not DNA or RNA, such as a protein.

    Parameters
    ----------
    foreign, letters : int
        How many of its letters have the code `FOREIGN`, and how many letters there are.
    where : str
        File and record, for the message.

    Raises
    ------
    InputError
        If more than a tenth of the letters stand for no nucleotide.
    """
    if foreign > MOST_FOREIGN * letters:
        raise InputError(
            f"{where}: {foreign:,} of {letters:,} letters are not DNA or RNA; is this a protein? Models of the zoo read "
            "nucleotides (A, C, G, T or U, and IUPAC codes such as N for unknown bases)"
        )


def encode_checked(sequence, where):
    """As `encode`, with an InputError that says `where` if the sequence is not DNA or RNA."""
    codes = CODE_OR_FOREIGN[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    check_nucleotides(int(np.count_nonzero(codes == FOREIGN)), len(codes), where)
    return np.minimum(codes, UNKNOWN)


def encode_many(sequences):
    """Turn sequences of one common length into base codes.

    Parameters
    ----------
    sequences : sequence of str, length N, each of length L

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
        raise InputError(f"sequences of one length are needed, found lengths {sorted(lengths)[:5]}")
    length = lengths.pop() if lengths else 0
    return encode("".join(sequences)).reshape(len(sequences), length)


def encode_windows(sequences, length, name="the model"):
    """Base codes of windows in any of the accepted forms.

    Parameters
    ----------
    sequences : str, sequence of str, or array
        Strings of `length` letters (one string is one window); base codes, uint8, shape (N, length) or (length,); or
        one-hot of any numeric type, shape (N, 4, length), channels A, C, G, T. A position of a one-hot array without
        exactly one channel at 1 is an unknown base.
    length : int
    name : str
        Named in errors.

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
    one_hot_dimensions = (3,) if array.dtype == np.uint8 else (2, 3)  # (4, length) of uint8 is four windows of codes
    if array.shape[-2:] == (4, length) and array.ndim in one_hot_dimensions and array.dtype.kind in "fiub":
        return from_one_hot(array if array.ndim == 3 else array[None])
    if array.dtype == np.uint8 and array.shape[-1:] == (length,) and array.ndim in (1, 2):
        codes = array if array.ndim == 2 else array[None]
        if codes.max(initial=0) > UNKNOWN:
            raise InputError(f"{name}: base codes are 0 to 4 (A, C, G, T, unknown), found {codes.max()}")
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


def decode(codes):
    """Turn base codes, shape (L,), into a string of A, C, G, T and N."""
    return _BYTE_OF_CODE[np.asarray(codes)].tobytes().decode("ascii")


def reverse_complement(codes):
    """Reverse complement of base codes along the last axis; same shape, same dtype."""
    return _COMPLEMENT[np.asarray(codes)[..., ::-1]]


def one_hot(codes, out=None):
    """One-hot encode base codes in the channel order A, C, G, T; code 4 is all zeros.

    Parameters
    ----------
    codes : numpy.ndarray, uint8, shape (N, L) or (L,)
    out : numpy.ndarray, float32, shape (N, 4, L) or (4, L), optional
        Written in place of a new array.

    Returns
    -------
    numpy.ndarray, float32, shape (N, 4, L) or (4, L)
    """
    codes = np.asarray(codes, dtype=np.uint8)
    if out is None:
        out = np.empty(codes.shape[:-1] + (4, codes.shape[-1]), dtype=np.float32)
    # Comparing straight into float32 goes through numpy's cast buffer, which stays in the cache.
    np.equal(codes[..., None, :], _CHANNELS, out=out, casting="unsafe")
    return out


def from_one_hot(array):
    """Base codes of a one-hot array; a position without exactly one channel at 1 becomes 4.

    Parameters
    ----------
    array : numpy.ndarray, shape (N, 4, L) or (4, L)

    Returns
    -------
    numpy.ndarray, uint8, shape (N, L) or (L,)
    """
    array = np.asarray(array)
    codes = array.argmax(axis=-2).astype(np.uint8)
    codes[(array == 1).sum(axis=-2) != 1] = UNKNOWN
    return codes


def fitted(codes, length):
    """Windows of another length around the same centres, uint8, shape (N, length); N where there was nothing."""
    own = codes.shape[1]
    start = own // 2 - length // 2
    result = np.full((len(codes), length), UNKNOWN, dtype=np.uint8)
    low, high = max(start, 0), min(start + length, own)
    result[:, low - start : high - start] = codes[:, low:high]
    return result
