"""Makes the example: a small random genome with motifs planted, intervals over them, and variants that change them.

    python dataloaders/sequence/example/make_example.py [FOLDER]

The motifs are the commonest words of the tf-human training peaks (read off them by 9-mer enrichment), which look like
ETS (tf0, tf1, tf2), AP-1 (tf3), USF and RFX (tf4). Each variant's ID says what it does, so that the scores can be read:
'breaks' should lower a target, 'makes' should raise it, 'deletes' removes motif bases, 'neutral' is elsewhere.
"""

import random
import sys
from pathlib import Path

#: Name -> word, and the 0-based place of a base that the factor needs.
MOTIFS = {
    "ets": ("ACCGGAAGTGGC", 5),
    "ap1": ("GATGACTCATCC", 6),
    "usf": ("GGCCACGTGACC", 5),
    "rfx": ("GTTGCCATGGCAAC", 4),
}
CONTIGS = {"chr1": 24_000, "chr2": 16_000}
SPACING = 800  # between planted sites


def random_sequence(length, rng, gc=0.41, kept_cpg=0.2):
    """Independent bases with the human genome's GC share, most CpG turned into TpG as there (models read CpG)."""
    bases = rng.choices("ACGT", weights=[1 - gc, gc, gc, 1 - gc], k=length)
    for i in range(length - 1):
        if bases[i] == "C" and bases[i + 1] == "G" and rng.random() > kept_cpg:
            bases[i] = "T"
    return bases


def other_base(base, rng):
    """A base that differs."""
    return rng.choice([b for b in "ACGT" if b != base])


def make(folder):
    """Write example.fa, example.bed and example.vcf into a folder."""
    rng = random.Random(20)
    intervals, variants, genome = [], [], {}
    for contig, length in CONTIGS.items():
        sequence = random_sequence(length, rng)
        for number, site in enumerate(range(SPACING, length - SPACING, SPACING)):
            name, (motif, key) = list(MOTIFS.items())[number % len(MOTIFS)]
            kind = ("breaks", "makes", "deletes", "neutral")[(number // len(MOTIFS)) % 4]
            planted = list(motif)
            if kind == "makes":
                planted[key] = other_base(motif[key], rng)
            start = site - len(motif) // 2
            sequence[start : start + len(motif)] = planted
            at = start + key
            if kind == "deletes":
                ref, alt = "".join(sequence[at - 1 : at + 3]), sequence[at - 1]
                at -= 1
            elif kind == "neutral":
                at = start + len(motif) + 25
                ref, alt = sequence[at], other_base(sequence[at], rng)
            else:
                ref = sequence[at]
                alt = motif[key] if kind == "makes" else other_base(ref, rng)
            variants.append((contig, at + 1, f"{kind}_{name}_{len(variants)}", ref, alt))
            intervals.append((contig, site - 50, site + 51, f"{name}_{kind}"))
            intervals.append((contig, site + 300, site + 401, "background"))
        genome[contig] = "".join(sequence)
    (folder / "example.fa").write_text(
        "".join(
            f">{contig}\n" + "".join(f"{sequence[i : i + 60]}\n" for i in range(0, len(sequence), 60))
            for contig, sequence in genome.items()
        )
    )
    (folder / "example.bed").write_text("".join("\t".join(map(str, row)) + "\t0\t+\n" for row in intervals))
    header = ["##fileformat=VCFv4.2", *(f"##contig=<ID={c},length={n}>" for c, n in CONTIGS.items())]
    header.append("#" + "\t".join("CHROM POS ID REF ALT QUAL FILTER INFO".split()))
    rows = ["\t".join([*map(str, row), ".", "PASS", "."]) for row in variants]
    (folder / "example.vcf").write_text("\n".join(header + rows) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
