"""The door of the studio's server: who may ask, from which page, under which name; and the headers of every answer."""
from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

ASK = "Open the address that `dipir studio` printed in the terminal: it ends in ?token=..."
_COOKIE = "dipir_studio"
_EVERYWHERE = ("0.0.0.0", "::", "")
_SAFE = ("GET", "HEAD")
_POLICY = ("default-src 'self'; img-src 'self' blob: data:; style-src 'self'; connect-src {connect}; base-uri 'none'; "
           "form-action 'none'; frame-ancestors 'none'; object-src 'none'")


class Guard:
    """ASGI middleware. Lets through what names one of our hosts, comes from our own page and has the cookie; the
    cookie is given for the token, once the page is opened with it. Everything else is answered 403 and one line.

    hosts : names with port that the Host header may have
    """

    def __init__(self, app, token: str, hosts: Iterable[str], port: int) -> None:
        self._app, self._token = app, token
        self.hosts = frozenset(hosts)
        self._origins = frozenset(f"http://{host}" for host in self.hosts)
        # Cookies do not know ports: two studios on one machine must not overwrite each other's.
        self.cookie = f"{_COOKIE}_{port}"
        self._secret = secrets.token_urlsafe(24)

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        send = self._with_headers(scope, send, host if host in self.hosts else "")
        problem = self._problem(scope, headers)
        if problem is None and self._asks_for_cookie(scope):
            await self._give_cookie(scope, send)
        elif problem is None and self._has_cookie(headers):
            await self._app(scope, receive, send)
        else:
            await _refuse(scope, send, problem or ASK)

    # ---- what is asked ----
    def _problem(self, scope: Mapping, headers: Mapping[str, str]) -> str | None:
        """What is wrong with the names in the request, if anything."""
        if headers.get("host", "").lower() not in self.hosts:
            return (f"This server answers to {', '.join(sorted(self.hosts))} only; the request named another host. "
                    "Start it with --host NAME to reach it under another name.")
        origin = headers.get("origin")
        needed = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if (origin is None and needed) or (origin is not None and origin.lower() not in self._origins):
            return "The request comes from another page than the studio's own; it was not done."
        return None

    def _asks_for_cookie(self, scope: Mapping) -> bool:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return bool(given) and _same(given[0], self._token)

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return morsel is not None and _same(morsel.value, self._secret)

    # ---- answers ----
    async def _give_cookie(self, scope: Mapping, send) -> None:
        value = f"{self.cookie}={self._secret}; HttpOnly; SameSite=Strict; Path=/"
        await send({"type": "http.response.start", "status": 303,
                    "headers": [(b"location", b"/"), (b"set-cookie", value.encode()), (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _with_headers(self, scope: Mapping, send, host: str):
        """``send`` that adds our headers to the start of the answer."""
        kept = b"no-store" if scope["path"].startswith("/api") or scope["path"] == "/" else b"no-cache"
        connect = f"'self' ws://{host}" if host else "'self'"
        ours = {b"content-security-policy": _POLICY.format(connect=connect).encode(), b"cache-control": kept,
                b"x-content-type-options": b"nosniff", b"referrer-policy": b"no-referrer",
                b"cross-origin-resource-policy": b"same-origin", b"x-frame-options": b"DENY"}

        async def sending(message) -> None:
            if message["type"] == "http.response.start":
                others = [(name, value) for name, value in message["headers"] if name.lower() not in ours]
                message = {**message, "headers": [*others, *ours.items()]}
            await send(message)
        return sending


def _same(given: str, ours: str) -> bool:
    """Compared in constant time, so that the answer's delay tells nothing."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), ours.encode())


async def _refuse(scope: Mapping, send, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text[:100]})
        return
    body = (text + "\n").encode()
    await send({"type": "http.response.start", "status": 403,
                "headers": [(b"content-type", b"text/plain; charset=utf-8"),
                            (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def new_token() -> str:
    """What the printed address ends in."""
    return secrets.token_urlsafe(24)


def host_names(host: str, port: int) -> tuple[str, ...]:
    """The names, with port, under which a server on ``host`` may be asked."""
    names = ["127.0.0.1", "localhost"]
    if host in _EVERYWHERE:
        names += [socket.gethostname().lower(), socket.getfqdn().lower(), *_addresses()]
    elif host not in names:
        names.append(host.lower())
    return tuple(dict.fromkeys(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names))


def address_of(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens on ``host``."""
    name = "127.0.0.1" if host in _EVERYWHERE else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def _addresses() -> list[str]:
    """This machine's own addresses, as far as it knows them."""
    try:
        return socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        return []


def opens(host: str) -> str:
    """What listening on ``host`` opens, in words; empty for this machine alone."""
    if host in ("127.0.0.1", "localhost", "::1"):
        return ""
    where = "every network that this machine is in" if host in _EVERYWHERE else f"whatever network {host} is in"
    return (f"--host {host}: the studio can be reached from {where}. Whoever has the address with its token can see "
            "and change this session, and put files into its folder; nothing is encrypted. Use it only where you trust "
            "the network.")
