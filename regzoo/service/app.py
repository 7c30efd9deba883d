"""The endpoints of the service, over the public API."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

import regzoo
from regzoo.errors import RegzooError
from regzoo.listing import model_info
from regzoo.reports.cards import card_page
from regzoo.reports.page import digest, render, source
from regzoo.service.analysis import Answer, answer
from regzoo.service.guard import Guard, Json, failure
from regzoo.service.pages import endpoints_page, start_page
from regzoo.service.queries import LONGEST_TEXT, read_query
from regzoo.service.shelf import Shelf
from regzoo.service.turns import Busy, TooSlow, Turns
from regzoo.zoo import list_models

logger = logging.getLogger(__name__)

#: Models in one request.
MOST_MODELS = 5
_REMEMBERED = 16  # answers, so that saving one does not compute it again


class Failure(BaseModel):
    """Why a request was not answered."""

    error: str


class Question(BaseModel):
    """A query and the models that answer it."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(
        min_length=1,
        max_length=LONGEST_TEXT,
        description="DNA, one FASTA record, a locus CHROM:START-END, or variants CHROM:POS:REF:ALT, one on each line",
        examples=["chr1:1602:C:A"],
    )
    models: list[str] = Field(
        min_length=1, max_length=MOST_MODELS, description="Names of models", examples=[["MotifResNet/tf-human"]]
    )
    target: str | None = Field(None, max_length=200, description="Target of the pictures; by default the strongest")


class Rows(BaseModel):
    """The answer as numbers. Values that are not known are null."""

    kind: str = Field(description="sequence, locus or variants")
    label: str
    notes: list[str]
    rows: list[dict[str, Any]] = Field(description="Of variants the columns of `regzoo alleles`; otherwise predictions")


class ModelEntry(BaseModel):
    """A model of the zoo, or one that the service was started with."""

    model: str
    status: str | None
    data: str | None
    input_length: int | None
    targets: int | None
    parameters: int | None
    title: str | None
    usable: bool = Field(description="Whether a question may name it")


class ModelDetails(BaseModel):
    """What is known about a model."""

    model: str
    title: str | None
    input_length: int | None
    stranded: bool
    targets: list[str]
    mean_metrics: dict[str, Any] | None


