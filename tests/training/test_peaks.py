"""Peaks, overlaps and negatives against brute force over bases."""

from collections import Counter

import numpy as np
import pytest

from regzoo.errors import InputError
from regzoo.sequence import Genome, decode, encode
from regzoo.sequence.shuffle import shuffled_dinucleotides
from training.data.negatives import gc_content, gc_matched
from training.data.peaks import Coverage, Peaks, overlap_labels, read_peaks, summit_windows, tiles


@pytest.fixture
def genome(tmp_path):
    rng = np.random.default_rng(0)
    contigs = {"chr1": "".join(rng.choice(list("ACGT"), 5000)), "chr2": "".join(rng.choice(list("AAATC"), 3000))}
    (tmp_path / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in contigs.items()))
    return Genome(tmp_path / "g.fa")


def random_intervals(rng, count, lengths):
    numbers = rng.integers(0, len(lengths), count)
    starts = (rng.random(count) * (lengths[numbers] - 120)).astype(np.int64)
    return numbers, starts, starts + rng.integers(1, 120, count)


def test_covered_bases_equal_a_count_over_bases(genome):
    rng = np.random.default_rng(1)
    for count in (1, 5, 60):
        peaks = random_intervals(rng, count, genome.lengths)
        painted = [np.zeros(n, dtype=int) for n in genome.lengths]
        for contig, start, end in zip(*peaks):
            painted[contig][start:end] = 1
        asked = random_intervals(rng, 200, genome.lengths)
        expected = [painted[contig][start:end].sum() for contig, start, end in zip(*asked)]
        assert Coverage(*peaks).bases(*asked).tolist() == expected


def test_a_tiled_genome_is_labelled_by_half_a_bin(genome):
    """DeepSEA's rule: a 200-bp bin is positive if more than half of it, here half at the least, is covered."""
    tracks = [
        Peaks(*(np.array(v) for v in ([0, 0], [150, 400], [300, 499], [200, 450]))),
        Peaks(*(np.array(v) for v in ([1], [0], [3000], [1500]))),
    ]
    numbers, starts = tiles(genome, 200)
    assert len(numbers) == 25 + 15
    labels = overlap_labels(numbers, starts, starts + 200, tracks)
    assert labels[:25, 0].nonzero()[0].tolist() == [1] and labels[25:, 1].all() and not labels[:25, 1].any()
    # [150, 300) covers 50 and 100 bases of the first two bins; [400, 499) 99 of the third.


def test_summits_of_narrowpeak_and_middles_of_bed(genome, tmp_path):
    (tmp_path / "a.narrowPeak").write_text(
        "chr1\t100\t300\tp\t0\t.\t5\t-1\t-1\t40\nchr1\t1000\t1200\tq\t0\t.\t5\t-1\t-1\t-1\n"
    )
    (tmp_path / "b.bed").write_text("2\t500\t600\nchr1\t130\t150\n")
    one, two = (read_peaks(tmp_path / name, genome) for name in ("a.narrowPeak", "b.bed"))
    assert one.summits.tolist() == [140, 1100] and two.summits.tolist() == [550, 140]
    numbers, starts = summit_windows([one, two], 50)
    assert list(zip(numbers.tolist(), starts.tolist())) == [(0, 115), (0, 1075), (1, 525)]


def test_bad_peaks_are_named(genome, tmp_path):
    path = tmp_path / "x.bed"
    for text, message in [
        (
            "chr1\t10\t20\nchr1\t4990\t5010\n",
            "line 2: .*ends after the contig, which has 5000 bases; use peaks and a genome of one assembly",
        ),
        ("chr7\t1\t2\n", "line 1: .*no contig 'chr7'"),
        ("chr1\t100\t300\tp\t0\t.\t5\t-1\t-1\tx\n", "line 1: summit 'x'"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_peaks(path, genome)


def test_shuffles_keep_every_dinucleotide_and_differ():
    rng = np.random.default_rng(2)
    texts = ["".join(rng.choice(list("ACGTN" if i % 3 else "AC"), 80)) for i in range(60)]
    rows = np.stack([encode(t) for t in texts])
    shuffled = shuffled_dinucleotides(rows, rng)
    for text, row in zip(texts, shuffled):
        other = decode(row)
        pairs = [Counter(zip(t, t[1:])) for t in (text, other)]
        assert pairs[0] == pairs[1] and (text[0], text[-1]) == (other[0], other[-1])
    assert (shuffled != rows).any(axis=1).all()
    assert decode(shuffled_dinucleotides(encode("AAAA")[None], rng)[0]) == "AAAA"


def test_every_shuffle_is_as_likely():
    """ACAGA: its paths from A to A over the edges AC, CA, AG, GA are ACAGA and AGACA."""
    rng = np.random.default_rng(3)
    made = Counter(decode(row) for row in shuffled_dinucleotides(np.repeat(encode("ACAGA")[None], 2000, axis=0), rng))
    assert set(made) == {"ACAGA", "AGACA"} and abs(made["ACAGA"] - 1000) < 120


def test_windows_of_given_content_avoid_the_peaks(genome):
    rng = np.random.default_rng(4)
    target = np.concatenate([np.full(40, 0.5), np.full(20, 0.2)])
    excluded = Coverage(np.array([0]), np.array([1000]), np.array([4000]))
    numbers, starts = gc_matched(genome, 100, target, excluded, rng, tolerance=0.05)
    content = gc_content(genome.windows(numbers, starts, 100))
    assert np.abs(content - target).max() <= 0.05
    assert (excluded.bases(numbers, starts, starts + 100) == 0).all()
    with pytest.raises(InputError, match="no window found for 5 of 5 G.C contents, such as 0.99"):
        gc_matched(genome, 100, np.full(5, 0.99), excluded, rng, tries=5)
