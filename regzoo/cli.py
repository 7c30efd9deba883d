"""The `regzoo` command: each subcommand is a function of the library that Python users can call too."""

import logging
import shutil
import signal
import sys
from collections import Counter
from typing import Annotated

import typer

from regzoo import __version__
from regzoo.errors import RegzooError
from regzoo.options import (
    ANCHORS,
    CENTRES,
    PER,
    PRECISIONS,
    REF_MISMATCHES,
    SCORES,
    STRANDS,
    SUMMARIES,
    VCF_KEYS,
    ZERO_SHOT,
    distinct,
)

app = typer.Typer(
    help="Models that read regulatory DNA: predict windows, score variants, use Kipoi.",
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _show_version(wanted):
    if wanted:
        print(f"regzoo {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also say how things are computed")] = False,
):
    """Models that read regulatory DNA: predict windows, score variants, use Kipoi."""
    if verbose:
        logging.getLogger("regzoo").setLevel(logging.INFO)


def _explained(choices):
    """Choices and what they are, for `--help`."""
    return "; ".join(f"{name}: {meaning}" for name, meaning in choices.items())


Fasta = Annotated[
    str, typer.Option("--fasta", "-f", help="Genome, FASTA (plain, gzipped, bgzipped) or .2bit; chr1 and 1 are matched")
]
ModelName = Annotated[str, typer.Option("--model", "-m", help="GROUP/MODEL of `regzoo ls`, or a model directory")]
LanguageModelName = Annotated[
    str, typer.Option("--model", "-m", help="LM/MODEL of `regzoo ls`, a folder in the authors' layout, or OWNER/NAME on the "
                      "Hugging Face hub, e.g. zhihan1996/DNABERT-2-117M")
]  # fmt: skip
Targets = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="Target to write; repeat for more; default all")
]
Strict = Annotated[bool, typer.Option(help="Refuse windows over a contig's end, which otherwise are filled with N")]
BatchSize = Annotated[int, typer.Option(min=1, help="Windows in one pass of the model")]
Precision = Annotated[str, typer.Option(help=_explained(PRECISIONS))]
Strands = Annotated[str, typer.Option(help=_explained(STRANDS))]
Variants = Annotated[str, typer.Argument(help="Variants, VCF or BCF, plain or compressed; - is standard input")]
VariantOutput = Annotated[
    str, typer.Option("--output", "-o", help=".tsv, .tsv.gz, .vcf, .vcf.gz, .parquet or .h5; - is TSV on standard output")
]  # fmt: skip
Workers = Annotated[int, typer.Option(min=1, help="Processes, which share the CPU's threads")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a stopped run of this command was")]
Restart = Annotated[bool, typer.Option("--restart", help="Remove what a stopped run left, and start anew")]
VcfKeys = Annotated[str, typer.Option(help=f"INFO fields of VCF output. {_explained(VCF_KEYS)}")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")]


@app.command()
def ls(
    model: Annotated[str | None, typer.Argument(help="Print this model's targets")] = None,
    targets: Annotated[bool, typer.Option("--targets", help="Print the targets of every model")] = False,
):
    """List the models of the zoo, or the targets of one or of all.

    Example: regzoo ls MotifResNet/rbp
    """
    from regzoo.listing import model_lines, target_lines

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("\n".join(target_lines(model, width) if model or targets else model_lines(width)))


@app.command()
def predict(
    bed: Annotated[
        str, typer.Argument(help="Intervals, BED or narrowPeak, plain or gzipped, - for standard input; windows are taken "
                            "around their centres")
    ],
    fasta: Fasta,
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="GROUP/MODEL of `regzoo ls`, or a directory; repeat for more")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help=".tsv, .tsv.gz, .parquet, .h5 or .bedgraph (one target; the mean where windows "
                          "overlap); - for TSV on standard output")
    ],
    target: Targets = None,
    centre: Annotated[
        str | None, typer.Option(help=f"{_explained(CENTRES)} (default: summit for .narrowPeak, middle for others)")
    ] = None,
    use_strand: Annotated[
        bool | None,
        typer.Option(help="Reverse-complement intervals on the '-' strand (default: for models of RNA and promoters)"),
    ] = None,
    strict: Strict = False,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    quiet: Quiet = False,
):  # fmt: skip
    """Predict every interval of a BED file.

    An interval that cannot be predicted keeps its row, and its status says why. With several models, columns are named
    MODEL:TARGET.

    Example: regzoo predict peaks.bed --fasta hg38.fa --model MotifResNet/tf-human -o out.tsv
    """
    from regzoo.predict import predict_bed

    found = predict_bed(bed, fasta, model, output, target, use_strand, strict, batch_size, not quiet, precision, centre)
    print(f"{sum(found.statuses.values()):,} intervals -> {output}", file=sys.stderr)
    notes = Counter(
        {"windows padded with N over a contig's end": found.padded, "windows with unknown bases": found.unknown}
    )
    for text, count in [*found.statuses.most_common(), *notes.items()]:
        if count:
            print(f"  {count:>9,}  {text}", file=sys.stderr)


