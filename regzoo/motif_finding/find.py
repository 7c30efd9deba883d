"""Motifs that a model has learned, from its contributions, the filters of its first layer, or its attention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from regzoo.attention_maps import attention
from regzoo.embedding import read_regions
from regzoo.errors import InputError
from regzoo.explanation import explain
from regzoo.explanation_windows import Window, explained_windows
from regzoo.model import Model
from regzoo.motif_finding.attended import WINDOW, enriched, high_attention, merged
from regzoo.motif_finding.filters import filter_sites, first_layer
from regzoo.motif_finding.modisco import check_modisco, modisco
from regzoo.motif_finding.motif import Motif, Motifs, check_database, check_outputs, match_database
from regzoo.motif_finding.seqlets import cluster, find_seqlets
from regzoo.options import MOTIF_METHODS, check_at_least, check_choice, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.sequence import decode
from regzoo.sequence.codes import one_hot, reverse_complement
from regzoo.sequence.genome import as_genome
from regzoo.sequence.shuffle import shuffled_dinucleotides
from regzoo.zoo import load_model

_NAMES = {"contributions": "motif", "modisco": "pattern", "filters": "filter", "attention": "attended"}


def motifs(
    model: Any,
    inputs: Any,
    genome: Any = None,
    *,
    method: str = "contributions",
    attribution: str = "taylor",
    targets: Sequence[str] = (),
    negatives: Any = None,
    min_sites: int = 20,
    database: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> Motifs:
    """Find the motifs that a model reads in sequences.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    inputs : str, pathlib.Path, list of str, or pandas.DataFrame
        Sequences in which the motifs are expected, such as peaks: intervals, or without `genome` sequences, as of
        `regzoo.explain` (for 'attention', as of `regzoo.attention`).
    genome : str, pathlib.Path or Genome, optional
    method : str
        A key of `regzoo.options.MOTIF_METHODS`.
    attribution : str
        Method of `regzoo.explain` for 'contributions' and 'modisco'.
    targets : sequence of str
        For 'contributions' and 'modisco'; all by default, each with motifs of its own.
    negatives : as `inputs`, optional
        For 'attention': sequences without the motifs. By default the inputs with their dinucleotides shuffled.
    min_sites : int
        Fewest sites of a motif.
    database : str or pathlib.Path, optional
        MEME file of known motifs to match.
    seed : int
        Of shuffled sequences.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for a model given by name or path.
    output : str, pathlib.Path, or a list of them, optional
        Also write .meme (motifs), .tsv (table), .bed (sites), or .png, .svg or .pdf (logos).
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Motifs

    Raises
    ------
    regzoo.RegzooError
        If an input, an option or an output is not valid, or the method does not fit the model. Nothing is written then.

    Notes
    -----
    'contributions': spans of large contribution that raise a prediction are aligned by their contributions and
    clustered; see `regzoo.motif_finding.seqlets`.

    'modisco': TF-MoDISco (Shrikumar et al. 2018) on the hypothetical contributions, with the defaults of modisco-lite,
    and smaller sizes for windows shorter than 400 bases.
    Motifs that lower a prediction are found too; 'negative' is in their name.

    A motif of a filter is not always one that the model uses: a filter may respond to a part of a motif, or to several.
    """
    check_choice("method", method, MOTIF_METHODS)
    check_at_least(2, min_sites=min_sites)
    check_at_least(0, seed=seed)
    if negatives is not None and method != "attention":
        raise InputError(f"negatives are for the method 'attention', not for {method!r}")
    outputs = [] if output is None else list(distinct(output if isinstance(output, (list, tuple)) else [output]))
    check_outputs(outputs)
    for path in outputs:
        refuse_overwrite(path, [one for one in (inputs, genome, database) if isinstance(one, (str, Path))])
    check_database(database)
    opened = None if genome is None else as_genome(genome)
    loaded = load_model(model, device)
    if method == "attention":
        found = _of_attention(loaded, inputs, opened, negatives, min_sites, seed, progress)
    elif method == "filters":
        first_layer(loaded)
        found = _of_filters(loaded, explained_windows(inputs, opened, loaded, None), min_sites)
    else:
        if method == "modisco":
            check_modisco(loaded)
        options = {"method": attribution, "targets": targets, "seed": seed, "checked": 0, "progress": progress}
        found = _of_contributions(loaded, inputs, opened, min_sites, method, options)
    matches = pd.DataFrame(columns=["motif", "match", "q"]) if database is None else match_database(found, database)
    result = Motifs(found, matches, loaded.name, method)
    for path in outputs:
        result.write(path)
    return result


def _sites(windows: Sequence[Window], rows, starts, width, scores, reverse, name):
    """Table of sites, from their windows and places in them."""
    places = [windows[row] for row in rows]
    first = np.array([one.start for one in places], dtype=int) + np.asarray(starts, dtype=int)
    return pd.DataFrame(
        {
            "chrom": [one.contig or one.name for one in places],
            "start": first,
            "end": first + width,
            "motif": name,
            "score": np.asarray(scores, dtype=float),
            "strand": np.where(reverse, "-", "+"),
            "window": [one.name for one in places],
        }
    )


def _of_contributions(model: Model, inputs, genome, min_sites, method, options) -> list[Motif]:
    found = explain(model, inputs, genome, **options)
    explained = found if isinstance(found, list) else [found]
    windows = [Window(one.reference, one.contig, one.start, one.name) for one in explained]  # type: ignore[union-attr]
    codes = np.stack([window.codes for window in windows])
    result = []
    for column, target in enumerate(explained[0].targets):  # type: ignore[union-attr]
        if method == "modisco":
            each = [one.hypothetical[:, :, column] for one in explained]  # type: ignore[union-attr]
            groups = modisco(codes, np.stack(each), min_sites)
        else:
            values = np.stack([one.contributions[:, column] for one in explained])  # type: ignore[union-attr]
            groups = cluster(find_seqlets(values, seed=options["seed"]), codes, values, min_sites, model.stranded)
        counts: Counter[str] = Counter()
        for one in groups:
            kind = _NAMES[method] if one.contributions.sum() > 0 else "negative"
            counts[kind] += 1
            name = f"{target}_{kind}{counts[kind]}"
            members = [(seqlet.row, start, seqlet.score, reverse) for seqlet, start, reverse in one.members]
            rows, starts, scores, reverse = zip(*members)
            sites = _sites(windows, rows, starts, len(one.counts), scores, reverse, name)
            result.append(Motif(name, target, one.counts, sites, one.contributions))
    return result


def _of_filters(model: Model, windows, min_sites) -> list[Motif]:
    codes, result = np.stack([window.codes for window in windows]), []
    both = codes
    if not model.stranded:  # a filter may read the motif on one strand only
        both = np.concatenate([codes, reverse_complement(codes)])
    for number, (rows, starts, values) in enumerate(filter_sites(model, both), 1):
        if len(rows) < min_sites:
            continue
        conv = first_layer(model)[0]
        width = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
        hot = one_hot(np.stack([both[row, start : start + width] for row, start in zip(rows, starts)]))
        counts = (hot * (values / values.sum() * len(values))[:, None, None]).sum(axis=0).T
        reverse = rows >= len(codes)
        places = np.where(reverse, codes.shape[1] - starts - width, starts)
        name = f"{_NAMES['filters']}{number}"
        sites = _sites(windows, rows % len(codes), places, width, values, reverse, name)
        result.append(Motif(name, "", counts.astype(float), sites))
    return sorted(result, key=lambda one: -len(one.sites))


def _of_attention(model: Model, inputs, genome, negatives, min_sites, seed, progress) -> list[Motif]:
    regions, _ = read_regions(inputs, genome)
    positive = [decode(region.codes) for region in regions]
    if negatives is None:
        rng = np.random.default_rng(seed)
        negative = [decode(shuffled_dinucleotides(np.array(region.codes)[None], rng)[0]) for region in regions]
    else:
        negative = [decode(region.codes) for region in read_regions(negatives, genome)[0]]
    read = attention(model, inputs, genome, progress=progress)
    assert isinstance(read, list)
    scores = [one.contributions[:, 0] for one in read]
    found = enriched(positive, negative, [high_attention(one) for one in scores])
    windows = [Window(region.codes, region.contig, region.start, region.name) for region in regions]
    result: list[Motif] = []
    for q, members in sorted(merged(found), key=lambda one: -len(one[1])):
        inside = [
            (row, middle - WINDOW // 2)
            for row, middle in dict.fromkeys(members)
            if 0 <= middle - WINDOW // 2 and middle - WINDOW // 2 + WINDOW <= len(regions[row].codes)
        ]
        if len(inside) < min_sites:
            continue
        rows, starts = zip(*inside)
        counts = one_hot(np.stack([regions[r].codes[s : s + WINDOW] for r, s in inside])).sum(axis=0).T
        name = f"{_NAMES['attention']}{len(result) + 1}"
        totals = [float(scores[row][start : start + WINDOW].sum()) for row, start in inside]
        sites = _sites(windows, rows, starts, WINDOW, totals, np.zeros(len(inside), dtype=bool), name)
        result.append(Motif(name, "", counts.astype(float), sites, p=q))
    return result
