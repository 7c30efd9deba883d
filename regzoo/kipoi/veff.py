"""Patches for kipoi_veff 0.3.1.

It gets the records that it can score, the others are counted, and its VCF output keeps what was in the input.
`regzoo.kipoi.imports` imports this module after kipoi_veff itself.
"""

import inspect
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cyvcf2
import kipoi_veff
import kipoi_veff.mutation_map
import kipoi_veff.parsers
import kipoi_veff.snv_predict
import kipoi_veff.utils.generic
import kipoi_veff.utils.io
import numpy as np
import pysam

from regzoo.errors import InputError
from regzoo.home import SOURCE
from regzoo.kipoi.old_pybedtools import folder_until_exit
from regzoo.output.files import finished_file
from regzoo.sequence import Genome, open_vcf
from regzoo.sequence.alleles import STATUS_TEXTS, Status
from regzoo.sequence.files import is_gzip, open_bytes

_score_variants = kipoi_veff.snv_predict.score_variants
_parse_kipoi_colname = kipoi_veff.parsers.parse_kipoi_colname


def _info_id(*parts):
    """A valid ID of an INFO field (VCF 4.3, section 1.6.1): letters, digits, underscores and periods."""
    return "_".join(re.sub(r"[^0-9A-Za-z_.]", "_", part) for part in parts)


class VcfWriter(kipoi_veff.utils.io.SyncPredictonsWriter):
    """Adds kipoi_veff's INFO fields to the records' own text, so that genotypes, FILTER and INFO are kept.

    The fields are called `KV_SOURCE_MODEL_SCORE`, a valid ID in VCF 4.3. `Source` in the header line holds kipoi_veff's
    own name, `KV:SOURCE:MODEL:SCORE`, which `KipoiVCFParser` reads.

    Parameters
    ----------
    model : kipoi model
    reference_vcf_path : str
        File that the header is taken from.
    out_vcf_fpath : str
        Output; bgzipped if it ends in .gz.
    id_delim : str
        Not used, as in kipoi_veff.
    vcf_id_generator : callable, optional
        Takes a cyvcf2 record and returns its ID; contig:position:ref:alternates by default.
    standardise_var_id : bool
        Replace IDs by those of `vcf_id_generator`.

    Attributes
    ----------
    labels : dict
        Score -> labels of the model's outputs, for the header of a file in which no record is scored.
    """

    def __init__(
        self,
        model: Any,
        reference_vcf_path: str,
        out_vcf_fpath: str,
        id_delim: str = ":",
        vcf_id_generator: Callable[[Any], str] = kipoi_veff.utils.generic.default_vcf_id_gen,
        standardise_var_id: bool = False,
    ):
        super().__init__(model)
        self.reference, self.path = reference_vcf_path, out_vcf_fpath
        self.id_delim, self.vcf_id_generator = id_delim, vcf_id_generator
        self.standardise_var_id = standardise_var_id
        self.labels: dict[str, list[str]] = {}
        self._header_written = False
        self._block = finished_file(out_vcf_fpath)
        temporary = str(self._block.__enter__())
        self._out = (
            pysam.BGZFile(temporary, "wb", index=None) if str(out_vcf_fpath).endswith(".gz") else open(temporary, "wb")
        )

    def __call__(self, predictions: dict, records: list, line_ids: Any = None) -> None:
        """Write a batch: `predictions` are data frames by score, with one row for each of `records`."""
        if not self._header_written:
            self._write_header({score: list(frame.columns) for score, frame in predictions.items()})
        values = {self._id(score.upper()): frame.to_numpy() for score, frame in predictions.items()}
        for row, record in enumerate(records):
            fields = str(record).rstrip("\n").split("\t")
            added = [f"{name}={'|'.join(f'{v:.8f}' for v in table[row])}" for name, table in values.items()]
            added.append(f"{self._id('rID')}={'' if line_ids is None else line_ids[row]}")
            fields[7] = ";".join(([] if fields[7] == "." else [fields[7]]) + added)
            if self.standardise_var_id and self.vcf_id_generator is not None:
                fields[2] = self.vcf_id_generator(record)
            self._write_line("\t".join(fields))

    def _write_line(self, line):
        self._out.write(f"{line}\n".encode("utf-8", "surrogateescape"))

    def _id(self, name):
        return _info_id(self.info_tag_prefix, name)

    def _info_line(self, name, description):
        return (
            f'##INFO=<ID={self._id(name)},Number=.,Type=String,Description="{description}",'
            f'Source="{self.info_tag_prefix}:{name}">'
        )

    def _write_header(self, labels):
        header = cyvcf2.VCF(self.reference).raw_header.rstrip("\n").split("\n")
        infos = [
            self._info_line(
                score.upper(),
                f"{score.upper()} SNV effect prediction. Prediction from model outputs: {'|'.join(map(str, names))}",
            )
            for score, names in labels.items()
        ]
        infos.append(self._info_line("rID", "Range or region id taken from metadata, generated by the DataLoader."))
        self._write_line("\n".join(header[:-1] + infos + header[-1:]))
        self._header_written = True

    def close(self) -> None:
        """Finish the file; without a scored record it is a header alone."""
        if not self._header_written:
            self._write_header(self.labels)
        self._out.close()
        self._block.__exit__(None, None, None)


