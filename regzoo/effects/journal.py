"""Finished batches of a run on disk, so that a run that was killed goes on from where it was."""

import json
import shutil
from pathlib import Path

import numpy as np

from regzoo.errors import InputError, OutputError
from regzoo.sequence.files import finished_file


class Journal:
    """The folder OUTPUT.parts: one file a batch, and what the run was asked for.

    Parameters
    ----------
    output : str or pathlib.Path
    request : dict
        What the numbers depend on: inputs, models, options.
    resume : bool
        Use the batches of an earlier run; otherwise they are removed.

    Raises
    ------
    InputError
        If the earlier run was asked for something else.
    """

    def __init__(self, output, request, resume):
        self.folder = Path(f"{output}.parts")
        request = json.dumps(request, indent=1, sort_keys=True)
        note = self.folder / "request.json"
        if resume and note.is_file() and note.read_text() != request:
            raise InputError(f"{self.folder}: made from other inputs or options; run without --resume to start anew")
        if not (resume and note.is_file()):
            self.remove()
            try:
                self.folder.mkdir()
            except OSError as error:
                raise OutputError(f"{output}: cannot write there ({error.strerror})") from error
            with finished_file(note) as temporary:
                temporary.write_text(request)

    def load(self, number):
        """The arrays of a batch, or None when it is not there yet."""
        path = self.folder / f"{number:08d}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def save(self, number, arrays):
        """Keep the arrays of a batch."""
        with finished_file(self.folder / f"{number:08d}.npz") as temporary:
            np.savez(temporary, **arrays)

    def remove(self):
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
