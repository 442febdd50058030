"""The command line at its edges, without a platform."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from accord import __version__
from accord.cli import app, main
from accord.cli.example_files import load_examples
from accord.cli.failure import Failure
from accord.cli.options import seconds, size
from accord.cli.output import print_table
from accord.cli.platform import free_ports
from accord.cli.redundancy import agreement, comparator_of, rows
from accord.cli.tasks import await_
from accord.client import Client, Executor, Task, Unauthenticated


@pytest.fixture
def accord(monkeypatch, capsys, tmp_path):
    """Runs a command line here; gives its exit code, stdout and stderr."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ACCORD_URL", "ACCORD_TOKEN", "ACCORD_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["accord", *argv])
        code = main.guarded(app.run)
        return code, *capsys.readouterr()

    return call


COMMANDS = [
    "up", "run", "submit", "list", "show", "logs", "cancel", "retry", "map", "batch",
    "certificate", "key", "verify", "executors", "judicators", "maintain", "doctor", "version", "token",
]  # fmt: skip


def test_the_version_is_told(accord):
    assert accord("--version") == (0, f"accord {__version__}\n", "")
    assert accord("version") == (0, f"accord {__version__}\n", "")


def test_help_names_every_command_and_hides_the_inner_ones(accord):
    code, out, _ = accord("--help")
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", out)
    assert "examples" not in out
    assert "serve" not in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(accord, command):
    code, out, _ = accord(command, "--help")
    assert code == 0
    assert "Usage: accord" in out


def test_no_command_at_all_shows_the_help(accord):
    code, out, err = accord()
    assert code == 2
    assert "Usage" in out + err


@pytest.mark.parametrize(
    "argv",
    [("nonsense",), ("run",), ("up", "--port", "eighty"), ("token", "create"), ("list", "-n", "0")],
)
def test_misuse_is_one_line_and_exit_code_2(accord, argv):
    code, out, err = accord(*argv)
    assert code == 2
    assert out == ""
    assert err.startswith("accord: ")
    assert err.count("\n") == 1


def test_an_unexpected_error_is_one_line_that_says_where_the_details_are(
    monkeypatch, accord, tmp_path
):
    def broken():
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(app, "app", lambda **_: broken())
    code, out, err = accord("list")
    assert (code, out, err.count("\n")) == (1, "", 1)
    log = tmp_path / "state" / "accord" / "cli.log"
    assert str(log) in err
    assert "ZeroDivisionError: by zero" in log.read_text()


def test_ctrl_c_is_no_error_message(monkeypatch, accord):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", interrupted)
    assert accord("list") == (130, "", "")


def test_tokens_are_made_listed_and_revoked_without_a_platform(accord):
    code, secret, _ = accord("token", "create", "--user", "ada", "--role", "admin")
    assert code == 0
    assert len(secret.strip()) >= 27  # 160 bits in base64
    _, listed, _ = accord("token", "list", "--json")
    [token] = json.loads(listed)
    assert (token["user"], token["role"], token["state"]) == ("ada", "admin", "valid")
    assert secret.strip() not in listed
    assert accord("token", "revoke", token["id"])[0] == 0
    assert json.loads(accord("token", "list", "--json")[1])[0]["state"] == "revoked"


def test_the_secret_is_not_kept(accord, tmp_path):
    secret = accord("token", "create", "--user", "ada")[1].strip().encode()
    kept = b"".join(p.read_bytes() for p in (tmp_path / "share").rglob("*") if p.is_file())
    assert b"ada" in kept
    assert secret not in kept


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("token", "create", "--user", "a b"), "user must be"),
        (("maintain", "judicator"), "--data"),
        (("up", "--host", "192.0.2.1"), "accord token create"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(accord, argv, says):
    code, _, err = accord(*argv)
    assert code == 1
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [("run", "-"), ("submit", "-"), ("map", "x", "y")])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--comparator", "lines"), "--quorum"),
        (("--adaptive",), "--quorum"),
        (("--distinct", "none"), "--quorum"),
        (("--quorum", "0"), "--quorum"),
        (("--quorum", "two"), "--quorum"),
        (("--quorum", "2", "--distinct", "planet"), "--distinct"),
        (("--quorum", "2", "--homogeneous", "cpu"), "os+cpu"),
        (("--quorum", "2", "--comparator", "fuzzy"), "tokens"),
        (("--quorum", "2", "--comparator", "{"), "no JSON"),
        (("--quorum", "2", "--comparator", "{'type'}"), "rel"),
        (("--quorum", "2", "--comparator", "no/such.json"), "no/such.json"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_quorum_is_one_line(accord, command, options, says):
    code, out, err = accord(*command, "-l", "python", *options)
    assert (code != 0, out, err.count("\n")) == (True, "", 1)
    assert says in err


def test_a_comparator_may_lie_in_a_file_that_must_hold_an_object(accord, tmp_path):
    file = tmp_path / "judge.json"
    file.write_text('{"type": "json"}')
    assert comparator_of(str(file)) == {"type": "json"}
    file.write_text("[]")
    with pytest.raises(Failure, match="JSON object"):
        comparator_of(str(file))


def test_a_batch_says_once_how_often_its_tasks_run(accord, tmp_path):
    (tmp_path / "t.json").write_text('{"execute": {"command": "x"}, "redundancy": {}}')
    once = ("batch", "submit", "--param", "n=1..2", "--quorum", "2")
    code, _, err = accord(*once, "--template", str(tmp_path / "t.json"))
    assert code != 0
    assert "says redundancy already" in err
    code, _, err = accord("batch", "submit", str(tmp_path / "t.json"), "--quorum", "2")
    assert (code, "quorum" in err) == (2, True)


SHOWN = {
    "id": "01X",
    "quorum": 2,
    "replicas": [
        {"number": 0, "executor": "a", "owner": "ada", "outcome": "success", "validity": "valid",
         "canonical": True, "digest": "0123456789abcdef"},
        {"number": 1, "executor": "b", "outcome": "success", "validity": "invalid"},
        {"number": 2, "executor": "c", "outcome": "validate_error", "validity": "invalid"},
        {"number": 3, "executor": "d", "state": "in_progress", "phase": "running", "validity": "init"},
        {"number": 4, "outcome": "success", "validity": "no_check"},
    ],
}  # fmt: skip


def test_replicas_are_shown_with_what_became_of_each():
    task = Task.from_json(SHOWN)
    assert [tuple(map(str, row))[:6] for row in rows(task)] == [
        ("0 *", "a of ada", "success", "", "agrees", "0123456789ab"),
        ("1", "b", "success", "", "differs", ""),
        ("2", "c", "validate_error", "", "cannot be read", ""),
        ("3", "d", "running", "", "", ""),
        ("4", "", "success", "", "not checked", ""),
    ]
    assert agreement(task) == "1 of 3 agree"
    assert agreement(Task.from_json({"id": "01X", "quorum": 3})) == "2 of 3 must agree"
    assert agreement(Task.from_json({"id": "01X"})) == ""


@pytest.mark.parametrize("text", ['title = "x"\nsurprise = 1\n', 'title = "x"\n[batch]\n', "="])
def test_a_bad_example_names_its_file(tmp_path, text):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "example.toml").write_text(text)
    with pytest.raises(Failure, match=r"one/example\.toml"):
        load_examples(tmp_path)


