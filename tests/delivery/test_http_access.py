"""Who may do what; and that no web page can act through somebody's browser."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from accord.core.ids import TokenId, UserName
from accord.core.user import Role, Token
from accord.delivery.http.access import TokenCache
from accord.testing.clock import FakeClock
from tests.builders import a_result
from tests.delivery.site import BASE, Site

DOCUMENT = {"execute": {"command": "true"}}
EVERY = [
    ("GET", "/api/v1/tasks"),
    ("POST", "/api/v1/tasks"),
    ("GET", "/api/v1/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ("GET", "/execute?code=1&wait=0"),
    ("POST", "/execute?code=1&wait=0"),
    ("GET", "/api/v1/executors"),
    ("GET", "/api/v1/judicators"),
    ("GET", "/api/v1/languages"),
    ("POST", "/api/v1/executors/box1/drain"),
]

# -- tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), EVERY)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic eDp5", "Bearer \xff"])
def test_a_call_without_a_valid_token_is_401(
    guarded: Site, method: str, path: str, header: str | None
) -> None:
    headers = {"Authorization": header} if header else {}
    options: dict[str, Any] = {"json": DOCUMENT} if path == "/api/v1/tasks" else {}
    response = guarded.call(method, path, headers=headers, **options)
    assert (response.status_code, (response.json or {})["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_health_needs_no_token(guarded: Site) -> None:
    assert guarded.get("/api/v1/health").status_code == 200


def test_the_user_is_the_tokens_and_sees_only_their_own(guarded: Site) -> None:
    alice = guarded.token("alice", Role.SUBMITTER)
    bob = guarded.token("bob", Role.SUBMITTER)
    reader = guarded.token("alice", Role.READER)
    admin = guarded.token("root", Role.ADMIN)
    made = guarded.submit(alice, **DOCUMENT)
    theirs = guarded.submit(bob, **DOCUMENT)
    assert made["user"] == "alice"
    where = made["links"]["self"]

    for path in ("", "/explain", "/files", "/files/stdout", "/events"):
        assert guarded.get(where + path, token=bob).status_code == 404
    for method, path in (("DELETE", ""), ("POST", "/retry"), ("POST", "/purge")):
        assert guarded.call(method, where + path, token=bob).status_code == 404
    assert guarded.get(f"/tasks/{made['id']}", token=bob).status_code == 404

    def listed(token: str, query: str = "") -> set[str]:
        items = (guarded.get(f"/api/v1/tasks?{query}", token=token).json or {})["items"]
        return {item["id"] for item in items}

    assert listed(alice) == listed(reader) == listed(alice, "user=alice") == {made["id"]}
    assert listed(admin) == {made["id"], theirs["id"]}
    assert listed(admin, "user=bob") == {theirs["id"]}
    assert guarded.get("/api/v1/tasks?user=bob", token=alice).status_code == 403
    assert guarded.get(where, token=reader).status_code == 200
    assert guarded.get(where, token=admin).status_code == 200


def test_a_wait_does_not_show_others_tasks(guarded: Site) -> None:
    made = guarded.submit(guarded.token("alice", Role.SUBMITTER), **DOCUMENT)
    guarded.executor.finish(guarded.executor.take(), a_result())
    bob = guarded.token("bob", Role.SUBMITTER)
    assert guarded.get(f"{made['links']['self']}?wait=30", token=bob).status_code == 404


def test_a_reader_changes_nothing(guarded: Site) -> None:
    submitter = guarded.token("alice", Role.SUBMITTER)
    reader = guarded.token("alice", Role.READER)
    made = guarded.submit(submitter, **DOCUMENT)
    where = made["links"]["self"]
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/api/v1/tasks", {"json": DOCUMENT}),
        ("GET", "/execute?code=1&wait=0", {}),
        ("DELETE", where, {}),
        ("POST", f"{where}/retry", {}),
        ("POST", f"{where}/purge", {}),
        ("POST", "/submit", {"data": {"language": "python", "source": "1"}}),
        ("POST", f"/tasks/{made['id']}/cancel", {}),
    ]
    for method, path, options in calls:
        assert guarded.call(method, path, token=reader, **options).status_code == 403, path
    assert (guarded.get("/api/v1/tasks", token=reader).json or {})["total"] == 1


def test_only_an_administrator_steers_executors(guarded: Site) -> None:
    submitter, admin = guarded.token("a", Role.SUBMITTER), guarded.token("r", Role.ADMIN)
    guarded.submit(submitter, **DOCUMENT)
    guarded.executor.take()
    path = "/api/v1/executors/box1/drain"
    assert guarded.post(path, token=submitter).status_code == 403
    assert guarded.post("/executors/box1/drain", token=submitter).status_code == 403
    assert (guarded.post(path, token=admin).json or {})["state"] == "draining"


def test_a_revoked_token_is_believed_for_two_seconds_at_most() -> None:
    clock = FakeClock()
    asked = 0
    token = Token(
        id=TokenId("t"),
        user=UserName("alice"),
        role=Role.READER,
        hash="h",
        created=0,
    )
    answer: Token | None = token

    def ask(hash_: str) -> Token | None:
        nonlocal asked
        asked += 1
        return answer

    cache = TokenCache(ask, clock)
    assert cache("h") == cache("h") == token
    assert asked == 1
    answer = None
    clock.advance(2.1)
    assert cache("h") is None


def test_a_token_that_expires_meanwhile_is_refused_at_once() -> None:
    clock = FakeClock()
    token = Token(
        id=TokenId("t"),
        user=UserName("a"),
        role=Role.READER,
        hash="h",
        created=0,
        expires=clock.now() + 1,
    )
    cache = TokenCache(lambda _: token, clock)
    assert cache("h")
    clock.advance(1)
    assert cache("h") is None


# -- loopback without tokens -----------------------------------------------------------------

FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:8000"},
    {"Origin": "http://localhost:7000"},
    {"Origin": "http://[::1"},
    {"Origin": ""},
    {"Host": "evil.example:7000"},
    {"Host": "evil.example"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:8000"},
    {"Host": "127.0.0.1.evil.example:7000"},
    {"Host": "localhost:7000@evil.example"},
    {"Host": "[::1"},
    {"Host": "127.0.0.1:x"},
    {"Host": ""},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_what_a_foreign_page_sends_is_403_and_does_nothing(
    shared: Site, headers: dict[str, str]
) -> None:
    environ = {"HTTP_HOST": headers["Host"]} if "Host" in headers else {}
    sent = {k: v for k, v in headers.items() if k != "Host"}
    pages = [("GET", "/api/v1/health"), ("POST", "/submit"), ("GET", "/tasks"), ("GET", "/none")]
    for method, path in [*EVERY, *pages]:
        response = shared.call(method, path, headers=sent, environ_overrides=environ)
        assert response.status_code == 403, path
    assert (shared.get("/api/v1/tasks").json or {})["total"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": BASE},
        {"Origin": BASE},
    ],
)
@pytest.mark.parametrize(
    "host", ["127.0.0.1:7000", "localhost:7000", "[::1]:7000", "127.8.8.8:7000"]
)
def test_what_this_site_sends_is_answered(shared: Site, host: str, headers: dict[str, str]) -> None:
    fitting = {k: v.replace("127.0.0.1:7000", host) for k, v in headers.items()}
    response = shared.call(
        "GET", "/api/v1/tasks", headers=fitting, environ_overrides={"HTTP_HOST": host}
    )
    assert response.status_code == 200


def test_beyond_loopback_tokens_are_needed_whatever_is_configured(guarded: Site) -> None:
    from accord.config import GatewaySettings
    from accord.delivery.http.access import needs_tokens

    assert needs_tokens(GatewaySettings(host="0.0.0.0"))  # noqa: S104  # that is the point
    assert needs_tokens(GatewaySettings(host="gateway.example"))
    assert not needs_tokens(GatewaySettings(host="::1"))


# -- signing in ------------------------------------------------------------------------------


def _sign_in(site: Site, secret: str, **options: Any) -> Any:
    return site.post("/sign-in", data={"token": secret, "next": "/tasks"}, **options)


def test_a_browser_signs_in_with_a_cookie_that_scripts_cannot_read(guarded: Site) -> None:
    secret = guarded.token("alice", Role.SUBMITTER)
    response = guarded.get("/tasks")
    assert (response.status_code, response.headers["Location"]) == (303, "/sign-in?next=/tasks")
    response = _sign_in(guarded, secret)
    assert (response.status_code, response.headers["Location"]) == (303, "/tasks")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert guarded.get("/tasks").status_code == 200
    assert guarded.post("/sign-out").status_code == 303
    assert guarded.get("/tasks").status_code == 303


def test_a_wrong_token_does_not_sign_in(guarded: Site) -> None:
    response = _sign_in(guarded, "wrong")
    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers


def test_the_cookie_is_of_no_use_to_other_sites(guarded: Site) -> None:
    _sign_in(guarded, guarded.token("alice", Role.SUBMITTER))
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    fields = {"language": "python", "source": "1"}
    assert guarded.post("/submit", data=fields, headers=foreign).status_code == 403
    assert guarded.get("/execute?code=1&wait=0", headers=foreign).status_code == 403
    assert guarded.post("/sign-in", data={"token": "x"}, headers=foreign).status_code == 403
    assert guarded.post("/submit", data=fields).status_code == 303


def test_signing_in_leads_nowhere_else(guarded: Site) -> None:
    secret = guarded.token("alice", Role.SUBMITTER)
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb"):
        response = guarded.post("/sign-in", data={"token": secret, "next": target})
        assert response.headers["Location"] == "/"


# -- headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/submit", "/tasks", "/nothing", "/api/v1/health", "/api/swagger"]
)
def test_every_answer_carries_the_security_headers(shared: Site, path: str) -> None:
    headers = shared.get(path, headers={"Accept": "text/html"}).headers
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("'unsafe-inline'" in policy) == (path == "/api/swagger")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_token_reaches_no_log(guarded: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = guarded.token("alice", Role.SUBMITTER)
    _sign_in(guarded, secret)
    guarded.get("/tasks", token=secret)
    hashed = hashlib.sha256(secret.encode()).hexdigest()
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "alice" in logged
    assert secret not in logged
    assert hashed not in logged