@app.command("score")
def score_command(
    vcf: Variants,
    fasta: Fasta,
    model: Annotated[
        list[str], typer.Option("--model", "-m", help="GROUP/MODEL of `regzoo ls`, or a directory; repeat for more")
    ],
    output: VariantOutput,
    score: Annotated[
        list[str] | None, typer.Option("--score", "-s", help="Repeat for more; default diff, and logit of models that predict "
                                       f"probabilities. {_explained(SCORES)}; package.module.function: a function of your own, "
                                       "(ref, alt) -> array, shapes (alleles, targets)")
    ] = None,
    target: Targets = None,
    summary: Annotated[
        list[str] | None, typer.Option(help=f"Over targets, in their place; repeat for more. {_explained(SUMMARIES)}")
    ] = None,
    strands: Strands = "model",
    strands_from: Annotated[
        str, typer.Option(help="Strand of each variant: BED file of genes with strands, or INFO:KEY, a field with + or -")
    ] = "",
    offset: Annotated[
        list[int], typer.Option(help="Move windows by so many bases; scores are averaged over those given")
    ] = (0,),
    grid: Annotated[
        int, typer.Option(min=1, help="Start windows at multiples of this, so that dense variants share most of the work; 1 "
                          "centres each exactly"),
    ] = 1,
    anchor: Annotated[str, typer.Option(help=_explained(ANCHORS))] = "veff",
    ref_mismatch: Annotated[str, typer.Option(help=_explained(REF_MISMATCHES))] = "report",
    normalise: Annotated[bool, typer.Option("--normalise", help="Left-align and trim indels before scoring")] = False,
    strict: Strict = False,
    precision: Precision = "float32",
    batch_size: BatchSize = 64,
    vcf_keys: VcfKeys = "packed",
    workers: Workers = 1,
    resume: Resume = False,
    restart: Restart = False,
    quiet: Quiet = False,
):  # fmt: skip
    """Score every allele of a VCF file: SNVs, MNVs, insertions, deletions, each of several alternates.

    What cannot be scored is a row with its reason. The variant's first base sits at index L // 2 - 1 of the window.

    Example: regzoo score variants.vcf --fasta hg38.fa --model MotifResNet/tf-human -o out.vcf -s diff -s logit
    """
    from regzoo.sequence.files import regular_file

    with regular_file(vcf, "VCF file") as path:
        from regzoo.effects import score_vcf
        from regzoo.effects.score_vcf import difference_from_exact
        from regzoo.zoo import load_model

        models = [load_model(name) for name in distinct(model)]
        counts = score_vcf(
            path, fasta, models, output, not quiet, workers, resume, restart, vcf_keys,
            scores=score or (), targets=target or (), summaries=summary or (), strands=strands, offsets=offset, grid=grid,
            batch_size=batch_size, precision=precision, strict=strict, normalise=normalise, strands_from=strands_from,
            ref_mismatch=ref_mismatch, anchor=anchor,
        )  # fmt: skip
        _tell(counts, output)
        if grid > 1 or precision != "float32":
            for loaded in models:
                largest, correlation = difference_from_exact(path, fasta, loaded, grid, precision)
                print(
                    f"{loaded.name}, diff of the first variants, grid {grid} and {precision} against exactly centred float32: "
                    f"largest difference {largest:.2g}, correlation {correlation:.4f}",
                    file=sys.stderr,
                )


