"""Network architectures: one-hot (N, 4, L) in, logits (N, targets), or (N, targets, bins) for profiles, out."""

from typing import Any

from torch import nn

from regzoo.errors import ModelError
from regzoo.nets.arguments import check_arguments
from regzoo.nets.basenji import Basenji
from regzoo.nets.basset import Basset
from regzoo.nets.deepsea import Beluga, DeepSEA
from regzoo.nets.dragonn import DragoNN
from regzoo.nets.enhancer_net import EnhancerNet
from regzoo.nets.hybrid import Hybrid
from regzoo.nets.language_models import load_pretrained, save_pretrained
from regzoo.nets.motif_resnet import MotifResNet
from regzoo.nets.sequence_model import LanguageModelNet

ARCHITECTURES = {
    "deepsea": DeepSEA,
    "beluga": Beluga,
    "basset": Basset,
    "basenji": Basenji,
    "dragonn": DragoNN,
    "enhancer_net": EnhancerNet,
    "motif_resnet": MotifResNet,
    "hybrid": Hybrid,
    "language_model": LanguageModelNet,
}


def build(architecture: str, **arguments: Any) -> nn.Module:
    """Build a network with random weights.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    **arguments
        Arguments of the constructor.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelError
        If the name or an argument is unknown, or an argument has an invalid type or value.
    """
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ModelError(f"unknown architecture {architecture!r}; choose from {', '.join(ARCHITECTURES)}")
    check_arguments(ARCHITECTURES[architecture], arguments, f"architecture {architecture!r}")
    try:
        return ARCHITECTURES[architecture](**arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # incompatible sizes
        raise ModelError(f"architecture {architecture!r}: {error}") from error


__all__ = [
    "ARCHITECTURES",
    "Basenji",
    "Basset",
    "Beluga",
    "DeepSEA",
    "DragoNN",
    "EnhancerNet",
    "Hybrid",
    "MotifResNet",
    "build",
    "load_pretrained",
    "save_pretrained",
]