class KipoiVCFParser(kipoi_veff.parsers.KipoiVCFParser):
    """kipoi_veff's reader of scored VCFs, which also reads the IDs that `VcfWriter` writes."""

    def __init__(self, vcf_file: str):
        super().__init__(vcf_file)
        for name, source in re.findall(r'##INFO=<ID=(KV[^,]*),.*Source="(KV:[^"]*)"', self.vcf.raw_header):
            self.kipoi_parsed_colnames[name] = _parse_kipoi_colname(source)


def parse_kipoi_colname(colname: str) -> tuple[str, str, str]:
    """Source, model and score of an INFO field, as kipoi_veff's function of this name; ('', name, '') of another ID."""
    return _parse_kipoi_colname(colname) if colname.count(":") >= 3 else ("", colname, "")


def score_variants(
    model: Any,
    dl_args: dict,
    input_vcf: str,
    output_vcf: str | None = None,
    output_writers: list | None = None,
    **options,
) -> dict | None:
    """`kipoi_veff.score_variants` of the records that kipoi_veff can score. The others are counted on standard error.

    Not scored are alleles of other than one base and variants whose window reaches over a contig's end. Of several
    alternates of a record, kipoi_veff scores the first. Where REF differs from the FASTA, kipoi_veff puts REF into the
    sequence; these records are scored and counted on standard error. Other arguments are kipoi_veff's.

    Returns
    -------
    dict or None
        Score -> data frame, with `return_predictions`; empty if no record can be scored. Otherwise None.

    Raises
    ------
    regzoo.errors.InputError
        If the VCF or the FASTA cannot be used.
    """
    import kipoi

    if isinstance(model, str):
        model = kipoi.get_model(model, source=options.pop("source", "kipoi"), with_dataloader=True)
    writers = list(output_writers or [])
    if output_vcf is not None:
        standardise = options.get("std_var_id", False)
        writers.append(VcfWriter(model, str(input_vcf), os.path.realpath(output_vcf), standardise_var_id=standardise))
        writers[-1].labels = _labels(model, options)
    with tempfile.TemporaryDirectory(prefix="regzoo-veff-") as folder, _temporary_folder(folder):
        length = (
            options.get("seq_length") or kipoi_veff.ModelInfoExtractor(model, model.default_dataloader).get_seq_len()
        )
        chosen, left_out, mismatches = _scorable_records(input_vcf, dl_args.get("fasta_file"), length, folder)
        _report(left_out, mismatches, model, dl_args, input_vcf)
        if chosen is not None or not writers:
            try:
                return _score_variants(model, dl_args, chosen or input_vcf, None, writers, **options)
            except NoRegionError:
                print("kipoi veff: no variant lies in the regions of --restriction_bed.", file=sys.stderr)
    for writer in writers:
        writer.close()
    return {} if options.get("return_predictions") else None


