"""Published benchmarks for any model: one protocol and one table for each suite."""

from __future__ import annotations

import json
import logging
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import regzoo
from regzoo.errors import InputError, ModelError
from regzoo.evaluate.compare import checked_outputs
from regzoo.model import Model
from regzoo.options import SUITES, check_at_least, check_choice, distinct
from regzoo.output.files import finished_file
from regzoo.prediction import columns_of_models
from regzoo.sequence.genome import as_genome
from regzoo.suites import alleles, deepsea, geneb, mpra, probe, protocol, satmut, utr3
from regzoo.suites.data import DataFolder
from regzoo.suites.score_files import is_score_file, read_scores
from regzoo.zoo import load_language_model, load_model

logger = logging.getLogger(__name__)

_FORMATS = (".json", ".md", ".tsv")
_MODULES: dict[str, ModuleType] = {
    "alleles": alleles,
    "satmut": satmut,
    "mpra": mpra,
    "probe": probe,
    "geneb": geneb,
    "utr3": utr3,
    "deepsea": deepsea,
}
_REFERENCE = "DeepSEA/variantEffects"
_TRAINING_ROWS = 10_000
_EMBEDDED = ("probe", "geneb", "utr3")  # suites of language models

_LIBRARIES = ("numpy", "scikit-learn", "scipy", "torch")


@dataclass
class Benchmark:
    """Results of `benchmark`.

    Attributes
    ----------
    suite : str
    table : pandas.DataFrame
        One row for each model, data set and metric: suite, model, target, data_set, metric, value, low, high (95%
        bootstrap interval; missing for published figures), n (rows), choice (how the target was chosen) and note.
    command : str
        Command that computes the same.
    versions : dict of str to str
        Of regzoo, Python and the libraries.
    data : dict of str to str
        Data file -> sha256 of its decompressed content.
    """

    suite: str
    table: pd.DataFrame
    command: str
    versions: dict[str, str] = field(repr=False)
    data: dict[str, str] = field(repr=False)

    def to_markdown(self) -> str:
        """One table for each set of metrics, with a row for each data set and model."""
        return _markdown(self.table)

    def to_json(self) -> str:
        """Everything as JSON. Missing values are null."""
        rows = json.loads(self.table.to_json(orient="records", double_precision=6))
        about = {"suite": self.suite, "command": self.command, "versions": self.versions, "data": self.data}
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        return json.dumps(about, indent=1)[:-2] + f',\n "rows": [\n  {lines}\n ]\n}}'


