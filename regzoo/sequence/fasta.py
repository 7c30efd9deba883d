"""FASTA records as headers and base codes."""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from regzoo.errors import InputError
from regzoo.sequence.codes import encode_checked


def read_text(path: Path) -> str:
    """Read a text file, plain or gzipped; an InputError if it cannot be read."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt") as handle:
            return handle.read()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: cannot read this file ({error})") from error


def read_fasta(path: Path) -> tuple[list[str], list[np.ndarray]]:
    """Read headers and base codes of a FASTA file.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    headers : list of str
        Without '>'.
    sequences : list of numpy.ndarray, uint8

    Raises
    ------
    InputError
        If the file cannot be read, does not begin with '>', or has a record without sequence. The record is named.
    """
    return fasta_records(read_text(path), path)


def fasta_records(text: str, source: str | Path) -> tuple[list[str], list[np.ndarray]]:
    """Headers and base codes of the text of a FASTA file.

    Parameters
    ----------
    text : str
    source : str or pathlib.Path
        Name of the file, for error messages.

    Returns
    -------
    headers : list of str
    sequences : list of numpy.ndarray, uint8

    Raises
    ------
    InputError
        As of `read_fasta`.
    """
    if not text.startswith(">"):
        raise InputError(f"{source}: not a FASTA file; expected '>' at the start")
    headers, sequences = [], []
    for record in re.split(r"^>", text, flags=re.M)[1:]:
        header, _, body = record.partition("\n")
        body = "".join(body.split())
        if not body:
            raise InputError(f"{source}, record {header.strip()!r}: no sequence")
        headers.append(header.strip())
        sequences.append(encode_checked(body, f"{source}, record {header.strip()!r}"))
    return headers, sequences
