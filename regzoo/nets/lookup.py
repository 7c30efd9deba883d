"""A language model by name: one of the zoo's, a folder in its authors' layout, or a repository on the hub."""

from pathlib import Path

from regzoo.errors import ModelError
from regzoo.nets.language_models import LanguageModel, load_pretrained
from regzoo.nets.sequence_model import LanguageModelNet
from regzoo.zoo import catalogue, load_model


def load_language_model(name):
    """A language model and its tokenizer.

    Parameters
    ----------
    name : str or pathlib.Path
        GROUP/MODEL of the zoo, a model directory, a folder with config.json and weights, or OWNER/NAME on the hub.

    Returns
    -------
    regzoo.nets.language_models.LanguageModel

    Raises
    ------
    ModelError
        If there is none of that name, or it is not a language model.
    """
    name = str(name)
    if name in catalogue() or (Path(name) / "model.yaml").is_file():
        net = load_model(name, device="cpu").module.net
        if not isinstance(net, LanguageModelNet):
            raise ModelError(f"{name}: not a language model; `regzoo ls` lists those under LM/")
        return LanguageModel("zoo", net.lm, net.tokenizer, {})
    if name.startswith("LM/"):
        load_model(name)  # raises, with the nearest name
    return load_pretrained(name)
