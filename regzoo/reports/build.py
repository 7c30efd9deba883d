"""The report of variants, of another command's output, or of a model, as one HTML file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

import regzoo
from regzoo.effects.allele_report import alleles
from regzoo.effects.motif_changes import read_motifs
from regzoo.errors import InputError, ModelError
from regzoo.options import ORIENTATIONS, check_at_least, check_choice
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix
from regzoo.reports.cards import card_page
from regzoo.reports.evaluations import evaluation_page
from regzoo.reports.inputs import Input, read_input
from regzoo.reports.page import write_page
from regzoo.reports.regions import regions_page
from regzoo.reports.tracks import read_regions
from regzoo.reports.variants import from_scores, variants_page
from regzoo.sequence.genome import Genome, as_genome
from regzoo.zoo import load_models

logger = logging.getLogger(__name__)

_VARIANTS = ("variants", "alleles", "scores")
_REGIONS = ("predictions", "elements", "track", "contributions", "explanation", "peaks")


def report(
    inputs: Any,
    models: Any = (),
    genome: Any = None,
    *,
    targets: Sequence[str] = (),
    step: int | None = None,
    background: Any = None,
    motifs: str | Path | None = None,
    orientation: str = "report",
    pip: str | Path | None = None,
    regions: str | Path | None = None,
    top: int = 20,
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path = "report.html",
    progress: bool = False,
) -> Path:
    """Write a report as one HTML file that opens without a network.

    Parameters
    ----------
    inputs : str, pathlib.Path, pandas.DataFrame, or a list of them
        One of: variants, as `regzoo.alleles` takes them; a table that `alleles` or `score` wrote; tables, tracks and
        attributions of `predict`, `scan` and `explain`, several of which make one page; a file of `compare`,
        `transfer`, `benchmark` or `python -m training evaluate`, or what `regzoo.compare` or `regzoo.transfer`
        returns; the name of a model.
    models : model, or list of models
        For variants. Of a table, the models it names are loaded.
    genome : str, pathlib.Path or Genome, optional
        FASTA or .2bit. For variants; with a table of alleles or scores it adds heat maps, and REF of all scored alleles
        must be its bases.
    targets, step, background, orientation, pip
        For variants, as of `regzoo.alleles`.
    motifs : str or pathlib.Path, optional
        MEME file. The motif that an allele makes or breaks is named and drawn where it matches.
    regions : str or pathlib.Path, optional
        BED or GFF file of genes or elements, drawn around variants.
    top : int
        Alleles, by rank, that have a section; or regions of `predict`, `scan` and `explain`.
    batch_size : int
        Windows in one pass.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    output : str or pathlib.Path
        .html file.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    regzoo.RegzooError
        If an input, an option or the output is not valid. Nothing is written then.

    Examples
    --------
    >>> regzoo.report("credible_set.vcf", "MotifResNet/tf-human", "hg38.fa", pip="INFO:PIP")  # doctest: +SKIP
    """
    check_suffix(output, (".html", ".htm"), stdout=False)
    check_choice("treatment of orientation", orientation, ORIENTATIONS)
    check_at_least(0, top=top)
    check_at_least(1, batch_size=batch_size)
    given = [read_input(one) for one in _listed(inputs)]
    paths = [one for one in (*_listed(inputs), genome, motifs, regions, pip) if isinstance(one, (str, Path))]
    refuse_overwrite(output, paths)
    kind = given[0].kind
    if kind in _VARIANTS:
        options = {"targets": targets, "step": step, "background": background, "orientation": orientation, "pip": pip}
        drawn = {"motifs": motifs, "regions": regions, "top": top, "batch_size": batch_size}
        html = _of_variants(_single(given), models, genome, options, drawn, device, progress)
    else:
        others = {"motifs": motifs, "pip": pip, "background": background, "step": step}
        others["regions"] = None if kind in _REGIONS else regions
        _check_unused(given[0], models=models, genome=genome, targets=targets, **others)
        if kind in _REGIONS:
            html = regions_page(given, None if regions is None else read_regions(regions), top)
        else:
            html = card_page(_single(given).value) if kind == "model" else evaluation_page(_single(given))
    write_page(html, output)
    return Path(output)


def _listed(inputs):
    """Inputs as a list; a list of variants is one input."""
    if not isinstance(inputs, (list, tuple)):
        return [inputs]
    if not inputs:
        raise InputError("no input is given")
    variants = all(isinstance(one, str) and one.count(":") == 3 and not Path(one).exists() for one in inputs)
    return [list(inputs)] if variants else list(inputs)


def _single(given: list[Input]) -> Input:
    if len(given) > 1:
        raise InputError(f"{given[1].source}: a report of {given[0].kind} has one input; write one report for each")
    return given[0]


def _check_unused(given, **options):
    used = [name for name, value in options.items() if value is not None and value != () and value != []]
    if used:
        raise InputError(f"{given.source}: {', '.join(used)} is for reports of variants, and this is {given.kind}")


def _of_variants(given, models, genome, options, drawn, device, progress):
    """Page of variants, or of a table of alleles or scores."""
    made = _made(given, models, genome, options | drawn)
    motifs, regions = drawn.pop("motifs"), drawn.pop("regions")
    near = None if regions is None else read_regions(regions)
    pwms = None if motifs is None else read_motifs(motifs)
    if given.kind == "variants":
        if not _listed_models(models):
            raise InputError(f"{given.source}: variants need a model; give one or more with --model")
        if genome is None:
            raise InputError(f"{given.source}: variants need a genome; give a FASTA or .2bit file with --genome")
        loaded, fasta = load_models(models, device), as_genome(genome)
        table: Any = alleles(
            loaded, given.value, fasta, motifs=motifs, batch_size=drawn["batch_size"], progress=progress, **options
        )
        return variants_page(table, given.source, loaded, fasta, near, pwms, made=made, progress=progress, **drawn)
    unused = [name for name, value in options.items() if value not in (None, (), [], "report")]
    if unused:
        raise InputError(f"{given.source}: {unused[0]} is an option of the command that wrote this table; use it there")
    table = given.value if given.kind == "alleles" else from_scores(given.value, given.source)
    named = [str(getattr(one, "name", one)) for one in _listed_models(models)]
    if len(named) == 1 and (table["model"].fillna("") == "").all():
        table = table.assign(model=named[0])
    opened = None if genome is None else as_genome(genome)
    loaded = [] if opened is None else _models_of(table, models, device)
    return variants_page(table, given.source, loaded, opened, near, pwms, made=made, progress=progress, **drawn)


def _made(given, models, genome, options):
    """Inputs and options of a report, files by their names alone."""
    found = {"regzoo": regzoo.__version__, "Date": f"{date.today():%Y-%m-%d}", "Input": given.source}
    if genome is not None:
        found["Genome"] = _called(genome)
    names = [str(getattr(one, "name", one)) for one in _listed_models(models)]
    found |= {"Models": ", ".join(names)} if names else {}
    unset: tuple[Any, ...] = (None, (), [], "report")
    chosen = {name: value for name, value in options.items() if name != "batch_size" and value not in unset}
    return found | {name.replace("_", " "): _called(value) for name, value in chosen.items()}


def _called(value):
    """A file's name, the items of a list, or the value."""
    if isinstance(value, Genome):
        return Path(value.path).name
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return Path(value).name if isinstance(value, (str, Path)) else str(value)


def _listed_models(models):
    return list(models) if isinstance(models, (list, tuple)) else [models]


def _models_of(table: pd.DataFrame, models, device):
    """The models that a table names, or those given."""
    if _listed_models(models):
        return load_models(models, device)
    names = [name for name in dict.fromkeys(table["model"].dropna().astype(str)) if name]
    try:
        return load_models(names, device) if names else []
    except ModelError as error:
        raise ModelError(f"the table names a model that cannot be loaded ({error}); give it with --model") from error