def benchmark(
    suite: str,
    models: Any = (),
    data: str | Path | None = None,
    *,
    genome: Any = None,
    targets: Sequence[str] = (),
    data_sets: Sequence[str] = (),
    training_rows: int = _TRAINING_ROWS,
    trials: int = 0,
    utrs: str | Path | None = None,
    positives: Any = None,
    negatives: Any = None,
    variants: Any = None,
    reference: Any = _REFERENCE,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    rows: str | Path | None = None,
    output: str | Path | Sequence[str | Path] | None = None,
    progress: bool = False,
) -> Benchmark:
    """Evaluate models on published data by a fixed protocol, beside a baseline and published figures.

    Parameters
    ----------
    suite : str
        A key of `regzoo.options.SUITES`.
    models : model, or list of models
        Names, paths or loaded models; language models for the suites 'probe', 'geneb' and 'utr3'. Or files of scores:
        .tsv, .csv (plain or gzipped) or .parquet with columns data_set, id, and one for each target (for embeddings,
        each dimension). A file may leave out whole data sets, but no row of one. Without models, the baseline and
        published figures are computed.
    data : str or pathlib.Path, optional
        Folder with the data files, whose digests are checked. By default REGZOO_DATA.
    genome : str, pathlib.Path or Genome, optional
        GRCh38, for the variants of the suite 'alleles' whose sequence is not in the tables; or the genome of
        `variants`, or of `positives` and `negatives`.
    targets : sequence of str
        Targets to report on all rows. By default one target is chosen on half of the rows and reported on the others.
    data_sets : sequence of str
        Data sets to evaluate. By default all of the suite.
    training_rows : int
        Most training rows of a data set of the suite 'probe', and most rows of one of 'utr3', drawn with the seed.
    trials : int
        Optuna trials of the support vector regressions and perceptrons of the suite 'utr3'; 0 leaves these out.
    utrs : str or pathlib.Path, optional
        FASTA of 3'UTRs named by Ensembl gene, for the half-lives of the suite 'utr3'.
    positives, negatives : VCF files, data frames or lists, optional
        Variants of two classes in `genome`, for the suite 'utr3'.
    variants : VCF file, data frame or list, optional
        Variants in `genome` on which the suite 'deepsea' compares effects.
    reference : model
        Official model with which the suite 'deepsea' compares; its weights are fetched on first use.
    seed : int
        Seed of the halves and of random forests.
    batch_size : int
        Windows per batch.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.
    rows : str or pathlib.Path, optional
        Write the rows that are scored, with ids and sequences, to this .tsv, .tsv.gz, .csv or .csv.gz file.
    output : str, pathlib.Path, or list of them, optional
        Files to write: .json (everything), .md or .tsv (the table). For the suite 'geneb' and one model also
        .geneb.json, a file to submit to its leaderboard.
    progress : bool
        Show a progress bar on standard error, with the model and the data set.

    Returns
    -------
    Benchmark

    Raises
    ------
    regzoo.RegzooError
        If the suite, a model, a data file or an output is not valid, or the rows of a file of scores do not match.
    """
    check_choice("suite", suite, SUITES)
    check_at_least(0, seed=seed, trials=trials)
    check_at_least(1, batch_size=batch_size, training_rows=training_rows)
    given = list(models) if isinstance(models, (list, tuple)) else [models]
    files = [one for one in given if is_score_file(one)]
    outputs = checked_outputs(output, dict(enumerate(files)), _FORMATS, ())
    special = {
        "utr3": {"trials": trials, "utrs": utrs, "positives": positives, "negatives": negatives},
        "deepsea": {"variants": variants, "reference": reference},
    }
    _check_options(suite, genome, targets, data_sets, training_rows, rows, files, special)
    _check_submission(suite, given, outputs)
    folder, module = None if suite == "deepsea" else DataFolder(data), _MODULES[suite]
    loaded = [one if is_score_file(one) else _load(suite, one, device) for one in given]
    tasks = _chosen(_tasks(suite, folder, genome, loaded, training_rows, seed, special, device), suite, data_sets)
    if rows is not None:
        _write_rows(tasks, rows)
    wanted = _wanted(loaded, targets)
    with tqdm(total=len(tasks) * (1 + len(loaded)), desc=suite, unit=" data sets", disable=not progress) as bar:
        found = _references(suite, tasks, bar)
        for one, columns in zip(loaded, wanted):
            name, names, own, values = _values(module, one, tasks, columns, batch_size)
            values = _watched(values, own, name, bar)
            found += [_noted(row, name) for row in _report(module, own, names, values, bool(targets))]
    table = pd.DataFrame([{"suite": suite, "note": ""} | row for row in found], columns=list(protocol.COLUMNS))
    command = _command(suite, given, genome, targets, data_sets, training_rows, seed, special)
    result = Benchmark(suite, table, command, _versions(), dict(folder.used) if folder else {})
    _write(result, outputs, loaded)
    return result


def _check_options(suite, genome, targets, data_sets, training_rows, rows, files, special):
    if genome is not None and suite not in ("alleles", "utr3", "deepsea"):
        raise InputError(f"the suite {suite!r} reads no genome; leave it out")
    if training_rows != _TRAINING_ROWS and suite not in ("probe", "utr3"):
        raise InputError(f"training_rows: an option of the suites 'probe' and 'utr3'; leave it out for {suite!r}")
    for other, options in special.items():
        for name, value in options.items():
            if _given(value) and suite != other:
                raise InputError(f"{name}: an option of the suite {other!r}; leave it out for {suite!r}")
    if targets and suite in _EMBEDDED:
        raise InputError(f"the suite {suite!r} reads embeddings, which have no targets; leave them out")
    for name, value in (("targets", targets), ("data_sets", data_sets)):
        if isinstance(value, str):
            raise InputError(f"{name}: expected a list, got the string {value!r}")
    if rows is not None:
        checked_outputs(rows, dict(enumerate(files)), (".tsv", ".tsv.gz", ".csv", ".csv.gz"), ())


