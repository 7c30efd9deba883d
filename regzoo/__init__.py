"""The library of the zoo: sequence access, architectures, variant effects, evaluation, and the bridge to Kipoi."""

from regzoo.errors import InputError, ModelError, OutputError, RegzooError

__version__ = "0.1.0"
__all__ = ["InputError", "ModelError", "OutputError", "RegzooError", "__version__"]
