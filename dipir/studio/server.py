"""The studio's server: routes, and the program that serves them until Ctrl+C."""
from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from dipir.errors import ConfigError, DipirError
from dipir.studio import folders, guard, opening
from dipir.studio.finals import Finals
from dipir.studio.live import serve_socket
from dipir.studio.opening import Opening
from dipir.studio.session import Session

STATIC = Path(__file__).resolve().parent / "static"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
         ".js": "text/javascript; charset=utf-8", ".png": "image/png", ".jpg": "image/jpeg"}
"""Of the page's files: suffix -> media type."""
_LARGEST_JSON = 1 << 20


def make_app(session: Session) -> Starlette:
    """The application for one session, without its guard."""
    routes = [Route("/", _static_file("index.html")), Route("/static/{name}", _static),
              WebSocketRoute("/api/live", _live), *_api()]
    app = Starlette(routes=routes, exception_handlers={DipirError: _refused, HTTPException: _http_error})
    app.state.session, app.state.finals, app.state.opening = session, Finals(session), Opening(session)
    return app


def _api() -> list[Route]:
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/api/state", _state), ("GET", "/api/results", _results),
        ("GET", "/api/results/{id}/thumb", _thumb), ("POST", "/api/open", _open), ("POST", "/api/upload", _upload),
        ("POST", "/api/edit", _edit), ("POST", "/api/undo", _undo), ("POST", "/api/redo", _redo),
        ("POST", "/api/job", _start_job), ("DELETE", "/api/job", _cancel_job),
        ("GET", "/api/plate.jpg", _picture("plate")), ("GET", "/api/light.jpg", _picture("light")),
        ("GET", "/api/guess/{n:int}.jpg", _picture("guess")), ("GET", "/api/frame.jpg", _picture("frame")),
        ("GET", "/api/layer/{name}.jpg", _picture("layer")), ("GET", "/api/command", _command),
        ("GET", "/api/download/{file}", _download)]
    return [Route(path, handler, methods=[method]) for method, path, handler in table]


# ---- the program -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Start:
    """How the studio begins."""

    folder: Path
    """Of the session."""
    plate: Path | None = None
    assets: tuple[Path, ...] = ()
    results: dict[str, Path] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8765
    """0 = any that is free; else the next free one is taken."""


def serve(start: Start, say: Callable[[str], None], opened: Callable[[str], None]) -> None:
    """Until Ctrl+C or SIGTERM. ``say`` hears remarks, ``opened`` the address once it answers. ConfigError where no
    port is free."""
    session = Session(start.folder, start.results)
    sock, token = bound(start.host, start.port), guard.new_token()
    port = sock.getsockname()[1]
    hosts = guard.host_names(start.host, port)
    for text in filter(None, [guard.opens(start.host), *folders.make_room(start.folder)]):
        say(text)
    app = make_app(session)
    guarded = guard.Guard(app, token, hosts, port)
    address = f"{guard.address_of(start.host, port)}?token={token}"
    config = uvicorn.Config(guarded, log_level="warning", access_log=False, ws_max_size=1 << 16, lifespan="off",
                            timeout_graceful_shutdown=2, server_header=False)
    # Asked to stop, it ends as by Ctrl+C: jobs are ended, the session is saved.
    signal.signal(signal.SIGTERM, _stop)
    asyncio.run(_serve(app, uvicorn.Server(config), sock, start, lambda: opened(address)))


def _stop(number: int, where: object) -> None:
    raise KeyboardInterrupt


async def _serve(app: Starlette, server: uvicorn.Server, sock: socket.socket, start: Start,
                 opened: Callable[[], None]) -> None:
    session = app.state.session
    tasks = [asyncio.create_task(work) for work in (_begin(app, server, start, opened), _watch(app, server))]
    try:
        await server.serve(sockets=[sock])
    finally:
        for task in tasks:
            task.cancel()
        await app.state.finals.jobs.close()
        session.save()
        session.worker.stop()


async def _watch(app: Starlette, server: uvicorn.Server) -> None:
    """When the server is asked to end, who waits for a picture is told at once."""
    while not server.should_exit:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(app.state.session.worker.stop)


