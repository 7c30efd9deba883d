"""The `regzoo` command. Each command is a thin layer over the function of the library that it names."""

import json
import logging
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from regzoo import __version__
from regzoo.errors import RegzooError
from regzoo.options import (
    ANCHORS,
    ATTRIBUTIONS,
    CENTRES,
    MOTIF_METHODS,
    ORIENTATIONS,
    PER,
    PRECISIONS,
    REF_MISMATCHES,
    SCORES,
    SPECTRA,
    STRANDS,
    SUITES,
    SUMMARIES,
    THRESHOLDS,
    VCF_KEYS,
    ZERO_SHOT,
)

app = typer.Typer(
    help="Models that read regulatory DNA: predict sequences, score variants, mutate loci, compare models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"regzoo {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also log how things are computed")] = False,
) -> None:
    """Models that read regulatory DNA: predict sequences, score variants, mutate loci, compare models."""
    if verbose:
        logging.getLogger("regzoo").setLevel(logging.INFO)


def _listed(choices: dict[str, str]) -> str:
    """Choices with their meanings, for `--help`."""
    return "; ".join(f"{name}: {meaning}" for name, meaning in choices.items())


def _option(*names: str, help: str, **more):  # noqa: A002 - typer's name
    return typer.Option(*names, help=help, **more)


MODEL_HELP = "Model of `regzoo ls`, or the path of a model directory"
LM_HELP = (
    "Language model: LM/NAME of `regzoo ls`, a model directory, a folder in the authors' layout, or OWNER/NAME on the "
    "Hugging Face hub, such as zhihan1996/DNABERT-2-117M"
)
OneModel = Annotated[str, _option("--model", "-m", help=MODEL_HELP)]
Models = Annotated[list[str], _option("--model", "-m", help=f"{MODEL_HELP}; repeat for more")]
LanguageModelName = Annotated[str, _option("--model", "-m", help=LM_HELP)]
GENOME_NAMES = ("--genome", "--fasta", "-f")
GENOME_HELP = "Genome: FASTA (plain, gzipped or bgzipped) or .2bit; chr1 and 1 are matched"
GenomeFile = Annotated[str, _option(*GENOME_NAMES, help=GENOME_HELP)]
Variants = Annotated[str, typer.Argument(help="VCF or BCF, plain or compressed; - for standard input")]
Targets = Annotated[list[str], _option("--target", "-t", help="Target to write; repeat for more; default all")]
Strict = Annotated[bool, _option("--strict", help="Do not pad windows that reach over a contig's end with N")]
Precision = Annotated[str, _option("--precision", help=_listed(PRECISIONS))]
BatchSize = Annotated[int, _option("--batch-size", min=1, help="Windows in one pass of the network")]
Device = Annotated[str, _option("--device", help="auto (a GPU where there is one), cpu, cuda or cuda:N")]
Strands = Annotated[str, _option("--strands", help=_listed(STRANDS))]
Calibrated = Annotated[
    bool,
    _option("--calibrated", help="Calibrate probabilities: log odds divided by the temperature of the validation data"),
]
Workers = Annotated[int, _option("--workers", min=1, help="Processes; they share the CPU's threads")]
Resume = Annotated[bool, _option("--resume", help="Continue an interrupted run of the same command")]
Restart = Annotated[bool, _option("--restart", help="Discard what an interrupted run left, and start again")]
VcfKeys = Annotated[str, _option("--vcf-keys", help=f"INFO fields of VCF output. {_listed(VCF_KEYS)}")]
VariantOutput = Annotated[
    str | None,
    _option(
        "--output", "-o", help=".tsv, .tsv.gz, .parquet, .h5, .vcf, .vcf.gz or .bcf; default TSV on standard output"
    ),
]
Quiet = Annotated[bool, _option("--quiet", "-q", help="No progress bar")]


@app.command()
def ls(
    model: Annotated[str | None, typer.Argument(help="Print the targets of this model, one per line")] = None,
    status: Annotated[str | None, _option("--status", help="trained, official or recipe")] = None,
    data: Annotated[str | None, _option("--data", help="Part of a data set's name, such as tf-human")] = None,
    target: Annotated[str | None, _option("--target", "-t", help="Part of a target's name, such as CTCF")] = None,
    as_json: Annotated[bool, _option("--json", help="Print JSON")] = False,
) -> None:
    """List the models of the zoo, or the targets of one model.

    Example: regzoo ls --target CTCF
    """
    from regzoo.listing import show_models
    from regzoo.zoo import list_models, model_folder, read_targets

    if model is not None:
        targets = read_targets(model_folder(model) / "targets.txt")
        print(json.dumps(targets, indent=1) if as_json else "\n".join(targets))
        return
    table = list_models(status, data, target)
    if as_json:
        print(table.reset_index().to_json(orient="records", indent=1))
        return
    if table.empty:
        print("no model matches; `regzoo ls` lists all", file=sys.stderr)
    show_models(table, sys.stdout.isatty(), shutil.get_terminal_size().columns)


@app.command()
def info(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    as_json: Annotated[bool, _option("--json", help="Print JSON, without the card's text")] = False,
) -> None:
    """Describe a model: its card, targets and metrics, and the commands that use it.

    Example: regzoo info MotifResNet/tf-human
    """
    from regzoo.listing import model_info, show_info

    found = model_info(model)
    if as_json:
        print(json.dumps({key: value for key, value in found.items() if key != "card"}, indent=1))
        return
    show_info(found, sys.stdout.isatty())


@app.command()
def predict(
    model: Models,
    inputs: Annotated[
        str,
        typer.Argument(
            help="BED or narrowPeak file, plain or gzipped, - for standard input; or a locus such as chr1:1,550-1,650. "
            "Windows are taken around the centres. Without --genome: a FASTA file of sequences of the window's length"
        ),
    ],
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    targets: Targets = (),  # type: ignore[assignment]
    centre: Annotated[
        str | None, _option("--centre", help=f"{_listed(CENTRES)} (default: summit for .narrowPeak, otherwise middle)")
    ] = None,
    use_strand: Annotated[
        bool | None,
        _option(
            "--use-strand/--no-use-strand",
            help="Reverse-complement intervals on '-' (default: only for models of RNA and promoters)",
        ),
    ] = None,
    strict: Annotated[bool, _option("--strict", help="Refuse windows over a contig's end instead of padding")] = False,
    threshold_from: Annotated[
        str | None, _option("--threshold-from", help=f"Also write calls (columns call:TARGET). {_listed(THRESHOLDS)}")
    ] = None,
    calibrated: Calibrated = False,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[
        str | None,
        _option(
            "--output",
            "-o",
            help=".tsv, .tsv.gz, .parquet, .h5, or .bedgraph (one target; mean where windows overlap); default TSV on "
            "standard output",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Predict the intervals of a BED file, or sequences.

    An interval that cannot be predicted keeps its row, with the reason in the column `status`.

    Example: regzoo predict peaks.bed --genome hg38.fa --model MotifResNet/tf-human -o predictions.tsv
    """
    from regzoo.prediction import predict as run

    found = run(
        model,
        inputs,
        genome,
        targets=targets,
        centre=centre,
        use_strand=use_strand,
        strict=strict,
        threshold_from=threshold_from,
        calibrated=calibrated,
        precision=precision,
        batch_size=batch_size,
        device=device,
        output=output or "-",
        progress=not quiet,
    )
    notes = Counter(
        {"windows padded with N over a contig's end": found.padded, "windows with unknown bases": found.unknown}
    )
    _report(found.statuses, "intervals" if genome else "sequences", output, notes)


@app.command()
def scan(
    model: OneModel,
    genome: Annotated[str, typer.Argument(help=GENOME_HELP)],
    regions: Annotated[
        list[str] | None,
        _option("--regions", "-r", help="BED file, contig or locus; repeat for more contigs or loci; default all"),
    ] = None,
    step: Annotated[
        int | None,
        _option("--step", min=1, help="Bases between windows; default about a quarter of the model's window"),
    ] = None,
    targets: Targets = (),  # type: ignore[assignment]
    threshold: Annotated[
        float | None,
        _option("--threshold", help="Smallest prediction of a called window; default 0.5 for models of probabilities"),
    ] = None,
    fdr: Annotated[
        float | None,
        _option(
            "--fdr",
            help="Choose the threshold: ratio of windows called in shuffled sequence to those called in real sequence",
        ),
    ] = None,
    threshold_from: Annotated[
        str | None, _option("--threshold-from", help=f"Instead of --threshold. {_listed(THRESHOLDS)}")
    ] = None,
    calibrated: Calibrated = False,
    min_length: Annotated[int | None, _option("--min-length", min=1, help="Leave out shorter elements")] = None,
    max_length: Annotated[int | None, _option("--max-length", min=1, help="Leave out longer elements")] = None,
    use_strand: Annotated[
        bool | None,
        _option(
            "--use-strand/--no-use-strand",
            help="Predict each strand by itself (default: only for models of RNA and promoters)",
        ),
    ] = None,
    compare: Annotated[
        str | None, _option("--compare", help="BED file of known intervals: print overlap and enrichment")
    ] = None,
    seed: Annotated[
        int, _option("--seed", min=0, help="Seed of the shuffled sequence and of the shifts of --compare")
    ] = 0,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    workers: Workers = 1,
    resume: Resume = False,
    restart: Restart = False,
    device: Device = "auto",
    output: Annotated[
        list[str] | None,
        _option(
            "--output",
            "-o",
            help="Tracks: .bw or .bedgraph, one for each target. Elements: .narrowPeak, .bed, .tsv, .tsv.gz, .parquet, "
            ".h5. Repeat for more; default TSV on standard output",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Predict a genome in a sliding window: value tracks, called elements, and their overlap with known ones.

    Example: regzoo scan hg38.fa --model MotifResNet/ctcf-pu1 --regions chr20 -t CTCF -o ctcf.bw -o ctcf.narrowPeak
    """
    from regzoo.scanning.run import report
    from regzoo.scanning.run import scan as run

    found = run(
        model,
        genome,
        regions=regions[0] if regions and len(regions) == 1 else regions,
        step=step,
        targets=targets,
        threshold=threshold,
        fdr=fdr,
        threshold_from=threshold_from,
        calibrated=calibrated,
        min_length=min_length,
        max_length=max_length,
        use_strand=use_strand,
        compare=compare,
        seed=seed,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        resume=resume,
        restart=restart,
        device=device,
        output=output or ["-"],
        progress=not quiet,
    )
    print(report(found), file=sys.stderr)
    if found.comparison is not None:
        print(found.comparison.to_markdown(index=False, floatfmt=".4g"), file=sys.stdout if output else sys.stderr)


@app.command()
def score(
    model: Models,
    variants: Variants,
    genome: GenomeFile,
    scores: Annotated[
        list[str],
        _option(
            "--score",
            "-s",
            help=f"Repeat for more; default diff, and logit for models of probabilities. {_listed(SCORES)}; "
            "package.module.function: your own, (ref, alt) -> array, shapes (alleles, targets)",
        ),
    ] = (),  # type: ignore[assignment]
    targets: Targets = (),  # type: ignore[assignment]
    summaries: Annotated[
        list[str], _option("--summary", help=f"Instead of the targets; repeat for more. {_listed(SUMMARIES)}")
    ] = (),  # type: ignore[assignment]
    strands: Strands = "model",
    strands_from: Annotated[
        str, _option("--strands-from", help="Strand of each variant: BED of genes with strands, or INFO:KEY (+ or -)")
    ] = "",
    offsets: Annotated[
        list[int], _option("--offset", help="Shift windows by this many bases; scores are averaged over all offsets")
    ] = (0,),  # type: ignore[assignment]
    grid: Annotated[
        int,
        _option(
            "--grid", min=1, help="Start windows at multiples of this, so that dense variants share work; 1 is exact"
        ),
    ] = 1,
    anchor: Annotated[str, _option("--anchor", help=_listed(ANCHORS))] = "veff",
    ref_mismatch: Annotated[str, _option("--ref-mismatch", help=_listed(REF_MISMATCHES))] = "report",
    normalise: Annotated[bool, _option("--normalise", help="Left-align and trim indels before scoring")] = False,
    strict: Strict = False,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    vcf_keys: VcfKeys = "packed",
    workers: Workers = 1,
    resume: Resume = False,
    restart: Restart = False,
    percentile: Annotated[
        bool,
        _option("--percentile", help="Add percentiles and p-values among background variants (`regzoo background`)"),
    ] = False,
    background: Annotated[
        str | None, _option("--background", help="Background for --percentile; default that of the model")
    ] = None,
    device: Device = "auto",
    output: VariantOutput = None,
    quiet: Quiet = False,
) -> None:
    """Score every allele of a VCF file: SNVs, MNVs, insertions, deletions and multi-allelic records.

    An allele that cannot be scored keeps its row, with the reason in the column `status`.

    Example: regzoo score variants.vcf --genome hg38.fa --model MotifResNet/tf-human -o scores.tsv
    """
    from regzoo.effects.pipeline import difference_from_exact, score_variants
    from regzoo.sequence.files import regular_file
    from regzoo.zoo import load_models

    with regular_file(variants, "VCF file") as path:
        models = load_models(model, device)
        counts = score_variants(
            models,
            path,
            genome,
            scores=scores,
            targets=targets,
            summaries=summaries,
            strands=strands,
            strands_from=strands_from,
            offsets=offsets,
            grid=grid,
            anchor=anchor,
            ref_mismatch=ref_mismatch,
            normalise=normalise,
            strict=strict,
            precision=precision,
            batch_size=batch_size,
            vcf_keys=vcf_keys,
            workers=workers,
            resume=resume,
            restart=restart,
            percentile=percentile,
            background=background,
            output=output or "-",
            progress=not quiet,
        )
        _report(counts, "alleles", output, _window_notes(counts))
        for loaded in models if grid > 1 or precision != "float32" else ():
            largest, correlation = difference_from_exact(loaded, path, genome, grid, precision)
            print(
                f"{loaded.name}, diff of the first variants, grid {grid} and {precision} against centred float32:"
                f" largest difference {largest:.2g}, correlation {correlation:.4f}",
                file=sys.stderr,
            )


@app.command("zero-shot")
def zero_shot(
    model: LanguageModelName,
    variants: Variants,
    genome: GenomeFile,
    scores: Annotated[list[str], _option("--score", "-s", help=f"Repeat for more. {_listed(ZERO_SHOT)}")] = (
        "p_ref",
        "llr",
    ),  # type: ignore[assignment]
    length: Annotated[int, _option("--length", min=12, help="Bases that the model sees")] = 512,
    around: Annotated[int, _option("--around", min=1, help="Bases on each side for the influence scores")] = 10,
    batch_size: BatchSize = 64,
    vcf_keys: VcfKeys = "packed",
    workers: Workers = 1,
    resume: Resume = False,
    restart: Restart = False,
    device: Device = "auto",
    output: VariantOutput = None,
    quiet: Quiet = False,
) -> None:
    """Score every allele of a VCF file with a masked language model, without training.

    Example: regzoo zero-shot variants.vcf --genome hg38.fa --model LM/caduceus-mini -o scores.tsv
    """
    from regzoo.effects.pipeline import zero_shot as run

    counts = run(
        model,
        variants,
        genome,
        scores=scores,
        length=length,
        around=around,
        batch_size=batch_size,
        device=device,
        vcf_keys=vcf_keys,
        workers=workers,
        resume=resume,
        restart=restart,
        output=output or "-",
        progress=not quiet,
    )
    _report(counts, "alleles", output, _window_notes(counts))


def _window_notes(counts) -> Counter:
    """Windows of scored alleles that hold more than known bases."""
    return Counter(
        {
            "of the scored: window padded with N past a contig's end": counts.padded,
            "of the scored: window with unknown bases (N)": counts.unknown,
        }
    )


@app.command()
def mutate(
    model: OneModel,
    loci: Annotated[
        list[str], typer.Argument(help="Loci such as chr1:1,550-1,650 (1-based, inclusive), or one BED file")
    ],
    genome: GenomeFile,
    score: Annotated[str, _option("--score", "-s", help=_listed(SCORES))] = "diff",
    targets: Targets = (),  # type: ignore[assignment]
    insertions: Annotated[bool, _option("--insertions", help="Also insert each base before each position")] = False,
    strands: Strands = "model",
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[
        list[str] | None,
        _option(
            "--output",
            "-o",
            help=".h5, .tsv, .tsv.gz, .parquet, .mutmap.h5 (for `kipoi veff plot_mutation_map`), or of one locus .png, "
            ".svg or .pdf; repeat for more; default TSV on standard output",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Saturation mutagenesis: the effect of every substitution and one-base deletion of a locus.

    Example: regzoo mutate chr1:1,550-1,650 --genome hg38.fa --model MotifResNet/tf-human -t tf3 -o locus.png
    """
    from regzoo.effects.mutate import saturation_mutagenesis as run

    count = run(
        model,
        _intervals(loci),
        genome,
        score=score,
        targets=targets,
        insertions=insertions,
        strands=strands,
        precision=precision,
        batch_size=batch_size,
        device=device,
        output=output or "-",
        progress=not quiet,
    )
    print(f"{count} {'locus' if count == 1 else 'loci'} -> {', '.join(output or ['standard output'])}", file=sys.stderr)


@app.command()
def explain(
    model: OneModel,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Loci such as chr1:1,550-1,650, variants CHROM:POS:REF:ALT, a BED or VCF file; or without --genome a "
            "FASTA file of windows"
        ),
    ],
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    method: Annotated[str, _option("--method", help=_listed(ATTRIBUTIONS))] = "integrated_gradients",
    targets: Targets = (),  # type: ignore[assignment]
    references: Annotated[int, _option("--references", min=1, help="Shuffled sequences to start from")] = 10,
    steps: Annotated[int, _option("--steps", min=1, help="Points on each path of integrated gradients")] = 32,
    checked: Annotated[
        int, _option("--checked", min=0, help="For taylor: windows compared with exact mutagenesis; 0 for none")
    ] = 10,
    use_strand: Annotated[
        bool | None,
        _option(
            "--use-strand/--no-use-strand",
            help="Explain the reverse strand of intervals on '-' (default: only for models of RNA and promoters)",
        ),
    ] = None,
    seed: Annotated[int, _option("--seed", help="Seed of the shuffled sequences")] = 0,
    device: Device = "auto",
    output: Annotated[
        list[str],
        _option(
            "--output",
            "-o",
            help=".h5, .npz (for TF-MoDISco, one target), .tsv, .tsv.gz, .parquet, .bw (one target), or of one window "
            ".png, .svg or .pdf; repeat for more",
        ),
    ] = ...,  # type: ignore[assignment]
    quiet: Quiet = False,
) -> None:
    """Explain predictions: the contribution of each base of a window to its log odds (or value).

    Example: regzoo explain chr1:1,550-1,650 --genome hg38.fa --model MotifResNet/tf-human -t tf3 -o locus.png
    """
    from regzoo.explanation import explain as run

    count = run(
        model,
        _intervals(inputs),
        genome,
        method=method,
        targets=targets,
        references=references,
        steps=steps,
        checked=checked,
        use_strand=use_strand,
        seed=seed,
        device=device,
        output=output,
        progress=not quiet,
    )
    print(f"{count} windows -> {', '.join(output)}", file=sys.stderr)


@app.command()
def attention(
    model: LanguageModelName,
    inputs: Annotated[
        str,
        typer.Argument(help="FASTA file of sequences; or with --genome a BED file (- for standard input) or a locus"),
    ],
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    layers: Annotated[
        list[int], _option("--layer", help="Layers to average, from 1, -1 for the last; repeat for more; default -1")
    ] = (),  # type: ignore[assignment]
    heads: Annotated[list[int], _option("--head", help="Heads to average, from 1; repeat for more; default all")] = (),  # type: ignore[assignment]
    rollout: Annotated[
        bool, _option("--rollout", help="Attention rollout over all layers, instead of the attention of some")
    ] = False,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[
        list[str],
        _option(
            "--output",
            "-o",
            help=".h5, .tsv, .tsv.gz, .parquet, .bw, or of one sequence .png, .svg or .pdf; repeat for more",
        ),
    ] = ...,  # type: ignore[assignment]
    quiet: Quiet = False,
) -> None:
    """Show how much a transformer's first token attends to each base.

    Example: regzoo attention chr1:1,550-1,650 --genome hg38.fa --model NT-mini/tf-human -o locus.png
    """
    from regzoo.attention_maps import attention as run

    count = run(
        model,
        inputs,
        genome,
        layers=layers,
        heads=heads,
        rollout=rollout,
        batch_size=batch_size,
        device=device,
        output=output,
        progress=not quiet,
    )
    print(f"{count} sequences -> {', '.join(output)}", file=sys.stderr)


@app.command()
def motifs(
    model: OneModel,
    inputs: Annotated[
        list[str], typer.Argument(help="Loci or a BED file of peaks; or without --genome a FASTA file of windows")
    ],
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    method: Annotated[str, _option("--method", help=_listed(MOTIF_METHODS))] = "contributions",
    attribution: Annotated[
        str, _option("--attribution", help=f"For contributions and modisco. {_listed(ATTRIBUTIONS)}")
    ] = "taylor",
    targets: Targets = (),  # type: ignore[assignment]
    negatives: Annotated[
        str | None, _option("--negatives", help="For attention: sequences without the motifs; default shuffled inputs")
    ] = None,
    min_sites: Annotated[int, _option("--min-sites", min=2, help="Fewest sites of a motif")] = 20,
    database: Annotated[str | None, _option("--database", help="MEME file of known motifs to match")] = None,
    seed: Annotated[int, _option("--seed", help="Seed of the shuffled sequences")] = 0,
    device: Device = "auto",
    output: Annotated[
        list[str] | None,
        _option("--output", "-o", help=".meme, .tsv, .bed (sites), or .png, .svg, .pdf (logos); repeat for more"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Find the motifs that a model reads in sequences, and match them to known ones.

    Example: regzoo motifs peaks.bed --genome hg38.fa --model MotifResNet/ctcf-pu1 --database hocomoco.meme -o m.meme
    """
    from regzoo.motif_finding.find import motifs as run

    found = run(
        model,
        _intervals(inputs),
        genome,
        method=method,
        attribution=attribution,
        targets=targets,
        negatives=negatives,
        min_sites=min_sites,
        database=database,
        seed=seed,
        device=device,
        output=output,
        progress=not quiet,
    )
    print(found.to_frame().to_markdown(index=False, floatfmt=".3g"))


@app.command()
def marginalise(
    model: OneModel,
    motif: Annotated[str, typer.Argument(help="Sequence, also with IUPAC letters, or FILE.meme:NAME")],
    inputs: Annotated[
        str | None, typer.Argument(help="Background: BED file or locus, or FASTA of windows; default random sequences")
    ] = None,
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    second: Annotated[str | None, _option("--second", help="A second motif, inserted after the first")] = None,
    distances: Annotated[
        list[int], _option("--distance", min=0, help="Bases between the two motifs; repeat for more")
    ] = (),  # type: ignore[assignment]
    targets: Targets = (),  # type: ignore[assignment]
    position: Annotated[
        int | None, _option("--position", min=0, help="0-based place in the window; default the middle")
    ] = None,
    count: Annotated[int, _option("--count", min=2, help="Background sequences")] = 100,
    shuffle: Annotated[bool, _option("--shuffle/--no-shuffle", help="Shuffle dinucleotides of the background")] = True,
    seed: Annotated[int, _option("--seed", help="Seed of random choices")] = 0,
    device: Device = "auto",
    output: Annotated[str | None, _option("--output", "-o", help=".tsv, .tsv.gz or .parquet")] = None,
) -> None:
    """Measure the mean effect of a motif, or of a pair of motifs, in background sequences.

    Example: regzoo marginalise TGACTCA --model MotifResNet/tf-human
    """
    from regzoo.motif_finding.marginal import marginalise as run

    found = run(
        model,
        motif,
        inputs,
        genome,
        second=second,
        distances=distances,
        targets=targets,
        position=position,
        count=count,
        shuffle=shuffle,
        seed=seed,
        device=device,
        output=output,
    )
    if isinstance(found, int):
        print(f"{found} rows -> {output}", file=sys.stderr)
    else:
        print(found.to_markdown(index=False, floatfmt=".3g"))


@app.command()
def embed(
    model: LanguageModelName,
    inputs: Annotated[
        str,
        typer.Argument(help="FASTA file of sequences; or with --genome a BED file (- for standard input) or a locus"),
    ],
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    per: Annotated[str, _option("--per", help=_listed(PER))] = "mean",
    layer: Annotated[
        int | None, _option("--layer", min=0, help="Layer; 0 is the token embedding; default the last, with its norm")
    ] = None,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[str, _option("--output", "-o", help=".h5 or .parquet, one row for each vector")] = ...,  # type: ignore[assignment]
    quiet: Quiet = False,
) -> None:
    """Embed sequences with a language model.

    Sequences that are longer than the model reads are cut into pieces.

    Example: regzoo embed peaks.bed --genome hg38.fa --model LM/caduceus-mini -o peaks.h5
    """
    from regzoo.embedding import embed as run

    count = run(
        model,
        inputs,
        genome,
        per=per,
        layer=layer,
        precision=precision,
        batch_size=batch_size,
        device=device,
        output=output,
        progress=not quiet,
    )
    print(f"{count} sequences -> {output}", file=sys.stderr)


LABELLED_HELP = (
    "labelled sequences: CSV headed `sequence,label` (0 or 1) or `sequence,value`, plain or gzipped; repeat for more"
)


@app.command()
def alleles(
    model: Models,
    variants: Annotated[
        str, typer.Argument(help="VCF or BCF; or .tsv or .csv with columns chrom, pos, ref, alt and optionally id")
    ],
    genome: GenomeFile,
    targets: Targets = (),  # type: ignore[assignment]
    step: Annotated[
        int | None,
        _option(
            "--step",
            min=0,
            help="Bases between shifted windows, whose largest prediction is reported; default a quarter of the "
            "window; 0: only the centred window",
        ),
    ] = None,
    threshold: Annotated[
        float | None, _option("--threshold", help="Smallest probability of a window that is of the class; default 0.5")
    ] = None,
    threshold_from: Annotated[
        str | None, _option("--threshold-from", help=f"Instead of --threshold. {_listed(THRESHOLDS)}")
    ] = None,
    calibrated: Calibrated = False,
    background: Annotated[
        str | None,
        _option("--background", help="File of `regzoo background`; default that of the model, where it has one"),
    ] = None,
    motifs: Annotated[
        str | None, _option("--motifs", help="MEME file: report the motif that is broken or made")
    ] = None,
    orientation: Annotated[str, _option("--orientation", help=_listed(ORIENTATIONS))] = "report",
    pip: Annotated[
        str | None,
        _option(
            "--pip",
            help="Rank by posterior inclusion probability x percentile: a column of the table, INFO:KEY, or a "
            ".tsv or .csv file with columns pip and id, or pip, chrom, pos, ref and alt",
        ),
    ] = None,
    phased: Annotated[
        bool,
        _option("--phased", help="Also report haplotypes: phased alleles of a sample that fit into a window together"),
    ] = False,
    sample: Annotated[
        str | None, _option("--sample", help="Sample whose haplotypes these are; needed if the VCF has several")
    ] = None,
    best: Annotated[bool, _option("--best", help="Only the target with the largest effect of each allele")] = False,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[
        str | None,
        _option(
            "--output",
            "-o",
            help=".tsv, .tsv.gz, .parquet or .h5; .vcf, .vcf.gz or .bcf: the records with INFO fields added; default "
            "TSV on standard output",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Report what each allele does: classes before and after, gain or loss, percentile, motif, in words and ranked.

    Example: regzoo alleles credible_set.vcf --genome hg38.fa --model MotifResNet/tf-human --best -o alleles.tsv
    """
    from regzoo.effects.allele_report import alleles as run

    counts = run(
        model,
        variants,
        genome,
        targets=targets,
        step=step,
        threshold=threshold,
        threshold_from=threshold_from,
        calibrated=calibrated,
        background=background,
        motifs=motifs,
        orientation=orientation,
        pip=pip,
        phased=phased,
        sample=sample,
        best=best,
        precision=precision,
        batch_size=batch_size,
        device=device,
        output=output or "-",
        progress=not quiet,
    )
    _report(counts, "alleles", output)


@app.command()
def report(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Variants (VCF, BCF, a .tsv or .csv with columns chrom, pos, ref and alt, or CHROM:POS:REF:ALT); a "
            "table of `alleles` or `score`; files of `predict`, `scan` and `explain`; a table of `compare` or "
            "`transfer`, JSON of `benchmark`; or a model's name"
        ),
    ],
    models: Annotated[list[str], _option("--model", "-m", help=f"For variants. {MODEL_HELP}; repeat for more")] = (),  # type: ignore[assignment]
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    targets: Targets = (),  # type: ignore[assignment]
    step: Annotated[
        int | None,
        _option("--step", min=0, help="Bases between shifted windows, as of `regzoo alleles`; 0: the centred one only"),
    ] = None,
    background: Annotated[
        str | None,
        _option("--background", help="File of `regzoo background`; default that of the model, where it has one"),
    ] = None,
    motifs: Annotated[
        str | None, _option("--motifs", help="MEME file: name and draw the motif that an allele breaks or makes")
    ] = None,
    orientation: Annotated[str, _option("--orientation", help=_listed(ORIENTATIONS))] = "report",
    pip: Annotated[
        str | None,
        _option("--pip", help="Rank by posterior inclusion probability x percentile, as of `regzoo alleles`"),
    ] = None,
    regions: Annotated[
        str | None, _option("--regions", "-r", help="BED or GFF file of genes or elements, drawn around variants")
    ] = None,
    top: Annotated[int, _option("--top", min=0, help="Alleles, by rank, that have a section of their own")] = 20,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[str, _option("--output", "-o", help=".html")] = "report.html",
    quiet: Quiet = False,
) -> None:
    """Write a report as one HTML file that opens without a network: which of these variants, and why.

    Example: regzoo report credible_set.vcf --genome hg38.fa --model MotifResNet/tf-human --pip INFO:PIP -o report.html
    """
    from regzoo.reports.build import report as run

    found = run(
        inputs,
        models,
        genome,
        targets=targets,
        step=step,
        background=background,
        motifs=motifs,
        orientation=orientation,
        pip=pip,
        regions=regions,
        top=top,
        batch_size=batch_size,
        device=device,
        output=output,
        progress=not quiet,
    )
    print(f"{found} ({found.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)


@app.command()
def serve(
    models: Annotated[
        list[str], _option("--model", "-m", help=f"{MODEL_HELP}; repeat for more; default all that ship with the zoo")
    ] = (),  # type: ignore[assignment]
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=GENOME_HELP)] = None,
    host: Annotated[
        str, _option("--host", help="Address to listen at; the default is reached from here alone")
    ] = "127.0.0.1",
    port: Annotated[int, _option("--port", min=0, max=65535, help="0 for any free one")] = 8000,
    device: Device = "auto",
) -> None:
    """Open the models as a web page on this machine: predictions, logos and heat maps of what is pasted there.

    Example: regzoo serve --genome hg38.fa --model MotifResNet/tf-human
    """
    from regzoo.service.run import serve as run

    run(models, genome, host=host, port=port, device=device)


@app.command()
def background(
    model: OneModel,
    genome: GenomeFile,
    variants: Annotated[str | None, _option("--variants", help="Use the variants of this VCF, not random ones")] = None,
    count: Annotated[int, _option("--count", min=100, help="Number of random single-base variants")] = 10_000,
    regions: Annotated[str | None, _option("--regions", help="Draw them in the intervals of this BED file")] = None,
    spectrum: Annotated[
        str, _option("--spectrum", help=f"{_listed(SPECTRA)}; or a VCF, whose contexts and alternates are matched")
    ] = "human",
    elements: Annotated[
        str | None, _option("--elements", help="BED; match the distances of --spectrum's variants to the nearest")
    ] = None,
    scores: Annotated[list[str], _option("--score", "-s", help="Score, as for `regzoo score`; repeat for more")] = (),  # type: ignore[assignment]
    seed: Annotated[int, _option("--seed", help="Seed of the random variants")] = 0,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[str, _option("--output", "-o", help="A .safetensors file")] = ...,  # type: ignore[assignment]
    quiet: Quiet = False,
) -> None:
    """Make the distribution of a model's scores over background variants, for percentiles and p-values.

    Example: regzoo background --model MotifResNet/tf-human --genome hg38.fa --regions peaks.bed -o peaks.safetensors
    """
    from regzoo.effects.background import background as run

    found = run(
        model,
        genome,
        variants=variants,
        count=count,
        regions=regions,
        spectrum=spectrum,
        elements=elements,
        scores=scores,
        seed=seed,
        precision=precision,
        batch_size=batch_size,
        device=device,
        output=output,
        progress=not quiet,
    )
    print(f"{found.count:,} variants, {len(found.targets)} targets -> {output}", file=sys.stderr)


@app.command()
def enrich(
    scores: Annotated[
        str, typer.Argument(help="Table of `regzoo score` or `regzoo alleles`: .tsv, .tsv.gz or .parquet")
    ],
    labels: Annotated[
        str | None,
        _option(
            "--labels",
            help="Labelled alleles: VCF or BCF; or .tsv or .csv with columns chrom, pos, ref, alt and optionally label "
            "(1 or 0). All other scored alleles are controls",
        ),
    ] = None,
    frequency: Annotated[
        str | None, _option("--frequency", help="Instead of --labels: the scored VCF, with allele frequencies in INFO")
    ] = None,
    key: Annotated[str, _option("--key", help="INFO key of the frequency")] = "AF",
    genome: Annotated[str | None, _option(*GENOME_NAMES, help=f"{GENOME_HELP}. Needed with --frequency")] = None,
    top: Annotated[float, _option("--top", help="Fraction of the scored alleles that counts as the top")] = 0.01,
    permutations: Annotated[int, _option("--permutations", min=1, help="Permutations of labels or frequencies")] = 1000,
    seed: Annotated[int, _option("--seed", min=0, help="Seed of the permutations and of the bootstrap")] = 0,
    output: Annotated[
        str | None,
        _option("--output", "-o", help=".tsv, .tsv.gz, .parquet or .h5; default TSV on standard output"),
    ] = None,
) -> None:
    """Test whether scores are larger in a labelled set of alleles, or depend on allele frequency.

    Example: regzoo enrich scores.tsv --labels eqtl.vcf
    """
    from regzoo.effects.enrichment import enrich as run

    run(
        scores,
        labels,
        frequency=frequency,
        key=key,
        genome=genome,
        top=top,
        permutations=permutations,
        seed=seed,
        output=output or "-",
    )


@app.command()
def compare(
    models: Annotated[
        list[str], typer.Argument(help="Names or directories; each other one is compared with the first")
    ],
    data: Annotated[
        list[str], _option("--data", "-d", help=f"TARGET=FILE: a target of the models, and {LABELLED_HELP}")
    ],
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[
        list[str] | None,
        _option(
            "--output",
            "-o",
            help="Also write .tsv, .md, .html (as of `regzoo report`), or .png, .svg or .pdf with ROC and "
            "precision-recall curves (predicted against measured for values); repeat for more",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare models on the same labelled sequences: metrics with 95% intervals, paired tests, time and memory.

    Sequences are centred in each model's window. Longer ones are cut at both ends, shorter ones padded with N.

    Example: regzoo compare MotifResNet/tf-human Basset/tf-human -d tf0=tf/0/test.csv -d tf1=tf/1/test.csv -o curves.svg
    """
    from regzoo.evaluate.compare import compare as run

    print(run(models, data, batch_size=batch_size, device=device, output=output, progress=not quiet).to_markdown())


@app.command()
def transfer(
    models: Annotated[list[str], typer.Argument(help="Names or directories")],
    data: Annotated[list[str], _option("--data", "-d", help=f"NAME=FILE: {LABELLED_HELP}")],
    targets: Targets = (),  # type: ignore[assignment]
    batch_size: BatchSize = 64,
    device: Device = "auto",
    output: Annotated[
        list[str] | None,
        _option("--output", "-o", help="Also write .tsv, or .png, .svg or .pdf with a heat map; repeat for more"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate every target on the labels of every data set: trained on one cell type, tested on another.

    Example: regzoo transfer MotifResNet/tf-human -d tf0=tf/0/test.csv -d tf1=tf/1/test.csv -o transfer.png
    """
    from regzoo.evaluate.transfer import transfer as run

    found = run(models, data, targets=targets, batch_size=batch_size, device=device, output=output, progress=not quiet)
    print(found.matrix.to_markdown(floatfmt=".3f"))


@app.command()
def benchmark(
    suite: Annotated[str, typer.Argument(help=_listed(SUITES))],
    models: Annotated[
        list[str],
        _option(
            "--model",
            "-m",
            help="Name or directory of a model, or a file of scores (.tsv, .csv, .parquet) with columns data_set, id "
            "and one for each target; repeat for more; default only the baseline and published figures",
        ),
    ] = (),  # type: ignore[assignment]
    data: Annotated[
        str | None, _option("--data", "-d", help="Folder with the suite's data files; default REGZOO_DATA")
    ] = None,
    genome: Annotated[
        str | None,
        _option(
            *GENOME_NAMES,
            help="GRCh38, for variants of alleles without sequence; or the genome of other given variants",
        ),
    ] = None,
    targets: Annotated[
        list[str],
        _option(
            "--target",
            "-t",
            help="Target to report on all rows; repeat for more; by default one is chosen on half of the rows and "
            "reported on the others",
        ),
    ] = (),  # type: ignore[assignment]
    data_sets: Annotated[
        list[str], _option("--data-set", help="Data set to evaluate; repeat for more; default all of the suite")
    ] = (),  # type: ignore[assignment]
    training_rows: Annotated[
        int, _option("--training-rows", min=1, help="Most training rows of a data set of probe; most rows of utr3")
    ] = 10_000,
    trials: Annotated[
        int, _option("--trials", min=0, help="Optuna trials of utr3's support vector regressions and perceptrons")
    ] = 0,
    utrs: Annotated[
        str | None, _option("--utrs", help="FASTA of 3'UTRs named by Ensembl gene, for the half-lives of utr3")
    ] = None,
    positives: Annotated[
        str | None, _option("--positives", help="VCF of variants of one class in the genome, for utr3")
    ] = None,
    negatives: Annotated[str | None, _option("--negatives", help="VCF of variants of the other class")] = None,
    variants: Annotated[
        str | None, _option("--variants", help="VCF on which deepsea compares effects, with --genome")
    ] = None,
    reference: Annotated[
        str, _option("--reference", help="Official model with which deepsea compares")
    ] = "DeepSEA/variantEffects",
    seed: Annotated[int, _option("--seed", min=0, help="Seed of the halves and of random forests")] = 0,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    rows: Annotated[
        str | None, _option("--rows", help="Write the rows that are scored, with ids and sequences, as .tsv or .csv")
    ] = None,
    output: Annotated[
        list[str] | None, _option("--output", "-o", help="Also write .json, .md or .tsv; repeat for more")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate models on published data by a fixed protocol, beside a baseline and published figures.

    Example: regzoo benchmark alleles --model MotifResNet/tf-human --data data -o alleles.json
    """
    from regzoo.suites.run import benchmark as run

    found = run(
        suite,
        models,
        data,
        genome=genome,
        targets=targets,
        data_sets=data_sets,
        training_rows=training_rows,
        trials=trials,
        utrs=utrs,
        positives=positives,
        negatives=negatives,
        variants=variants,
        reference=reference,
        seed=seed,
        batch_size=batch_size,
        device=device,
        rows=rows,
        output=output,
        progress=not quiet,
    )
    print(found.to_markdown())


def _intervals(given: list[str]) -> str | list[str]:
    """One BED file as a path; loci as a list."""
    one_file = len(given) == 1 and (given[0] == "-" or Path(given[0]).exists() or ":" not in given[0])
    return given[0] if one_file else list(given)


def _report(statuses: Counter, what: str, output: str | None, notes: Counter | None = None) -> None:
    """Counts of a run, on standard error."""
    total, where = sum(statuses.values()), "standard output" if output in (None, "-") else output
    print(f"{total:,} {what} -> {where}" if total else f"no {what} in the input -> {where}", file=sys.stderr)
    for text, count in [*statuses.most_common(), *(notes or Counter()).items()]:
        if count:
            print(f"  {count:>9,}  {text}", file=sys.stderr)


@app.command()
def fetch(
    model: Annotated[str, typer.Argument(help="An official model, such as DeepSEA/predict")],
    from_file: Annotated[
        str | None, _option("--from", metavar="FILE", help="The authors' file, if you have it; its MD5 is verified")
    ] = None,
) -> None:
    """Download the weights of an official model, verify them, and convert them to safetensors.

    The first use of a model does this, too.

    Example: regzoo fetch DeepSEA/predict
    """
    from regzoo.zoo import fetch as run

    run(model, from_file)
    print(f"{model} is ready")


@app.command()
def register() -> None:
    """Add this zoo to Kipoi's configuration as the source 'regzoo'."""
    from regzoo.register import register as register_source

    print(register_source())


@app.command()
def doctor() -> None:
    """Check this installation, and print how to repair what is wrong."""
    from regzoo.doctor import diagnose

    checks = diagnose()
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.found}")
        if not check.passed:
            print(f"      -> {check.fix}")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def kipoi(context: typer.Context) -> None:
    """Run a kipoi command of this environment, whichever `kipoi` is on the path: regzoo kipoi predict …"""
    from regzoo.kipoi.command import main as run

    run(context.args)


def main() -> None:
    """Entry point. Errors of the library are shown without a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as an exception, so that temporary files are removed
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        app()
    except RegzooError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
