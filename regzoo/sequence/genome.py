"""A FASTA file as one memory-mapped array of base codes.

The first use of a FASTA turns it into base codes, one byte a base, in REGZOO_CACHE; later uses map that file, so that
the system's page cache holds it once for all processes and nothing is parsed again. Windows are rows of a strided view.
"""

import gzip
import hashlib
import json
import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import CODE_OF_BYTE, UNKNOWN, reverse_complement
from regzoo.sequence.files import cache_folder, check_complete, finished_file, is_gzip, require_file

logger = logging.getLogger(__name__)

_CHUNK = 1 << 24  # bases converted at once: memory stays at some tens of MB whatever a contig's length


class Genome:
    """Base codes of any window of a FASTA file, plain, gzipped or bgzipped.

    Parameters
    ----------
    path : str or pathlib.Path
        FASTA; an index beside it (.fai) is used. Nothing is written beside it.

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
    from pyfaidx import Faidx, FastaIndexingError, IndexNotFoundError  # a tenth of a second that later uses do without

    check_complete(path)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=codes.parent) as folder:
        if is_gzip(path):
            # Every base is read once, in order: unpacking is quicker than random access, and any gzip will do.
            plain = Path(folder) / "genome.fa"
            with gzip.open(path) as source, open(plain, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            index_file = f"{plain}.fai"
        elif path.suffix in (".gz", ".bgz"):
            raise InputError(f"{path}: not a usable FASTA file (named as compressed, but it is not)")
        else:
            plain = path
            beside = path.with_name(path.name + ".fai")
            fresh = beside.is_file() and beside.stat().st_mtime >= path.stat().st_mtime
            index_file = str(beside) if fresh else str(Path(folder) / "genome.fai")
        try:
            with Faidx(str(plain), indexname=index_file, rebuild=False) as index:
                records = dict(index.index)
        except (FastaIndexingError, IndexNotFoundError, ValueError, OSError) as error:
            raise InputError(f"{path}: not a usable FASTA file ({error})") from error
        contigs = {name: record.rlen for name, record in records.items()}
        if not sum(contigs.values()):
            raise InputError(f"{path}: no sequence in this FASTA file")
        with finished_file(codes) as temporary, open(temporary, "wb") as out, open(plain, "rb") as handle:
            for name, record in records.items():
                for letters in _chunks(handle, path, name, record):
                    CODE_OF_BYTE[np.frombuffer(letters, dtype=np.uint8)].tofile(out)
    with finished_file(layout) as temporary:
        temporary.write_text(json.dumps(contigs))


def _chunks(handle, path, name, record):
    """The letters of one contig in pieces of about _CHUNK, without line ends."""
    lines = max(1, _CHUNK // record.lenc) if record.lenc else 1
    handle.seek(record.offset)
    left = record.rlen
    while left > 0:
        letters = handle.read(min(lines * record.lenb, left + (left // record.lenc + 1) * (record.lenb - record.lenc)))
        letters = letters.translate(None, b"\r\n")[:left]
        if not letters or b">" in letters:
            raise InputError(f"{path}: contig {name!r} is not as long as its index (.fai) says; delete the index")
        yield letters
        left -= len(letters)