def _given(value):
    """Whether an option has another value than its default."""
    return value is not None and not (isinstance(value, (int, str)) and value in (0, _REFERENCE))


def _check_submission(suite, given, outputs):
    """A submission is of one model and one suite."""
    for path in outputs:
        if str(path).endswith(".geneb.json") and (suite != "geneb" or len(given) != 1):
            raise InputError(f"{path}: a submission is of one model and the suite 'geneb'")


def _load(suite, model, device):
    if suite in _EMBEDDED:
        name = str(model) if isinstance(model, (str, Path)) else getattr(model, "name", "language model")
        return name, load_language_model(model, device)
    return load_model(model, device)


def _tasks(suite, folder, genome, loaded, training_rows, seed, special, device):
    if suite == "deepsea":
        return deepsea.tasks(genome=genome, device=device, **special["deepsea"])
    if suite == "satmut":
        return satmut.tasks(folder)
    if suite == "alleles":
        flank = max([model.input_length for model in loaded if isinstance(model, Model)], default=200) // 2 + 1
        return alleles.tasks(folder, None if genome is None else as_genome(genome), flank, seed)
    if suite == "probe":
        return probe.tasks(folder, seed, training_rows)
    if suite == "geneb":
        return geneb.tasks(folder)
    if suite == "utr3":
        return utr3.tasks(folder, seed, training_rows, genome=genome, **special["utr3"])
    return mpra.tasks(folder, seed)


def _chosen(tasks, suite, names):
    """Data sets of the given names, in the order of the suite; all of them if there are no names."""
    known = [task.name for task in tasks]
    for name in names:
        if name not in known:
            raise InputError(f"no data set {name!r} in the suite {suite!r}; there are {', '.join(known)}")
    return [task for task in tasks if not names or task.name in names]


def _write_rows(tasks, path):
    table = pd.concat([protocol.score_table(task) for task in tasks])
    separator = "," if ".csv" in Path(path).suffixes else "\t"
    with finished_file(path) as temporary:
        table.to_csv(temporary, sep=separator, index=False)


def _references(suite, tasks, bar):
    """Rows of the baseline and of published scores and figures."""
    module, names = _MODULES[suite], None if suite in _EMBEDDED else ["score"]
    values = _watched(map(module.baseline, tasks), tasks, "baseline", bar)
    found = [{"model": f"baseline: {module.BASELINE}"} | row for row in _report(module, tasks, names, values)]
    for task in tasks:
        for published, values in task.published.items():
            found += [{"model": published} | row for row in _report(module, [task], ["score"], [values[:, None]])]
    return found + (module.published(tasks) if hasattr(module, "published") else [])


def _watched(values, tasks, name, bar):
    """Values of the data sets, each computed when it is needed; the bar shows which one."""
    values = iter(values)
    for task in tasks:
        bar.set_postfix_str(f"{name}, {task.name}")
        found = next(values)
        bar.update()
        yield found


def _report(module, *arguments):
    """The suite's own report, or the one that chooses a target on half of the rows."""
    return getattr(module, "report", protocol.report)(*arguments)


def _wanted(loaded, targets):
    """For each model the columns to report; None for files of scores, whose columns are found later."""
    models = [model for model in loaded if isinstance(model, Model)]
    columns = iter(columns_of_models(models, distinct(targets)) if models else [])
    return [next(columns) if isinstance(model, Model) else distinct(targets) for model in loaded]


def _values(module, model, tasks, columns, batch_size):
    """Name of a model, names of its targets, and its scores of each data set."""
    if is_score_file(model):
        name, names, own, values = read_scores(model, tasks)
        if columns:
            missing = [target for target in columns if target not in names]
            if missing:
                raise InputError(f"{model}: no column {missing[0]!r}; there are {', '.join(names[:8])}")
            keep = [names.index(target) for target in columns]
            names, values = list(columns), [scores[:, keep] for scores in values]
        return name, names, own, values
    if isinstance(model, tuple):
        return model[0], [], tasks, (module.scores(model[1], task, batch_size) for task in tasks)
    found = (module.scores(model, task, batch_size)[:, columns] for task in tasks)
    if module is not deepsea:  # which leaves out alleles that a model does not score, and says so
        found = (_finite(scores, model, task) for scores, task in zip(found, tasks))
    return model.name, [model.targets[column] for column in columns], tasks, found