def _tell(counts, output):
    total, where = sum(counts.values()), "standard output" if output == "-" else output
    print(f"{total} alleles -> {where}" if total else f"no record in the VCF -> {where}", file=sys.stderr)
    for status, count in counts.most_common():
        print(f"  {count:>9,}  {status}", file=sys.stderr)


@app.command("zero-shot")
def zero_shot(
    vcf: Variants,
    fasta: Fasta,
    model: LanguageModelName,
    output: VariantOutput,
    score: Annotated[
        list[str], typer.Option("--score", "-s", help=f"Repeat for more. {_explained(ZERO_SHOT)}")
    ] = ("p_ref", "llr"),
    length: Annotated[int, typer.Option(min=12, help="Bases that the model sees")] = 512,
    around: Annotated[int, typer.Option(min=1, help="Bases on each side over which the influence is measured")] = 10,
    vcf_keys: VcfKeys = "packed",
    workers: Workers = 1,
    resume: Resume = False,
    restart: Restart = False,
    quiet: Quiet = False,
):  # fmt: skip
    """Score every allele of a VCF file by what a masked language model expects, without any training.

    Example: regzoo zero-shot variants.vcf -f hg38.fa -m LM/nt-mini -o out.tsv -s p_ref -s llr -s vis_mean
    """
    from regzoo.effects.score_vcf import zero_shot_vcf

    counts = zero_shot_vcf(
        vcf, fasta, model, output, not quiet, workers, resume, restart, vcf_keys,
        scores=score, length=length, around=around,
    )  # fmt: skip
    _tell(counts, output)


@app.command()
def mutate(
    fasta: Fasta,
    model: ModelName,
    output: Annotated[
        list[str], typer.Option("--output", "-o", help=".h5, .tsv, .mutmap.h5 (for `kipoi veff plot_mutation_map`), or .png, "
                                ".svg or .pdf for one locus; repeat for more")
    ],
    locus: Annotated[
        list[str] | None, typer.Option("--locus", "-l", help="CONTIG:START-END, 1-based and inclusive; repeat for more")
    ] = None,
    bed: Annotated[str | None, typer.Option("--bed", "-b", help="Regions, BED plain or gzipped")] = None,
    score: Annotated[str, typer.Option("--score", "-s", help=_explained(SCORES))] = "diff",
    target: Targets = None,
    insertions: Annotated[bool, typer.Option("--insertions", help="Also each base inserted before each position")] = False,
    strands: Strands = "model",
    precision: Precision = "float32",
    quiet: Quiet = False,
):  # fmt: skip
    """Saturation mutagenesis: the effect of every substitution and one-base deletion of a locus.

    Example: regzoo mutate -l chr1:1,550-1,650 --fasta hg38.fa --model MotifResNet/tf-human -t tf3 -o locus.png
    """
    from regzoo.effects.mutate import mutate_loci

    if not (locus or bed):
        raise typer.BadParameter("give --locus or --bed")
    count = mutate_loci(
        fasta, model, output, bed, locus or (), score, target, insertions, strands, precision, progress=not quiet
    )
    print(f"{count} loci -> {', '.join(output)}", file=sys.stderr)


