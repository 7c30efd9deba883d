"""Checkpoints from the Hugging Face hub: one commit, each file checked against the digest that the hub gives for it."""

import json

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from regzoo.errors import ModelError
from regzoo.nets.checkpoint import file_digest
from regzoo.sequence.files import cache_folder, finished_file

_WANTED = ("config.json", "tokenizer.json", "vocab.txt")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def fetch_folder(repository, revision="main"):
    """Folder with a checkpoint's configuration, tokenizer and weights, downloaded at the first call.

    Parameters
    ----------
    repository : str
        OWNER/NAME on the hub.
    revision : str
        Commit or branch.

    Returns
    -------
    pathlib.Path
        Its source.json says which commit and digests it has.

    Raises
    ------
    ModelError
        If the hub cannot be reached or has no such checkpoint, or a file is not what its digest says.
    """
    folder = cache_folder("hub", repository.replace("/", "--"), revision)
    if (folder / "source.json").is_file():
        return folder
    if (folder / "config.json").is_file() and any((folder / name).is_file() for name in _WEIGHTS):
        return folder  # brought by hand
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = {file.rfilename: file for file in info.siblings}
        weights = next((name for name in _WEIGHTS if name in files), None)
        if weights is None or "config.json" not in files:
            raise ModelError(f"{repository}: its repository has no config.json with weights beside it")
        digests = {}
        for name in [name for name in _WANTED if name in files] + [weights]:
            path = hf_hub_download(repository, name, revision=info.sha, local_dir=folder)
            digests[name] = file_digest(path)
            stated = files[name].lfs.sha256 if files[name].lfs else digests[name]
            if digests[name] != stated:
                raise ModelError(f"{path}: wrong checksum, sha256 is {digests[name]} but the hub gives {stated}")
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{repository}: cannot download it ({type(error).__name__}). Get config.json, model.safetensors (or "
            f"pytorch_model.bin) and tokenizer.json where there is one from https://huggingface.co/{repository} on a "
            f"connected machine and put them at {folder}"
        ) from error
    with finished_file(folder / "source.json") as temporary:
        temporary.write_text(json.dumps({"repository": repository, "commit": info.sha, "sha256": digests}, indent=1))
    return folder