def _labels(model, options):
    """Score -> labels of the reported outputs, from kipoi_veff's own function on a prediction of zeros."""
    targets = model.schema.targets
    arrays = targets if isinstance(targets, list) else [targets]
    zeros = [np.zeros((1, *(size or 1 for size in target.shape))) for target in arrays]
    prediction = SimpleNamespace(
        source_dir=".", predict_on_batch=lambda _: zeros if isinstance(targets, list) else zeros[0]
    )
    defaults = inspect.signature(_score_variants).parameters
    scores = kipoi_veff.snv_predict.get_scoring_fns(
        model, options.get("scores", defaults["scores"].default), options.get("score_kwargs")
    )
    frames = kipoi_veff.snv_predict.analyse_model_preds(
        prediction,
        None,
        None,
        dict.fromkeys(scores, lambda ref, **_: ref),
        kipoi_veff.snv_predict.OutputReshaper(targets),
        options.get("model_outputs"),
    )
    return {score: list(frame.columns) for score, frame in frames.items()}


def _scorable_records(path, fasta, length, folder):
    """Write the records that kipoi_veff can score to a bgzipped and tabixed VCF in `folder`.

    Returns the file's path, None without such a record; the number of other alleles by reason; and the number of
    records whose REF differs from the FASTA.
    """
    genome = Genome(fasta) if fasta and length else None
    chosen = str(Path(folder) / "scorable.vcf")
    left_out: Counter[str] = Counter()
    mismatches = count = 0
    with open_vcf(path) as source, open(chosen, "w", encoding="utf-8", errors="surrogateescape") as out:
        out.writelines(f"{line}\n" for line in source.header)
        for records in source.batches():
            counts = records.counts
            for row, first in enumerate(np.cumsum(counts) - counts):
                reason = _problem(records.alleles, first, genome, length)
                if reason:
                    left_out[reason] += int(counts[row])
                    continue
                if counts[row] > 1:
                    left_out["further alternates of a record"] += int(counts[row]) - 1
                mismatches += _differs(records.alleles, first, genome)
                count += 1
                out.write(f"{records.text(row)}\n")
    return ensure_tabixed_vcf(chosen) if count else None, left_out, mismatches


def _problem(alleles, row, genome, length):
    """Why kipoi_veff cannot score an allele; '' if it can."""
    status = Status(int(alleles.status[row]))
    if status != Status.SCORED:
        return STATUS_TEXTS[status]
    if not alleles.single[row]:
        return "indel or several bases"
    if alleles.letters[alleles.ref_start[row]] == ord("N"):
        return "REF is N"
    if genome is None:
        return ""
    try:
        number = genome.number(alleles.contigs[alleles.contig[row]])
    except InputError:
        return STATUS_TEXTS[Status.NO_CONTIG]
    start = alleles.pos[row] - length // 2
    if start < 0 or start + length > genome.lengths[number]:
        return STATUS_TEXTS[Status.NEAR_END]
    return ""


def _differs(alleles, row, genome):
    if genome is None:
        return False
    codes = genome.codes(alleles.contigs[alleles.contig[row]])
    return bool(codes[alleles.pos[row] - 1] != alleles.codes[alleles.ref_start[row]])


def _report(left_out, mismatches, model, dl_args, input_vcf):
    if left_out:
        counts = "; ".join(f"{reason}: {count}" for reason, count in left_out.most_common())
        print(f"kipoi veff: {sum(left_out.values())} alleles are not scored ({counts}).", file=sys.stderr)
        if model.source_name == SOURCE:
            fasta = str(dl_args.get("fasta_file", "FASTA"))
            parts = ["regzoo", "score", str(input_vcf), "--genome", fasta, "--model", model.name, "-o", "OUT.vcf"]
            print(f"This scores them: {shlex.join(parts)}", file=sys.stderr)
    if mismatches:
        print(
            f"kipoi veff: REF differs from the FASTA in {mismatches} scored records; "
            "their REF is put into the sequence.",
            file=sys.stderr,
        )


