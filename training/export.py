"""From a finished run to a Kipoi model directory: YAML, weights, target names, expected predictions, card, index."""

import json
from pathlib import Path

import h5py
import torch
import yaml
from safetensors.torch import load_file, save_file

from regzoo.errors import InputError
from regzoo.nets.checkpoint import file_digest
from regzoo.sequence import Genome, one_hot, read_bed
from regzoo.sequence.files import finished_file
from regzoo.zoo import catalogue, load_model, zoo_folder
from training.fit import make_network, predict_logits, run_folder
from training.recipe import load_recipe

SCORES = ("diff", "ref", "alt", "logit", "logit_ref", "logit_alt", "deepsea_effect")
HALF_TOLERANCE = 1e-3  # float16 weights are kept when no prediction on the example moves more


def model_yaml(args, length, targets, doc, merge_strands=False, expect=None, default_scores=("diff", "logit")):
    """Content of a model.yaml.

    Parameters
    ----------
    args : dict
        Arguments of ZooModel.
    length, targets : int
        Window length and number of outputs.
    doc : str
        One line for `kipoi info`.
    merge_strands : bool
        Whether kipoi-veff scores both strands and merges.
    expect : str, optional
        File of expected predictions.
    default_scores : tuple of str
        Scores that are given when none is asked for.
    """
    functions = [{"type": score, **({"default": True} if score in default_scores else {})} for score in SCORES]
    content = {
        "defined_as": "regzoo.kipoi.ZooModel",
        "args": args,
        "default_dataloader": {"defined_as": "regzoo.kipoi.SequenceDataset", "default_args": {"length": length}},
        "info": {"authors": [{"name": "regzoo"}], "doc": doc, "license": "MIT"},
        "dependencies": {
            "conda": ["python>=3.10", "pytorch::pytorch"],
            "pip": ["kipoi>=0.8.6", "setuptools<81", "six", "regzoo"],
        },
        "schema": {
            "inputs": {
                "name": "seq", "shape": f"(4, {length})", "special_type": "DNASeq", "associated_metadata": "ranges",
                "doc": "one-hot DNA, channels A, C, G, T; anything else is all zeros",
            },
            "targets": {
                "name": "preds", "shape": f"({targets},)", "doc": "predictions", "column_labels": "targets.txt",
            },
        },
        "postprocessing": {
            "variant_effects": {"seq_input": ["seq"], "use_rc": merge_strands, "scoring_functions": functions}
        },
    }  # fmt: skip
    if expect:
        content["test"] = {"expect": expect, "precision_decimal": 5}
    return content


def write_yaml(path, content):
    """Write YAML in the given order, with unbroken lines."""
    with finished_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, width=110))


def export(recipe_path):
    """Write the model directory of a finished run, and its entry in zoo_index.yaml.

    Parameters
    ----------
    recipe_path : str or pathlib.Path

    Returns
    -------
    pathlib.Path
        The model directory.

    Raises
    ------
    InputError
        If the run has not finished.
    """
    recipe, run = load_recipe(recipe_path), run_folder(recipe_path)
    metrics = finished_metrics(recipe_path, run)
    length = metrics["input_length"]
    codes = torch.from_numpy(example_codes(length))

    def outputs(state):
        network = make_network(recipe, length).eval()
        network.load_state_dict(state)
        return predict_logits(network, codes).sigmoid()

    state = smaller_weights(load_file(run / "model.safetensors"), outputs)
    doc = f"{recipe.title}; probabilities, mean of both strands; {metrics['parameters']:,} parameters."
    how = f"{metrics['minutes']:.0f} minutes on {metrics['threads']} CPU thread(s), seed {recipe.seed}"
    return write_classifier(recipe, recipe_path, metrics, state, recipe.architecture, doc, how)


def finished_metrics(recipe_path, run):
    """A run's metrics, or an InputError if it has not finished."""
    if not (run / "metrics.json").exists():
        raise InputError(f"{recipe_path}: no finished run in {run}; fit it first")
    return json.loads((run / "metrics.json").read_text())


def smaller_weights(state, outputs):
    """Tensors in float16 where that moves no output on the example by more than HALF_TOLERANCE, else as they are.

    Parameters
    ----------
    state : dict of str to torch.Tensor
    outputs : callable
        A network's outputs, given float32 tensors.
    """
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    again = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    return half if (outputs(state) - outputs(again)).abs().max() < HALF_TOLERANCE else state