def _failures(texts: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Failures in the description, which are JSON whatever an endpoint answers otherwise."""
    content = {"application/json": {"schema": Failure.model_json_schema()}}
    return {status: {"description": text, "content": content} for status, text in texts.items()}


_FAILURES = _failures(
    {
        400: "The request is not JSON, or its Host header is not accepted",
        413: "The request is too large",
        422: "The question cannot be answered",
        429: "Too many computations wait",
        503: "The computation takes too long",
    }
)
_MISSING = _failures({404: "There is no such model"})


class Tsv(Response):
    """A table as tab-separated text."""

    media_type = "text/tab-separated-values"


class _Answers:
    """Answers questions one at a time, and remembers the last ones."""

    def __init__(self, shelf: Shelf, turns: Turns):
        self._shelf, self._turns = shelf, turns
        self._known: OrderedDict[Any, Answer] = OrderedDict()

    async def of(self, question: Question) -> Answer:
        """The answer to a question; bad questions are refused before they wait."""
        query, names = read_query(question.query), list(dict.fromkeys(question.models))
        for name in names:
            self._shelf.check(name)
        key = query, tuple(names), question.target or None
        if key not in self._known:
            self._known[key] = await self._turns.take(self._compute, *key)
        self._known.move_to_end(key)
        found = self._known[key]
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _compute(self, query, names, target):
        return answer(query, [self._shelf.model(name) for name in names], self._shelf.genome, target)


def make_app(shelf: Shelf, names: Iterable[str] = (), turns: Turns | None = None) -> Callable[..., Any]:
    """The service as an ASGI application.

    Parameters
    ----------
    shelf : Shelf
        What requests can use.
    names : iterable of str
        Names of this machine that the Host header may have, besides 'localhost' and IP addresses.
    turns : Turns, optional
        Where computations wait.

    Returns
    -------
    ASGI application
    """
    turns = turns or Turns()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        turns.close()

    app = FastAPI(
        title="regzoo",
        version=regzoo.__version__,
        description="Predictions, attributions and variant effects of models that read regulatory DNA.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        default_response_class=Json,
        lifespan=lifespan,
    )
    rows = catalogue_rows(shelf)
    _add_failures(app)
    _add_models(app, rows)
    _add_answers(app, _Answers(shelf, turns))
    _add_pages(app, shelf, rows)
    scripts = " ".join(f"'{digest(source(name))}'" for name in ("report.js", "service.js"))
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Guard(app, names, policy)


def _add_failures(app: FastAPI) -> None:
    """What is said of requests that are not answered: JSON with a message."""

    @app.exception_handler(RegzooError)
    async def refused(_: Request, error: RegzooError) -> Response:
        return failure(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return failure(422, "; ".join(found)[:500])

    @app.exception_handler(HTTPException)
    async def refused_by_protocol(_: Request, error: HTTPException) -> Response:
        return failure(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> Response:
        return failure(429, "too many computations wait; try again in some seconds", {"Retry-After": "5"})

    @app.exception_handler(TooSlow)
    async def slow(_: Request, error: TooSlow) -> Response:
        return failure(503, "the computation takes too long; ask about fewer variants or models", {"Retry-After": "60"})

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return failure(500, "the service failed at this request; its log says why")


def _add_models(app: FastAPI, rows: list[dict[str, Any]]) -> None:
    """Endpoints that list models."""

    @app.get("/api/models", summary="List the models", response_model=list[ModelEntry])
    def models() -> Response:
        return Json(rows)

    @app.get("/api/models/{group}/{name}", summary="Describe a model", response_model=ModelDetails, responses=_MISSING)
    def model(group: str, name: str) -> Response:
        found = _known(rows, f"{group}/{name}")
        keys = ("title", "input_length", "stranded", "targets", "mean_metrics")
        return Json({"model": found["name"]} | {key: found[key] for key in keys})


def _add_answers(app: FastAPI, answers: _Answers) -> None:
    """Endpoints that answer a question, in several formats."""

    @app.post("/api/answer", summary="Answer as numbers", response_model=Rows, responses=_FAILURES)
    async def numbers(question: Question) -> Response:
        found = await answers.of(question)
        table = found.table.replace([np.inf, -np.inf], np.nan)
        table = table.astype(object).where(table.notna(), None)
        content = {"kind": found.query.kind, "label": found.query.label, "notes": list(found.notes)}
        return Json(content | {"rows": table.to_dict("records")})

    @app.post("/api/table", summary="Answer as TSV", response_class=Tsv, responses=_FAILURES)
    async def table(question: Question) -> Response:
        found = await answers.of(question)
        text = found.table.to_csv(sep="\t", index=False, lineterminator="\n")
        return Tsv(text.encode("utf-8", "replace"))

    @app.post("/api/report", summary="Answer as one HTML file", response_class=HTMLResponse, responses=_FAILURES)
    async def report(question: Question) -> Response:
        return _html(_saved(await answers.of(question), question.models))

    @app.post("/api/fragment", summary="Answer as a piece of HTML", response_class=HTMLResponse, responses=_FAILURES)
    async def fragment(question: Question) -> Response:
        found = await answers.of(question)
        return _html(render("answer_notes.html", notes=found.notes) + found.html)


def _saved(found, names):
    """An answer as a page of its own."""
    return render(
        "saved.html",
        title=found.query.label,
        kind="Answer of regzoo serve",
        source=", ".join(dict.fromkeys(names)),
        contents=[],
        notes=found.notes,
        fragment=Markup(found.html),
    )


def _add_pages(app: FastAPI, shelf: Shelf, rows: list[dict[str, Any]]) -> None:
    """Pages for people."""

    @app.get("/", summary="The page", response_class=HTMLResponse, include_in_schema=False)
    def start() -> Response:
        return _html(start_page(rows, shelf))

    @app.get("/models/{group}/{name}", summary="The card of a model", response_class=HTMLResponse, responses=_MISSING)
    def card(group: str, name: str) -> Response:
        return _html(card_page(_known(rows, f"{group}/{name}")["name"]))

    @app.get("/docs", summary="The endpoints", response_class=HTMLResponse, include_in_schema=False)
    def endpoints() -> Response:
        return _html(endpoints_page(app.openapi()))


def _html(text: str) -> Response:
    return HTMLResponse(text.encode("utf-8", "replace"))


def catalogue_rows(shelf: Shelf) -> list[dict[str, Any]]:
    """A row for each model of the zoo, and for each other one that the service was started with."""
    table = list_models().reset_index()
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    others = [shelf.model(name) for name in shelf.names if name not in set(table["model"])]
    for one in others:
        fixed = dict.fromkeys(("status", "data", "parameters", "title"))
        rows.append({"model": one.name, "input_length": one.input_length, "targets": len(one.targets), **fixed})
    counts = ("input_length", "targets", "parameters")
    return [
        row
        | {name: None if row[name] is None else int(row[name]) for name in counts}
        | {"usable": row["model"] in shelf.names}
        for row in rows
    ]


def _known(rows, name):
    """What `regzoo.listing.model_info` knows about a model of the zoo's index, by its name there."""
    status = next((row["status"] for row in rows if row["model"] == name), None)
    if status is None:
        raise HTTPException(404, "the zoo has no such model; GET /api/models lists them")
    if status == "recipe":
        raise HTTPException(404, f"{name} is a recipe: it has to be trained first")
    return model_info(name)