@app.command()
def embed(
    fasta: Annotated[str, typer.Option("--fasta", "-f", help="Sequences, or with --bed the genome; plain or bgzipped")],
    model: LanguageModelName,
    output: Annotated[str, typer.Option("--output", "-o", help=".h5 or .parquet: a row for each vector")],
    bed: Annotated[
        str | None, typer.Option("--bed", "-b", help="Intervals to embed, as they are; - for standard input")
    ] = None,
    per: Annotated[str, typer.Option(help=_explained(PER))] = "mean",
    layer: Annotated[
        int | None, typer.Option(min=0, help="Layer to take; 0 is the token embedding; default the last with its norm")
    ] = None,
    precision: Precision = "float32",
    quiet: Quiet = False,
):  # fmt: skip
    """Embed sequences with a language model.

    Sequences of more tokens than the model reads at once (its limit, or 512) are read in pieces.

    Example: regzoo embed -f hg38.fa -b peaks.bed -m LM/nt-mini -o peaks.h5
    """
    from regzoo.embed import embed as run

    count = run(fasta, model, output, bed, per, layer, precision, progress=not quiet)
    print(f"{count} sequences -> {output}", file=sys.stderr)


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(help="Models, of `regzoo ls` or directories; the first is compared with each")],
    data: Annotated[
        list[str], typer.Option("--data", "-d", help="TARGET=FILE: labelled sequences, CSV with `sequence,label` and labels 0 "
                                "and 1, or `sequence,value`, plain or gzipped, and the models' target that they are of; "
                                "repeat for more")
    ],
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Also write .tsv, .md, or .png, .svg or .pdf with ROC and "
                                       "precision-recall curves, or predicted against measured values; repeat for more")
    ] = None,
    batch_size: BatchSize = 64,
    quiet: Quiet = False,
):  # fmt: skip
    """Compare models on the same labelled sequences: metrics with 95% intervals, paired tests, time and memory.

    Sequences are centred in each model's window. Longer ones are cut at both ends, shorter ones padded with N, and it is said
    how many are.

    Example: regzoo compare MotifResNet/tf-human Basset/tf-human -d tf0=tf/0/test.csv -d tf1=tf/1/test.csv -o curves.svg
    """
    from regzoo.evaluate.compare import compare_models

    print(compare_models(models, data, output or (), batch_size, progress=not quiet))


@app.command()
def transfer(
    models: Annotated[list[str], typer.Argument(help="Models, of `regzoo ls` or directories")],
    data: Annotated[
        list[str], typer.Option("--data", "-d", help="NAME=FILE: labelled sequences, CSV with `sequence,label` and labels 0 and "
                                "1, or `sequence,value`; repeat for more")
    ],
    output: Annotated[
        list[str] | None, typer.Option("--output", "-o", help="Also write .tsv, or .png, .svg or .pdf with the matrix as a "
                                       "heat map; repeat for more")
    ] = None,
    target: Targets = None,
    batch_size: BatchSize = 64,
    quiet: Quiet = False,
):  # fmt: skip
    """Transfer: how well every target's predictions tell every data set, so trained on one cell type, tested on another.

    Sequences are centred in each model's window, as by `regzoo compare`.

    Example: regzoo transfer MotifResNet/tf-human -d tf0=tf/0/test.csv -d tf1=tf/1/test.csv -o transfer.png
    """
    from regzoo.evaluate.transfer import transfer_matrix

    print(
        transfer_matrix(models, data, output or (), target, batch_size, progress=not quiet).to_markdown(floatfmt=".3f")
    )


@app.command()
def fetch(model: Annotated[str, typer.Argument(help="An official model, e.g. DeepSEA/predict")]):
    """Download an official model's weights, check them, and convert them to safetensors."""
    from regzoo.zoo import load_model

    load_model(model, device="cpu")
    print(f"{model} is ready")


@app.command()
def register():
    """Make this zoo the source 'regzoo' in Kipoi's configuration, keeping what is there."""
    from regzoo.register import register as register_source

    print(register_source())


@app.command()
def doctor():
    """Check this installation, and say how to mend what is wrong."""
    from regzoo.doctor import diagnose

    checks = diagnose()
    for check in checks:
        print(f"{'ok  ' if check.right else 'FAIL'}  {check.name}: {check.seen}")
        if not check.right:
            print(f"      -> {check.mend}")
    if not all(check.right for check in checks):
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def kipoi(context: typer.Context):
    """Run a kipoi command, whichever `kipoi` is on the path: regzoo kipoi predict …"""
    from regzoo.kipoi.command import main as run

    run(context.args)


def main():
    """Entry point: errors of the library are shown without a traceback."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as an exception, so that nothing unfinished is left behind
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        app()
    except RegzooError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
