"""Finished batches of a run on disk, so that a run that was stopped goes on from where it was."""

import fcntl
import json
import logging
import os
import re
import socket
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from regzoo.errors import InputError, ModelError, OutputError
from regzoo.output.files import finished_file, write_errors

logger = logging.getLogger(__name__)

_LOCK = "regzoo.lock"  # also what tells the folder from a user's own
_OURS = re.compile(rf"\d{{8}}\.npz|request\.json|{re.escape(_LOCK)}|\.unfinished-.*")


class Journal:
    """Context of one run that writes an output: its lock, and the folder OUTPUT.parts with one file a batch.

    When the block ends the folder is removed, unless the run was stopped or ran out of disk space after it had finished
    batches: then they are kept and it is said how to go on. Only files of a run are ever removed.

    Parameters
    ----------
    output : str or pathlib.Path
    request : dict
        What the numbers depend on: inputs, models, options.
    resume : bool
        Go on with the batches of an earlier run.
    restart : bool
        Remove the batches of an earlier run.

    Raises
    ------
    InputError
        If the batches of an earlier run were made for another request, or it is not said what to do with them.
    OutputError
        If another run is writing this output, or the folder holds files that are not of a run.
    """

    def __init__(
        self, output: str | Path, request: dict[str, Any], resume: bool = False, restart: bool = False
    ) -> None:
        self.output, self.folder = Path(output), Path(f"{os.path.realpath(output)}.parts")
        self.request, self.resume, self.restart = json.dumps(request, indent=1, sort_keys=True), resume, restart
        self._lock: Any = None
        self._found: set[int] = set()  # batches of an earlier run
        self._kept: set[int] = set()  # batches of which the file is whole

    def __enter__(self):
        if self.resume and self.restart:
            raise InputError("give either --resume or --restart")
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            raise OutputError(f"{self.folder}: finished batches of {self.output} go there, but it is not a folder")
        try:
            with write_errors(self.output):
                self._acquire()
        except OSError as error:
            raise OutputError(f"{self.output}: cannot write there ({error.strerror})") from error
        try:
            self._prepare()
        except BaseException:
            if not self._batches():
                self._remove()
            self._lock.close()
            raise
        self._found = {int(path.stem) for path in self._batches()}
        return self

    def _acquire(self):
        """Hold the lock of the folder, which is made when missing."""
        for _ in range(100):  # the folder may be removed by a run that ends just now
            self.folder.mkdir(exist_ok=True)
            try:
                names = sorted(p.name for p in self.folder.iterdir())
            except FileNotFoundError:
                continue
            self._refuse_foreign(names)
            try:
                lock = open(self.folder / _LOCK, "a+")
            except FileNotFoundError:
                continue
            self._lock_file(lock)
            if os.path.exists(lock.name) and os.path.samestat(os.stat(lock.name), os.fstat(lock.fileno())):
                self._lock = lock
                lock.truncate(0)
                lock.write(f"process {os.getpid()} on {socket.gethostname()}")
                lock.flush()
                return
            lock.close()
        raise OutputError(f"{self.folder}: cannot lock this folder")

    def _refuse_foreign(self, names):
        """Raise an OutputError if the folder holds files that no run has written."""
        foreign = [n for n in names if not _OURS.fullmatch(n)] or (names if _LOCK not in names else [])
        if foreign:
            raise OutputError(
                f"{self.folder}: finished batches of {self.output} go there, but it holds other files "
                f"({foreign[0]}); move them or choose another output"
            )

    def _lock_file(self, lock):
        """Lock an open file; if another process has, close it and raise an OutputError that names the process."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise OutputError(f"{self.output}: another run is writing it ({holder or 'just started'})") from None

    def _prepare(self):
        note, kept = self.folder / "request.json", len(self._batches())
        if kept and not (self.resume or self.restart):
            raise InputError(
                f"{self.folder}: an unfinished run left finished batches there ({kept}); --resume goes on with them, "
                "--restart removes them"
            )
        if self.resume and kept:
            if not note.is_file() or note.read_text(errors="replace") != self.request:
                what = f" ({self._what_differs(note)})" if note.is_file() else ""
                raise InputError(f"{self.folder}: made from other inputs or options{what}; --restart removes it")
            return
        self._remove(keep_lock=True)
        with finished_file(note) as temporary:
            temporary.write_text(self.request)

    def _what_differs(self, note):
        """Names of the parts of the request that are not those of an earlier run."""
        try:
            earlier, now = json.loads(note.read_text()), json.loads(self.request)
            return ", ".join(key for key in now if key not in earlier or earlier[key] != now[key])
        except (ValueError, TypeError, OSError):
            return "request.json is damaged"

    def __exit__(self, kind, error, trace):
        if kind is None or issubclass(kind, (InputError, ModelError)) or not self._batches():
            self._remove()
        else:
            logger.warning(
                "%s is not finished, but its finished batches (%d) are kept in %s: the same command with --resume "
                "goes on",
                self.output,
                len(self._batches()),
                self.folder,
            )
        self._lock.close()

    def _batches(self):
        return list(self.folder.glob("[0-9]*.npz"))

    def load(self, number: int) -> dict[str, np.ndarray] | None:
        """The arrays of a batch, or None when it is not there yet or is damaged."""
        if number not in self._found:
            return None
        path = self.folder / f"{number:08d}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            self._kept.add(number)
            return arrays
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("%s: damaged (%s), computed again", path, error)
            return None

    def save(self, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays of a batch, if they are not kept yet. `load` notices a file that is cut off."""
        path = self.folder / f"{number:08d}.npz"
        if number in self._kept:
            return
        try:
            with write_errors(path):
                np.savez(path, **arrays)  # type: ignore[arg-type]
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._kept.add(number)

    def _remove(self, keep_lock=False):
        """Delete the files of a run, and the folder if nothing else is in it."""
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name) and path.name != _LOCK:
                path.unlink(missing_ok=True)
        if not keep_lock:
            (self.folder / _LOCK).unlink(missing_ok=True)
            try:
                self.folder.rmdir()
            except OSError:
                pass
