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

from regzoo.calibration import Adjustment, check_threshold
from regzoo.effects.allele_vcf import write_allele_vcf
from regzoo.effects.background import background_of
from regzoo.effects.haplotypes import carried_alleles, haplotypes
from regzoo.effects.motif_changes import motif_changes
from regzoo.effects.pipeline import score_variants
from regzoo.effects.writers import BCF, VCF
from regzoo.errors import InputError, ModelError
from regzoo.model import Model
from regzoo.options import ORIENTATIONS, check_choice, distinct
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import TABLES, check_suffix, open_table
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
_PHASED = "kind haplotype phase_set members diff_of_members".split()
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
    threshold: float | None = None,
    threshold_from: str | None = None,
    calibrated: bool = False,
    background: Any = None,
    motifs: str | Path | None = None,
    orientation: str = "report",
    pip: str | Path | None = None,
    phased: bool = False,
    sample: str | None = None,
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
    threshold : float, optional
        Probability from which on a window belongs to the class; 0.5 by default.
    threshold_from : str, optional
        Instead of `threshold`: a key of `regzoo.options.THRESHOLDS`. Each target has its own threshold.
    calibrated : bool
        Divide the log odds of value_ref and value_alt by the temperature that was fitted on the model's validation data
        (Guo et al. 2017). `threshold` is then one of calibrated probabilities. diff, and what is computed from it,
        stays that of the model's own probabilities, as in the background.
    background : Background, path, or dict of model name to one of these, optional
        For percentiles. By default the one that ships with each model, where it has one.
    motifs : str or pathlib.Path, optional
        MEME file. The motif that changes most between the alleles is reported.
    orientation : str
        A key of `regzoo.options.ORIENTATIONS`.
    pip : str or pathlib.Path, optional
        Posterior inclusion probability of each variant: a column of `variants`, 'INFO:KEY' of a VCF, or a .tsv or .csv
        file with columns pip and id, or pip, chrom, pos, ref and alt. The table is then ranked by pip x percentile.
    phased : bool
        Also report haplotypes: two or more alleles that one homologue of the sample carries (GT with `|`; of one phase
        set, PS, where records have it) and that fit into a window together, changed at once. Their rows have `kind`
        'haplotype'. The allele rows stay.
    sample : str, optional
        Sample of the VCF whose haplotypes these are; needed if there are several.
    best : bool
        Keep only the target with the largest percentile (or difference) of each allele.
    precision, batch_size, device
        As of `regzoo.score_variants`.
    output : str or pathlib.Path, optional
        Write .tsv, .tsv.gz, .parquet or .h5 ('-' for standard output) instead of returning the table; or .vcf, .vcf.gz
        or .bcf: the records of `variants` with INFO fields added (`regzoo.effects.allele_vcf`).
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame or collections.Counter
        One row for each allele, model and target, ranked; alleles that are not scored come last, in one row. Columns:
        rank, record, chrom, pos, id, ref, alt, orientation, status, model, target, value_ref and value_alt (largest
        over the windows), diff (of the centred window), call ('gain', 'loss', 'class', 'none'; '' for models of
        values), percentile and p (of the magnitude of diff, against the background), q (Benjamini-Hochberg over all
        rows), pip, motif and effect (in words). With `phased`, also kind ('allele' or 'haplotype'), and of haplotypes:
        haplotype (SAMPLE|1 for the first homologue, SAMPLE|1,2 for both), phase_set, members (POS:REF:ALT joined by
        '+') and diff_of_members (sum of the members' own diff); record and id are those of the members, and ref and alt
        span all of them. With `output`, alleles by status.

    Raises
    ------
    regzoo.RegzooError
        If an input or an option is not valid.
    """
    check_choice("treatment of orientation", orientation, ORIENTATIONS)
    _check_threshold(threshold, threshold_from)
    _check_phased(phased, sample, orientation, output)
    _check_output(output, variants, [genome, pip, motifs])
    models, opened = load_models(model, device), as_genome(genome)
    columns = columns_of_models(models, distinct(targets))
    adjustments = [Adjustment(one, chosen, threshold_from, calibrated) for one, chosen in zip(models, columns)]
    table = read_variants(variants)
    table["pip"] = _posteriors(pip, table, variants)
    table = _with_motifs(oriented(table, opened, orientation == "fix"), opened, motifs)
    table = table.assign(kind="allele", haplotype="", phase_set="", members="", rows=None, given_status="")
    carried = carried_alleles(variants, sample) if phased else None
    options: dict[str, Any] = {"precision": precision, "batch_size": batch_size, "progress": progress}
    parts = []
    for one, chosen, adjustment in zip(models, columns, adjustments):
        names, rows = [one.targets[i] for i in chosen], table
        if carried is not None:
            rows = _with_haplotypes(table, *carried, opened, one.input_length, motifs)
        status, values = _scored(one, names, rows, opened, step, options)
        limits = _limits(adjustment, threshold, len(names))
        parts.append(_of_model(one, names, rows, status, values, adjustment, limits, _background(background, one)))
    found = _ranked(pd.concat(parts, ignore_index=True), pip is not None, best)
    shown = found[[*_COLUMNS, *(_PHASED if phased else ())]]
    if output is None:
        return shown
    if str(output).lower().endswith((*VCF, *BCF)):
        pairs = [(one.name, one.targets[i]) for one, chosen in zip(models, columns) for i in chosen]
        write_allele_vcf(found, _reread(variants), output, None if best else pairs)
    else:
        _write(shown, output)
    return Counter(found[found["kind"] == "allele"].drop_duplicates(["record", "alternate"])["status"])


def _check_threshold(threshold, threshold_from):
    check_threshold(threshold, threshold_from)
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"threshold must lie between 0 and 1, got {threshold}")


def _limits(adjustment, threshold, count):
    """Threshold of each target, on the scale of the values that are shown."""
    limits = adjustment.shown_thresholds()
    return np.full(count, 0.5 if threshold is None else threshold) if limits is None else limits


def _reread(variants):
    """Variants as `open_variants` takes them."""
    return _read_table(variants) if isinstance(variants, (str, Path)) and _is_table(variants) else variants


def _check_phased(phased, sample, orientation, output):
    if sample is not None and not phased:
        raise InputError(f"sample {sample!r} is that of haplotypes: give `phased`, too")
    if phased and orientation == "fix":
        raise InputError("phased: genotypes refer to the alleles of the file; correct these first, without orientation")
    if phased and output is not None and str(output).lower().endswith((*VCF, *BCF)):
        raise InputError(f"{output}: haplotypes have no record of their own in VCF; write a table")


def _check_output(output, variants, others):
    if output is None:
        return
    kind = check_suffix(output, (*TABLES, *VCF, *BCF))
    if kind in (*VCF, *BCF) and isinstance(variants, (str, Path)) and str(variants) == "-":
        raise InputError(f"{output}: VCF output reads the variants twice; give a file, not standard input")
    refuse_overwrite(output, [given for given in (variants, *others) if isinstance(given, (str, Path))])


def _with_motifs(table, genome, motifs):
    return table.assign(motif="" if motifs is None else motif_changes(table, genome, motifs))


def _with_haplotypes(table, sample, carried, genome, length, motifs):
    """The table with the haplotypes that windows of a length can hold, after the alleles."""
    found = haplotypes(table, carried, sample, genome, 2 * int(length * (0.5 - _EDGE)))
    logger.warning("%s: %s haplotypes of two or more alleles in windows of %d", sample, f"{len(found):,}", length)
    if found.empty:
        return table
    found = _with_motifs(found, genome, motifs).rename(columns={"status": "given_status"})
    return pd.concat(
        [table, found.assign(kind="haplotype", alternate=0, orientation="", pip=np.nan)], ignore_index=True
    )


def read_variants(variants: Any) -> pd.DataFrame:
    """Variants in any accepted form as a data frame.

    Parameters
    ----------
    variants
        As of `alleles`.

    Returns
    -------
    pandas.DataFrame
        One row for each alternate: record, chrom, pos, id, ref, alt, known (whether both are letters), alternate (its
        number in the record, from 1), and other columns of a table that was given.

    Raises
    ------
    InputError
        If they are not usable.
    """
    extra = None
    if isinstance(variants, (str, Path)) and _is_table(variants):
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
    table["alternate"] = table.groupby("record").cumcount() + 1
    if extra is not None:
        rows = extra.iloc[table["record"].to_numpy() - 1].reset_index(drop=True)
        table = pd.concat([table, rows.drop(columns=table.columns, errors="ignore")], axis=1)
    return table


def _is_table(path):
    return str(path).lower().endswith((".tsv", ".tsv.gz", ".csv", ".csv.gz"))


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


def _scored(model: Model, names, table, genome, step, options):
    """Status of each row, and ref, alt (largest over the windows) and diff, shape (rows, targets)."""
    status, given = table["given_status"].to_numpy(object), table[["chrom", "pos", "ref", "alt", "id"]]
    values = {side: np.full((len(table), len(names)), np.nan) for side in ("ref", "alt", "diff")}
    spans = table[["ref", "alt"]].map(len).max(axis=1).to_numpy()
    shifts = np.where(table["kind"] == "haplotype", (spans - 1) // 2, 0)  # to have the middle where an allele is
    for shift in np.unique(shifts):
        rows = np.flatnonzero((shifts == shift) & (status == ""))
        if not len(rows):
            continue
        part = given.iloc[rows]

        def scores(wanted, offset, part=part):
            return score_variants(model, part, genome, scores=wanted, targets=names, offsets=[offset], **options)

        found: Any = scores(["ref", "alt", "diff"], int(shift))
        status[rows] = found["status"]
        for side in values:
            values[side][rows] = found[[f"{side}:{name}" for name in names]].to_numpy(float)
        probabilities = model.outputs == _PROBABILITY
        for offset in _offsets(model.input_length, step, int(shift)) if probabilities else ():
            found = scores(["ref", "alt"], int(shift) + offset)
            for side in ("ref", "alt"):
                more = found[[f"{side}:{name}" for name in names]].to_numpy(float)
                values[side][rows] = np.fmax(values[side][rows], more)
    return status, values


def _of_model(model: Model, names, table, status, values, adjustment, limits, background):
    """Rows of one model: one for each allele and target."""
    ok, probabilities = status == "scored", model.outputs == _PROBABILITY
    shown = {side: adjustment.values(values[side]) for side in ("ref", "alt")}
    rows = table.drop(columns=["known", "given_status"]).assign(status=status, model=model.name)
    parts = []
    for i, name in enumerate(names):
        ref, alt, diff = shown["ref"][:, i], shown["alt"][:, i], values["diff"][:, i]
        part = rows.assign(target=name, value_ref=ref, value_alt=alt, diff=diff)
        part["call"] = _calls(ref, alt, limits[i], ok) if probabilities else ""
        part["diff_of_members"] = [np.nan if own is None else diff[list(own)].sum() for own in table["rows"]]
        has = background is not None and "diff" in background.quantiles and name in background.targets
        part["percentile"] = background.percentile("diff", name, diff) if has else np.nan
        part["p"] = background.p_value("diff", name, diff) if has else np.nan
        part["effect"] = [_sentence(row, probabilities) for row in part.itertuples()]
        parts.append(part)
    unscored = parts[0][~ok].assign(target="", call="")
    return pd.concat([part[ok] for part in parts] + [unscored], ignore_index=True)


def _offsets(length, step, half=0):
    """Shifts of the windows, besides 0, that hold an allele which reaches `half` bases to either side."""
    if step is not None and step < 0:
        raise InputError(f"step must not be negative, got {step}")
    step = max(1, length // 4) if step is None else step
    reach = int(length * (0.5 - _EDGE)) - half
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
    several = f"haplotype of {row.members.count('+') + 1} alleles: " if row.kind == "haplotype" else ""
    small = row.percentile < _NOTABLE if rank else probabilities and abs(row.diff) < _NOTABLE_DIFFERENCE
    if small:
        return f"{several}little effect on {row.target} {change}{rank}"
    if row.call in ("gain", "loss"):
        text = f"{'gains' if row.call == 'gain' else 'loses'} {row.target} {change}"
    else:
        text = f"{'raises' if row.diff > 0 else 'lowers'} {row.target} {change}"
    motif = f"; {row.motif}" if row.motif else ""
    return f"{several}{text}{rank}{motif}"


def _ranked(table, by_posterior, best):
    """Rows by falling rank; with `best`, one for each allele."""
    allele = ["record", "alternate", "haplotype", "members"]
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
        table = table.drop_duplicates(allele)
    else:
        table = table.drop_duplicates([*allele, "model", "target"])
        unscored = ~table["_scored"] & table.duplicated(allele)
        table = table[~unscored]
    table = table.reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1)
    return table


def _write(table, output):
    kinds = {
        name: int if values.dtype.kind == "i" else float if values.dtype.kind == "f" else str
        for name, values in table.items()
    }
    with open_table(output, kinds) as out:
        out.write({name: table[name].to_numpy() for name in table})
