"""Who calls, what they may do, and which callers a browser was tricked into.

With tokens, a request carries one as a bearer token, or as the cookie that the sign-in page set.
Without (embedded, on loopback) whoever reaches the port is the local administrator; then no web
page of another site may reach it through somebody's browser: the Host must be a loopback name
with our port (DNS rebinding), and Sec-Fetch-Site and Origin must not be foreign (cross-site
requests, of any method, since ``GET /execute`` runs code too).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from flask import Request, g, request

from accord.config import GatewaySettings, is_loopback
from accord.core.batch import Batch
from accord.core.errors import Forbidden, NotFound, Unauthenticated
from accord.core.ids import UserName
from accord.core.task import Task
from accord.core.user import LOCAL_USER, Role, Token
from accord.delivery.http.context import gateway
from accord.ports.clock import Clock

COOKIE = "accord_token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_CACHED = 2.0
"""Seconds for which a token's state is believed: a revoked token works no longer than this."""
_CACHE_SIZE = 1024


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever makes the request."""

    user: UserName
    role: Role

    @property
    def admin(self) -> bool:
        """Whether everything may be seen and done."""
        return self.role is Role.ADMIN

    def need(self, role: Role) -> None:
        """Raise Forbidden unless the role includes ``role``."""
        if not self.role.may(role):
            raise Forbidden(
                f"This needs the role {role}; your token's role is {self.role}. "
                "Ask an administrator for such a token."
            )

    def check_owner(self, thing: Task | Batch) -> None:
        """Raise NotFound where it is somebody else's: its existence is not told either."""
        if not self.admin and thing.user != self.user:
            raise NotFound


class TokenCache:
    """Asks a judicator about tokens, each at most every two seconds."""

    def __init__(self, ask: Callable[[str], Token | None], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Token | None]] = {}

    def __call__(self, hash_: str) -> Token | None:
        """The live token with that SHA-256, or None."""
        now = self._clock.monotonic()
        known = self._known.get(hash_)
        if known is None or now - known[0] > _CACHED:
            known = (now, self._ask(hash_))
            with self._lock:
                if len(self._known) >= _CACHE_SIZE:
                    self._known.clear()
                self._known[hash_] = known
        token = known[1]
        return token if token and token.alive(self._clock.now()) else None


def needs_tokens(settings: GatewaySettings) -> bool:
    """Whether requests must carry a token."""
    return settings.tokens or not is_loopback(settings.host)


def admit() -> None:
    """Refuse what a foreign web page sent; called before every request. Raises Forbidden."""
    settings = gateway().settings.gateway
    if not needs_tokens(settings):
        _check_host(request, settings.port)
        _check_same_origin(request)
    elif _bearer(request) is None and (COOKIE in request.cookies or request.method not in _SAFE):
        _check_same_origin(request)


def caller() -> Caller:
    """Whoever makes the current request. Raises Unauthenticated."""
    known = g.get("caller")
    if isinstance(known, Caller):
        return known
    found = _caller()
    g.caller = found
    return found


def _caller() -> Caller:
    services = gateway()
    if not needs_tokens(services.settings.gateway):
        return Caller(user=LOCAL_USER, role=Role.ADMIN)
    secret = _bearer(request) or request.cookies.get(COOKIE)
    token = services.token_of(hash_of(secret)) if secret else None
    if token is None:
        raise Unauthenticated
    return Caller(user=token.user, role=token.role)


def hash_of(secret: str) -> str:
    """What is kept of a token's secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _bearer(request: Request) -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None


def _check_host(request: Request, port: int) -> None:
    name, found = _split_host(request.environ.get("HTTP_HOST", ""))
    if not is_loopback(name) or found != port:
        raise Forbidden(
            f"Without tokens this gateway answers only as localhost:{port} or 127.0.0.1:{port}. "
            "Use that address, or turn tokens on (gateway.tokens)."
        )


def _split_host(host: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(f"//{host}")
        found = parts.hostname or "", parts.port or 80
    except ValueError:  # an unclosed bracket, or a port that is no number
        return "", None
    return found


def _check_same_origin(request: Request) -> None:
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = site is not None and site not in {"same-origin", "none"}
    if origin is not None:
        foreign = foreign or origin.partition("://")[2] != request.environ.get("HTTP_HOST")
    if foreign:
        raise Forbidden(
            "This request comes from another web site, so it is refused. "
            "Open the page itself, or call the API with a token."
        )
