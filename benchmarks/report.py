"""Reports: seconds, size, and seconds to open, of `regzoo report` against `regzoo alleles` on the same variants.

    python benchmarks/report.py --fasta GENOME.fa --vcf VARIANTS.vcf.gz [--count 1000] [--top 20]

The variants are spread evenly over the VCF. Opening is measured in Chromium with playwright, where both are installed:
until the page is loaded and its table is sorted once.
"""

import argparse
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch

import regzoo
from regzoo.effects.allele_report import read_variants


def opening(path, chromium):
    """Seconds until a page is loaded, and to sort its table."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
        page = browser.new_page()
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(path.as_uri())
        loaded = time.perf_counter() - start
        start = time.perf_counter()
        page.locator("th[data-column=diff] button").click()
        sorting = time.perf_counter() - start
        browser.close()
    return loaded, sorting


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", required=True)
    parser.add_argument("--vcf", required=True)
    parser.add_argument("--model", default="MotifResNet/tf-dream")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = read_variants(args.vcf)
    table = table.iloc[:: max(1, len(table) // args.count)].head(args.count)[["chrom", "pos", "id", "ref", "alt"]]
    model, genome = regzoo.load_model(args.model, device="cpu"), regzoo.Genome(args.fasta)
    regzoo.alleles(model, table.head(8), genome, step=0)
    start = time.perf_counter(), time.process_time()
    found = regzoo.alleles(model, table, genome, step=0)
    alleles = time.perf_counter() - start[0], time.process_time() - start[1]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter(), time.process_time()
        path = regzoo.report(found, model, genome, top=args.top, output=Path(folder) / "report.html")
        page = time.perf_counter() - start[0], time.process_time() - start[1]
        print(
            f"{len(table):,} variants, {len(found):,} rows, {args.top} sections, {args.model}, {args.threads} threads"
        )
        for what, spent in (("alleles", alleles), ("the report of them", page)):
            print(f"{what}: {spent[0]:.1f} s, {spent[1]:.1f} s of CPU")
        print(f"{path.stat().st_size / 1e6:.2f} MB")
        if find_spec("playwright") and Path(args.chromium).exists():
            print("opened in {:.2f} s, table sorted in {:.2f} s".format(*opening(path, args.chromium)))


if __name__ == "__main__":
    main()
