"""The Kipoi model class that every model.yaml of the zoo names."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from kipoi.model import PyTorchModel

from regzoo.description import inside, read_description
from regzoo.errors import InputError
from regzoo.kipoi.token_gradients import differentiable_tokens, language_model_in
from regzoo.zoo import load_module


class ZooModel(PyTorchModel):
    """A model of the zoo, made from the `args` of its model.yaml.

    Kipoi calls this class in the model's folder; file names are relative to it. Layers are named as in
    `named_modules()`, e.g. 'net.layers.0'. A model that averages both strands has two activations for each layer: of
    the sequence and of its reverse complement.

    Parameters
    ----------
    auto_use_cuda : bool
        Use a GPU if there is one.
    **args
        Arguments of `regzoo.zoo.load_module`.
    """

    def __init__(self, auto_use_cuda: bool = True, **args):
        self._folder, self._test = Path.cwd(), None
        if (self._folder / "model.yaml").is_file():
            read_description(self._folder)  # checks the parts of the file other than `args`
        self.model = load_module(self._folder, "/".join(self._folder.parts[-2:]), **args)
        self.input_length = args["arguments"]["input_length"]
        self.use_cuda = auto_use_cuda and torch.cuda.is_available()
        if self.use_cuda:
            self.model = self.model.cuda()
        self.grad_hooks: list = []  # as Kipoi's class

    @property
    def test(self) -> Any:
        """The `test` section of model.yaml. The path of the expected predictions is absolute."""
        return self._test

    @test.setter
    def test(self, section: Any) -> None:
        if isinstance(section.expect, str):
            section.expect = str(inside(self._folder, section.expect, "test.expect"))
        self._test = section

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Predict one-hot windows.

        Parameters
        ----------
        x : numpy.ndarray, float, shape (N, 4, L)
            L is the model's input length.

        Returns
        -------
        numpy.ndarray, float32, shape (N, targets), or (N, targets, bins) for a profile model

        Raises
        ------
        regzoo.errors.InputError
            If the array has another shape or type.
        """
        x = self._checked(x)
        with torch.inference_mode():
            return super().predict_on_batch(x)

    def _checked(self, x):
        x = np.asarray(x)
        if x.dtype.kind != "f" or x.ndim != 3 or x.shape[1:] != (4, self.input_length):
            raise InputError(
                f"{'/'.join(self._folder.parts[-2:])} reads one-hot windows, float32 of shape "
                f"(N, 4, {self.input_length}), not {x.dtype} of shape {x.shape}"
            )
        return x.astype(np.float32, copy=False)

    def _input_grad(self, x, **options):
        # Called by Kipoi's `input_grad`, of which this class has everything else.
        x, net = self._checked(x), language_model_in(self.model)
        if net is None:
            return super()._input_grad(x, **options)
        with differentiable_tokens(net):
            gradients = [super(ZooModel, self)._input_grad(x[i : i + 1], **options) for i in range(len(x))]
        return np.concatenate(gradients) if gradients else np.empty_like(x)

    def get_last_layers(self, x: Any) -> list[Any]:
        """The whole module. Kipoi finds the last layer by tracing, which needs torch 1.3 or older."""
        return [self.model]
