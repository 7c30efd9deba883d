"""Background distributions of variant scores: how large is a score among random variants?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from regzoo.effects.element_distance import Elements, quotas
from regzoo.errors import InputError, ModelError
from regzoo.options import SPECTRA, check_at_least, check_choice
from regzoo.output.files import finished_file, refuse_overwrite
from regzoo.sequence.alleles import Status
from regzoo.sequence.codes import BASES, UNKNOWN
from regzoo.sequence.genome import as_genome
from regzoo.sequence.intervals import as_intervals
from regzoo.sequence.variants import read_alleles
from regzoo.zoo import load_model, model_folder

FILE = "background.safetensors"
_BYTES = 80_000  # of the quantiles of one model
_MOST_LEVELS = 801
_DRAWN_AT_ONCE = 1 << 16
_MOST_DRAWS = 1 << 24


@dataclass
class Background:
    """Distribution of the magnitude of scores over background variants.

    Attributes
    ----------
    levels : numpy.ndarray, float64, shape (K,)
        Cumulative probabilities, rising to 1; dense towards 1.
    quantiles : dict of str to numpy.ndarray, float32, shape (targets, K)
        By score: quantiles of the score's magnitude, for each target.
    targets : list of str
    count : int
        Number of background variants.
    about : dict
        How they were made.
    """

    levels: np.ndarray = field(repr=False)
    quantiles: dict[str, np.ndarray] = field(repr=False)
    targets: list[str]
    count: int
    about: dict[str, Any] = field(default_factory=dict)

    def percentile(self, score: str, target: str, values: Any) -> np.ndarray:
        """Percentage of background variants whose score has a smaller magnitude.

        Parameters
        ----------
        score, target : str
        values : array_like, float, shape (N,)

        Returns
        -------
        numpy.ndarray, float64, shape (N,)
            0 to 100; NaN for NaN. Interpolated between stored quantiles.

        Raises
        ------
        InputError
            If the background does not have the score or the target.
        """
        check_choice("score in this background", score, self.quantiles)
        check_choice("target in this background", target, self.targets)
        known = self.quantiles[score][self.targets.index(target)].astype(np.float64)
        size = np.abs(np.asarray(values, dtype=np.float64))
        found = 100 * np.interp(size, known, self.levels, left=0.0, right=1.0)
        found[size <= known[0]] = 0.0
        found[np.isnan(size)] = np.nan
        return found

    def p_value(self, score: str, target: str, values: Any) -> np.ndarray:
        """Two-sided empirical p-value, (1 + r) / (1 + N): r of N background scores are at least as large in magnitude.

        Arguments, shape and errors as of `percentile`. The smallest possible value is 1 / (1 + N).
        """
        above = 1 - self.percentile(score, target, values) / 100
        return (1 + self.count * above) / (1 + self.count)

    def digest(self) -> str:
        """SHA-256 of the quantiles."""
        parts = [self.levels.tobytes(), repr((self.targets, self.count)).encode()]
        parts += [name.encode() + table.tobytes() for name, table in sorted(self.quantiles.items())]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file."""
        tensors = {f"score:{name}": np.ascontiguousarray(table) for name, table in self.quantiles.items()}
        about = {"targets": self.targets, "count": self.count, "about": self.about}
        with finished_file(path) as temporary:
            save_file(tensors | {"levels": self.levels}, temporary, metadata={"background": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Background:
        """Read a file that `save` wrote.

        Raises
        ------
        InputError
            If the file is missing or is not a background.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {})["background"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            levels = tensors.pop("levels")
            found = cls(
                levels,
                {name.removeprefix("score:"): table for name, table in tensors.items()},
                list(about["targets"]),
                int(about["count"]),
                dict(about["about"]),
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a background file ({error})") from error
        shape = (len(found.targets), len(levels))
        if not found.quantiles or any(table.shape != shape for table in found.quantiles.values()):
            raise InputError(f"{path}: not a background file (quantiles must have shape {shape})")
        return found


def background(
    model: Any,
    genome: Any,
    *,
    variants: Any = None,
    count: int = 10_000,
    regions: Any = None,
    spectrum: Any = "human",
    elements: Any = None,
    scores: Sequence[str] = (),
    seed: int = 0,
    precision: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = False,
) -> Background:
    """Distribution of a model's scores over background variants.

    Parameters
    ----------
    model : str, pathlib.Path or Model
    genome : str, pathlib.Path or Genome
        FASTA or .2bit in which the variants lie.
    variants : VCF file, data frame or list, optional
        Use these variants, as of `regzoo.score_variants`, instead of random ones. `count`, `regions`, `spectrum`,
        `elements` and `seed` cannot be given then.
    count : int
        Number of random single-base variants.
    regions : BED file, data frame or loci, optional
        Draw them in these intervals only.
    spectrum : str, or variants
        A key of `regzoo.options.SPECTRA`; or variants (a VCF file, data frame or list), whose trinucleotide contexts
        and alternates are matched.
    elements : BED file, data frame or loci, optional
        Also match the distance of the variants given as `spectrum` to the nearest of these intervals, such as the
        elements that `regzoo.scan` calls: inside, within 100, 1,000, 10,000 and 100,000 bases, and beyond. Each
        combination of a distance, a context and an alternate is drawn as often as among those variants.
    scores : sequence of str
        As of `regzoo.score_variants`.
    seed : int
    precision, batch_size, device
        As of `regzoo.score_variants`.
    output : str or pathlib.Path, optional
        Also write a .safetensors file, for `percentile=` of `regzoo.score_variants`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Background

    Raises
    ------
    regzoo.RegzooError
        If an input or an option is not valid, or fewer than 100 variants are scored.
    """
    import regzoo

    if output is not None:
        if not str(output).endswith(".safetensors"):
            raise InputError(f"{output}: a background is written as .safetensors")
        refuse_overwrite(output, [given for given in (genome, variants) if isinstance(given, (str, Path))])
    as_usual = count == 10_000 and seed == 0 and isinstance(spectrum, str) and spectrum == "human"
    if variants is not None and not (as_usual and regions is None and elements is None):
        raise InputError(
            "count, regions, spectrum, elements and seed are of random variants: give either these or variants"
        )
    loaded, opened = load_model(model, device), as_genome(genome)
    given = variants
    if given is None:
        given = random_variants(opened, count, regions=regions, spectrum=spectrum, elements=elements, seed=seed)
    table: Any = regzoo.score_variants(
        loaded, given, opened, scores=scores, precision=precision, batch_size=batch_size, progress=progress
    )
    table = table[table["status"] == "scored"]
    if len(table) < 100:
        raise InputError(f"a background needs at least 100 scored variants, and {len(table)} were scored")
    how: dict[str, Any] = {"genome": Path(opened.path).name, "model": loaded.name}
    if variants is None:
        drawn = spectrum if isinstance(spectrum, str) and spectrum in SPECTRA else "matched to given variants"
        how |= {"spectrum": drawn, "seed": seed, "regions": regions is not None, "elements": elements is not None}
    found = sketch(table, loaded.targets, how)
    if output is not None:
        found.save(output)
    return found


def sketch(table: pd.DataFrame, targets: Sequence[str], about: dict[str, Any]) -> Background:
    """Quantiles of the scores of a table of `regzoo.score_variants`, of scored variants of one model.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns SCORE:TARGET.
    targets : sequence of str
    about : dict
        Kept in the background.

    Returns
    -------
    Background
        Its quantiles take at most about 80 kB.
    """
    names = list(dict.fromkeys(name.split(":", 1)[0] for name in table.columns if ":" in name))
    levels = _levels(len(table), int(np.clip(_BYTES / 4 / max(1, len(names) * len(targets)), 33, _MOST_LEVELS)))
    quantiles = {}
    for name in names:
        sizes = np.abs(table[[f"{name}:{target}" for target in targets]].to_numpy(np.float64))
        quantiles[name] = np.quantile(sizes, levels, axis=0).T.astype(np.float32)
    return Background(levels, quantiles, list(targets), len(table), about)


def _levels(count, size):
    """Cumulative probabilities from 0 to 1: a third of them even up to 0.9, the others even in log(1 - p)."""
    body = np.linspace(0, 0.9, size // 3, endpoint=False)
    tail = 1 - np.geomspace(0.1, 1 / count, size - len(body) - 1)
    return np.concatenate([body, tail, [1.0]])


def of_model(model: str | Path) -> Background:
    """The background that ships with a model.

    Raises
    ------
    ModelError
        If it has none.
    """
    path = model_folder(model) / FILE
    if not path.is_file():
        raise ModelError(
            f"{model}: no background distribution comes with this model; make one with "
            f"`regzoo background --model {model} --genome GENOME -o FILE.safetensors`"
        )
    return Background.load(path)


def background_of(model: str, given: Any = None) -> Background:
    """The background of a model.

    Parameters
    ----------
    model : str
        Its name.
    given : Background, str or pathlib.Path, or dict of model name to one of these, optional
        By default the one that ships with the model.

    Raises
    ------
    ModelError
        If none ships with the model, or `given` has none for it.
    InputError
        If a file is not a background.
    """
    if isinstance(given, dict):
        if model not in given:
            raise ModelError(f"no background is given for {model}; there are {', '.join(given)}")
        given = given[model]
    if given is None:
        return of_model(model)
    return given if isinstance(given, Background) else Background.load(given)


def random_variants(
    genome: Any, count: int, *, regions: Any = None, spectrum: Any = "human", elements: Any = None, seed: int = 0
) -> pd.DataFrame:
    """Random single-base variants.

    Parameters
    ----------
    genome : str, pathlib.Path or Genome
    count : int
    regions : BED file, data frame or loci, optional
        Draw in these intervals only; overlapping ones count twice.
    spectrum : str, or variants
        As of `background`.
    elements : BED file, data frame or loci, optional
        As of `background`.
    seed : int

    Returns
    -------
    pandas.DataFrame
        Columns chrom, pos (1-based), ref, alt; a position may be drawn more than once.

    Raises
    ------
    InputError
        If an option is not valid, or the sequence has too few known bases of the wanted contexts.
    """
    opened = as_genome(genome)
    check_at_least(1, count=count)
    check_at_least(0, seed=seed)
    spans = _spans(opened, regions)
    rng, found, drawn = np.random.default_rng(seed), [], 0
    if elements is not None:
        return _named(_like_given(spectrum, Elements(elements, opened), opened, spans, count, rng), opened)
    rates = _rates(spectrum, opened, spans)
    total, most = 0, rates.sum(axis=1).max()
    while total < count:
        drawn += _DRAWN_AT_ONCE
        _check_draws(drawn, total, count, opened)
        contig, position, context = _drawn(opened, spans, rng)
        keep = rng.random(_DRAWN_AT_ONCE) * most < rates[context].sum(axis=1)
        contig, position, context = contig[keep], position[keep], context[keep]
        chosen = rates[context].cumsum(axis=1)
        alt = (rng.random(len(context))[:, None] * chosen[:, -1:] >= chosen).sum(axis=1)
        found.append(np.stack([contig, position, context // 4 % 4, alt], axis=1))
        total += len(alt)
    return _named(np.concatenate(found)[:count], opened)


def _named(rows, genome):
    """Table of variants, of rows of contig, position, reference and alternate as numbers."""
    letters = np.array(list(BASES))
    names = np.array(genome.contigs)
    return pd.DataFrame(
        {"chrom": names[rows[:, 0]], "pos": rows[:, 1] + 1, "ref": letters[rows[:, 2]], "alt": letters[rows[:, 3]]}
    )


def _drawn(genome, spans, rng):
    """Positions drawn from stretches: index of the contig, position and context of each."""
    contigs, starts, sizes = spans
    ends = np.cumsum(sizes)
    at = rng.integers(0, ends[-1], _DRAWN_AT_ONCE)
    span = np.searchsorted(ends, at, side="right")
    contig, position = contigs[span], starts[span] + at - (ends[span] - sizes[span])
    return contig, position, _contexts(genome.windows(contig, position - 1, 3))


def _check_draws(drawn, total, count, genome, what="of the wanted contexts"):
    if drawn > _MOST_DRAWS + 1000 * count:
        raise InputError(f"{genome.path}: only {total:,} of {count:,} variants {what} could be drawn")


def _like_given(given, near, genome, spans, count, rng):
    """Variants that have, together, the bins of distance, contexts and alternates of given ones, int, shape (count, 4).

    Each combination of a bin, a context and an alternate is drawn as often, up to rounding, as among those given.
    """
    contig, position = _positions(given, genome)
    context, alt = _read_variants(given, genome)
    known = context < 64
    kinds = ((near.bins(contig, position) * 65 + context) * 4 + alt)[known]
    if not len(kinds):
        raise InputError("the variants to match have no single-base variant in a known trinucleotide")
    wanted = quotas(kinds, count)
    found, drawn, total = [], 0, 0
    while total < count:
        drawn += _DRAWN_AT_ONCE
        _check_draws(drawn, total, count, genome, "of the wanted contexts and distances to elements")
        contig, position, context = _drawn(genome, spans, rng)
        place = near.bins(contig, position) * 65 + context
        for kind in np.flatnonzero(wanted):
            rows = np.flatnonzero((place == kind // 4) & (context < 64))[: wanted[kind]]
            place[rows] = -1  # taken
            wanted[kind] -= len(rows)
            total += len(rows)
            ref = context[rows] // 4 % 4
            found.append(np.stack([contig[rows], position[rows], ref, np.full(len(rows), kind % 4)], axis=1))
    return rng.permutation(np.concatenate(found))


def _contexts(codes):
    """Index 0 to 63 of trinucleotides, shape (N, 3); 64 where a base is unknown."""
    index = codes.astype(np.int64) @ np.array([16, 4, 1])
    return np.where((codes == UNKNOWN).any(axis=1), 64, index)


def _spans(genome, regions):
    """Contig indices, starts and sizes of the stretches to draw from."""
    if regions is None:
        return np.arange(len(genome.contigs)), np.zeros(len(genome.contigs), dtype=np.int64), genome.lengths
    intervals, source = as_intervals(regions)
    contigs = np.array([genome.number(str(contig)) for contig in intervals.contigs])
    ends = np.minimum(intervals.ends, genome.lengths[contigs])
    sizes = np.maximum(ends - intervals.starts, 0)
    if not sizes.sum():
        raise InputError(f"{source}: no interval lies on the genome")
    return contigs, intervals.starts, sizes


def _rates(spectrum, genome, spans):
    """Relative rate of each alternate in each context of some stretches, shape (65, 4); row 64 is for unknown bases."""
    if isinstance(spectrum, str) and spectrum == "human":
        return _human_rates()
    rates = np.zeros((65, 4))
    if isinstance(spectrum, str) and spectrum == "uniform":
        rates[:64] = 1
        rates[np.arange(64), np.arange(64) // 4 % 4] = 0
        return rates
    if isinstance(spectrum, str) and not Path(spectrum).exists():
        raise InputError(f"no spectrum {spectrum!r}; use {', '.join(SPECTRA)}, or variants")
    seen = _read_variants(spectrum, genome)
    np.add.at(rates, seen, 1)
    occurrences = np.maximum(sum(_context_counts(_with_flanks(genome, *span)) for span in zip(*spans)), 1)[:, None]
    rates = rates / occurrences
    rates[64] = 0
    if not rates.any():
        raise InputError("the variants to match have no single-base variant in a known trinucleotide")
    return rates


def _with_flanks(genome, contig, start, size):
    """Base codes of a stretch and of the base on each side."""
    return genome.codes(genome.contigs[contig])[max(start - 1, 0) : start + size + 1]


def _context_counts(codes):
    """Number of occurrences of each trinucleotide context in a contig, int64, shape (65,), counted in pieces."""
    counts = np.zeros(65, dtype=np.int64)
    for start in range(0, max(0, len(codes) - 2), _DRAWN_AT_ONCE):
        piece = codes[start : start + _DRAWN_AT_ONCE + 2]
        counts += np.bincount(_contexts(np.lib.stride_tricks.sliding_window_view(piece, 3)), minlength=65)
    return counts


def _positions(spectrum, genome):
    """Contig indices and 0-based positions of the variants to match."""
    if isinstance(spectrum, str) and spectrum in SPECTRA:
        raise InputError(
            f"elements are for matching given variants: give the variants as the spectrum, in place of {spectrum!r}"
        )
    alleles, numbers = _single_bases(spectrum, genome)
    if not len(alleles):
        raise InputError("the variants to match have no single-base variant")
    return numbers[alleles.contig], alleles.pos - 1


def _single_bases(variants, genome):
    """The single-base variants among some variants, and the genome's index of each of their contigs."""
    alleles = read_alleles(variants)
    alleles = alleles.take(np.flatnonzero(alleles.single & (alleles.status == Status.SCORED)))
    return alleles, np.array([genome.number(name) for name in alleles.contigs], dtype=np.int64)


def _read_variants(variants, genome):
    """Context and alternate of the single-base variants among some variants, as two index arrays."""
    alleles, numbers = _single_bases(variants, genome)
    codes = genome.windows(numbers[alleles.contig], alleles.pos - 2, 3)
    return _contexts(codes), alleles.codes[alleles.alt_start]


@cache
def _human_rates():
    """Rates of `data/spectrum.tsv`, on both strands."""
    table = pd.read_csv(Path(__file__).with_name("data") / "spectrum.tsv", sep="\t", comment="#")
    rates = np.zeros((65, 4))
    for row in table.itertuples():
        context, alt = [BASES.index(base) for base in row.context], BASES.index(row.alt)
        rate = row.variants / row.occurrences
        rates[context[0] * 16 + context[1] * 4 + context[2], alt] = rate
        other = [3 - base for base in context[::-1]]
        rates[other[0] * 16 + other[1] * 4 + other[2], 3 - alt] = rate
    return rates
