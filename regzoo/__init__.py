"""The library of the zoo: sequence access, architectures, variant effects, evaluation, and the bridge to Kipoi."""

from regzoo.errors import InputError, ModelError, OutputError, RegzooError

__version__ = "0.1.0"
__all__ = ["InputError", "ModelError", "OutputError", "RegzooError", "__version__"]


def __getattr__(name):
    # Kipoi resolves `regzoo.kipoi.ZooModel` by attributes; the bridge is loaded only when it is asked for.
    if name == "kipoi":
        import importlib

        return importlib.import_module("regzoo.kipoi")
    raise AttributeError(f"module 'regzoo' has no attribute {name!r}")
