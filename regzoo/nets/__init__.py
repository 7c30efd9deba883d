"""Architectures as plain modules: one-hot (N, 4, L) in, logits (N, targets) out, of profiles (N, targets, bins)."""

from regzoo.errors import ModelError
from regzoo.nets.arguments import check_arguments
from regzoo.nets.basenji import Basenji
from regzoo.nets.basset import Basset
from regzoo.nets.deepsea import Beluga, DeepSEA
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
    "enhancer_net": EnhancerNet,
    "motif_resnet": MotifResNet,
    "hybrid": Hybrid,
    "language_model": LanguageModelNet,
}


def build(architecture, **arguments):
    """Make an architecture with fresh weights.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    **arguments
        Of its constructor.

    Raises
    ------
    ModelError
        If the name or an argument is unknown, or an argument is of another type or size than the architecture takes.
    """
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ModelError(f"unknown architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")
    check_arguments(ARCHITECTURES[architecture], arguments, f"architecture {architecture!r}")
    try:
        return ARCHITECTURES[architecture](**arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # sizes that do not go together
        raise ModelError(f"architecture {architecture!r}: {error}") from error


__all__ = [
    "ARCHITECTURES",
    "Basenji",
    "Basset",
    "Beluga",
    "DeepSEA",
    "EnhancerNet",
    "Hybrid",
    "MotifResNet",
    "build",
    "load_pretrained",
    "save_pretrained",
]