@pytest.mark.parametrize("text", ["", "-1", "1X", "1.5G", "M", "1 2"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(Exception, match="no size"):
        size(text)


@pytest.mark.parametrize("text", ["", "-1", "1y", "inf", "nan", "1e9"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Exception, match="no time"):
        seconds(text)


def test_a_table_never_steers_the_terminal_or_is_taken_for_markup(capsys):
    print_table(["name"], [["\x1b[31m[bold]red[/bold]\r\n"]])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31m[bold]red[/bold]\\r\\n" in out


def test_a_token_that_is_not_there_is_looked_for_in_the_list(accord):
    assert accord("token", "create", "--user", "ada")[0] == 0
    code, _, err = accord("token", "revoke", "nope")
    assert code == 1
    assert "accord token list" in err


@pytest.mark.parametrize("verb", [("list",), ("revoke", "t1")])
def test_tokens_of_a_platform_that_is_not_there_make_no_platform(accord, tmp_path, verb):
    code, out, err = accord("token", *verb, "--data", str(tmp_path / "typo"))
    assert (code, out) == (1, "")
    assert "There is no platform in" in err
    assert not (tmp_path / "typo").exists()


def test_the_list_of_executors_tells_credit_and_what_keeps_work_from_them(accord, monkeypatch):
    found = {
        "name": "lab-3",
        "state": "online",
        "credit": 12.34,
        "reliability": [{"note": ""}, {"note": "quarantined for \x1b[31mseti"}],
    }
    monkeypatch.setattr(Client, "health", lambda _: {"status": "ok"})
    monkeypatch.setattr(Client, "executors", lambda _: [Executor.from_json(found)])
    code, out, _ = accord("executors", "--url", "http://127.0.0.1:9")
    assert code == 0
    assert "12.3" in out
    assert "lab-3: quarantined for \\x1b[31mseti.\n" in out
    assert accord("executors", "--json", "--url", "http://127.0.0.1:9")[1].count("note") == 2


def test_an_executor_is_steered_in_one_way(accord):
    code, _, err = accord("executors", "--drain", "a", "--release", "a")
    assert code == 2
    assert "one way at a time" in err


def test_where_a_token_is_wanted_its_two_ways_are_told(capsys):
    assert main.report(Unauthenticated("A valid token is needed.")) == 1
    err = capsys.readouterr().err
    assert "ACCORD_TOKEN" in err
    assert "--token" in err


class Terminal(io.StringIO):
    """A terminal of so many columns as ``COLUMNS`` says."""

    def isatty(self):
        return True


def test_on_a_narrow_terminal_one_column_gives_way_and_no_id_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(["id", "name", "verdict"], [["0" * 26, "n" * 80, "compile_error"]], yielding=1)
    shown = terminal.getvalue()
    assert "0" * 26 in shown
    assert "compile_error" in shown
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines())) == 60


def test_what_is_no_terminal_gets_every_column_whole(capsys):
    print_table(["id", "name"], [["0" * 26, "n" * 900]])
    assert f"{'0' * 26}  {'n' * 900}" in capsys.readouterr().out


def test_what_the_callers_encoding_lacks_is_written_as_an_escape():
    ran = subprocess.run(
        [sys.executable, "-m", "accord", "show", "\N{CHECK MARK}", "--url", "x\N{CHECK MARK}"],
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert "x\\u2713" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_standard_stream_is_no_fault(closed):
    command = f'exec "$0" -m accord --version {closed}'
    ran = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_output_that_cannot_be_written_is_one_line():
    command = 'exec "$0" -m accord --version >/dev/full'
    ran = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], check=False, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (1, "accord: No space left on device\n")


def test_who_no_longer_waits_for_a_task_is_told_its_id(capsys):
    class Interrupted(Client):
        def wait(self, id_, timeout=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await_(Interrupted("http://127.0.0.1"), "01X")
    assert "accord cancel 01X" in capsys.readouterr().err


def test_free_ports_are_those_that_connections_are_not_given():
    first, second = free_ports(2)
    handed_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert second == first + 1
    assert second < handed_out
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", second)):
        pass
