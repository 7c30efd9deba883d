"""What the numbers of a run depend on, as digests: a run is resumed only if they are the same."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import regzoo
from regzoo.effects.scores import imported_score
from regzoo.model import Model
from regzoo.nets.checkpoint import state_digest
from regzoo.nets.language_models import LanguageModel
from regzoo.sequence import Genome


def of_inputs(variants: str, genome: Genome, others: Sequence[str | Path], workers: int) -> dict[str, Any]:
    """What scores depend on, besides the models and options.

    Parameters
    ----------
    variants : str
        Digest of the variants.
    genome : regzoo.sequence.Genome
    others : sequence of str or pathlib.Path
        Further input files.
    workers : int
    """
    of_genome: dict[str, Any] = {}
    for path in (genome.path, Path(f"{genome.path}.fai")):
        if path.is_file():
            of_file = path.stat()
            of_genome[str(path.resolve())] = [of_file.st_size, of_file.st_mtime_ns, of_file.st_ino]
    if not of_genome:  # sequences in memory
        for name in genome.contigs:
            of_genome[name] = hashlib.sha256(genome.codes(name).tobytes()).hexdigest()
    return {
        "vcf": variants,
        "genome": of_genome,
        "files": [file_digest(path) for path in others],
        "threads": [workers, torch.get_num_threads()],
        "code": [_code_digest(), torch.__version__, np.__version__],
    }


def of_model(model: Model) -> dict[str, Any]:
    """What the predictions of a model depend on."""
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("module", "_fold")}
    module = [repr(model.module), model.module.reverse_complement, str(model.device)]
    return {"fields": repr(fields), "module": module, "weights": state_digest(model.module)}


def of_language_model(lm: LanguageModel) -> dict[str, Any]:
    """What the probabilities of a language model depend on."""
    words, file = repr(lm.tokenizer.vocabulary).encode(), getattr(lm.tokenizer, "path", None)
    return {
        "network": [repr(lm.net), repr(getattr(lm.net, "config", None)), lm.source],
        "weights": state_digest(lm.net),
        "tokenizer": [type(lm.tokenizer).__name__, hashlib.sha256(words).hexdigest(), file and file_digest(file)],
    }


def of_functions(scores: Sequence[str]) -> dict[str, str | None]:
    """Digests of the modules of imported scoring functions, by the function's import path."""
    modules = {name: inspect.getmodule(imported_score(name)) for name in scores if "." in name}
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    return {name: file and file_digest(file) for name, file in files.items()}


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@cache
def _code_digest():
    """Digest of this library's own code."""
    digest = hashlib.sha256()
    for path in sorted(Path(regzoo.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
