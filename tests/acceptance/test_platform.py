"""The embedded platform as its user meets it: ``accord up``, HTTP, signals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import psutil
import pytest

from .platforms import SERVICES, RunningPlatform, clean_env
from .waiting import until

SQUARE = """
#include <iostream>
int main() { int n; std::cin >> n; std::cout << n * n << "\\n"; }
"""


@pytest.fixture
def own(tmp_path):
    """A platform that one test has for itself."""
    running = RunningPlatform(tmp_path / "data")
    running.start()
    yield running
    running.stop()


def accord(*argv, **env):
    return subprocess.run(
        [sys.executable, "-m", "accord", *argv],
        capture_output=True,
        text=True,
        timeout=100,
        env=clean_env(**env),
    )


def submit(platform, **task):
    status, document = platform.post("/api/v1/tasks", task)
    assert status == 201, document
    return document["id"]


def done(platform, id_):
    """The task at its end, also where the platform is away for a while."""

    def ended():
        status, document = platform.get(f"/api/v1/tasks/{id_}?wait=30")
        return document if status == 200 and document["done"] else None

    return until(ended, 90, what=f"task {id_} ends")


def test_a_task_goes_all_the_way_and_back(platform):
    id_ = submit(platform, language="cpp", source=SQUARE, stdin="12", limits={"wall": 10})
    task = done(platform, id_)
    assert (task["status"], task["verdict"], task["stdout"]) == ("success", "ok", "144\n")
    assert (task["exit_code"], task["signal"], len(task["replicas"])) == (0, None, 1)
    assert task["wall_time"] > 0
    assert task["cpu_time"] > 0
    assert task["peak_memory"] > 0


def test_it_says_where_it_is_and_that_it_works(platform):
    assert platform.get("/api/v1/health")[1]["status"] == "ok"
    assert set(platform.pids()) == {"boot", *SERVICES}
    [executor] = platform.get("/api/v1/executors")[1]["items"]
    assert executor["state"] == "online"


def test_a_second_boot_of_the_same_directory_is_refused_in_one_line(platform):
    before = platform.pids()
    second = accord("up", "--data", str(platform.data), "--port", "0")
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert f"pid {before['boot']}" in second.stderr
    assert platform.pids() == before
    assert platform.get("/api/v1/health")[0] == 200


def test_a_port_in_use_is_told_in_one_line_with_what_to_do(platform, tmp_path):
    port = platform.url.rpartition(":")[2]
    second = accord("up", "--data", str(tmp_path / "other"), "--port", port)
    assert second.returncode == 1
    assert second.stderr == (
        f"accord: Port {port} is in use. Stop what listens there, or choose another with --port.\n"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_comes_back_and_work_goes_on(platform, service):
    running = submit(platform, execute={"command": "sleep 1; echo done"})
    former = platform.kill(service)
    platform.wait_replaced(service, former)
    platform.wait_healthy()
    fresh = submit(platform, execute={"command": ["/bin/echo", "after"]})
    assert done(platform, running)["stdout"] == "done\n"
    assert done(platform, fresh)["stdout"] == "after\n"


def test_a_killed_executor_takes_the_programs_that_it_ran_along(own):
    submit(own, execute={"command": "sleep 301 & sleep 302"})
    executor = psutil.Process(own.pids()["executor"])

    def programs():
        found = executor.children(recursive=True)
        return [p for p in found if any(word in p.cmdline() for word in ("301", "302"))]

    running = until(lambda: len(programs()) == 2 and programs(), what="the programs run")
    own.kill("executor")
    until(lambda: not any(p.is_running() for p in running), what="the programs are gone")


def test_a_task_with_network_has_the_machine_s_where_that_is_allowed_and_given(tmp_path):
    given = {
        "ACCORD_POLICY_NETWORK_ALLOWED": "true",
        "ACCORD_SANDBOX_NETWORK": "true",
        "ACCORD_SANDBOX_NETWORK_UNGUARDED": "true",
    }
    running = RunningPlatform(tmp_path / "data", **given)
    running.start()
    try:
        [executor] = running.get("/api/v1/executors")[1]["items"]
        assert executor["network"]
        program = (
            "import urllib.request as r\n"
            f"try: print(r.urlopen('{running.url}/api/v1/health').status)\n"
            "except OSError: print('none')"
        )
        said = [
            done(running, submit(running, language="python", source=program, network=network))
            for network in (True, False)
        ]
        assert [task["stdout"] for task in said] == ["200\n", "none\n"]
        assert [task["spec"]["network"] for task in said] == [True, False]
    finally:
        running.stop()


def test_an_executor_that_is_told_to_end_finishes_what_it_runs_and_hands_back_the_rest(own):
    slots = own.get("/api/v1/executors")[1]["items"][0]["slots"]
    ids = [submit(own, execute={"command": f"sleep 2; echo {n}"}) for n in range(slots + 2)]

    def running():
        found = [own.get(f"/api/v1/tasks/{id_}")[1]["status"] for id_ in ids]
        return found.count("running") == slots

    until(running, what="every slot is busy")
    former = own.kill("executor", signal.SIGTERM)
    own.wait_replaced("executor", former)
    tasks = [done(own, id_) for id_ in ids]
    assert [task["stdout"] for task in tasks] == [f"{n}\n" for n in range(slots + 2)]
    assert [len(task["replicas"]) for task in tasks] == [1] * len(ids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_and_keeps_every_task(own, number):
    ids = [submit(own, execute={"command": f"sleep 0.2; echo {n}"}) for n in range(6)]
    assert own.stop(number) == 0
    assert not own.left()
    assert not list((own.data / "run").glob("*.pid"))
    own.start()
    assert [done(own, id_)["stdout"] for id_ in ids] == [f"{n}\n" for n in range(6)]


def test_a_killed_boot_takes_its_children_along_and_the_next_one_serves(own):
    id_ = submit(own, execute={"command": "sleep 1; echo done"})
    own.kill("boot")
    own.start()
    own.wait_healthy()
    assert done(own, id_)["stdout"] == "done\n"


def test_a_killed_boot_leaves_nothing_for_long(own):
    own.note_processes()
    own.kill("boot")
    own.wait_gone(60)


def test_maintain_keeps_boot_from_restarting_a_service(own):
    holding = subprocess.Popen(
        [sys.executable, "-m", "accord", "maintain", "gateway", "--stop", "--data", str(own.data)],
        stderr=subprocess.PIPE,
        text=True,
        env=clean_env(),
    )
    with holding:
        assert holding.stderr is not None
        assert "is held" in holding.stderr.readline()
        until(lambda: "gateway is held for maintenance" in own.said)
        assert "gateway" not in own.pids()
        assert own.get("/api/v1/health")[0] == 0
        holding.send_signal(signal.SIGINT)
    own.wait_healthy()


EVERYWHERE = "0.0.0.0"  # noqa: S104  # what is tested is just that


def test_it_listens_to_others_only_where_there_is_a_token(tmp_path):
    data = tmp_path / "data"
    refused = accord("up", "--host", EVERYWHERE, "--port", "0", "--data", str(data))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "accord token create" in refused.stderr

    made = accord("token", "create", "--user", "ada", "--role", "admin", "--data", str(data))
    secret = made.stdout.strip()
    open_ = RunningPlatform(data, ["--host", EVERYWHERE])
    open_.start()
    try:
        assert open_.get("/api/v1/tasks")[0] == 401
        listed = accord("list", "--json", ACCORD_URL=open_.url, ACCORD_TOKEN=secret)
        assert (listed.returncode, listed.stdout) == (0, "")
        _revoke_works(open_, data, secret)
    finally:
        open_.stop()


def _revoke_works(open_, data, secret):
    [token] = json.loads(accord("token", "list", "--json", "--data", str(data)).stdout)
    assert (token["user"], token["role"], token["state"]) == ("ada", "admin", "valid")
    assert accord("token", "revoke", token["id"], "--data", str(data)).returncode == 0
    until(
        lambda: accord("list", ACCORD_URL=open_.url, ACCORD_TOKEN=secret).returncode == 1,
        what="a revoked token is refused",
    )
