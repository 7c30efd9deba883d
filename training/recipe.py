"""Recipes: one YAML file for each model, checked before any work starts.

The key `kind` says what a recipe makes: `fit` a supervised model, `probe` a linear model on frozen embeddings,
`language_model` a model pretrained on masked tokens.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from regzoo.errors import InputError
from training.data.sources import Data, Source
from training.section import Section, read_content, validated

#: GROUP/MODEL, which also names the folders under models/ and runs/.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*$", max_length=200)]
#: A text that is not blank.
Text = Annotated[str, Field(pattern=r"\S")]


def _described(data):
    if not data.description.strip():
        raise ValueError("`description` is needed for the model card: what the data is, its source and licence")
    return data


Described = Annotated[Data, AfterValidator(_described)]


class Optimiser(Section):
    """AdamW with linear warm-up and cosine decay."""

    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.01, ge=0, description="for matrices; biases and norms have none")
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(0.1, ge=0, lt=1, description="fraction of all steps")
    floor: float = Field(0.0, ge=0, lt=1, description="fraction of the learning rate at the last step")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the averaged weights, which are the ones kept; 0 turns averaging off"
    )
    accumulate: int = Field(1, gt=0, description="parts in which the rows of a step are run, to save memory")
    precision: Literal["float32", "bf16"] = "bf16"
    compile: bool = Field(False, description="use torch.compile")


class Fitting(Optimiser):
    """How a supervised model is fitted."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(256, gt=0, description="rows of a step, over all GPUs and parts")
    ema: float = Field(
        0.999, ge=0, lt=1, description="decay of the averaged weights, which are the ones kept; 0 turns averaging off"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    patience: int | None = Field(
        None,
        gt=0,
        description="stop after this many epochs without a better dev score, and keep the best epoch's weights",
    )


class Schedule(Optimiser):
    """How a language model is trained."""

    steps: int = Field(gt=0)
    tokens: int = Field(4096, gt=0, description="in a batch")
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(0.05, ge=0, lt=1, description="fraction of all steps")
    floor: float = Field(0.1, ge=0, lt=1, description="fraction of the learning rate at the last step")
    save_every: int = Field(200, gt=0, description="steps between checkpoints")


class Architecture(Section):
    """Name and arguments of `regzoo.nets.build`; input_length and n_targets come from the data.

    A `language_model` with the argument `backbone` (LM/NAME) starts from that model's weights. All weights are trained,
    or only `adapters`.
    """

    name: str
    arguments: dict[str, Any] = {}


class Augmentation(Section):
    """Random changes of training windows, drawn anew in every epoch."""

    reverse_complement: bool = True
    shift: int = Field(0, ge=0, description="largest shift in bases; new positions are N")
    mutate: float = Field(0.0, ge=0, le=1, description="fraction of bases replaced by a random base")
    erase: int = Field(0, ge=0, description="longest stretch replaced by N")


class Distillation(Section):
    """Soft labels: predictions of trained models, averaged over models and strands."""

    teachers: list[str] = Field(description="recipes with finished runs")
    weight: float = Field(0.7, ge=0, le=1, description="of the soft labels' loss; the hard labels' has 1 - weight")


class Adapters(Section):
    """LoRA (Hu et al. 2022) on a language model's matrices: only the low-rank changes and the head are trained."""

    rank: int = Field(8, gt=0)
    alpha: float = Field(16, gt=0, description="changes are scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1)
    layers: str = Field(
        r".*\.(qkv|attention_out|up|down|project|out)", description="regular expression for names of linear layers"
    )


class Corpus(Section):
    """Sequences to pretrain on: globs of files under REGZOO_DATA."""

    train: list[str]
    held_out: list[str]
    evaluation: list[str] = Field([], description="data of other tasks; training windows that overlap it are dropped")
    description: Text = Field(description="for the model card: what the data is, its source and licence")
    cite_as: str = Field("", description="for model.yaml: publications of the data")
    keywords: list[str] = Field([], description="tags in model.yaml")
    window: int = Field(510, gt=0, description="longer sequences are cut into pieces of this length")
    overlap_kmer: int = Field(32, gt=0, description="length of the k-mers that count as overlap")


class Masking(Section):
    """BERT's masking: of the chosen tokens 80% are masked, 10% replaced by a random one and 10% kept."""

    fraction: float = Field(
        0.15, gt=0, lt=1, description="of tokens chosen; overlapping k-mers are chosen in spans of k"
    )


class Common(Section):
    """What recipes of all kinds have.

    Attributes
    ----------
    model : str
        GROUP/MODEL, the model's name in the zoo.
    limits : str
        For the model card: when a prediction should not be relied on.
    notes : str
        What was tried; used by nothing.
    """

    model: ModelName
    title: str
    seed: int = 1
    limits: Text
    notes: str = ""


class Supervised(Common):
    """What recipes of models with labelled data have.

    Attributes
    ----------
    published : dict of str to list of float
        Figures of other models for the card, in the order of the targets: MCC x 100 of classifiers, Pearson's r of
        regressions.
    """

    data: Described
    published: dict[str, list[float | None]] = {}

    @property
    def dataset(self) -> Source:
        """The section that describes the data."""
        return self.data


class FitRecipe(Supervised):
    """A supervised model."""

    kind: Literal["fit"]
    architecture: Architecture
    augmentation: Augmentation = Augmentation()
    distillation: Distillation | None = None
    adapters: Adapters | None = None
    optimiser: Fitting
    parameters: int | None = Field(None, description="for the index, where neither weights nor backbone are available")


class ProbeRecipe(Supervised):
    """A linear probe of a language model."""

    kind: Literal["probe"]
    backbone: str = Field(description="a language model of the zoo, LM/NAME")
    pooling: str = "mean"
    rows: int = Field(20_000, gt=0, description="at most this many training rows for each target, drawn by the seed")
    svr: bool = Field(False, description="regression only: also evaluate a support vector machine on the embeddings")

    @property
    def architecture(self) -> Architecture:
        """A linear head on the backbone."""
        return Architecture(name="language_model", arguments={"backbone": self.backbone, "pooling": self.pooling})

    @property
    def adapters(self) -> None:
        """None: the backbone is frozen."""
        return None


class LanguageModelRecipe(Common):
    """A language model: made from `tokenizer` and `network`, or trained further from a published one, `start`."""

    kind: Literal["language_model"]
    corpus: Corpus
    start: str | None = Field(None, description="a published model: OWNER/NAME, or a folder in its authors' layout")
    tokenizer: dict[str, Any] = Field(
        {}, description="`kind`, and what it needs: bpe takes `vocabulary`, kmers takes `k`"
    )
    network: dict[str, Any] = Field({}, description="`kind`, transformer or caduceus, and its sizes")
    masking: Masking = Masking()
    optimiser: Schedule

    @property
    def dataset(self) -> Corpus:
        """The section that describes the data."""
        return self.corpus

    @model_validator(mode="after")
    def _complete(self):
        if bool(self.start) == bool(self.tokenizer and self.network):
            raise ValueError("give either `start`, or `tokenizer` and `network`")
        if not self.start and not ("kind" in self.tokenizer and "kind" in self.network):
            raise ValueError("`tokenizer` and `network` need a `kind`")
        if self.tokenizer.get("kind") == "bpe" and not isinstance(self.tokenizer.get("vocabulary"), int):
            raise ValueError("tokenizer.vocabulary: bpe needs its number of tokens")
        return self


#: Keys that do not change a run: it is resumed, and baselines are shared, whatever their values are.
PROSE: dict[str, Any] = {
    **dict.fromkeys(("kind", "notes", "limits", "published", "title"), True),
    "data": {"title", "description", "cite_as", "keywords"},
    "corpus": {"description", "cite_as", "keywords"},
}
#: A recipe of any kind, told apart by `kind`.
Recipe = FitRecipe | ProbeRecipe | LanguageModelRecipe
RECIPES: dict[str, type[Recipe]] = {"fit": FitRecipe, "probe": ProbeRecipe, "language_model": LanguageModelRecipe}


def load_recipe(path: str | Path, *kinds: str) -> Any:
    """Read and check a recipe.

    Parameters
    ----------
    path : str or pathlib.Path
        Its `data` may be the name of another YAML file in the same folder, so that recipes share it.
    *kinds : str
        Kinds that are accepted; all without it.

    Returns
    -------
    FitRecipe, ProbeRecipe or LanguageModelRecipe

    Raises
    ------
    InputError
        If the file is missing, is not YAML, is of another kind, or has an unknown, missing or invalid value. Every
        problem is named.
    """
    content = read_content(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys and values")
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in RECIPES:
        close = difflib.get_close_matches(str(kind), RECIPES, 1)
        found = f"{kind!r} is unknown" if "kind" in content else "missing"
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise InputError(f"{path}: kind: {found}; expected one of {', '.join(RECIPES)}{hint}")
    if kinds and kind not in kinds:
        raise InputError(f"{path}: a recipe of kind {kind!r}; this needs {' or '.join(map(repr, kinds))}")
    return validated(RECIPES[kind], content, path)
