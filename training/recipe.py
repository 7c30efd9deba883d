"""Recipes: one YAML per model, checked field by field before any work starts."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from regzoo.errors import InputError
from training.data.sources import Data
from training.loop import Optimiser
from training.section import Section, read_section, read_yaml, validated

#: GROUP/MODEL, which is also the name of folders under models/ and runs/.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*$", max_length=200)]
#: For the model card: when a prediction should not be relied on.
Limits = Annotated[str, Field(pattern=r"\S")]


def _described(data):
    if not data.description.strip():
        raise ValueError("`description` is needed for the model card: what the data is, its source and licence")
    return data


Described = Annotated[Data, AfterValidator(_described)]


class Architecture(Section):
    """Name and arguments of `regzoo.nets.build`; input_length and n_targets come from the data.

    A `language_model` whose arguments have a `backbone` (LM/NAME) starts from that model's weights, and is trained as a whole
    or by `adapters`.
    """

    name: str
    arguments: dict[str, Any] = {}


class Augmentation(Section):
    """Random changes of a training window, drawn anew every epoch."""

    reverse_complement: bool = True
    shift: int = Field(0, ge=0, description="largest shift in bases; what comes in from outside is N")
    mutate: float = Field(0.0, ge=0, le=1, description="share of bases replaced by a random base")
    erase: int = Field(0, ge=0, description="longest stretch replaced by N")


class Distillation(Section):
    """Soft targets from trained teachers, averaged over teachers and both strands."""

    teachers: list[str] = Field(description="recipes whose finished runs are averaged")
    weight: float = Field(0.7, ge=0, le=1, description="share of the loss; every target of every row has a soft label")


class Adapters(Section):
    """LoRA (Hu et al. 2022) on a language model's matrices: only low-rank changes of them and the head are trained."""

    rank: int = Field(8, gt=0)
    alpha: float = Field(16, gt=0, description="changes are scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1)
    layers: str = Field(
        r".*\.(qkv|attention_out|up|down|project|out)", description="regular expression for names of linear layers"
    )


class Fitting(Optimiser):
    """How a supervised model is fitted."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(256, gt=0, description="rows of a step, over all GPUs and parts")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    ema: float = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights, which are the ones kept; 0 for none"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    patience: int | None = Field(
        None, gt=0, description="epochs without a better dev score before it stops; the best epoch's weights are kept"
    )


class Recipe(Section):
    """Everything that makes a trained model again.

    `model` is its name in the zoo (GROUP/MODEL). `published` holds other models' figures in the order of the targets (MCC × 100
    of classifiers, Pearson's r of regressions), for the model card. `limits`, which the card needs, says when a prediction
    should not be relied on; `notes` keeps the log of what was tried.
    """

    model: ModelName
    title: str
    data: Described
    architecture: Architecture
    augmentation: Augmentation = Augmentation()
    distillation: Distillation | None = None
    adapters: Adapters | None = None
    optimiser: Fitting
    seed: int = 1
    parameters: int | None = Field(None, description="for the index, where neither weights nor backbone are at hand")
    published: dict[str, list[float | None]] = {}
    limits: Limits
    notes: str = ""


class ProbeRecipe(Section):
    """Everything that makes a probe again."""

    model: ModelName
    title: str
    data: Described
    backbone: str = Field(description="a language model of the zoo, LM/NAME")
    pooling: str = "mean"
    rows: int = Field(20_000, gt=0, description="most training rows of a target, drawn by the seed")
    svr: bool = Field(False, description="of a regression: also evaluate a support vector machine on the embeddings")
    seed: int = 1
    published: dict[str, list[float | None]] = {}
    limits: Limits
    notes: str = ""

    @property
    def architecture(self):
        """A linear head on the backbone."""
        return Architecture(name="language_model", arguments={"backbone": self.backbone, "pooling": self.pooling})

    @property
    def adapters(self):
        """None: the backbone is frozen."""
        return None


class _Named(BaseModel):
    """The one key that every recipe has."""

    model_config = ConfigDict(extra="ignore")
    model: ModelName


def model_name(path):
    """`model` of a recipe of any kind; an InputError if it is missing or not GROUP/MODEL."""
    return validated(_Named, read_yaml(path), path).model


def recipe_kind(path):
    """'language_model', 'probe' or 'supervised', by the sections that a file has; 'supervised' where it cannot be read."""
    try:
        content = read_yaml(path)
    except InputError:  # which its loader tells
        return "supervised"
    keys = content if isinstance(content, dict) else ()
    return "language_model" if "corpus" in keys else "probe" if "backbone" in keys else "supervised"


def load_recipe(path):
    """Read and check the recipe of a supervised model, a `Recipe` or `ProbeRecipe`; errors as of `read_section`."""
    return read_section(path, ProbeRecipe if recipe_kind(path) == "probe" else Recipe)
