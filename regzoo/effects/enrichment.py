"""Relation of allele scores to a labelled set of alleles, or to allele frequency."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, fisher_exact, rankdata

from regzoo.effects.allele_report import read_variants
from regzoo.errors import InputError
from regzoo.evaluate.metrics import auroc, average_precision, bootstrap, spearman
from regzoo.options import check_at_least, close_names
from regzoo.output.files import refuse_overwrite
from regzoo.output.tables import check_suffix, open_table
from regzoo.sequence.codes import BASES, UNKNOWN
from regzoo.sequence.files import require_file
from regzoo.sequence.genome import as_genome
from regzoo.sequence.variants import open_variants

logger = logging.getLogger(__name__)

_ALLELE = ["chrom", "pos", "ref", "alt"]
_REPORT = ["model", "target", "diff"]  # columns that tell a table of `regzoo.alleles`
_READ = (".tsv", ".tsv.gz", ".parquet")


def enrich(
    scores: Any,
    labels: Any = None,
    *,
    frequency: str | Path | None = None,
    key: str = "AF",
    genome: Any = None,
    top: float = 0.01,
    permutations: int = 1000,
    seed: int = 0,
    output: str | Path | None = None,
) -> pd.DataFrame:
    """Test whether scores are larger in a labelled set of alleles, or whether they depend on allele frequency.

    Alleles are compared by the magnitude of their scores. Give either `labels` or `frequency`.

    Parameters
    ----------
    scores : str, pathlib.Path or pandas.DataFrame
        Table of `regzoo.score_variants` or `regzoo.alleles`: a .tsv, .tsv.gz or .parquet file, or a data frame. Of a
        report with one row for each allele (`best`), the percentile is the score, or diff where there is none.
    labels : path, pandas.DataFrame or list of str, optional
        The labelled alleles, as variants of `regzoo.alleles`. All other scored alleles are controls. In a table with a
        column `label`, those of 1 are the labelled alleles; those of 0 are controls, too.
    frequency : str or pathlib.Path, optional
        VCF or BCF file with allele frequencies in INFO: that which was scored.
    key : str
        INFO key of the frequency, with one number for each alternate (or also for the reference, before the others).
    genome : str, pathlib.Path or Genome, optional
        FASTA or .2bit, needed with `frequency`.
    top : float
        Fraction of the scored alleles that counts as the top, between 0 and 1. Alleles as large as the last are in it.
    permutations : int
    seed : int
        Of the permutations and of the bootstrap.
    output : str or pathlib.Path, optional
        Also write .tsv, .tsv.gz, .parquet or .h5 ('-': TSV on standard output).

    Returns
    -------
    pandas.DataFrame
        One row for each score, with columns score, alleles (number of alleles that are compared), not_scored (alleles
        of the table without this score), and with `labels`:

        - labelled: number of labelled alleles among `alleles`;
        - labels_not_scored: number of labelled alleles that are not in the table or have no score;
        - top, labelled_in_top: number of alleles in the top, and of labelled ones among them;
        - odds_ratio, fisher_p: of the top and the labelled set; two-sided Fisher's exact test;
        - auroc, average_precision: with the columns NAME_low and NAME_high, the 95% bootstrap interval;
        - p: two-sided permutation p-value of the AUROC; q: Benjamini-Hochberg's over all rows.

        With `frequency`:

        - no_frequency: number of scored alleles without a frequency in the file, which are not compared;
        - spearman, spearman_low, spearman_high: rank correlation of magnitude and frequency, with the 95% bootstrap
          interval;
        - strata: number of contexts. That of a single-base variant is the trinucleotide and the alternate, on the
          strand where the reference is A or C; that of another variant is the difference in length;
        - within_context: correlation of the two ranks after the mean of each context is subtracted;
        - p: two-sided p-value of within_context, by permutation of frequencies among the alleles of a context; q as
          above.

        The smallest permutation p-value is 1 / (1 + permutations).

    Raises
    ------
    InputError
        If an input is not valid, no labelled allele is scored, no allele is a control, or the INFO key is missing.

    Examples
    --------
    >>> regzoo.enrich("scores.tsv", "eqtl.vcf")                                                    # doctest: +SKIP
    >>> regzoo.enrich("scores.tsv", frequency="variants.vcf.gz", genome="hg38.fa")                 # doctest: +SKIP
    """
    _check_options(labels, frequency, genome, top, permutations, seed)
    if output is not None:
        check_suffix(output)
        given = (scores, labels, frequency, genome)
        refuse_overwrite(output, [one for one in given if isinstance(one, (str, Path))])
    table = _score_table(scores)
    if frequency is None:
        found = _by_label(table, labels, top, permutations, seed)
    else:
        found = _by_frequency(table, frequency, key, as_genome(genome), permutations, seed)
    found["q"] = false_discovery_control(found["p"], method="bh")
    if output is not None:
        kinds = {name: {"i": int, "f": float}.get(column.dtype.kind, str) for name, column in found.items()}
        with open_table(output, kinds) as out:
            out.write({name: column.to_numpy() for name, column in found.items()})
    return found


def _check_options(labels, frequency, genome, top, permutations, seed):
    if (labels is None) == (frequency is None):
        raise InputError("give either labels or frequency")
    if frequency is not None and genome is None:
        raise InputError("frequency needs a genome: alleles are compared within their trinucleotide context")
    if not 0 < top < 1:
        raise InputError(f"top: expected a fraction between 0 and 1, got {top}")
    check_at_least(1, permutations=permutations)
    check_at_least(0, seed=seed)


def _score_table(scores):
    """Magnitudes of the scores, shape (alleles, scores); the index has chrom (without 'chr'), pos, ref and alt."""
    table, name = (scores, "scores") if isinstance(scores, pd.DataFrame) else (_read(scores), scores)
    missing = [column for column in _ALLELE if column not in table]
    if missing:
        raise InputError(f"{name}: no column {missing[0]!r}; expected a table of `regzoo score` or `regzoo alleles`")
    if set(_REPORT) <= set(table):
        found = _of_report(table, name)
    else:
        found = table[[column for column in table if _is_score(column, table[column])]]
        if not found.shape[1]:
            raise InputError(
                f"{name}: no score column; expected SCORE:TARGET, as of `regzoo score`, or model, target and "
                "diff, as of `regzoo alleles`"
            )
        found = found.set_axis(_index(table, name))
    found = found.abs().astype(float).replace(np.inf, np.nan)
    empty = found.columns[found.isna().all()]
    if len(empty):
        raise InputError(f"{name}: no allele has a score in the column {empty[0]!r}")
    return found


def _read(path):
    if not isinstance(path, (str, Path)) or not str(path).endswith(_READ):
        raise InputError(f"{path}: expected scores as a data frame or as a file {', '.join(_READ)}")
    path = require_file(path, "table of scores")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, sep="\t", dtype={"chrom": str, "ref": str, "alt": str, "model": str, "target": str})
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot read this table ({error})") from error


def _is_score(name, column):
    """Whether a column is SCORE:TARGET; percentiles and p-values of scores are none."""
    if not isinstance(name, str) or ":" not in name or column.dtype.kind not in "if":
        return False
    return not any(part.endswith(("_percentile", "_p", "_evalue")) for part in name.split(":")[:-1])


def _index(table, name):
    for column in ("chrom", "pos"):
        if table[column].isna().any():
            raise InputError(f"{name}, row {table[column].isna().argmax() + 1}: {column} is missing")
    chrom = table["chrom"].astype(str).str.removeprefix("chr").replace("M", "MT")
    try:
        pos = table["pos"].astype(np.int64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: pos is not a column of whole numbers ({error})") from error
    return pd.MultiIndex.from_arrays([chrom, pos, table["ref"].fillna(""), table["alt"].fillna("")], names=_ALLELE)


def _of_report(table, name):
    """The scores of a report of `regzoo.alleles`: one column for each model and target."""
    if "kind" in table:
        logger.warning("%s: %s rows of haplotypes are left out", name, f"{(table['kind'] != 'allele').sum():,}")
        table = table[table["kind"] == "allele"]
    table = table.assign(**{column: table[column].fillna("") for column in ("ref", "alt", "target")})
    several, one = table.loc[table["target"] != "", "model"].nunique() > 1, ["record", *_ALLELE]
    one = [column for column in one if column in table]
    if not table.duplicated(one).any() and table.loc[table["target"] != "", ["model", "target"]].nunique().max() > 1:
        by = "percentile" if "percentile" in table and table["percentile"].notna().any() else "diff"
        return pd.DataFrame({f"{by}:best": table[by].to_numpy(float)}, index=_index(table, name))
    labels = "diff:" + table["target"]
    table = table.assign(score=table["model"] + ":" + labels if several else labels)
    again = table.duplicated([*one, "model", "target"])
    if again.any():
        row = table[again].iloc[0]
        raise InputError(f"{name}: {_text(row)} has two rows for the target {row.target!r}; expected one")
    wide = table.pivot(index=one, columns="score", values="diff")
    scored = list(dict.fromkeys(table.loc[table["target"] != "", "score"]))
    if not scored:
        raise InputError(f"{name}: no allele has a score")
    return wide[scored].set_axis(_index(wide.index.to_frame(), name))


def _text(row):
    return f"{row.chrom}:{row.pos} {row.ref}>{row.alt}"


def _groups(table: pd.DataFrame, also: np.ndarray) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Columns that have values for the same alleles, with these alleles as a mask, shape (alleles,)."""
    known = table.notna().to_numpy() & also[:, None]
    masks, group = np.unique(known, axis=1, return_inverse=True)
    for number, mask in enumerate(masks.T):
        yield mask, table.loc[mask, group.reshape(-1) == number]


