"""``accord.client`` against a real platform: what a user's program can rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from accord.client import Client, Conflict, Invalid, NotFound, NotYet, Unreachable


@pytest.fixture
def client(platform):
    with Client(platform.url) as found:
        yield found


def test_a_program_runs_and_its_result_is_typed(client):
    task = client.run("print(6 * 7)", language="python")
    assert (task.status, task.verdict, task.exit_code, task.stdout) == ("success", "ok", 0, "42\n")
    assert task.ok
    assert task.done
    assert isinstance(task.wall_time, float)
    assert isinstance(task.peak_memory, int)


def test_every_way_to_say_what_runs(client):
    files = {"main.sh": "cat part; read line; echo $line $1 $NAME", "part": b"\xff\x00"}
    task = client.run(
        files, language="bash", stdin="typed\n", args=["arg"], env={"NAME": "env"}, name="all",
        labels={"a": "b"}, priority=3, limits={"wall": 5},
    )  # fmt: skip
    assert client.file(task.id, "stdout") == b"\xff\x00typed arg env\n"
    assert (task.name, task.labels, task.priority) == ("all", {"a": "b"}, 3)
    assert client.run(execute=["/bin/echo", "$HOME"]).stdout == "$HOME\n"
    assert client.run(execute="echo $((1+1))").stdout == "2\n"


def test_bytes_that_are_no_text_go_in_and_come_out_whole(client):
    odd = bytes(range(256)) * 500
    task = client.run(execute="cat; echo kept > out.txt", stdin=odd, outputs=["*.txt"])
    assert client.file(task.id, "stdout") == odd
    assert client.file(task.id, "stdout", start=len(odd) - 3) == odd[-3:]
    assert client.file(task.id, "stdout", start=len(odd)) == b""
    assert client.file(task.id, task.outputs[0]["name"]) == b"kept\n"


def test_events_tell_states_and_output_and_can_be_resumed(client):
    source = "for n in 1 2 3; do echo $n; sleep 0.3; done"
    task = client.submit(source, language="bash")
    seen, cursor = [], ""
    for event in client.events(task.id):
        seen.append(event)
        cursor = event.id or cursor
        if cursor and any(e.kind == "output" for e in seen):
            break
    rest = list(client.events(task.id, after=cursor))
    assert rest[-1].kind == "done"
    output: dict[int, bytes] = {e.offset: e.data for e in [*seen, *rest] if e.stream == "stdout"}
    assert b"".join(output[at] for at in sorted(output)) == b"1\n2\n3\n"
    states = [e.task.status for e in rest if e.task]
    assert states[-1] == "success"


def test_a_repeated_submission_with_its_key_is_the_same_task(client):
    first = client.submit("print(1)", language="python", key="once")
    assert client.submit("print(1)", language="python", key="once").id == first.id
    with pytest.raises(Conflict) as refused:
        client.submit("print(2)", language="python", key="once")
    assert refused.value.code == "key_reused"


def test_cancel_is_proved_and_told(client):
    task = client.submit(execute="sleep 300")
    client.cancel(task.id)
    assert client.wait(task.id, 20).status == "cancelled"
    done = client.run(execute="true")
    with pytest.raises(Conflict):
        client.cancel(done.id)


def test_a_wait_that_takes_too_long_says_so(client):
    task = client.submit(execute="sleep 300")
    with pytest.raises(TimeoutError, match=task.id):
        client.wait(task.id, 0.2)
    client.cancel(task.id)


def test_lists_come_page_by_page_and_only_as_far_as_wanted(client):
    ids = [client.submit(execute=f"echo {n}", labels={"set": "paged"}).id for n in range(5)]
    assert [t.id for t in client.list(label="set:paged")] == ids[::-1]
    assert [t.id for t in client.list(label="set:paged", order="oldest", limit=2)] == ids[:2]
    for id_ in ids:
        client.wait(id_)
    client.purge(ids[0])
    assert len(list(client.list(label="set:paged"))) == 4


def test_errors_are_told_apart_by_class_and_name_the_field(client):
    with pytest.raises(Invalid) as refused:
        client.submit("x", language="cobol")
    assert refused.value.field == "language"
    with pytest.raises(NotYet):
        client.submit("x", language="python", check="y")
    with pytest.raises(Invalid, match="may not use the network") as refused:
        client.submit("x", language="python", network=True)
    assert refused.value.field == "network"
    with pytest.raises(NotFound):
        client.get("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:9").health()


def test_it_explains(client):
    task = client.run(execute="exit 3")
    assert "3" in client.explain(task.id)
    assert client.retry(task.id).raw["retry_of"] == task.id


def test_a_wait_outlives_a_restart_of_the_gateway(platform, client):
    task = client.submit(execute="sleep 2; echo late")
    former = platform.kill("gateway")
    assert client.wait(task.id, 60).stdout == "late\n"
    platform.wait_replaced("gateway", former)


def test_importing_it_loads_neither_httpx_nor_the_rest_of_accord():
    code = "import sys, accord.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "httpx" not in loaded
    ours = {name for name in loaded if name.startswith("accord.")}
    assert all(name.startswith("accord.client") for name in ours)


def test_a_result_has_a_certificate_and_the_cluster_a_key(client):
    task = client.run("print(6 * 7)", language="python")
    assert task.id.encode() in client.certificate(task.id)
    assert client.cluster_key().startswith("-----BEGIN PUBLIC KEY-----")
    assert client.cluster_key() == client.cluster_key()
    endless = client.submit("while True: pass", language="python")
    with pytest.raises(Conflict, match=r"pending|running|fetching"):
        client.certificate(endless.id)
    client.cancel(endless.id)