def ensure_tabixed_vcf(input_fn: str, is_sorted: bool = False, force_tabix: bool = True) -> str:
    """A bgzipped and tabixed copy of a VCF in a temporary folder, or the file itself if it is bgzipped and tabixed.

    The folder is removed when the program ends, or when `score_variants` ends if it made the copy.

    Raises
    ------
    OSError
        If `force_tabix` is False and `input_fn` + '.gz', which kipoi_veff would write, exists.
    """
    if is_gzip(input_fn) and os.path.exists(f"{input_fn}.tbi"):
        return input_fn
    compressed = input_fn if str(input_fn).endswith(".gz") else f"{input_fn}.gz"
    if not force_tabix and compressed != input_fn and os.path.exists(compressed):
        raise OSError(f"{compressed} already exists and force_tabix=False")
    plain = os.path.join(folder_until_exit(), "variants.vcf")
    with open_bytes(input_fn) as source, open(plain, "wb") as copy:
        shutil.copyfileobj(source, copy)
    with open(plain, "rb") as source, pysam.BGZFile(f"{plain}.gz", "wb", index=None) as out:
        contigs: dict[bytes, int] = {}
        places, offset = [], 0
        for line in source:
            if line.startswith(b"#"):
                out.write(line)
            elif line.strip():
                contig, position, _ = line.split(b"\t", 2)
                places.append((contigs.setdefault(contig, len(contigs)), int(position), offset))
            offset += len(line)
        for _, _, offset in sorted(places):
            source.seek(offset)
            out.write(source.readline().rstrip(b"\r\n") + b"\n")
    os.unlink(plain)
    pysam.tabix_index(f"{plain}.gz", preset="vcf", force=True)
    return f"{plain}.gz"


class NoRegionError(InputError):
    """There is no window for the dataloader to read."""


class BedWriter(kipoi_veff.utils.io.BedWriter):
    """kipoi_veff's writer of the BED file for the dataloader, which refuses to write one without a window."""

    windows = 0

    def append_interval(self, chrom: str, start: int, end: int, id: str) -> None:
        """Write one window."""
        super().append_interval(chrom, start, end, id)
        self.windows += 1

    def close(self) -> None:
        """Close the file; a NoRegionError if no window was written."""
        super().close()
        if not self.windows:
            raise NoRegionError("no window could be placed on the given variants or regions")


class BedOverlappingRg(kipoi_veff.BedOverlappingRg):
    """kipoi_veff's windows over a BED region, one base further right: it subtracts one from a start that is 0-based."""

    def __call__(self, bed_entry: Any) -> dict:
        """Windows over one entry of a BED file."""
        regions = super().__call__(bed_entry)
        regions["start"] = [start + 1 for start in regions["start"]]
        return regions


@contextmanager
def _temporary_folder(folder):
    """Make kipoi_veff put its temporary files, which it does not always remove, in `folder`."""
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before


def patch() -> None:
    """Replace the parts of kipoi_veff in every module that has imported them."""
    generic, io = kipoi_veff.utils.generic, kipoi_veff.utils.io
    snv_predict, mutation_map, parsers = kipoi_veff.snv_predict, kipoi_veff.mutation_map, kipoi_veff.parsers
    parsers.parse_kipoi_colname = parse_kipoi_colname
    parsers.KipoiVCFParser = KipoiVCFParser
    for module in (kipoi_veff, snv_predict):
        module.score_variants = score_variants
    for module in (kipoi_veff, mutation_map):
        module.BedOverlappingRg = BedOverlappingRg
    for module in (kipoi_veff, snv_predict, kipoi_veff.utils, io):
        module.VcfWriter = VcfWriter
    for module in (snv_predict, mutation_map, kipoi_veff.utils, io):
        module.BedWriter = BedWriter
    for module in (kipoi_veff, snv_predict, kipoi_veff.utils, generic, mutation_map):
        module.ensure_tabixed_vcf = ensure_tabixed_vcf


patch()
