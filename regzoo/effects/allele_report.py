"""What each allele does: class in both contexts, gain or loss, percentile, motif, and a sentence."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from regzoo.effects.background import background_of
from regzoo.effects.motif_changes import motif_changes
from regzoo.effects.pipeline import score_variants
from regzoo.errors import InputError, ModelError
from regzoo.model import Model
from regzoo.options import ORIENTATIONS, check_choice, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix, open_table
from regzoo.prediction import columns_of_models
from regzoo.sequence import Genome
from regzoo.sequence.alleles import Status
from regzoo.sequence.files import open_bytes, require_file
from regzoo.sequence.genome import as_genome
from regzoo.sequence.variants import read_alleles
from regzoo.zoo import load_models

logger = logging.getLogger(__name__)

_NEITHER = "neither allele is the genome's"
_PROBABILITY = "probabilities"
_COLUMNS = (
    "rank record chrom pos id ref alt orientation status model target value_ref value_alt diff call percentile p q pip "
    "motif effect"
).split()
_NOTABLE = 95.0  # percentile from which on an effect is put in words
_NOTABLE_DIFFERENCE = 0.1  # the same for models of probabilities without a background
_EDGE = 0.1  # fraction of the window, at each end, where a variant is not placed


def alleles(
    model: Any,
    variants: Any,
    genome: Any,
    *,
    targets: Sequence[str] = (),
    step: int | None = None,
    threshold: float = 0.5,
    background: Any = None,
    motifs: str | Path | None = None,
    orientation: str = "report",
    pip: str | Path | None = None,
    best: bool = False,
    precision: str = "float32",
    batch_size: int = 64,
    device: str = "auto",
    output: str | Path | None = None,
    progress: bool = False,
) -> pd.DataFrame | Counter[str]:
    """Report what each allele does to each target, ranked.

    Parameters
    ----------
    model : str, pathlib.Path, Model, or a list of them
    variants : str, pathlib.Path, pandas.DataFrame, or list of str
        VCF or BCF file; .tsv, .tsv.gz or .csv file, or data frame, with columns chrom, pos (1-based), ref, alt and
        optionally id; or texts CHROM:POS:REF:ALT.
    genome : str, pathlib.Path or Genome
        FASTA or .2bit.
    targets : sequence of str
        All by default. With several models, those that each has.
    step : int, optional
        Predictions are the largest over windows shifted by multiples of this many bases that hold the variant. By
        default a quarter of the window; 0 uses the centred window alone. Models of values always use the centred window
        alone.
    threshold : float
        Probability from which on a window belongs to the class.
    background : Background, path, or dict of model name to one of these, optional
        For percentiles. By default the one that ships with each model, where it has one.
    motifs : str or pathlib.Path, optional
        MEME file. The motif that changes most between the alleles is reported.
    orientation : str
        A key of `regzoo.options.ORIENTATIONS`.
    pip : str or pathlib.Path, optional
        Posterior inclusion probability of each variant: a column of `variants`, 'INFO:KEY' of a VCF, or a .tsv or .csv
        file with columns pip and id, or pip, chrom, pos, ref and alt. The table is then ranked by pip x percentile.
    best : bool
        Keep only the target with the largest percentile (or difference) of each allele.
    precision, batch_size, device
        As of `regzoo.score_variants`.
    output : str or pathlib.Path, optional
        Write .tsv, .tsv.gz, .parquet or .h5 ('-' for standard output) instead of returning the table.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or collections.Counter
        One row for each allele, model and target, ranked; alleles that are not scored come last, in one row. Columns:
        rank, record, chrom, pos, id, ref, alt, orientation, status, model, target, value_ref and value_alt (largest
        over the windows), diff (of the centred window), call ('gain', 'loss', 'class', 'none'; '' for models of
        values), percentile and p (of the magnitude of diff, against the background), q (Benjamini-Hochberg over all
        rows), pip, motif and effect (in words). With `output`, alleles by status.

    Raises
    ------
    regzoo.RegzooError
        If an input or an option is not valid.
    """
    check_choice("treatment of orientation", orientation, ORIENTATIONS)
    if not 0 < threshold < 1:
        raise InputError(f"threshold must lie between 0 and 1, got {threshold}")
    if output is not None:
        check_suffix(output)
        refuse_overwrite(output, [given for given in (variants, genome, pip, motifs) if isinstance(given, (str, Path))])
    models, opened = load_models(model, device), as_genome(genome)
    columns = columns_of_models(models, distinct(targets))
    table = read_variants(variants)
    table["pip"] = _posteriors(pip, table, variants)
    table = oriented(table, opened, orientation == "fix")
    table["motif"] = "" if motifs is None else motif_changes(table, opened, motifs)
    options: dict[str, Any] = {"precision": precision, "batch_size": batch_size, "progress": progress}
    parts = []
    for one, chosen in zip(models, columns):
        names = [one.targets[i] for i in chosen]
        parts.append(_of_model(one, names, table, opened, step, threshold, _background(background, one), options))
    found = _ranked(pd.concat(parts, ignore_index=True), pip is not None, best)
    if output is None:
        return found
    _write(found, output)
    return Counter(found.drop_duplicates(["record", "alt"])["status"])


def read_variants(variants: Any) -> pd.DataFrame:
    """Variants in any accepted form as a data frame.

    Parameters
    ----------
    variants
        As of `alleles`.

    Returns
    -------
    pandas.DataFrame
        One row for each alternate: record, chrom, pos, id, ref, alt, and other columns of a table that was given.

    Raises
    ------
    InputError
        If they are not usable.
    """
    extra = None
    if isinstance(variants, (str, Path)) and str(variants).lower().endswith((".tsv", ".tsv.gz", ".csv", ".csv.gz")):
        variants = _read_table(variants)
    if isinstance(variants, pd.DataFrame):
        extra = variants.drop(columns=["chrom", "pos", "ref", "alt", "id"], errors="ignore").reset_index(drop=True)
    found = read_alleles(variants)
    table = pd.DataFrame(
        {
            "record": found.record,
            "chrom": found.contig_texts().to_pylist(),
            "pos": found.pos,
            "id": found.identifier.to_pylist(),
            "ref": found.ref_texts().to_pylist(),
            "alt": found.alt_texts().to_pylist(),
            "known": found.status == Status.SCORED,
        }
    )
    if extra is not None:
        rows = extra.iloc[table["record"].to_numpy() - 1].reset_index(drop=True)
        table = pd.concat([table, rows.drop(columns=table.columns, errors="ignore")], axis=1)
    return table


def _read_table(path):
    path = require_file(path, "table of variants")
    try:
        return pd.read_csv(
            path, sep="," if ".csv" in path.suffixes else "\t", dtype={"chrom": str, "ref": str, "alt": str}
        )
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot read this table ({error})") from error


def oriented(table: pd.DataFrame, genome: Genome, fix: bool = False) -> pd.DataFrame:
    """Compare REF and ALT with the genome, on both strands.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns chrom, pos, ref, alt and known (whether both are letters).
    genome : Genome
    fix : bool
        Exchange swapped alleles, and complement alleles of the other strand.

    Returns
    -------
    pandas.DataFrame
        With the column `orientation`: '' where REF is the genome's, 'swapped' where ALT is, 'flipped' where the
        complement of REF is, 'flipped and swapped', or 'neither allele is the genome's'; with ' (fixed)' where that was
        done. Counts are logged.
    """
    table = table.reset_index(drop=True)
    kinds, refs, alts = [""] * len(table), table["ref"].tolist(), table["alt"].tolist()
    for i, row in enumerate(table.itertuples()):
        if not row.known:
            continue
        kinds[i], ref, alt = _orientation(genome, row.chrom, row.pos, row.ref, row.alt)
        if fix and kinds[i] not in ("", _NEITHER):
            refs[i], alts[i], kinds[i] = ref, alt, f"{kinds[i]} (fixed)"
    table["ref"], table["alt"], table["orientation"] = refs, alts, kinds
    for kind, count in Counter(kind for kind in kinds if kind).items():
        logger.warning("%s of %s alleles: %s", f"{count:,}", f"{len(table):,}", kind)
    return table


def _orientation(genome, chrom, pos, ref, alt):
    """What is wrong with a pair of alleles, and the pair as it should be."""
    complement = str.maketrans("ACGT", "TGCA")
    other = [text.translate(complement)[::-1] for text in (ref, alt)]
    for kind, (first, second) in (
        ("", (ref, alt)),
        ("swapped", (alt, ref)),
        ("flipped", other),
        ("flipped and swapped", other[::-1]),
    ):
        if _matches(genome, chrom, pos, first):
            return kind, first, second
    return _NEITHER, ref, alt


def _matches(genome, chrom, pos, letters):
    try:
        codes = genome.codes(chrom)
    except InputError:
        return True  # the status says that the contig is missing
    return "".join("ACGTN"[code] for code in codes[pos - 1 : pos - 1 + len(letters)]) == letters


def _posteriors(pip, table, variants):
    """Posterior inclusion probability of each row; NaN without."""
    if pip is None:
        return np.nan
    if isinstance(pip, str) and pip.startswith("INFO:"):
        values = _info(variants, pip[5:])
        found = np.array([values[record - 1] for record in table["record"]])
    elif isinstance(pip, str) and pip in table:
        found = _numbers(table[pip], f"column {pip!r}")
    else:
        given = _read_table(pip)
        keys = ["id"] if "id" in given and "pip" in given else ["chrom", "pos", "ref", "alt"]
        if not {*keys, "pip"} <= set(given):
            raise InputError(
                f"{pip}: expected columns pip and id, or pip, chrom, pos, ref and alt; found {list(given)[:8]}"
            )
        unique = given.assign(pip=_numbers(given["pip"], f"{pip}: pip")).drop_duplicates([*keys, "pip"])
        again = unique[unique.duplicated(keys)]
        if len(again):
            raise InputError(f"{pip}: {' '.join(map(str, again.iloc[0][keys]))} has several values of pip; keep one")
        unique = unique.set_index(keys)["pip"]
        found = unique.reindex(pd.MultiIndex.from_frame(table[keys]) if len(keys) > 1 else table["id"]).to_numpy(float)
    if np.isnan(found).all():
        raise InputError(f"pip {pip!r}: no variant has a value")
    wrong = np.flatnonzero((found < 0) | (found > 1))
    if len(wrong):
        row = table.iloc[wrong[0]]
        raise InputError(f"pip {pip!r}: {row.chrom}:{row.pos} has {found[wrong[0]]:g}, which is not a probability")
    return found


def _numbers(column, where):
    """Values of a column, float64; NaN where one is missing, empty or '.'."""
    try:
        return pd.to_numeric(column.replace(["", "."], np.nan)).to_numpy(float)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected numbers ({error})") from error


def _info(variants, key):
    """Value of an INFO field of each record of a VCF file; NaN where there is none."""
    if not isinstance(variants, (str, Path)):
        raise InputError(f"INFO:{key} needs a VCF file; of a table give a column's name")
    values = []
    with open_bytes(require_file(variants, "VCF file")) as lines:
        for line in lines:
            if line.startswith(b"#") or not line.strip():
                continue
            try:
                info = line.decode().split("\t")[7].rstrip("\n")
            except (UnicodeDecodeError, IndexError) as error:
                raise InputError(f"{variants}: INFO:{key} is read from VCF; convert BCF with bcftools view") from error
            entries = dict(entry.partition("=")[::2] for entry in info.split(";"))
            try:
                values.append(float(entries.get(key, "nan").split(",")[0]))
            except ValueError:
                raise InputError(f"{variants}, record {len(values) + 1}: INFO {key} is {entries[key]!r}") from None
    return values


def _background(given, model):
    """The background of a model; None where none is given and none ships with it."""
    try:
        return background_of(model.name, given)
    except ModelError:
        if given is not None:
            raise
        logger.warning("%s: no background distribution, so that there are no percentiles", model.name)
        return None


def _of_model(model: Model, names, table, genome, step, threshold, background, options):
    """Rows of one model: one for each allele and target."""
    given = table[["chrom", "pos", "ref", "alt", "id"]]
    scored: Any = score_variants(model, given, genome, scores=["ref", "alt", "diff"], targets=names, **options)
    ok = (scored["status"] == "scored").to_numpy()
    values = {side: scored[[f"{side}:{name}" for name in names]].to_numpy(float) for side in ("ref", "alt", "diff")}
    probabilities = model.outputs == _PROBABILITY
    for offset in _offsets(model.input_length, step) if probabilities else ():
        more: Any = score_variants(
            model, given, genome, scores=["ref", "alt"], targets=names, offsets=[offset], **options
        )
        for side in ("ref", "alt"):
            columns = more[[f"{side}:{name}" for name in names]].to_numpy(float)
            values[side] = np.fmax(values[side], columns)
    rows = table.drop(columns="known").assign(status=scored["status"].to_numpy())
    parts = []
    for i, name in enumerate(names):
        ref, alt, diff = (values[side][:, i] for side in ("ref", "alt", "diff"))
        part = rows.assign(model=model.name, target=name, value_ref=ref, value_alt=alt, diff=diff)
        part["call"] = _calls(ref, alt, threshold, ok) if probabilities else ""
        has = background is not None and "diff" in background.quantiles and name in background.targets
        part["percentile"] = background.percentile("diff", name, diff) if has else np.nan
        part["p"] = background.p_value("diff", name, diff) if has else np.nan
        part["effect"] = [_sentence(row, probabilities) for row in part.itertuples()]
        parts.append(part)
    unscored = parts[0][~ok].assign(target="", call="")
    return pd.concat([part[ok] for part in parts] + [unscored], ignore_index=True)


def _offsets(length, step):
    """Shifts of the windows that hold the variant, besides 0."""
    if step is not None and step < 0:
        raise InputError(f"step must not be negative, got {step}")
    step = max(1, length // 4) if step is None else step
    reach = int(length * (0.5 - _EDGE))
    if not step:
        return []
    return [offset for offset in range(-reach // step * step, reach + 1, step) if offset and abs(offset) <= reach]


def _calls(ref, alt, threshold, ok):
    before, after = ref >= threshold, alt >= threshold
    calls = np.select([~before & after, before & ~after, before & after], ["gain", "loss", "class"], "none")
    return np.where(ok, calls, "")


def _sentence(row, probabilities):
    if row.status != "scored":
        return ""
    change = f"({row.value_ref:.2f} → {row.value_alt:.2f})"
    rank = "" if np.isnan(row.percentile) else f", percentile {min(row.percentile, 100 * (1 - row.p)):.2f}"
    small = row.percentile < _NOTABLE if rank else probabilities and abs(row.diff) < _NOTABLE_DIFFERENCE
    if small:
        return f"little effect on {row.target} {change}{rank}"
    if row.call in ("gain", "loss"):
        text = f"{'gains' if row.call == 'gain' else 'loses'} {row.target} {change}"
    else:
        text = f"{'raises' if row.diff > 0 else 'lowers'} {row.target} {change}"
    motif = f"; {row.motif}" if row.motif else ""
    return f"{text}{rank}{motif}"


def _ranked(table, by_posterior, best):
    """Rows by falling rank; with `best`, one for each allele."""
    tested = table["p"].notna()
    table["q"] = np.nan
    if tested.any():
        table.loc[tested, "q"] = false_discovery_control(table.loc[tested, "p"], method="bh")
    size = table["percentile"].fillna(0) + table["diff"].abs().fillna(0) * 1e-6
    key = (
        table["pip"].fillna(0) * (table["percentile"] / 100).where(tested, table["diff"].abs())
        if by_posterior
        else size
    )
    table = table.assign(_scored=table["status"] == "scored", _key=key.fillna(0), _size=size)
    table = table.sort_values(["_scored", "_key", "_size"], ascending=False, kind="stable")
    if best:
        table = table.drop_duplicates(["record", "ref", "alt"])
    else:
        table = table.drop_duplicates(["record", "ref", "alt", "model", "target"])
        unscored = ~table["_scored"] & table.duplicated(["record", "ref", "alt"])
        table = table[~unscored]
    table = table.reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1)
    return table[_COLUMNS]


def _write(table, output):
    kinds = {
        name: int if values.dtype.kind == "i" else float if values.dtype.kind == "f" else str
        for name, values in table.items()
    }
    with open_table(output, kinds) as out:
        out.write({name: table[name].to_numpy() for name in table})