def write_classifier(recipe, recipe_path, metrics, state, architecture, doc, how):
    """Write the model directory of a classifier and its entry in the index.

    Parameters
    ----------
    recipe : training.recipe.Recipe or training.probe.ProbeRecipe
    recipe_path : str or pathlib.Path
    metrics : dict
        Of its run.
    state : dict of str to torch.Tensor
    architecture : training.recipe.Architecture
    doc, how : str
        One line for `kipoi info`; how it was trained, for the card.

    Returns
    -------
    pathlib.Path
    """
    path, folder, targets = Path(recipe_path), zoo_folder() / "models" / recipe.model, list(recipe.data.tasks)
    length = metrics["input_length"]
    folder.mkdir(parents=True, exist_ok=True)
    with finished_file(folder / "model.safetensors") as temporary:
        save_file(state, temporary)
    (folder / "targets.txt").write_text("".join(f"{t}\n" for t in targets))
    args = {
        "architecture": architecture.name,
        "arguments": {"input_length": length, "n_targets": len(targets)} | architecture.arguments,
        "weights": "model.safetensors", "sha256": file_digest(folder / "model.safetensors"), "targets": "targets.txt",
        "activation": "sigmoid", "reverse_complement": True,
    }  # fmt: skip
    write_yaml(folder / "model.yaml", model_yaml(args, length, len(targets), doc, expect="expected.h5"))
    write_expected(folder)
    baseline = run_folder(recipe_path) / "baseline.json"
    baseline = json.loads(baseline.read_text()) if baseline.exists() else None
    how = f"Recipe: `training/recipes/{path.parent.name}/{path.name}`, {how}."
    (folder / "README.md").write_text(model_card(recipe, metrics, baseline, how))
    update_index(recipe.model, {
        "status": "trained", "title": recipe.title, "input_length": length, "targets": len(targets),
        "parameters": metrics["parameters"], "mean_metrics": mean_metrics(metrics),
    })  # fmt: skip
    return folder


def example_codes(length):
    """Windows of the example's BED file, base codes, shape (92, length)."""
    folder = zoo_folder() / "dataloaders" / "sequence" / "example"
    bed, genome = read_bed(folder / "example.bed"), Genome(folder / "example.fa")
    return genome.windows([genome.number(str(c)) for c in bed.contigs], bed.resized(length), length)


def write_expected(folder):
    """expected.h5: inputs and predictions on the example, as `kipoi test` reads them."""
    model = load_model(str(folder), device="cpu")
    codes = example_codes(model.input_length)
    with finished_file(folder / "expected.h5") as temporary, h5py.File(temporary, "w") as out:
        out.create_dataset("inputs", data=one_hot(codes), compression="gzip")
        out.create_dataset("preds", data=model.predict(codes), compression="gzip")


def update_index(name, entry):
    """Set a model's entry in zoo_index.yaml, and what is made from the index: the README's table, the tested environment."""
    path = zoo_folder() / "zoo_index.yaml"
    index = yaml.safe_load(path.read_text())
    index["models"][name] = entry
    index["models"] = dict(sorted(index["models"].items()))
    write_yaml(path, index)
    # The environment that `kipoi test-source --common_env` tests: the models that ship their weights.
    shipped = [name for name, entry in index["models"].items() if entry["status"] == "trained"]
    environments = zoo_folder() / "models" / "shared" / "envs"
    environments.mkdir(parents=True, exist_ok=True)
    write_yaml(environments / "models.yaml", {"regzoo": shipped})
    if (zoo_folder() / "README.md").exists():
        update_readme()


def mean_metrics(metrics):
    """split -> number of targets and the mean of each metric over them, for the index."""
    return {
        split: {"targets": len(metrics[split])}
        | {name: round(_mean(metrics[split], name), 3) for name in ("mcc", "auroc", "average_precision")}
        for split in ("dev", "test")
        if split in metrics
    }


def _mean(targets, metric):
    return sum(values[metric]["value"] for values in targets.values()) / len(targets)


def _interval(entry, percent=False):
    scale, digits = (100, 1) if percent else (1, 3)
    value, low, high = (f"{entry[k] * scale:.{digits}f}" for k in ("value", "low", "high"))
    return f"{value} ({low}–{high})"