def _finite(scores, model, task):
    if not np.isfinite(scores).all():
        raise ModelError(f"{model.name}: scores of the data set {task.name} are not finite")
    return scores


def _noted(row, model):
    note = [text for (name, start), text in mpra.TRAINED.items() if name == model and row["data_set"].startswith(start)]
    return {"model": model} | row | ({"note": note[0]} if note else {})


def _versions():
    found = {name: version(name) for name in _LIBRARIES}
    return {"regzoo": regzoo.__version__, "python": platform.python_version()} | found


def _command(suite, models, genome, targets, data_sets, training_rows, seed, special):
    """The command, without folders: data and genome lie elsewhere on another machine."""
    words = ["regzoo", "benchmark", suite]
    for model in models:
        words += ["--model", Path(model).name if is_score_file(model) else str(getattr(model, "name", model))]
    words += [] if genome is None else ["--genome", Path(getattr(genome, "path", genome)).name]
    words += [word for target in targets for word in ("--target", target)]
    words += [word for name in data_sets for word in ("--data-set", name)]
    words += [] if training_rows == _TRAINING_ROWS else ["--training-rows", str(training_rows)]
    for options in special.values():
        for name, value in options.items():
            if _given(value):
                words += [f"--{name}", _word(name, value)]
    return shlex.join([*words, *(("--seed", str(seed)) if seed else ())])


def _word(name, value):
    """Text of an option: a number or a model's name as it is, a file without its folder, ... for other objects."""
    if isinstance(value, (int, str, Path)):
        return Path(value).name if isinstance(value, (str, Path)) and name != "reference" else str(value)
    return str(getattr(value, "name", "...")) if name == "reference" else "..."


def _write(result, outputs, loaded):
    for path in outputs:
        with finished_file(path) as temporary:
            if str(path).endswith(".geneb.json"):
                temporary.write_text(json.dumps(_submission(result, loaded[0])) + "\n")
            elif str(path).endswith(".json"):
                temporary.write_text(result.to_json() + "\n")
            elif str(path).endswith(".md"):
                temporary.write_text(result.to_markdown() + "\n")
            else:
                result.table.to_csv(temporary, sep="\t", index=False, float_format="%.5g")


def _submission(result, model):
    """A file for GENEB's leaderboard, of a loaded language model or a file of embeddings."""
    if is_score_file(model):
        return geneb.submission(result.table, Path(model).name, None, regzoo.__version__)
    name, lm = model
    parameters = sum(one.numel() for one in lm.net.parameters())
    return geneb.submission(result.table, name, parameters, regzoo.__version__)


def _markdown(table):
    """Data sets with the same metrics share a table."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name, part in table.groupby("data_set", sort=False):
        kinds.setdefault(tuple(part.metric.unique()), []).append(name)
    blocks = []
    for metrics, names in kinds.items():
        lines = [f"| data set | model | target | n | {' | '.join(m.replace('_', ' ') for m in metrics)} | choice |"]
        lines.append("|---" * (5 + len(metrics)) + "|")
        part = table[table.data_set.isin(names)]
        keys = ["data_set", "model", "target", "choice"]
        for (data_set, model, target, choice), own in part.groupby(keys, sort=False):
            cells = [_cell(own[own.metric == metric]) for metric in metrics]
            n, note = own.n.iloc[0], own.note.iloc[0]
            text = f"{choice}; {note}" if note else choice
            count = "–" if pd.isna(n) else f"{n:,.0f}"
            lines.append(f"| {' | '.join([data_set, model, target, count, *cells, text])} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _cell(rows):
    if rows.empty:
        return "–"
    row = rows.iloc[0]
    if row.metric == "sign_test_p":
        return f"{row.value:.2g}"
    return f"{row.value:.3f}" if np.isnan(row.low) else f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
