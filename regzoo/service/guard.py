"""What every request must satisfy before it is read, and the headers of every response."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Bytes of a request's body.
MOST_BYTES = 64 * 1024
_READ_SECONDS = 10.0
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Json(JSONResponse):
    """JSON in ASCII, so that any text of a request can be repeated in it."""

    def render(self, content: Any) -> bytes:
        """Bytes of the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> Json:
    """The response of a request that cannot be answered."""
    return Json({"error": message}, status, headers)


class Guard:
    """Checks the Host and Origin headers and the body's size, and adds headers to responses.

    A page of another site can have its own name resolve to this machine, and then read what the service answers. Such
    requests bear that name in their Host header, so that only names of this machine and IP addresses are accepted.

    Parameters
    ----------
    app : ASGI application
    names : iterable of str
        Accepted names of the Host header, besides 'localhost' and IP addresses.
    policy : str
        Content security policy.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], policy: str):
        self._app, self._names, self._policy = app, {"localhost", *(name.lower() for name in names)}, policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (*_HEADERS.items(), ("Content-Security-Policy", self._policy)):
                    headers[name] = value
            await send(message)

        problem = self._problem(Headers(scope=scope))
        body, stopped = b"", False
        if problem is None:
            try:
                body, stopped = await asyncio.wait_for(_read(receive), _READ_SECONDS)
            except asyncio.TimeoutError:
                problem = failure(408, f"the request's body did not arrive within {_READ_SECONDS:.0f} s")
            if len(body) > MOST_BYTES:
                problem = _too_large()
        if stopped:
            return
        await (problem or self._app)(scope, _again(body, receive), sent)

    def _problem(self, headers: Headers) -> Json | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return failure(400, "the Host header names no address of this service; open it as http://127.0.0.1:PORT")
        origins = headers.getlist("origin")
        if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
            return failure(403, "requests from pages of other sites are not answered")
        length = headers.get("content-length", "0")
        return _too_large() if not length.isdecimal() or len(length) > 9 or int(length) > MOST_BYTES else None

    def _is_own(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].lower()
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._names
        return True


def _too_large():
    return failure(413, f"the request is larger than {MOST_BYTES:,} bytes")


async def _read(receive: Receive) -> tuple[bytes, bool]:
    """The body, up to just above the limit, and whether the client has gone."""
    body, more = b"", True
    while more and len(body) <= MOST_BYTES:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body, True
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body, False


def _again(body: bytes, receive: Receive) -> Receive:
    """Receive a body that has been read, and then what follows."""
    waiting = [body]

    async def received() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return received
