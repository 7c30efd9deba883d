"""A FASTA or .2bit file as a memory-mapped array of base codes.

At first use, a file is converted to base codes, one byte per base, in REGZOO_CACHE. Later uses map this file, so that
it is not parsed again and all processes share its pages. Windows are rows of a strided view.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from regzoo.errors import InputError, OutputError
from regzoo.output.files import finished_file
from regzoo.sequence.alleles import spans
from regzoo.sequence.codes import CODE_OR_FOREIGN, FOREIGN, UNKNOWN, check_nucleotides, reverse_complement
from regzoo.sequence.files import cache_folder, check_complete, is_gzip, require_file

logger = logging.getLogger(__name__)

_FORMAT = 2  # version of the cache; increase it when codes or layout change
_CHUNK = 1 << 24  # bytes of FASTA converted at once, which bounds memory for contigs of any length
_BLOCK = 1 << 20  # bytes per checksum
_CHECKED = 8  # blocks verified when a cache is opened
_LINE_END = re.compile(rb"[\r\n]")
_TWOBIT = {b"\x43\x27\x41\x1a": "<", b"\x1a\x41\x27\x43": ">"}  # signature -> byte order


class Genome:
    """Sequences of a FASTA file (plain, gzipped or bgzipped) or a .2bit file.

    Parameters
    ----------
    path : str or pathlib.Path
        No index (.fai) is read, and nothing is written beside the file.

    Attributes
    ----------
    path : pathlib.Path
    contigs : list of str
        Names in the order of the file.
    lengths : numpy.ndarray, int64, shape (contigs,)
    unknown : int
        Number of bases in the file other than A, C, G, T and U.

    Raises
    ------
    InputError
        If the file is missing, truncated, empty, not FASTA, or not DNA or RNA.
    OutputError
        If the codes cannot be written to the cache.
    """

    def __init__(self, path: str | Path):
        self.path = require_file(path, "FASTA file")
        try:
            name, state = _identity(self.path)
        except OSError as error:
            raise InputError(f"{self.path}: cannot read this file ({error.strerror})") from error
        codes, layout = (cache_folder("genomes") / f"{name}{suffix}" for suffix in (".codes", ".json"))
        found = _open(codes, layout, state)
        if found is None:
            try:
                _convert(self.path, codes, layout, state)
            except OutputError as error:
                raise OutputError(f"{error} (cache of genomes; set REGZOO_CACHE to use another folder)") from error
            found = _open(codes, layout, state)
            if found is None:
                raise OutputError(
                    f"{codes}: cannot read the converted genome back; check the disk, or set REGZOO_CACHE"
                )
        codes, about = found
        self._fill(codes, about["contigs"], about["unknown"])

    @classmethod
    def from_sequences(cls, sequences: Mapping[str, np.ndarray]) -> "Genome":
        """Make a genome of sequences in memory.

        Parameters
        ----------
        sequences : dict of str to numpy.ndarray, uint8, shape (length,)
            Base codes of each contig.
        """
        genome = cls.__new__(cls)
        genome.path = Path("sequences")
        codes = np.concatenate([*sequences.values(), np.empty(0, dtype=np.uint8)])
        lengths = {name: len(one) for name, one in sequences.items()}
        genome._fill(codes, lengths, int((codes >= UNKNOWN).sum()))
        return genome

    def _fill(self, codes, lengths, unknown):
        self._codes, self.unknown = codes, unknown
        self.contigs = list(lengths)
        self.lengths = np.array(list(lengths.values()), dtype=np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        self._number = {name: i for i, name in enumerate(self.contigs)}
        self._reported = False

    def number(self, contig: str) -> int:
        """Index of a contig in `contigs`. Names match with or without 'chr', and 'chrM' matches 'MT'.

        Raises
        ------
        InputError
            If there is no such contig. The message lists the first contigs.
        """
        found = self._number.get(contig)
        if found is None:
            other = contig[3:] if contig.startswith("chr") else f"chr{contig}"
            other = {"M": "MT", "chrMT": "chrM"}.get(other, other) if other not in self._number else other
            found = self._number.get(other)
            if found is None:
                names = ", ".join(self.contigs[:5]) + (", …" if len(self.contigs) > 5 else "")
                raise InputError(f"{self.path}: no contig {contig!r}; its contigs are {names}")
            if not self._reported:
                logger.warning("%s: contig %r matched to %r of the input", self.path, other, contig)
                self._reported = True
            self._number[contig] = found
        return found

    def codes(self, contig: str) -> np.ndarray:
        """Base codes of a whole contig, uint8, shape (length,). It is a view, not a copy."""
        number = self.number(contig)
        start = self._offsets[number]
        return self._codes[start : start + self.lengths[number]]

    def stretches(self, contig_indices: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Base codes of stretches within contigs, concatenated.

        Parameters
        ----------
        contig_indices, starts, lengths : numpy.ndarray, int, shape (N,)
            Indices of contigs (see `number`), 0-based starts, and lengths.

        Returns
        -------
        numpy.ndarray, uint8, shape (sum(lengths),)
        """
        return np.asarray(self._codes[spans(self._offsets[contig_indices] + starts, lengths)])

    def windows(
        self, contig_indices: ArrayLike, starts: ArrayLike, length: int, reverse: np.ndarray | None = None
    ) -> np.ndarray:
        """Base codes of windows of one length.

        Parameters
        ----------
        contig_indices : array_like, int, shape (N,)
            Indices of contigs; see `number`.
        starts : array_like, int, shape (N,)
            0-based starts. Windows may extend beyond either end of a contig.
        length : int
        reverse : numpy.ndarray, bool, shape (N,), optional
            Windows to reverse complement.

        Returns
        -------
        numpy.ndarray, uint8, shape (N, length)
            4 outside the contig.
        """
        starts, contig_indices = np.asarray(starts, dtype=np.int64), np.asarray(contig_indices)
        ends, offsets = self.lengths[contig_indices], self._offsets[contig_indices]
        outside = (starts < 0) | (starts > ends - length)
        positions = offsets + starts
        if outside.any():
            rows = np.full((len(starts), length), UNKNOWN, dtype=np.uint8)
            inside = ~outside
            if inside.any():
                rows[inside] = self._rows(positions[inside], length)
            for i in np.flatnonzero(outside):
                low, high = max(starts[i], 0), min(starts[i] + length, ends[i])
                if low < high:
                    rows[i, low - starts[i] : high - starts[i]] = self._codes[offsets[i] + low : offsets[i] + high]
        else:
            rows = self._rows(positions, length)
        if reverse is not None and reverse.any():
            rows[reverse] = reverse_complement(rows[reverse])
        return rows

    def _rows(self, positions, length):
        # Each row of the strided view is one copy of `length` bytes.
        view = np.lib.stride_tricks.as_strided(
            self._codes, shape=(len(self._codes) - length + 1, length), strides=(1, 1), writeable=False
        )
        return np.asarray(view[positions])


