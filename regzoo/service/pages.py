"""The page of the service, and the page that lists its endpoints."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from regzoo.reports.page import render, source
from regzoo.reports.tables import Column, Table
from regzoo.sequence import Genome, decode
from regzoo.service.shelf import Shelf

_COLUMNS = (
    Column("model", "Model"),
    Column("title", "What it predicts"),
    Column("status", "Status"),
    Column("data", "Data"),
    Column("input_length", "Window, bases", 0),
    Column("targets", "Targets", 0),
    Column("parameters", "Parameters", 0),
    Column("usable", "Usable here"),
)
# First of the models to choose from, and chosen when the page opens
_FIRST = "MotifResNet/tf-human"
_FLANK = 30  # known bases around an example


def start_page(rows: list[dict[str, Any]], shelf: Shelf) -> str:
    """HTML of the page: the form, the place of the answer, and the catalogue.

    Parameters
    ----------
    rows : list of dict
        The catalogue.
    shelf : Shelf
    """
    table = pd.DataFrame(rows)
    table["usable"] = table["usable"].map({True: "yes", False: "no"})
    for name in ("status", "data", "title"):
        table[name] = table[name].fillna("")
    links = [
        f"/models/{name}" if status in ("trained", "official") else ""
        for name, status in zip(table.model, table.status)
    ]
    filters = ["status", "data", "usable"]
    listed = Table("zoo-table", "Models of the zoo", _COLUMNS, table, filters, (), links, "", "model")
    genome, usable = shelf.genome, [row for row in rows if row["usable"]]
    usable.sort(key=lambda row: row["model"] != _FIRST)  # the others keep their order
    return render(
        "service.html",
        title="Models that read regulatory DNA",
        kind="regzoo serve",
        source=None,
        contents=[("ask", "Ask"), ("zoo", "Catalogue"), ("programs", "For programs")],
        models=usable,
        catalogue=listed,
        genome=genome.path.name if genome is not None else None,
        contigs=genome.contigs[:5] if genome is not None else [],
        examples=examples(genome),
        style_of_service=source("service.css"),
        script_of_service=source("service.js"),
    )


def examples(genome: Genome | None) -> list[tuple[str, str]]:
    """Labels and texts of example queries."""
    found = [
        (
            "a sequence",
            "TCAGGCTTGCATGACTCATCGGATCCTGAAGTGCGGAAGTTGACCTTCAACGGCCACTAGGGGGCGCTAGTCGAATCCGATACGGTCATGCTGACTCAGCA",
        )
    ]
    if genome is None:
        return found
    for contig, length in zip(genome.contigs, genome.lengths.tolist()):
        codes = genome.codes(contig)
        for at in (1601, length // 4, length // 3, length // 2):
            if at >= _FLANK and at + _FLANK < length and (codes[at - _FLANK : at + _FLANK + 1] < 4).all():
                ref = decode(codes[at : at + 1])
                locus = f"{contig}:{at + 1 - _FLANK:,}-{at + 1 + _FLANK:,}"
                return [
                    *found,
                    ("a locus", locus),
                    ("a variant", f"{contig}:{at + 1}:{ref}:{'A' if ref != 'A' else 'G'}"),
                ]
    return found


def endpoints_page(schema: dict[str, Any]) -> str:
    """HTML of the page of endpoints.

    Parameters
    ----------
    schema : dict
        OpenAPI.
    """
    listed = [
        {
            "path": path,
            "method": method.upper(),
            "summary": one.get("summary", ""),
            "statuses": [(status, reply["description"]) for status, reply in one["responses"].items()],
        }
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
    ]
    shapes = {name: json.dumps(one, indent=1) for name, one in schema["components"]["schemas"].items()}
    return render(
        "endpoints.html",
        title="Endpoints",
        kind="regzoo serve",
        source=None,
        contents=[("endpoints", "Endpoints"), ("shapes", "Shapes")],
        endpoints=listed,
        shapes=shapes,
    )
