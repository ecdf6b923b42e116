"""The live page, served on this machine alone: known files, the page's data, and the models behind POSTs.

Addresses begin with a secret token, which other pages and other people of the machine do not know. Requests must name
this machine as their host, so that no other name can be made to point here, and none may come from another page.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latlas import html
from latlas.errors import InputError, LatlasError
from latlas.explorer.blocks import Addressed
from latlas.explorer.onefile import BUNDLE, START, as_json, hash_of, shared
from latlas.explorer.run_data import run_data
from latlas.explorer.subject import Subject
from latlas.explorer.thumbnails import atlas, pictures_in_one, side_for
from latlas.metrics import Context
from latlas.runs import Run

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
MOST_ITEMS = 100_000
MOST_ROWS, MOST_UPLOAD = 4096, 2**26  # rows, and bytes, of one POST
PATIENCE = 20.0  # seconds that the body of a request may take
WAITING = 32  # requests that compute or wait to, above which more are refused
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' "
    + hash_of(START)
    + "; style-src 'self';"
    " img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILES = {"explorer.js": "text/javascript; charset=utf-8", "explorer.css": "text/css; charset=utf-8"}
Send = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True)
class Live:
    """What the live page serves: its subjects, its data without the token, and the blocks of these by name."""

    subjects: tuple[Subject, ...]
    data: dict[str, Any]
    blocks: dict[str, bytes]


def live(opened: Sequence[tuple[Run, Context]]) -> Live:
    """Gathers what the live page of one run, or of two, shows: at most 100,000 items of each.

    Raises LatlasError for a model that has diverged.
    """
    store, subjects, runs = Addressed(), [], []
    for at, (run, context) in enumerate(opened):
        subject = Subject(run, context, context.test.even_rows(MOST_ITEMS))
        data = run_data(subject, store, f"run{at}")
        if subject.pictorial:
            n = len(subject.rows)
            pictures = pictures_in_one(subject.parts(), n, side_for(subject.shape[:2], n))
            data["items"]["thumbnails"] = atlas(store, f"run{at}-thumbnails", pictures)
        data["items"]["values_url"] = f"values/{at}/{{row}}"
        data |= {"decoder": _server("decode", at), "encoder": _server("encode", at)}
        subjects.append(subject)
        runs.append(data)
    return Live(tuple(subjects), shared(runs, subjects), store.contents)


def _server(what: str, at: int) -> dict[str, str]:
    return {"kind": "server", "url": f"{what}/{at}"}


class Refused(Exception):
    """A request that is not answered: its status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


def application(served: Live, token: str, hosts: frozenset[str]) -> Any:
    """The server as an ASGI application that answers only requests to one of `hosts`, as 127.0.0.1:8000."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    files = _Files(served, token)
    routes = [
        Route(f"/{token}/", files.page),
        Route(f"/{token}/blocks/{{name:str}}", files.block),
        Route(f"/{token}/values/{{at:int}}/{{row:int}}", files.item),
        Route(f"/{token}/decode/{{at:int}}", files.decode, methods=["POST"]),
        Route(f"/{token}/encode/{{at:int}}", files.encode, methods=["POST"]),
        Route(f"/{token}/{{name:str}}", files.file),
    ]
    return _Gate(Starlette(routes=routes, exception_handlers={Refused: _refused}), token, hosts)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _answer(error.why.encode(), "text/plain; charset=utf-8", error.status)


def _answer(content: bytes, kind: str = "application/octet-stream", status: int = 200) -> Response:
    from starlette.responses import Response

    return Response(content, status, media_type=kind)


class _Files:
    """What there is behind the token's address."""

    def __init__(self, served: Live, token: str) -> None:
        self.blocks, self.models = served.blocks, [_Model(subject) for subject in served.subjects]
        text = html.render(
            "explorer.html.j2", title=str(served.data["title"]), policy="", style="", data="", scripts=[], elements={},
            start=html.verbatim(START), notice="", address="data.json",
        )  # fmt: skip
        self.text = text.encode(errors="backslashreplace")
        self.files = {"data.json": (as_json(served.data | {"token": token}).encode(), "application/json")}
        self.files |= {name: ((BUNDLE / name).read_bytes(), kind) for name, kind in FILES.items()}

    async def page(self, request: Request) -> Response:
        return _answer(self.text, "text/html; charset=utf-8")

    async def file(self, request: Request) -> Response:
        if (name := request.path_params["name"]) not in self.files:
            raise Refused(404, "there is no such file")
        return _answer(*self.files[name])

    async def block(self, request: Request) -> Response:
        if (name := request.path_params["name"]) not in self.blocks:
            raise Refused(404, "there is no such block")
        return _answer(self.blocks[name])

    async def item(self, request: Request) -> Response:
        subject, row = self._model(request).subject, request.path_params["row"]
        if row >= len(subject.rows):
            raise Refused(404, f"rows are 0 to {len(subject.rows) - 1}")
        values = subject.values(subject.items.take(np.array([row])))
        return _answer(values.astype("<f4").tobytes())

    async def decode(self, request: Request) -> Response:
        return _answer(await self._model(request).decode(request))

    async def encode(self, request: Request) -> Response:
        return _answer(await self._model(request).encode(request))

    def _model(self, request: Request) -> _Model:
        at = request.path_params["at"]
        if at >= len(self.models):
            raise Refused(404, "there is no such run")
        return self.models[at]


