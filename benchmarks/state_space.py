"""Caduceus on a CPU: windows encoded as one batch, and cut to batches whose activations the cache holds.

    python benchmarks/state_space.py [--threads 1] [--repeats 3]

Windows are random, the model is LM/caduceus-mini; milliseconds a window, the least of the repeats, and their ratio.
"""

import argparse
import time

import torch

from regzoo.nets import caduceus
from regzoo.zoo import load_model


def seconds(net, ids, cached):
    """Time of one encoding with batches of at most `cached` positions."""
    caduceus.CACHED = cached
    start = time.perf_counter()
    net.encode(ids)
    return time.perf_counter() - start


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    net, chosen = load_model("LM/caduceus-mini", device="cpu").module.net.lm, caduceus.CACHED
    print("| window, bp | windows | one batch, ms | cut, ms | ratio |\n|---|---|---|---|---|")
    for length, count in ((101, 256), (200, 256), (510, 64)):
        ids = torch.randint(7, 11, (count, length), generator=torch.Generator().manual_seed(0))
        times = [[seconds(net, ids, cached) for cached in (count * length, chosen)] for _ in range(options.repeats + 1)]
        whole, cut = (1000 * min(column) / count for column in zip(*times[1:]))
        print(f"| {length} | {count} | {whole:.1f} | {cut:.1f} | {whole / cut:.2f} |")


if __name__ == "__main__":
    main()