async def _begin(app: Starlette, server: uvicorn.Server, start: Start, opened: Callable[[], None]) -> None:
    """What the session begins with, once the page can be opened."""
    while not server.started:
        await asyncio.sleep(0.02)
    opened()
    session = app.state.session
    try:
        await session.begin()
        if session.fact is not None and not session.fact.lights:
            app.state.opening.guess_again()
        for kind, path in [*([("plate", start.plate)] if start.plate else []), *(("asset", a) for a in start.assets)]:
            await app.state.opening.adopt(kind, path)
    except DipirError as problem:
        session.note(str(problem))


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens on ``port``, or the next of twenty that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in range(port, port + (20 if port else 1)):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, number))
        except OSError as problem:
            sock.close()
            if problem.errno != errno.EADDRINUSE:
                raise ConfigError(f"--host {host} --port {number}: cannot be listened on ({problem.strerror}); give "
                                  "another one.") from None
            continue
        return sock
    raise ConfigError(f"--port {port}: this and the next 19 ports are taken; give another one.")


# ---- the page --------------------------------------------------------------------------------------------------------

def _static_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return _page_file(name)
    return serve


async def _static(request: Request) -> Response:
    return _page_file(request.path_params["name"])


def _page_file(name: str) -> Response:
    # Looked up among the names that are there: what a browser asks for never becomes a path.
    files = {file.name: file for file in STATIC.iterdir() if file.is_file() and file.suffix in TYPES}
    if name not in files:
        raise HTTPException(404, f"there is no file '{name[:100]}' in the page.")
    return Response(files[name].read_bytes(), media_type=TYPES[files[name].suffix])


# ---- what is asked of the session ------------------------------------------------------------------------------------

async def _state(request: Request) -> Response:
    return JSONResponse(request.app.state.session.public())


async def _results(request: Request) -> Response:
    return JSONResponse(opening.listed(request.app.state.session.listed))


async def _thumb(request: Request) -> Response:
    return _jpeg(await request.app.state.finals.thumb(request.path_params["id"]))


async def _open(request: Request) -> Response:
    await request.app.state.opening.result(str((await _json(request)).get("result")))
    return await _changed(request)


async def _upload(request: Request) -> Response:
    kind = request.query_params.get("kind", "")
    name = unquote(request.headers.get("x-filename", ""))
    length = request.headers.get("content-length", "")
    await request.app.state.opening.upload(kind, name, request.stream(), int(length) if length.isdecimal() else None)
    return await _changed(request)


async def _edit(request: Request) -> Response:
    request.app.state.session.edit(await _json(request))
    return await _changed(request)


async def _undo(request: Request) -> Response:
    request.app.state.session.undo()
    return await _changed(request)


async def _redo(request: Request) -> Response:
    request.app.state.session.redo()
    return await _changed(request)


async def _start_job(request: Request) -> Response:
    await request.app.state.finals.start(await _json(request))
    return await _changed(request)


async def _cancel_job(request: Request) -> Response:
    request.app.state.finals.cancel()
    return await _changed(request)


async def _command(request: Request) -> Response:
    return PlainTextResponse(await request.app.state.finals.command())


async def _download(request: Request) -> Response:
    path, name, kind = await request.app.state.finals.download(request.path_params["file"])
    return FileResponse(path, media_type=kind, filename=name)


def _picture(what: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        longest = request.query_params.get("longest", "")
        given = {"n": request.path_params.get("n"), "name": request.path_params.get("name"),
                 "longest": int(longest) if longest.isdecimal() and len(longest) < 6 else None}
        return _jpeg(await request.app.state.session.picture(what, given))
    return serve


async def _live(socket: WebSocket) -> None:
    session = socket.app.state.session
    await serve_socket(socket, session.pages, session.public, session.said)


# ---- answers ---------------------------------------------------------------------------------------------------------

async def _changed(request: Request) -> Response:
    return JSONResponse({"state": request.app.state.session.public()})


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg")


async def _json(request: Request) -> Mapping:
    """The body as a mapping. ConfigError for anything else."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_JSON:
            raise ConfigError(f"the request is longer than {_LARGEST_JSON} bytes; send less.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as problem:
        raise ConfigError(f"the request is no JSON ({problem}); accepted is one JSON object.") from problem
    if not isinstance(value, dict):
        raise ConfigError(f"the request is a {type(value).__name__}; accepted is one JSON object.")
    return value


async def _refused(request: Request, problem: Exception) -> Response:
    return JSONResponse({"error": str(problem)}, getattr(problem, "status", 400))


async def _http_error(request: Request, problem: HTTPException) -> Response:
    return JSONResponse({"error": problem.detail}, problem.status_code)