class _Gate:
    """Lets through what comes from this machine's own page, and says on every answer what the page may do."""

    def __init__(self, inner: Any, token: str, hosts: frozenset[str]) -> None:
        self.inner, self.token, self.hosts = inner, token, hosts
        self.origins = {f"http://{host}" for host in hosts}

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # uvicorn is told to take no web sockets

        async def answering(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        why = self._why_not(scope)
        if why:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(why[1], why[0])(scope, receive, answering)
            return
        await self.inner(scope, receive, answering)

    def _why_not(self, scope: Any) -> tuple[int, str] | None:
        """The status and the reason by which a request is refused; None for a good one."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        first = lambda name: headers.get(name, [b""])[0].decode("latin-1")  # noqa: E731
        if len(headers.get(b"host", ())) != 1 or first(b"host").lower() not in self.hosts:
            return 421, "this server answers only to the address that latlas printed"
        given = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if not secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return 403, "the address lacks its token: use the one that latlas printed"
        if b"origin" in headers and first(b"origin") not in self.origins:
            return 403, "requests of other pages are refused"
        navigates = first(b"sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if first(b"sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            return 403, "requests of other pages are refused"
        if scope["method"] not in ("GET", "HEAD"):
            own = first(b"x-latlas-token")
            if not secrets.compare_digest(own.encode("utf-8", "replace"), self.token.encode()):
                return 403, "the header X-Latlas-Token is missing or wrong"
        return None


class _Model:
    """A model that one request at a time computes with, in a thread of its own."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.lock, self.waiting = subject, threading.Lock(), 0

    async def decode(self, request: Request) -> bytes:
        rows = await _rows(request, self.subject.model.latent)
        return await self._run(lambda: self.subject.decode(rows))

    async def encode(self, request: Request) -> bytes:
        rows = await _rows(request, int(np.prod(self.subject.shape)))

        def moments() -> np.ndarray:
            return np.concatenate(self.subject.encode(rows.reshape(len(rows), *self.subject.shape)), 1)

        return await self._run(moments)

    async def _run(self, work: Callable[[], np.ndarray]) -> bytes:
        from starlette.concurrency import run_in_threadpool

        if self.waiting >= WAITING:
            raise Refused(503, "too many requests wait already")
        self.waiting += 1
        try:
            return await run_in_threadpool(functools.partial(self._locked, work))
        except LatlasError as error:
            raise Refused(400, str(error)) from None
        finally:
            self.waiting -= 1

    def _locked(self, work: Callable[[], np.ndarray]) -> bytes:
        with self.lock:
            return np.ascontiguousarray(work(), "<f4").tobytes()


async def _rows(request: Request, width: int) -> np.ndarray:
    """The body as rows of float32, (n, width).

    Raises Refused for one that is too large, too slow or malformed.
    """
    most = min(MOST_UPLOAD, 4 * width * MOST_ROWS)
    too_large = Refused(413, f"more than {most:,} bytes, or {MOST_ROWS:,} rows")
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise Refused(408, f"the request took longer than {PATIENCE:g} seconds") from None
    if not body or len(body) % (4 * width):
        raise Refused(400, f"{len(body):,} bytes: expected rows of {width:,} numbers of 4 bytes each")
    rows = np.frombuffer(body, "<f4").astype(np.float32).reshape(-1, width)
    if not np.isfinite(rows).all():
        raise Refused(400, "numbers must be finite")
    return rows


def bound(port: int) -> socket.socket:
    """A socket on this machine's own address, at a free port for 0.

    Raises InputError for a port that is out of range or taken.
    """
    if not 0 <= port <= 65_535:
        raise InputError("expected a number from 1 to 65535, or 0 for a free one", field="port", value=port)
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((HOST, port))
    except OSError as error:
        own.close()
        raise InputError(
            f"cannot be used ({error.strerror}); leave it out for a free one", field="port", value=port
        ) from None
    return own


def serve(served: Live, own: socket.socket, started: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C; `started` is called with its address when it can be opened."""
    token = secrets.token_urlsafe(24)
    made = made_server(served, own, token)
    own.listen(128)  # from here on requests wait for their answer, so that the page may be opened
    started(f"http://{HOST}:{own.getsockname()[1]}/{token}/")
    with contextlib.suppress(KeyboardInterrupt):
        made.run(sockets=[own])


def made_server(served: Live, own: socket.socket, token: str) -> uvicorn.Server:
    """The server of a page behind this socket."""
    import uvicorn

    port = own.getsockname()[1]
    hosts = frozenset(f"{name}:{port}" for name in (HOST, "localhost"))
    config = uvicorn.Config(
        application(served, token, hosts), log_config=None, access_log=False, lifespan="off", ws="none",
        server_header=False, date_header=False, timeout_keep_alive=30, timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=2**16, http="h11", loop="asyncio",
    )  # fmt: skip
    return uvicorn.Server(config)