def _by_label(table, labels, top, permutations, seed):
    name = labels if isinstance(labels, (str, Path)) else "labels"
    given = _labelled(labels, name)
    truth = table.index.isin(given)
    if not truth.any():
        raise InputError(
            f"{name}: none of its {len(given):,} alleles is in the table of scores; chromosome, position, REF and ALT "
            "must be the same"
        )
    rows = {}
    for mask, part in _groups(table, np.ones(len(table), dtype=bool)):
        own = truth[mask]
        if own.all() or not own.any():
            which = "no allele is a control: all are labelled" if own.any() else "no labelled allele is scored"
            raise InputError(f"{name}: {which} (score {part.columns[0]!r})")
        p = _auroc_p(own, part.to_numpy(), permutations, seed)
        counts = {"alleles": len(part), "not_scored": len(table) - len(part), "labelled": int(own.sum())}
        counts["labels_not_scored"] = int((~given.isin(part.index)).sum())
        for i, column in enumerate(part):
            rows[column] = counts | _label_row(own, part[column].to_numpy(), top, seed) | {"p": p[i]}
    return _in_order(rows, table)


def _labelled(labels, name):
    """The labelled alleles as an index, each once."""
    table = read_variants(labels)
    if "label" in table:
        values = pd.to_numeric(table["label"], errors="coerce")
        wrong = np.flatnonzero(~values.isin([0, 1]))
        if len(wrong):
            row = table.iloc[wrong[0]]
            raise InputError(f"{name}: {_text(row)} has the label {str(row.label)!r}; expected 0 or 1")
    again = _index(table, name).duplicated()
    if again.any():
        raise InputError(f"{name}: {_text(table[again].iloc[0])} occurs twice; expected each labelled allele once")
    if "label" in table:
        table = table[values == 1]
    return _index(table, name)