def as_genome(genome: Any) -> Genome:
    """Open a genome given by its path. A `Genome` is returned unchanged.

    Parameters
    ----------
    genome : str, pathlib.Path or Genome

    Raises
    ------
    InputError
        If `genome` is of another type, or the file is not valid.
    """
    if isinstance(genome, Genome):
        return genome
    if isinstance(genome, (str, os.PathLike)):
        return Genome(Path(genome))
    raise InputError(f"expected the path of a FASTA or .2bit file, or a regzoo.Genome; got {type(genome).__name__}")


def _identity(path):
    """Name of a file's cache, and digest of the file's size, times and a sample of its content."""
    state = path.stat()
    digest = hashlib.sha256(
        f"{_FORMAT}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}".encode()
    )
    with open(path, "rb") as handle:
        for start in np.linspace(0, max(0, state.st_size - 4096), 16).astype(int).tolist():
            handle.seek(start)
            digest.update(handle.read(4096))
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:24], digest.hexdigest()


def _open(codes, layout, state):
    """Mapped codes and layout of a cache, or None if it is missing, outdated or damaged."""
    if not layout.exists():
        return None
    try:
        about = json.loads(layout.read_text())
        if about["state"] != state:
            return None
        sums, size = about["sums"], sum(about["contigs"].values())
        mapped = np.memmap(codes, dtype=np.uint8, mode="r")
        whole = len(mapped) == size and len(sums) == -(-size // _BLOCK) and about["unknown"] >= 0
        for i in np.unique(np.linspace(0, len(sums) - 1, _CHECKED).astype(int)).tolist() if whole else ():
            whole &= zlib.crc32(mapped[i * _BLOCK : (i + 1) * _BLOCK].data) == sums[i]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        logger.warning("%s: damaged cache; converting the genome again", codes)
    return (mapped, about) if whole else None


def _convert(path, codes, layout, state):
    """Write the base codes of a file to the cache, and the lengths of contigs and checksums beside them."""
    check_complete(path)
    contigs: dict[str, int] = {}
    counts = {"unknown": 0, "foreign": 0}
    with finished_file(codes) as temporary:
        with open(temporary, "wb") as out:
            sums = _write_blocks(out, _counted(_pieces(path), contigs, counts, path))
        size = sum(contigs.values())
        if not size:
            raise InputError(f"{path}: no sequence in this FASTA file")
        check_nucleotides(counts["foreign"], size, path)
    with finished_file(layout) as temporary:
        content = {"state": state, "contigs": contigs, "unknown": counts["unknown"], "sums": sums}
        temporary.write_text(json.dumps(content))


def _counted(pieces, contigs, counts, path) -> Iterator[bytes]:
    """Base codes of pieces; lengths of contigs and counts of unknown and foreign letters are added up."""
    for name, piece in pieces:
        if piece is None:
            if name in contigs:
                raise InputError(f"{path}: contig {name!r} occurs twice")
            contigs[name] = 0
            continue
        contigs[name] += len(piece)
        counts["unknown"] += int(np.count_nonzero(piece >= UNKNOWN))
        counts["foreign"] += int(np.count_nonzero(piece == FOREIGN))
        yield np.minimum(piece, UNKNOWN).tobytes()


def _write_blocks(out: IO[bytes], pieces: Iterable[bytes]) -> list[int]:
    """Write pieces and return the checksum of each block."""
    sums, pending = [], bytearray()
    for piece in pieces:
        pending += piece
        whole = len(pending) - len(pending) % _BLOCK
        if whole:
            out.write(pending[:whole])
            sums += [zlib.crc32(pending[i : i + _BLOCK]) for i in range(0, whole, _BLOCK)]
            del pending[:whole]
    if pending:
        out.write(pending)
        sums.append(zlib.crc32(pending))
    return sums


def _pieces(path):
    """Contigs of a file: (name, None), then (name, codes) for each piece, uint8, with `FOREIGN`."""
    try:
        with open(path, "rb") as handle:
            order = _TWOBIT.get(handle.read(4))
            if order:
                yield from _twobit(handle, order, path)
                return
        with gzip.open(path) if is_gzip(path) else open(path, "rb") as handle:
            yield from _fasta(handle, path)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: truncated or corrupt file ({error})") from error


def _fasta(handle, path):
    table, name, header, last = CODE_OR_FOREIGN.tobytes(), None, None, b"\n"
    while chunk := handle.read(_CHUNK):
        at = 0
        while at < len(chunk):
            if header is not None:
                end = _LINE_END.search(chunk, at)
                stop = end.start() if end else len(chunk)
                header += chunk[at:stop]
                at = stop
                if end:
                    name, header, last = _name(header, path), None, b"\n"
                    yield name, None
                continue
            end = chunk.find(b">", at)
            body = chunk[at : end if end >= 0 else len(chunk)]
            letters = body.translate(table, b"\r\n \t")
            if letters and name is None:
                raise InputError(f"{path}: not a FASTA file: expected '>' at its beginning")
            if letters:
                yield name, np.frombuffer(letters, dtype=np.uint8)
            last = body[-1:] or last
            if end >= 0 and last not in (b"\n", b"\r"):
                raise InputError(
                    f"{path}, contig {name!r}: '>' within a line of sequence; is a line break missing before it?"
                )
            header, at = (b"", end + 1) if end >= 0 else (None, len(chunk))
    if header is not None:
        yield _name(header, path), None


def _name(header, path):
    words = header.split(maxsplit=1)
    if not words:
        raise InputError(f"{path}: a record without a name ('>' alone); give each sequence a unique name")
    try:
        return words[0].decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: the record name {words[0]!r} is not UTF-8 text") from None


def _twobit(handle, order, path):
    """Contigs of a .2bit file (https://genome.ucsc.edu/FAQ/FAQformat.html#format7)."""
    size = os.fstat(handle.fileno()).st_size

    def numbers(count, kind="u4"):
        width = np.dtype(kind).itemsize
        data = handle.read(min(count * width, size))
        if len(data) < count * width:
            raise EOFError("the .2bit file ends early")
        return np.frombuffer(data, dtype=f"{order}{kind}").astype(np.int64)

    version, count, _ = numbers(3).tolist()
    if version not in (0, 1):
        raise InputError(f"{path}: .2bit file of version {version}; expected version 0 or 1")
    records = []
    for _ in range(count):
        name = _name(handle.read(int(numbers(1, "u1")[0])), path)
        records.append((name, int(numbers(1, "u8" if version else "u4")[0])))
    for name, offset in records:
        yield name, None
        handle.seek(offset)
        for codes in _twobit_codes(handle, numbers):
            yield name, codes


def _twobit_codes(handle, numbers):
    """Base codes of the record of a .2bit file at the current position, in pieces."""
    letters = np.array([3, 1, 0, 2], dtype=np.uint8)  # T, C, A, G
    length = int(numbers(1)[0])
    blocks = int(numbers(1)[0])
    starts, lengths = numbers(blocks), numbers(blocks)
    numbers(2 * int(numbers(1)[0]))  # soft-masked blocks
    numbers(1)  # reserved
    first = handle.tell()
    for low in range(0, length, _CHUNK):  # a multiple of four
        high = min(low + _CHUNK, length)
        handle.seek(first + low // 4)
        packed = numbers(-(-(high - low) // 4), "u1").astype(np.uint8)
        codes = letters[(packed[:, None] >> np.array([6, 4, 2, 0], dtype=np.uint8)) & 3].ravel()[: high - low]
        for start, end in zip(starts, starts + lengths):
            codes[max(start - low, 0) : max(end - low, 0)] = UNKNOWN
        yield codes
