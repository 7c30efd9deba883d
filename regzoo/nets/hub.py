"""Checkpoints from the Hugging Face hub. Each file is verified against the digest that the hub publishes."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download
from pydantic import BaseModel, ConfigDict

from regzoo.errors import ModelError, OutputError, RegzooError
from regzoo.nets.checkpoint import file_digest
from regzoo.output.files import write_errors
from regzoo.sections import validated
from regzoo.sequence.files import cache_folder

_WANTED = ("config.json", "tokenizer.json", "vocab.txt")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_REPOSITORY = re.compile(r"(\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]{0,200}(/\w[\w.-]{0,200}){0,4}", re.ASCII)


class _Source(BaseModel):
    """Content of source.json: repository, commit, and digest of each downloaded file."""

    model_config = ConfigDict(strict=True)
    repository: str
    commit: str
    sha256: dict[str, str]


def fetch_folder(repository: str, revision: str = "main") -> Path:
    """Folder with a checkpoint's configuration, tokenizer and weights, downloaded at the first call.

    Files are moved to their place once all of them match the digests published by the hub. The digests are verified
    again at each call. A folder without source.json was filled by hand and is used as it is.

    Parameters
    ----------
    repository : str
        OWNER/NAME on the hub.
    revision : str
        Commit, branch or tag.

    Returns
    -------
    pathlib.Path
        Its source.json records the commit and the digests.

    Raises
    ------
    ModelError
        If the repository or revision is not valid, the hub cannot be reached or has no such checkpoint, or a file does
        not match its digest.
    OutputError
        If the cache cannot be written to.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ModelError(f"{repository}: not a folder, and not OWNER/NAME of a repository on the Hugging Face hub")
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise ModelError(f"{repository}: revision {revision!r} is not a commit, branch or tag")
    folder = cache_folder("hub", repository.replace("/", "--")) / revision.replace("/", "--")
    if (folder / "source.json").is_file():
        _check(folder)
        return folder
    if (folder / "config.json").is_file() and any((folder / name).is_file() for name in _WEIGHTS):
        return folder  # filled by hand
    try:
        with write_errors(folder):
            _fill(repository, revision, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}); set REGZOO_CACHE to another folder"
        ) from error
    return folder


def _fill(repository, revision, folder):
    """Download into a temporary folder, and move it to its place."""
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        source = _download(repository, revision, temporary, folder)
        (temporary / "source.json").write_text(json.dumps(source, indent=1))
        shutil.rmtree(temporary / ".cache", ignore_errors=True)  # huggingface_hub's own records
        temporary.chmod(0o755)
        if folder.is_dir():  # filled by hand, but not complete
            for path in temporary.iterdir():
                os.replace(path, folder / path.name)
        else:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(folder):
    """Raise a ModelError if a file of a downloaded folder does not match source.json."""
    path, retry = folder / "source.json", f"remove {folder} and fetch it again"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON ({error}); {retry}") from error
    for name, digest in validated(_Source, content, path, ModelError).sha256.items():
        if name not in (*_WANTED, *_WEIGHTS):
            raise ModelError(f"{path}: sha256: unexpected file name {name!r}; {retry}")
        if not (folder / name).is_file() or (found := file_digest(folder / name)) != digest:
            seen = f"sha256 is {found}" if (folder / name).is_file() else "the file is missing"
            raise ModelError(f"{folder / name}: wrong checksum: {seen}, expected {digest}; {retry}")


def _download(repository, revision, temporary, folder):
    """Download into `temporary` and return the content of source.json."""
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = {file.rfilename: file for file in info.siblings or []}
        weights = next((name for name in _WEIGHTS if name in files), None)
        if weights is None or "config.json" not in files:
            raise ModelError(
                f"{repository}: expected config.json and {' or '.join(_WEIGHTS)} in this repository; "
                f"found {', '.join(files) or 'no file'}"
            )
        digests = {}
        for name in [name for name in _WANTED if name in files] + [weights]:
            with write_errors(folder):
                path = Path(hf_hub_download(repository, name, revision=info.sha, local_dir=temporary))
            digests[name] = _verified(repository, path, files[name])
    except RegzooError:
        raise
    except Exception as error:  # depends on the HTTP client that huggingface_hub uses
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise ModelError(f"{error.filename}: cannot be written ({error.strerror})") from error
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{repository}: cannot download revision {revision} ({type(error).__name__}: {reason}). Get config.json, "
            f"model.safetensors (or pytorch_model.bin) and, if there is one, tokenizer.json from "
            f"{constants.ENDPOINT}/{repository} on a connected machine and put them at {folder}"
        ) from error
    return {"repository": repository, "commit": info.sha, "sha256": digests}


def _verified(repository, path, file):
    """Digest of a downloaded file; a ModelError if it differs from the one that the hub publishes."""
    digest = file_digest(path)
    found, expected = digest, file.lfs.sha256 if file.lfs else None
    if expected is None and file.blob_id:
        found, expected = _git_blob(path), file.blob_id
    if expected is not None and found != expected:
        raise ModelError(f"{repository}: {path.name}: wrong checksum: {found}, expected {expected}; download discarded")
    return digest


def _git_blob(path):
    """Git blob id of a file, which the hub publishes for files that are not in LFS."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