def _auroc_p(truth, sizes, permutations, seed):
    """Two-sided p-values of the AUROC of each column, by permutation of the labels."""
    ranks = rankdata(sizes, axis=0)
    ranks -= ranks.mean(axis=0)
    found, rng, count = np.abs(ranks[truth].sum(axis=0)), np.random.default_rng(seed), int(truth.sum())
    above = np.zeros(len(found))
    for _ in range(permutations):
        drawn = np.abs(ranks[rng.permutation(len(ranks))[:count]].sum(axis=0))
        above += drawn >= found - 1e-6
    return (1 + above) / (1 + permutations)


def _label_row(truth, sizes, top, seed):
    least = np.sort(sizes)[-max(1, round(top * len(sizes)))]
    chosen = sizes >= least
    cells = [[int((chosen == a)[truth == b].sum()) for b in (True, False)] for a in (True, False)]
    odds = fisher_exact(cells)
    row: dict[str, float] = {"top": int(chosen.sum()), "labelled_in_top": cells[0][0]}
    row |= {"odds_ratio": float(odds.statistic), "fisher_p": float(odds.pvalue)}
    metrics = {"auroc": auroc, "average_precision": average_precision}
    return row | _intervals(bootstrap(truth, sizes, metrics, seed=seed))


def _intervals(found):
    """Metrics of `bootstrap` as columns."""
    return {
        name if part == "value" else f"{name}_{part}": value
        for name, parts in found.items()
        for part, value in parts.items()
    }


def _in_order(rows, table):
    found = pd.DataFrame.from_dict(rows, orient="index").loc[list(table)]
    return found.rename_axis("score").reset_index()


def _by_frequency(table, path, key, genome, permutations, seed):
    known = _frequencies(path, key)
    values = known.reindex(table.index).to_numpy(float)
    has = ~np.isnan(values)
    if not has.any():
        raise InputError(
            f"{path}: no scored allele has a value of {key}; chromosome, position, REF and ALT must be those of "
            "the file that was scored"
        )
    rows, context = {}, _contexts(table.index, genome)
    for mask, part in _groups(table, has):
        own = values[mask]
        if len(np.unique(own)) < 2:
            raise InputError(
                f"{path}: all {len(own):,} scored alleles have the same {key}; there is nothing to compare"
            )
        strata = np.unique(context[mask], return_inverse=True)[1]
        within, p = _within(part.to_numpy(), own, strata, permutations, seed)
        for i, column in enumerate(part):
            scored = int(table[column].notna().sum())
            counts = {"alleles": len(part), "not_scored": len(table) - scored, "no_frequency": scored - len(part)}
            spread = _intervals(bootstrap(own, part[column].to_numpy(), {"spearman": spearman}, seed=seed))
            rows[column] = counts | spread | {"strata": int(strata.max()) + 1, "within_context": within[i], "p": p[i]}
    return _in_order(rows, table)