def _metric_table(metrics, baseline):
    lines = []
    for split in ("dev", "test"):
        if split not in metrics:
            continue
        lines += [f"### {split}", "", "| target | rows | MCC × 100 | AUROC | average precision | 6-mer baseline, MCC × 100 |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        for target, entry in metrics[split].items():
            rows = metrics["data"]["targets"][target][split]["rows"]
            floor = _interval(baseline[split][target]["mcc"], percent=True) if baseline else "not run"
            cells = [
                _interval(entry["mcc"], percent=True),
                _interval(entry["auroc"]),
                _interval(entry["average_precision"]),
            ]
            lines.append(f"| {target} | {rows} | " + " | ".join([*cells, floor]) + " |")
        lines.append("")
    return lines


def _below_baseline(metrics, baseline):
    below = [
        f"{target} on {split}"
        for split in ("dev", "test")
        for target, entry in metrics.get(split, {}).items()
        if baseline and entry["mcc"]["value"] <= baseline[split][target]["mcc"]["value"]
    ]
    return (
        "It does not beat the baseline for " + ", ".join(below) + "."
        if below
        else "It beats the baseline for every target."
    )


def model_card(recipe, metrics, baseline, how):
    """The model card, from the run's own figures; `how` says how it was trained."""
    data = metrics["data"]
    lines = [f"# {recipe.model}", "", f"{recipe.title}. {metrics['parameters']:,} parameters, windows of "
             f"{metrics['input_length']} bases, {len(recipe.data.tasks)} targets; the output is the mean of both "
             "strands' probabilities.", ""]  # fmt: skip
    lines += ["## Data and split", "", recipe.data.description, "",
              "| target | training rows read | dropped for overlap with dev or test | kept | positive (as read) | dev | test |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for target, counts in data["targets"].items():
        train = counts["train"]
        rest = " | ".join(str(counts.get(split, {}).get("rows", "–")) for split in ("dev", "test"))
        lines.append(
            f"| {target} | {train['rows']} | {train['overlapping']} | {train['kept']} | {train['positive']} | {rest} |"
        )
    lines += ["", f"A training row is dropped when it shares a {recipe.data.overlap_kmer}-mer, on either strand, with any dev "
              f"or test row of any target. Rows with the same window became one ({data['merged_rows']} merged); "
              f"{data['contradictory_labels']} contradictory labels were removed. A missing label is masked.", ""]  # fmt: skip
    lines += ["## Metrics", "", "With 95% percentile bootstrap intervals (1,000 resamples of the examples); MCC at threshold 0.5. "
              "Choices were made on dev; test took no part in them. The baseline is logistic regression on 6-mer presence of "
              "both strands, its penalty chosen on dev, trained on the same rows. "
              + _below_baseline(metrics, baseline), ""]  # fmt: skip
    lines += _metric_table(metrics, baseline)
    if recipe.published:
        lines += ["### Published, for scale", "", "Test MCC × 100 of the same benchmark; the authors' training rows are not "
                  "filtered for overlap.", "", "| model | " + " | ".join(recipe.data.tasks) + " |",
                  "|---" * (len(recipe.data.tasks) + 1) + "|"]  # fmt: skip
        lines += [
            f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + " |" for name, values in recipe.published.items()
        ]
        lines.append("")
    lines += ["## Limits", "", recipe.limits, "", "## Training", "",
              f"{how} Train it again with `python -m training fit` and `python -m training export`.", ""]  # fmt: skip
    return "\n".join(lines)


def update_readme():
    """Rewrite the README's table of models from the index."""
    path = zoo_folder() / "README.md"
    rows = [
        f"| [`{name}`](models/{name}) | {entry['status']} | {entry['title']}. {entry['input_length']:,} bp, "
        f"{entry['targets']:,} targets, {entry['parameters']:,} parameters{_mean_text(entry)} |"
        for name, entry in catalogue().items()
    ]
    head, _, rest = path.read_text().partition("|---|---|---|\n")
    tail = rest[rest.index("\n\n") :] if "\n\n" in rest else ""
    with finished_file(path) as temporary:
        temporary.write_text(f"{head}|---|---|---|\n" + "\n".join(rows) + tail)


def _mean_text(entry):
    parts = [f"{split} {m['auroc']:.3f} ({m['targets']} targets)" for split, m in entry.get("mean_metrics", {}).items()]
    if "perplexity_per_base" in entry:
        return f". Perplexity per base, held out: {entry['perplexity_per_base']:.3f}"
    return f". Mean AUROC: {', '.join(parts)}" if parts else ""
