"""A FASTA file as one memory-mapped array of base codes.

The first use of a FASTA turns it into base codes, one byte a base, in REGZOO_CACHE; later uses map that file, so that
the system's page cache holds it once for all processes and nothing is parsed again. Windows are rows of a strided view.
"""

import hashlib
import json
import logging
import os

import numpy as np
from pyfaidx import Faidx, FastaIndexingError, FetchError, UnsupportedCompressionFormat

from regzoo.errors import InputError
from regzoo.sequence.codes import CODE_OF_BYTE, UNKNOWN, reverse_complement
from regzoo.sequence.files import cache_folder, check_complete, finished_file, is_gzip, require_file

logger = logging.getLogger(__name__)

_CHUNK = 1 << 24  # bases converted at once: memory stays at some tens of MB whatever a contig's length


class Genome:
    """Base codes of any window of a FASTA file, plain or bgzipped.

    Parameters
    ----------
    path : str or pathlib.Path
        FASTA; an index beside it (.fai) is used, otherwise one is made in the cache.

    Attributes
    ----------
    contigs : list of str
        Names in the file's order.
    lengths : numpy.ndarray, int64, shape (contigs,)

    Raises
    ------
    InputError
        If the file is missing, cut off, not FASTA, or has no base in it.
    """

    def __init__(self, path):
        self.path = require_file(path, "FASTA file")
        stat = self.path.stat()
        key = hashlib.sha256(f"{self.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}".encode()).hexdigest()[:24]
        codes, layout = (cache_folder("genomes") / f"{key}{suffix}" for suffix in (".codes", ".json"))
        if not layout.exists():
            _convert(self.path, codes, layout)
        contigs = json.loads(layout.read_text())
        self.contigs = list(contigs)
        self.lengths = np.array(list(contigs.values()), dtype=np.int64)
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        self._codes = np.memmap(codes, dtype=np.uint8, mode="r")
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
        outside = (starts < 0) | (starts + length > ends)
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


def _convert(path, codes, layout):
    """Write a FASTA's base codes and its contigs' lengths to the cache."""
    check_complete(path)
    beside = path.with_name(path.name + ".fai")
    fresh = beside.is_file() and beside.stat().st_mtime >= path.stat().st_mtime
    try:
        index = Faidx(str(path), indexname=None if fresh else f"{codes}.fai", rebuild=not fresh)
    except (FastaIndexingError, UnsupportedCompressionFormat, ValueError, OSError) as error:
        raise InputError(f"{path}: not a usable FASTA file ({error}); compress with bgzip, not gzip") from error
    contigs = {name: record.rlen for name, record in index.index.items()}
    if not sum(contigs.values()):
        raise InputError(f"{path}: no sequence in this FASTA file")
    with index, finished_file(codes) as temporary, open(temporary, "wb") as out:
        for name, record in index.index.items():
            for chunk in _chunks(path, index, name, record):
                CODE_OF_BYTE[np.frombuffer(chunk, dtype=np.uint8)].tofile(out)
        out.flush()
        if os.path.getsize(temporary) != sum(contigs.values()):
            raise InputError(f"{path}: does not hold what its index {beside.name} says; delete the index")
    with finished_file(layout) as temporary:
        temporary.write_text(json.dumps(contigs))


def _chunks(path, index, name, record):
    """The letters of one contig in pieces of about _CHUNK, without line ends."""
    if is_gzip(path):
        try:
            for start in range(0, record.rlen, _CHUNK):
                end = min(start + _CHUNK, record.rlen)
                yield index.fetch(name, start + 1, end).seq.encode("ascii", "replace")
        except FetchError as error:
            raise InputError(f"{path}: cannot read contig {name!r} ({error})") from error
        return
    lines = max(1, _CHUNK // max(1, record.lenc))
    with open(path, "rb") as handle:
        handle.seek(record.offset)
        left = record.rlen
        while left > 0:
            piece = handle.read(min(lines * record.lenb, left + (left // record.lenc + 1) * (record.lenb - record.lenc)))
            letters = piece.translate(None, b"\r\n")[:left]
            if not letters:
                raise InputError(f"{path}: contig {name!r} ends {left} bases before its index says")
            yield letters
            left -= len(letters)
