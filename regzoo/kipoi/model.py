"""The one Kipoi model class of the zoo."""

from pathlib import Path

import numpy as np
import torch
from kipoi.model import PyTorchModel

from regzoo.description import inside, read_description
from regzoo.errors import InputError
from regzoo.zoo import load_module


class ZooModel(PyTorchModel):
    """A model of the zoo, from the `args` of its model.yaml; see `regzoo.zoo.load_module` for them.

    Kipoi makes it in the model's folder, against which file names are resolved. Layers are named as in
    `named_modules()`, e.g. 'net.layers.0'. Of a model that averages both strands, a layer's activations are two: of
    the sequence, then of its reverse complement.

    Parameters
    ----------
    auto_use_cuda : bool
        Use a GPU when there is one.
    **args
        Of `regzoo.zoo.load_module`.
    """

    def __init__(self, auto_use_cuda=True, **args):
        self._folder, self._test = Path.cwd(), None
        if (self._folder / "model.yaml").is_file():
            read_description(self._folder)  # more of the file than `args` is checked
        self.model = load_module(self._folder, "/".join(self._folder.parts[-2:]), **args)
        self.input_length = args["arguments"]["input_length"]
        self.use_cuda = auto_use_cuda and torch.cuda.is_available()
        if self.use_cuda:
            self.model = self.model.cuda()
        self.grad_hooks = []

    @property
    def test(self):
        """The `test` section of model.yaml; its file of expected predictions is found from any working directory."""
        return self._test

    @test.setter
    def test(self, section):
        if isinstance(section.expect, str):
            section.expect = str(inside(self._folder, section.expect, "test.expect"))
        self._test = section

    def predict_on_batch(self, x):
        """Predictions of one-hot windows.

        Parameters
        ----------
        x : numpy.ndarray, float32, shape (N, 4, L)
            L as the model's schema says.

        Returns
        -------
        numpy.ndarray, float32, shape (N, targets), or (N, targets, bins) of a profile model

        Raises
        ------
        regzoo.errors.InputError
            If the array has another shape or type.
        """
        x = np.asarray(x)
        if x.dtype.kind != "f" or x.ndim != 3 or x.shape[1:] != (4, self.input_length):
            raise InputError(
                f"{'/'.join(self._folder.parts[-2:])} reads one-hot windows, float32 of shape (N, 4, {self.input_length}), not "
                f"{x.dtype} of shape {x.shape}"
            )
        x = x.astype(np.float32, copy=False)
        with torch.inference_mode():
            return super().predict_on_batch(x)

    def get_last_layers(self, x):
        """The whole module: Kipoi's own search by tracing needs a torch before 1.4."""
        return [self.model]