def _frequencies(path, key):
    """Frequency of each allele of a VCF file that has one."""
    values, texts = [], []
    with open_variants(path) as source:
        for batch in source.batches():
            for row, count in enumerate(batch.counts.tolist()):
                where = f"{path}, record {batch.alleles.record[0] + row}"
                values += _of_record(batch.info(row, key), count, where, key)
            alleles = batch.alleles
            texts.append(
                pd.DataFrame(
                    {
                        "chrom": alleles.contig_texts().to_pylist(),
                        "pos": alleles.pos,
                        "ref": alleles.ref_texts().to_pylist(),
                        "alt": alleles.alt_texts().to_pylist(),
                    }
                )
            )
        declared = [line[11:].split(",")[0] for line in source.header if line.startswith("##INFO=<ID=")]
    if np.isnan(values).all():
        raise InputError(f"{path}: no record has a number in INFO {key!r}{close_names(key, declared)}")
    table = pd.concat(texts, ignore_index=True)
    found = pd.Series(values, index=_index(table, path)).dropna()
    found = found[~(found.index.duplicated() & found.reset_index().duplicated().to_numpy())]
    again = found.index.duplicated()
    if again.any():
        chrom, pos, ref, alt = found.index[again][0]
        raise InputError(f"{path}: {chrom}:{pos} {ref}>{alt} occurs twice, with different values of {key}")
    return found


def _of_record(text, count, where, key):
    """Values of the alternates of a record."""
    if text is None:
        return [np.nan] * count
    parts = text.split(",")
    if len(parts) == count + 1:
        parts = parts[1:]  # Number=R: the reference comes first
    if len(parts) != count:
        if parts == ["."]:
            return [np.nan] * count
        raise InputError(f"{where}: INFO {key} has {len(parts)} values; expected one for each of {count} alternates")
    try:
        return [np.nan if part == "." else float(part) for part in parts]
    except ValueError:
        raise InputError(f"{where}: INFO {key} is {text!r}; expected numbers") from None


def _contexts(alleles, genome):
    """Number of the context of each allele, int64, shape (alleles,)."""
    frame = alleles.to_frame(index=False)
    bases = {base: i for i, base in enumerate(BASES)}
    number, other = (frame[side].map(bases).fillna(UNKNOWN).to_numpy(np.int64) for side in ("ref", "alt"))
    single = (number != UNKNOWN) & (other != UNKNOWN)
    context = 10_000 + frame["alt"].str.len().to_numpy() - frame["ref"].str.len().to_numpy()
    chroms = frame.loc[single, "chrom"]
    numbers = {name: genome.number(name if name in genome.contigs else f"chr{name}") for name in chroms.unique()}
    contigs = chroms.map(numbers).to_numpy(np.int64)
    codes = genome.windows(contigs, frame.loc[single, "pos"].to_numpy() - 2, 3).astype(np.int64)
    ref, alt = number[single], other[single]
    if 2 * (codes[:, 1] == ref).sum() < len(ref):
        raise InputError(f"{genome.path}: most REF alleles are not its bases; give the genome that was scored")
    left, right, purine = codes[:, 0], codes[:, 2], np.isin(ref, (2, 3))
    complement = np.array([3, 2, 1, 0, UNKNOWN])
    left, right = np.where(purine, complement[right], left), np.where(purine, complement[left], right)
    ref, alt = np.where(purine, 3 - ref, ref), np.where(purine, 3 - alt, alt)
    context[single] = np.ravel_multi_index((left, ref, right, alt), (5, 4, 5, 4))
    return context


def _within(sizes, values, strata, permutations, seed):
    """Correlation of ranks within strata, and two-sided p-values, shape (columns,)."""
    order = np.argsort(strata, kind="stable")
    strata = strata[order]
    ranks = _centred(rankdata(sizes[order], axis=0), strata)
    own = _centred(rankdata(values[order])[:, None], strata)[:, 0]
    found, rng, above = own @ ranks, np.random.default_rng(seed), np.zeros(ranks.shape[1])
    for _ in range(permutations):
        drawn = own[np.argsort(strata + rng.random(len(strata)))]  # strata stay where they are
        above += np.abs(drawn @ ranks) >= np.abs(found) * (1 - 1e-9)
    below = np.sqrt((own @ own) * (ranks * ranks).sum(axis=0))
    within = np.divide(found, below, out=np.zeros_like(found), where=below > 0)
    return within, (1 + above) / (1 + permutations)


def _centred(ranks, strata):
    """Ranks, shape (N, columns), minus the mean of their stratum."""
    means = pd.DataFrame(ranks).groupby(strata).transform("mean").to_numpy()
    return ranks - means
