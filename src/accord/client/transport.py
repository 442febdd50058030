"""HTTP itself: requests with repeats, and answers as JSON or as errors by class.

Whatever can be repeated safely is repeated while the gateway is away: reading always, submitting
because it carries an idempotency key. httpx is imported with the first call, since it is slow to
import and many programs that import the client never make one.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from accord.client.errors import AccordClientError, Unavailable, Unreachable, from_problem

if TYPE_CHECKING:
    import httpx

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0)
"""Seconds between the attempts of a call that may be repeated: about nine in all."""
HELD = 30.0
"""Seconds for which one waiting call is held."""

T = TypeVar("T")


class Transport:
    """A connection to one gateway. May be used from several threads."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                import httpx

                headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
                self._client = httpx.Client(
                    base_url=self.url, headers=headers, timeout=self._timeout, trust_env=False
                )
            return self._client

    def close(self) -> None:
        """Close its connections; may be called twice."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def request(
        self, method: str, path: str, *, repeat: bool, extra_time: float = 0.0, **options: Any
    ) -> httpx.Response:
        """Make a call. Raises an AccordClientError for any answer that is no success."""
        for pause in (*PAUSES, None):
            try:
                return self._once(method, path, extra_time, options)
            except (Unreachable, Unavailable):
                if not repeat or pause is None:
                    raise
                threading.Event().wait(pause)
        raise Unreachable(f"Nothing answers at {self.url}.")

    def _once(
        self, method: str, path: str, extra_time: float, options: Mapping[str, Any]
    ) -> httpx.Response:
        client = self._http()
        with _as_ours(self.url):
            response = client.request(method, path, timeout=self._timeout + extra_time, **options)
        if not response.is_success:
            raise _problem(response)
        return response

    def json(self, method: str, path: str, *, repeat: bool = False, **options: Any) -> Any:
        """Make a call and read its JSON."""
        response = self.request(method, path, repeat=repeat, **options)
        try:
            return response.json()
        except ValueError as error:
            message = f"{self.url} does not speak Accord's API: its answer is no JSON."
            raise AccordClientError(message, status=response.status_code) from error

    def lasting(
        self, go_on: Callable[[], Iterator[T]], is_last: Callable[[T], bool]
    ) -> Iterator[T]:
        """What a stream brings up to its last piece. Where it breaks off, ``go_on`` is called
        again: it continues where it stopped.
        """
        attempt = 0
        while True:
            try:
                for found in go_on():
                    attempt = 0
                    yield found
                    if is_last(found):
                        return
            except (Unreachable, Unavailable):
                if attempt >= len(PAUSES):
                    raise
            threading.Event().wait(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """A GET whose answer is read as it comes."""
        client = self._http()
        with _as_ours(self.url), client.stream("GET", path, **options) as response:
            if not response.is_success:
                response.read()
                raise _problem(response)
            yield response


def fresh_key() -> str:
    """An idempotency key that nobody has."""
    return base64.b32encode(os.urandom(20)).decode()


def listed(
    http: Transport, path: str, limit: int | None, filters: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """The items of a list, fetched page by page as they are wanted."""
    query = {k: v for k, v in filters.items() if v not in (None, "", ())}
    left = limit
    while left is None or left > 0:
        size = 100 if left is None else min(100, left)
        page = http.json("GET", path, repeat=True, params={**query, "limit": size})
        yield from page["items"]
        left = None if left is None else left - len(page["items"])
        if not page.get("next"):
            return
        query["cursor"] = page["next"]


@contextmanager
def _as_ours(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.InvalidURL as error:
        raise AccordClientError(f"{url} is no address: {error}.") from error
    except httpx.UnsupportedProtocol as error:
        raise AccordClientError(f"{url} is no address that begins with http://.") from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"No answer from {url}: {reason}.") from error


def _problem(response: httpx.Response) -> AccordClientError:
    try:
        document = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        document = {}
    return from_problem(response.status_code, document if isinstance(document, dict) else {})
