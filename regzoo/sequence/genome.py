"""A FASTA or .2bit file as one memory-mapped array of base codes.

The first use of a file turns it into base codes, one byte a base, in REGZOO_CACHE. Later uses map the codes, so that the
system's page cache holds them once for all processes and nothing is parsed again. Windows are rows of a strided view.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import zlib

import numpy as np

from regzoo.errors import InputError, OutputError
from regzoo.output.files import finished_file
from regzoo.sequence.alleles import spans
from regzoo.sequence.codes import CODE_OR_FOREIGN, FOREIGN, UNKNOWN, check_nucleotides, reverse_complement
from regzoo.sequence.files import cache_folder, check_complete, is_gzip, require_file

logger = logging.getLogger(__name__)

_FORMAT = 2  # of the cache: a change of the codes or of the layout makes it another
_CHUNK = 1 << 24  # bytes of FASTA converted at once: memory stays at some tens of MB whatever a contig's length
_BLOCK = 1 << 20  # bytes of the codes under one checksum
_CHECKED = 8  # blocks checked when a cache is opened
_LINE_END = re.compile(rb"[\r\n]")
_TWOBIT = {b"\x43\x27\x41\x1a": "<", b"\x1a\x41\x27\x43": ">"}  # signature -> byte order


class Genome:
    """Base codes of any window of a FASTA file (plain, gzipped or bgzipped) or a .2bit file.

    Parameters
    ----------
    path : str or pathlib.Path
        Nothing is written beside it, and an index (.fai) there is not read.

    Attributes
    ----------
    contigs : list of str
        Names in the file's order.
    lengths : numpy.ndarray, int64, shape (contigs,)
    unknown : int
        Bases of the whole file that are not A, C, G, T or U.

    Raises
    ------
    InputError
        If the file is missing, cut off, not FASTA, a protein's, or has no base in it.
    OutputError
        If the codes cannot be written to the cache.
    """

    def __init__(self, path):
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
                raise OutputError(f"{error} (this is the cache of genomes; REGZOO_CACHE puts it elsewhere)") from error
            found = _open(codes, layout, state)
            if found is None:
                raise OutputError(f"{codes}: what was written cannot be read back; check the disk, or set REGZOO_CACHE")
        self._codes, about = found
        self.contigs = list(about["contigs"])
        self.lengths = np.array(list(about["contigs"].values()), dtype=np.int64)
        self.unknown = about["unknown"]
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        self._number = {name: i for i, name in enumerate(self.contigs)}
        self._reported = False

    def number(self, contig):
        """Index of a contig in `contigs`; 'chr1' and '1' (and 'chrM' and 'MT') are matched either way.

        Raises
        ------
        InputError
            If the FASTA has neither; the message lists its first contigs.
        """
        found = self._number.get(contig)
        if found is None:
            other = contig[3:] if contig.startswith("chr") else f"chr{contig}"
            other = {"M": "MT", "chrMT": "chrM"}.get(other, other) if other not in self._number else other
            found = self._number.get(other)
            if found is None:
                names = ", ".join(self.contigs[:5]) + (", …" if len(self.contigs) > 5 else "")
                raise InputError(f"{self.path}: no contig {contig!r}; it has {names}")
            if not self._reported:
                logger.warning("%s names contigs %r where the input says %r: matched", self.path, other, contig)
                self._reported = True
            self._number[contig] = found
        return found

    def codes(self, contig):
        """Base codes of a whole contig, uint8, shape (length,): a view of the map, not a copy."""
        number = self.number(contig)
        start = self._offsets[number]
        return self._codes[start : start + self.lengths[number]]

    def stretches(self, numbers, starts, lengths):
        """Base codes of stretches within contigs, one after the other.

        Parameters
        ----------
        numbers, starts, lengths : numpy.ndarray, int, shape (N,)
            Contigs, by `number`, 0-based starts, and lengths.

        Returns
        -------
        numpy.ndarray, uint8, shape (sum(lengths),)
        """
        return np.asarray(self._codes[spans(self._offsets[numbers] + starts, lengths)])

    def windows(self, numbers, starts, length, reverse=None):
        """Base codes of many windows of one length.

        Parameters
        ----------
        numbers : numpy.ndarray, int, shape (N,)
            Contigs, by `number`.
        starts : numpy.ndarray, int, shape (N,)
            0-based; may be negative, and windows may reach over a contig's end.
        length : int
        reverse : numpy.ndarray, bool, shape (N,), optional
            Rows to give as their reverse complement.

        Returns
        -------
        numpy.ndarray, uint8, shape (N, length)
            4 where a window lies outside its contig.
        """
        starts = np.asarray(starts, dtype=np.int64)
        ends = self.lengths[numbers]
        outside = (starts < 0) | (starts > ends - length)
        positions = self._offsets[numbers] + starts
        if outside.any():
            rows = np.full((len(starts), length), UNKNOWN, dtype=np.uint8)
            inside = ~outside
            if inside.any():
                rows[inside] = self._rows(positions[inside], length)
            for i in np.flatnonzero(outside):
                low, high = max(starts[i], 0), min(starts[i] + length, ends[i])
                if low < high:
                    base = self._offsets[numbers[i]]
                    rows[i, low - starts[i] : high - starts[i]] = self._codes[base + low : base + high]
        else:
            rows = self._rows(positions, length)
        if reverse is not None and reverse.any():
            rows[reverse] = reverse_complement(rows[reverse])
        return rows

    def _rows(self, positions, length):
        # One row of the strided view is one copy of `length` bytes; the view costs nothing.
        view = np.lib.stride_tricks.as_strided(
            self._codes, shape=(len(self._codes) - length + 1, length), strides=(1, 1), writeable=False
        )
        return np.asarray(view[positions])


def as_genome(genome):
    """A Genome of a path, or the Genome that is given.

    Parameters
    ----------
    genome : str, pathlib.Path or Genome

    Raises
    ------
    InputError
        If it is neither, or the file is not usable.
    """
    if isinstance(genome, Genome):
        return genome
    if isinstance(genome, (str, os.PathLike)):
        return Genome(genome)
    raise InputError(f"expected the path of a FASTA or .2bit file, or a regzoo.Genome; got {type(genome).__name__}")


def _identity(path):
    """The name of a file's cache, and a digest of the file's state and of a sample of its content."""
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
    """The mapped codes and the layout of a cache, or None if there is none of this state of the file, or it is damaged."""
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
            whole &= zlib.crc32(mapped[i * _BLOCK : (i + 1) * _BLOCK]) == sums[i]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        logger.warning("%s: damaged, so that the genome is converted anew", codes)
    return (mapped, about) if whole else None


def _convert(path, codes, layout, state):
    """Write a file's base codes, its contigs' lengths and the codes' checksums to the cache."""
    check_complete(path)
    contigs, sums, block, unknown, foreign = {}, [], bytearray(), 0, 0
    with finished_file(codes) as temporary:
        with open(temporary, "wb") as out:
            for name, piece in _pieces(path):
                if piece is None:
                    if name in contigs:
                        raise InputError(f"{path}: contig {name!r} is there twice")
                    contigs[name] = 0
                    continue
                contigs[name] += len(piece)
                unknown += int(np.count_nonzero(piece >= UNKNOWN))
                foreign += int(np.count_nonzero(piece == FOREIGN))
                block += np.minimum(piece, UNKNOWN).tobytes()
                whole = len(block) - len(block) % _BLOCK
                if whole:
                    out.write(block[:whole])
                    sums += [zlib.crc32(block[i : i + _BLOCK]) for i in range(0, whole, _BLOCK)]
                    del block[:whole]
            if block:
                out.write(block)
                sums.append(zlib.crc32(block))
        size = sum(contigs.values())
        if not size:
            raise InputError(f"{path}: no sequence in this FASTA file")
        check_nucleotides(foreign, size, path)
    with finished_file(layout) as temporary:
        temporary.write_text(json.dumps({"state": state, "contigs": contigs, "unknown": unknown, "sums": sums}))


