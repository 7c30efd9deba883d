"""The one Kipoi model class of the zoo."""

from pathlib import Path

import torch
from kipoi.model import PyTorchModel

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
        self.model = load_module(self._folder, "/".join(self._folder.parts[-2:]), **args)
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
            section.expect = str(self._folder / section.expect)
        self._test = section

    def predict_on_batch(self, x):
        """Predictions, float32, shape (N, targets), of one-hot windows, shape (N, 4, L)."""
        with torch.inference_mode():
            return super().predict_on_batch(x)

    def get_last_layers(self, x):
        """The whole module: Kipoi's own search by tracing needs a torch before 1.4."""
        return [self.model]
