"""Patches for kipoi_interpret 0.1.2. `regzoo.kipoi.imports` imports this module after kipoi_interpret itself."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import kipoi.writers
import kipoi_interpret.cli
import kipoi_interpret.importance_scores.cli
import numpy as np
from kipoi.specs import ArraySpecialType
from kipoi_interpret.importance_scores import base
from kipoi_interpret.importance_scores.base import get_importance_score
from kipoi_interpret.importance_scores.gradient import Gradient, Saliency
from kipoi_interpret.importance_scores.ism import Mutation
from kipoi_interpret.utils import get_model_input, get_model_input_special_type
from kipoi_utils.data_utils import numpy_collate_concat
from kipoi_utils.utils import parse_json_file_str_or_arglist

from regzoo.errors import InputError
from regzoo.kipoi.writers import FinishedWriter

_score = Mutation.score
_feature_importance = base.feature_importance


def saliency(self: Any, input_batch: Any) -> Any:
    """Absolute value of the gradient, in place of `Saliency.score`, which passes `self` twice."""
    gradient = Gradient.score(self, input_batch)
    if isinstance(gradient, dict):
        return {name: np.abs(values) for name, values in gradient.items()}
    if isinstance(gradient, list):
        return [np.abs(values) for values in gradient]
    return np.abs(gradient)


def mutation_score(self: Any, input_batch: Any) -> Any:
    """`Mutation.score`, which checks that `category_axis` is the axis of the four bases.

    Raises
    ------
    InputError
        If another axis of a DNA input is given; the scores would then be of sequences that are not one-hot.
    """
    model_input = self.get_correct_model_input_id(self.model_input)
    values = get_model_input(input_batch, input_id=model_input)
    if get_model_input_special_type(self.model, model_input) is ArraySpecialType.DNASeq:
        shape = values.shape[1:]
        if not -len(shape) <= self.category_axis < len(shape) or shape[self.category_axis] != 4:
            raise InputError(
                f"category_axis is {self.category_axis}, but this model reads windows of shape {shape}; give the axis "
                f"of the four bases (--category_axis {shape.index(4) if 4 in shape else 'N'})"
            )
    return _score(self, input_batch)


def feature_importance(
    model: Any,
    dataloader: Any,
    importance_score: Any,
    importance_score_kwargs: dict | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
) -> dict:
    """`kipoi_interpret.importance_scores.feature_importance`, with the mutation scores of one window after the other.

    kipoi_interpret joins the nested lists of mutation scores of several batches by position in a window.
    """
    options = importance_score_kwargs or {}
    if get_importance_score(importance_score) is not Mutation:
        return _feature_importance(model, dataloader, importance_score, options, batch_size, num_workers)
    mutation, batches, scores = Mutation(model, **options), [], []
    for batch in dataloader.batch_iter(batch_size=batch_size, num_workers=num_workers):
        batches.append(batch)
        scores += mutation.score(batch["inputs"])
    return {**numpy_collate_concat(batches), "importance_scores": scores}


def _finished(writer, **options):
    def make(file_path, **more):
        return FinishedWriter(file_path, partial(writer, **options, **more))

    make.__name__ = writer.__name__  # logged by the commands
    return make


def patch() -> None:
    """Replace the parts of kipoi_interpret that fail, and let its commands write whole files."""
    Saliency.score = saliency
    Mutation.score = mutation_score
    Mutation.is_compatible = classmethod(lambda cls, model: True)  # `feature_importance` calls it on the class
    for module in (kipoi_interpret.importance_scores, base):
        module.feature_importance = feature_importance
    tsv, hdf5 = _finished(kipoi.writers.TsvBatchWriter), _finished(kipoi.writers.HDF5BatchWriter)
    writers = SimpleNamespace(
        TsvBatchWriter=tsv, HDF5BatchWriter=hdf5, FILE_SUFFIX_MAP={"tsv": tsv, "h5": hdf5, "hdf5": hdf5}
    )
    for module in (kipoi_interpret.cli, kipoi_interpret.importance_scores.cli):
        module.writers = writers
        module.parse_json_file_str = parse_json_file_str_or_arglist  # Kipoi gives --dataloader_args as a list


patch()