def _pieces(path):
    """Contigs of a file: (name, None), and then (name, codes) for each piece, uint8, with the code FOREIGN."""
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
                raise InputError(f"{path}: not a usable FASTA file, which begins with '>'")
            if letters:
                yield name, np.frombuffer(letters, dtype=np.uint8)
            last = body[-1:] or last
            if end >= 0 and last not in (b"\n", b"\r"):
                raise InputError(
                    f"{path}, contig {name!r}: '>' within a line of sequence; is a line end missing before it?"
                )
            header, at = (b"", end + 1) if end >= 0 else (None, len(chunk))
    if header is not None:
        yield _name(header, path), None


def _name(header, path):
    words = header.split(maxsplit=1)
    if not words:
        raise InputError(f"{path}: a record without a name ('>' alone); give each sequence a name of its own")
    try:
        return words[0].decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: the name {words[0]!r} of a record is not UTF-8 text") from None


def _twobit(handle, order, path):
    """Contigs of a .2bit file, as UCSC describes the format."""
    size = os.fstat(handle.fileno()).st_size

    def numbers(count, kind="u4"):
        width = np.dtype(kind).itemsize
        data = handle.read(min(count * width, size))
        if len(data) < count * width:
            raise EOFError(".2bit file ends too early")
        return np.frombuffer(data, dtype=f"{order}{kind}").astype(np.int64)

    version, count, _ = numbers(3).tolist()
    if version not in (0, 1):
        raise InputError(f"{path}: .2bit file of version {version}; versions 0 and 1 are known")
    records = []
    for _ in range(count):
        name = _name(handle.read(int(numbers(1, "u1")[0])), path)
        records.append((name, int(numbers(1, "u8" if version else "u4")[0])))
    letters = np.array([3, 1, 0, 2], dtype=np.uint8)  # T, C, A, G
    for name, offset in records:
        yield name, None
        handle.seek(offset)
        length = int(numbers(1)[0])
        blocks = int(numbers(1)[0])
        starts, lengths = numbers(blocks), numbers(blocks)
        numbers(2 * int(numbers(1)[0]))  # soft-masked blocks
        numbers(1)
        first = handle.tell()
        for low in range(0, length, _CHUNK):  # a multiple of four
            high = min(low + _CHUNK, length)
            handle.seek(first + low // 4)
            packed = numbers(-(-(high - low) // 4), "u1").astype(np.uint8)
            codes = letters[(packed[:, None] >> np.array([6, 4, 2, 0], dtype=np.uint8)) & 3].ravel()[: high - low]
            for start, end in zip(starts, starts + lengths):
                codes[max(start - low, 0) : max(end - low, 0)] = UNKNOWN
            yield name, codes
