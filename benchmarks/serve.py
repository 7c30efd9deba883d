"""Time from a request to the complete answer of `regzoo serve`: python -m benchmarks.serve

Every question is a new one, so that none is answered from memory. The first answer after the start is left out.
"""

import argparse
import json
import socket
import statistics
import threading
import time
from http.client import HTTPConnection

import numpy as np
import torch
import uvicorn

from regzoo.sequence import Genome, decode
from regzoo.service.app import make_app
from regzoo.service.shelf import Shelf
from regzoo.zoo import zoo_folder

EXAMPLE = zoo_folder() / "dataloaders" / "sequence" / "example" / "example.fa"


def questions(genome: Genome, length: int, count: int) -> dict[str, list[str]]:
    """Sequences, loci and variants at random places of the first contig."""
    contig, codes = genome.contigs[0], genome.codes(genome.contigs[0])
    starts = np.random.default_rng(0).integers(2 * length, len(codes) - 2 * length, count).tolist()
    bases = [decode(codes[start : start + 1]) for start in starts]
    return {
        "sequence": [decode(codes[start : start + length]) for start in starts],
        "locus": [f"{contig}:{start + 1}-{start + length}" for start in starts],
        "variant": [f"{contig}:{at + 1}:{ref}:{'A' if ref != 'A' else 'C'}" for at, ref in zip(starts, bases)],
    }


def ask(port: int, query: str, model: str) -> None:
    connection = HTTPConnection("127.0.0.1", port)
    body = json.dumps({"query": query, "models": [model]})
    connection.request("POST", "/api/fragment", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    assert response.status == 200 and "<svg" in text, text[:500]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="MotifResNet/tf-human")
    parser.add_argument("--genome", default=str(EXAMPLE))
    parser.add_argument("--count", type=int, default=10, help="questions of each kind")
    arguments = parser.parse_args()
    shelf = Shelf([arguments.model], arguments.genome)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(shelf), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    print(f"{arguments.model}, {torch.get_num_threads()} threads, {arguments.count} questions of each kind\n")
    print("| question | median s | fastest s | CPU s |\n|---|---|---|---|")
    asked = questions(shelf.genome, shelf.model(arguments.model).input_length, arguments.count + 1)
    for kind, texts in asked.items():
        ask(port, texts.pop(), arguments.model)
        seconds, cpu = [], time.process_time()
        for text in texts:
            start = time.perf_counter()
            ask(port, text, arguments.model)
            seconds.append(time.perf_counter() - start)
        cpu = (time.process_time() - cpu) / len(texts)
        print(f"| {kind} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {cpu:.2f} |", flush=True)
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    main()
