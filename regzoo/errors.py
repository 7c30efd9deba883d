"""The exceptions of the library: one base, shown by the command line without a traceback."""


class RegzooError(Exception):
    """Base of every error that a user can mend; the message names the file and the record."""


class InputError(RegzooError):
    """A user's file (FASTA, BED, VCF, CSV) cannot be read as what it should be."""


class ModelError(RegzooError):
    """A model is unknown, incomplete, or its weights are not the ones expected."""


class OutputError(RegzooError):
    """An output cannot be written where it was asked for."""
