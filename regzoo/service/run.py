"""Start the service."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regzoo.errors import InputError
from regzoo.pictures import require_packages

if TYPE_CHECKING:
    from regzoo.sequence import Genome

logger = logging.getLogger(__name__)


def serve(
    models: Any = (),
    genome: str | Path | Genome | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
) -> None:
    """Open the zoo on this machine as a web page and an HTTP interface, until interrupted.

    Requests can use the genome and the models given here and no other file.

    Parameters
    ----------
    models : model, or list of models
        As `regzoo.load_model` takes them. By default every model whose weights ship with the zoo, except language
        models; each is loaded when it is first used.
    genome : str, pathlib.Path or Genome, optional
        FASTA or .2bit. Without it, only sequences can be asked about.
    host : str
        Address to listen at. The default is reached from this machine alone. There is no password: at another address
        everyone who reaches it can use the service.
    port : int
        0 for any free one.
    device : str
        'auto', 'cpu', 'cuda' or 'cuda:N', for models given by name or path.

    Raises
    ------
    regzoo.RegzooError
        If the genome or a model cannot be read, the port cannot be used, or FastAPI and uvicorn are not installed.

    Examples
    --------
    >>> regzoo.serve("MotifResNet/tf-human", "hg38.fa")  # doctest: +SKIP
    """
    require_packages("regzoo serve", "fastapi", "uvicorn")
    import uvicorn

    from regzoo.service.app import make_app
    from regzoo.service.shelf import Shelf

    given: Sequence[Any] = list(models) if isinstance(models, (list, tuple)) else [models]
    listener = _listener(host, port)
    with listener:
        shelf = Shelf(given, genome, device)
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        app = make_app(shelf, {host, socket.gethostname()})
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", limit_concurrency=64
        )
        logger.warning("%s, until interrupted with Ctrl+C", address)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass


def _listener(host, port):
    """A socket bound to an address.

    Raises
    ------
    InputError
        If it is in use, or not one of this machine.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"port: expected 0 to 65535, got {port}")
    try:
        [found, *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[4][:2], family=found[0])
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"cannot listen at {host}, port {port} ({error}); choose others with --host, --port"
        ) from error
