"""Checkpoints from the Hugging Face hub: one commit, each file checked against the digest that the hub gives for it."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from pydantic import BaseModel, ConfigDict

from regzoo.errors import ModelError, RegzooError
from regzoo.nets.checkpoint import file_digest
from regzoo.sections import validated
from regzoo.sequence.files import cache_folder

_WANTED = ("config.json", "tokenizer.json", "vocab.txt")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_REPOSITORY = re.compile(r"(\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]{0,200}(/\w[\w.-]{0,200}){0,4}", re.ASCII)


class _Source(BaseModel):
    """source.json: what was downloaded."""

    model_config = ConfigDict(strict=True)
    repository: str
    commit: str
    sha256: dict[str, str]


def fetch_folder(repository, revision="main"):
    """Folder with a checkpoint's configuration, tokenizer and weights, downloaded at the first call.

    A download is moved to its place once every file has the digest that the hub gives; its digests are compared again at
    every call. A folder without source.json, that was filled by hand, is taken as it is.

    Parameters
    ----------
    repository : str
        OWNER/NAME on the hub.
    revision : str
        Commit, branch or tag.

    Returns
    -------
    pathlib.Path
        Its source.json says which commit and digests it has.

    Raises
    ------
    ModelError
        If the name or the revision is not one, the hub cannot be reached or has no such checkpoint, or a file is not what
        its digest says.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ModelError(f"{repository}: no such folder, and not OWNER/NAME of a repository on the Hugging Face hub")
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise ModelError(f"{repository}: revision {revision!r} is not a commit, branch or tag")
    parent = cache_folder("hub", repository.replace("/", "--"))
    folder = parent / revision.replace("/", "--")
    if (folder / "source.json").is_file():
        _check(folder)
        return folder
    if (folder / "config.json").is_file() and any((folder / name).is_file() for name in _WEIGHTS):
        return folder  # brought by hand
    place = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=parent))
    try:
        source = _download(repository, revision, place, folder)
        (place / "source.json").write_text(json.dumps(source, indent=1))
        shutil.rmtree(place / ".cache", ignore_errors=True)  # huggingface_hub's notes of the download
        place.chmod(0o755)
        if folder.is_dir():  # some files of it were brought by hand, but not enough
            for path in place.iterdir():
                os.replace(path, folder / path.name)
        else:
            os.replace(place, folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return folder


def _check(folder):
    """Raise a ModelError if a downloaded folder is not what its source.json says."""
    path, retry = folder / "source.json", f"remove {folder} and fetch it again"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not JSON ({error}); {retry}") from error
    for name, digest in validated(_Source, content, path, ModelError).sha256.items():
        if name not in (*_WANTED, *_WEIGHTS):
            raise ModelError(f"{path}: sha256: {name!r} is not a file of a checkpoint; {retry}")
        if not (folder / name).is_file() or (found := file_digest(folder / name)) != digest:
            seen = f"sha256 is {found}" if (folder / name).is_file() else "it is missing"
            raise ModelError(f"{folder / name}: wrong checksum, {seen} but {digest} is expected; {retry}")


def _download(repository, revision, place, folder):
    """Download into `place`; gives the content of source.json."""
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = {file.rfilename: file for file in info.siblings}
        weights = next((name for name in _WEIGHTS if name in files), None)
        if weights is None or "config.json" not in files:
            raise ModelError(f"{repository}: its repository has no config.json with weights beside it")
        digests = {}
        for name in [name for name in _WANTED if name in files] + [weights]:
            path = Path(hf_hub_download(repository, name, revision=info.sha, local_dir=place))
            digests[name] = file_digest(path)
            found, stated = digests[name], files[name].lfs.sha256 if files[name].lfs else None
            if stated is None and files[name].blob_id:
                found, stated = _git_blob(path), files[name].blob_id
            if stated is not None and found != stated:
                raise ModelError(
                    f"{repository}: {name}: wrong checksum, {found} but the hub gives {stated}; nothing is kept"
                )
    except RegzooError:
        raise
    except Exception as error:  # of whichever HTTP client huggingface_hub is built on
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise ModelError(f"{error.filename}: cannot be written ({error.strerror})") from error
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{repository}: cannot download revision {revision} ({type(error).__name__}: {reason}). Get config.json, "
            f"model.safetensors (or pytorch_model.bin) and tokenizer.json where there is one from "
            f"https://huggingface.co/{repository} on a connected machine and put them at {folder}"
        ) from error
    return {"repository": repository, "commit": info.sha, "sha256": digests}


def _git_blob(path):
    """Git's name of a file's content, which the hub gives for files that it does not keep in LFS."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
