"""Batches on the command line at its edges: what is written there, and a gateway that misbehaves."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from accord.cli import mapping, progress
from accord.cli.failure import Failure
from accord.cli.mapping import Arguments, Flight, Job, filled, maker, tagged
from accord.cli.progress import Lines, State
from accord.cli.templates import finishing, parameters, template
from accord.client import AccordClientError, Batch, Client, Unreachable, spec
from accord.core.parameters import Range
from accord.testing.clock import FakeClock

# -- parameters ------------------------------------------------------------------------------


def values(text: str) -> list[object]:
    """What a parameter makes on the platform."""
    [(name, axis)] = parameters([text]).items()
    if "list" in axis:
        return list(axis["list"])
    start, stop, *step = axis["range"]
    made = Range(name=name, start=start, stop=stop, step=step[0] if step else 1)
    return [made.at(n)[0] for n in range(made.size)]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("n=1..4", [1, 2, 3, 4]),
        ("n=4..1", [4, 3, 2, 1]),
        ("n=-1..1", [-1, 0, 1]),
        ("n=1..10..4", [1, 5, 9]),
        ("n=10..1..4", [10, 6, 2]),
        ("n=10..1..-4", [10, 6, 2]),
        ("n=7..7", [7]),
        ("n=0..1..0.25", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("n=0.5..2.5", [0.5, 1.5, 2.5]),
        ("n=0..0.3..0.1", [0.0, 0.1, 0.2, 0.3]),
        ("n=08..11", ["08", "09", "10", "11"]),
        ("n=001..003", ["001", "002", "003"]),
        ("c=a,b,c", ["a", "b", "c"]),
        ("c=one", ["one"]),
        ("c=1,2.5,007,1e3,nan", [1, 2.5, "007", "1e3", "nan"]),
        ("c=a=b,", ["a=b", ""]),
        ("f=../x,a/../b", ["../x", "a/../b"]),
    ],
)
def test_a_parameter_makes_what_bash_would(text, made):
    found = values(text)
    assert found == made
    assert [type(value) for value in found] == [type(value) for value in made]


def test_ranges_agree_with_bash():
    for text in ["1..7", "7..1", "-3..3", "1..20..6", "20..1..6", "05..11", "-3..3..2"]:
        shown = subprocess.run(["bash", "-c", f"echo {{{text}}}"], capture_output=True, text=True)
        assert " ".join(map(str, values(f"n={text}"))) == shown.stdout.strip()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["n"], "n=1..1000"),
        (["n="], "n=1..1000"),
        (["=1..2"], "n=1..1000"),
        (["n=1..x"], "no range"),
        (["n=a..e"], "no range"),
        (["n=1..9..0"], "step of 0"),
        (["n=1..2", "n=3"], "given twice"),
        (["n=000000..999999"], "printf"),
    ],
)
def test_a_parameter_that_is_wrong_says_how_to_write_it(given, says):
    with pytest.raises(Failure, match=re.escape(says)):
        parameters(given)


def test_parameters_keep_their_order():
    assert list(parameters(["b=1", "a=2", "c=3"])) == ["b", "a", "c"]


# -- templates -------------------------------------------------------------------------------


def test_a_template_is_a_command_a_source_or_a_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prog.py").write_text("print(1)")
    (tmp_path / "task.json").write_text(
        '{"language": "python", "source": "x", "limits": {"cpu": 1}}'
    )
    assert template("echo {n}") == {"execute": {"command": "echo {n}"}}
    assert template("true") == {"execute": {"command": "true"}}
    assert template("echo x > out.py")["execute"] == {"command": "echo x > out.py"}
    assert template("prog.py", None, ["{n}"], None, {"wall": 2.0}) == {
        "language": "python",
        "source": "print(1)",
        "execute": {"args": ["{n}"]},
        "limits": {"wall": 2.0},
    }
    assert template("prog.py", "bash")["language"] == "bash"
    assert template("task.json", None, (), None, {"wall": 2.0})["limits"] == {"cpu": 1, "wall": 2.0}


def test_a_file_that_is_not_there_is_no_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("missing.py", "missing.json"):
        with pytest.raises(FileNotFoundError):
            template(name)


def test_a_finishing_task_is_a_source_or_a_task(tmp_path):
    (tmp_path / "report.py").write_text("print(2)")
    (tmp_path / "task.json").write_text('{"execute": {"command": "wc -l data/*"}}')
    (tmp_path / "odd").write_text("?")
    (tmp_path / "bad.json").write_text("[1]")
    found = finishing(str(tmp_path / "report.py"))
    assert found == {"language": "python", "source": "print(2)", "name": "report.py"}
    assert finishing(str(tmp_path / "task.json")) == {"execute": {"command": "wc -l data/*"}}
    with pytest.raises(Failure, match="JSON object"):
        finishing(str(tmp_path / "bad.json"))
    with pytest.raises(Failure, match="language"):
        finishing(str(tmp_path / "odd"))


# -- map -------------------------------------------------------------------------------------

NASTY = [
    "a b",
    "",
    "$HOME",
    "'",
    '"',
    "`id`",
    "a\\b",
    "*",
    "{#}",
    "{}",
    "~",
    "é\t!",
    "-n",
    "a;b&c|d",
]


@pytest.mark.parametrize("argument", NASTY)
def test_an_argument_reaches_the_command_as_one_word_whatever_it_holds(argument):
    for command in ("printf '%s.' {} {}", "printf %s. x{}"):
        script = filled(command, Job(number=3, argument=argument))
        ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert ran.stdout in {f"{argument}.{argument}.", f"x{argument}."}


def test_without_a_place_the_argument_comes_last():
    assert filled("wc -c", Job(number=1, argument="a b")) == "wc -c 'a b'"
    assert filled("echo {#}", Job(number=7, argument="a")) == "echo 7"
    assert filled("echo {#}:{}", Job(number=7, argument="a")) == "echo 7:a"


def test_a_program_gets_the_argument_as_it_is(tmp_path):
    (tmp_path / "prog.py").write_text("print(1)")
    made = maker(str(tmp_path / "prog.py"), None, {})(Job(number=1, argument="a {} 'b'"))
    assert made["execute"] == {"args": ["a {} 'b'"]}
    assert made["source"] == "print(1)"


def test_tags_stand_before_each_line():
    assert tagged(b"a\nb", "x y") == b"x y\ta\nx y\tb"
    assert tagged(b"\xff\n", "x") == b"x\t\xff\n"


@pytest.fixture
def pipe():
    """The two ends of a pipe; the writing one as a file that a test may close."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        yield source.fileno(), sink


def test_lines_of_stdin_are_arguments_one_for_one(pipe):
    file, sink = pipe
    sink.write(b"one\n\ntwo words \n\xe2\x82\xac\r\nno end")
    sink.close()
    found = Arguments(None, file)
    jobs: list[Job] = []
    while not found.over:
        jobs += found.take(2, 5.0)
    assert [job.argument for job in jobs] == ["one", "", "two words ", "€\r", "no end"]
    assert [job.number for job in jobs] == [1, 2, 3, 4, 5]


def test_a_line_that_is_not_there_yet_is_not_waited_for(pipe):
    file, sink = pipe
    found = Arguments(None, file)
    seen = []

    def look():
        seen.append((found.ready, [job.argument for job in found.take(5, 0.0)], found.over))

    look()
    sink.write(b"one\ntw")
    look()
    look()
    sink.write(b"o\n")
    look()
    sink.close()
    look()
    assert seen == [
        (False, [], False),
        (True, ["one"], False),
        (False, [], False),
        (True, ["two"], False),
        (False, [], True),
    ]


def test_a_line_that_is_no_text_is_named(pipe):
    file, sink = pipe
    sink.write(b"fine\n\xff\n")
    with pytest.raises(Failure, match="Line 2 of stdin"):
        Arguments(None, file).take(9, 5.0)


def test_whoever_is_interrupted_while_the_batch_is_made_leaves_none_running(gateway):
    client, seen = gateway(lambda request, number: (200, DONE))
    flight = Flight(client, maker("echo {}", None, {}))
    real, client.create_batch = client.create_batch, interrupted
    with pytest.raises(KeyboardInterrupt):
        flight.begin([Job(number=1, argument="a")])
    client.create_batch = real
    assert flight.cancel().startswith("cancelled batch 01B")
    assert [request.method for request in seen] == ["POST", "DELETE", "GET"]
    assert json.loads(seen[0].body)["tasks"] == [{"execute": {"command": "echo a"}}]


def interrupted(**_):
    raise KeyboardInterrupt


# -- progress --------------------------------------------------------------------------------


def test_plain_lines_come_at_first_then_seldom_and_at_last():
    clock, to = FakeClock(), io.StringIO()
    lines = Lines(clock, to)
    for ended in range(101):
        lines.show(State(total=100, ended=ended))
        clock.advance(0.5)  # 10 % in 5 s: the 10 s rule is the rarer one
    lines.end(State(total=100, ended=100))
    shown = [int(line.split()[0]) for line in to.getvalue().splitlines()]
    assert shown == [0, 20, 40, 60, 80, 100]


def test_plain_lines_of_slow_work_wait_for_ten_percent():
    clock, to = FakeClock(), io.StringIO()
    lines = Lines(clock, to)
    for ended in range(100):
        lines.show(State(total=100, ended=ended))
        clock.advance(60)
    lines.end(State(total=100, ended=99, failed=3))
    shown = to.getvalue().splitlines()
    assert [int(line.split()[0]) for line in shown] == [*range(0, 100, 10), 99]
    assert shown[-1] == "99 of 100 done (99 %), 3 failed"


def test_a_state_without_a_known_end_shows_no_part_of_it():
    assert progress.line(State(total=40, ended=10, whole=False)) == "10 of 40 so far done"


class Terminal(io.StringIO):
    """A terminal of so many columns as ``COLUMNS`` says."""

    def isatty(self):
        return True


def test_a_bar_shows_how_far_it_is_and_leaves_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = progress.display(FakeClock())
    bar.show(State(total=20, ended=5, failed=1, rate=2.0, eta=7.5, word="running"))
    bar.show(State(total=20, ended=6, word="running"))  # too soon after the other
    drawn = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()).strip("\r\n")
    assert drawn.startswith("running")
    assert "5 of 20 done (25 %), 1 failed, 2.0 a second, 8 s left" in drawn
    assert "6 of 20" not in drawn
    assert len(drawn.splitlines()[-1]) <= 87
    bar.end(State(total=20, ended=20, word="done"))
    assert terminal.getvalue().endswith("done: 20 of 20 done (100 %)\n")


def test_a_bar_waits_for_the_end_of_a_line_that_is_being_written(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    clock = FakeClock()
    bar = progress.display(clock)
    with bar.hidden(open_line=True):
        terminal.write("half a line")
    clock.advance(1)
    bar.show(State(total=2, ended=1))
    assert terminal.getvalue() == "half a line"
    bar.end(State(total=2, ended=2))
    assert terminal.getvalue() == "half a line\n2 of 2 done (100 %)\n"


def test_nothing_is_shown_where_quiet_is_asked_for(capsys):
    shown = progress.display(FakeClock(), quiet=True)
    shown.show(State(total=2))
    shown.end(State(total=2, ended=2))
    assert capsys.readouterr() == ("", "")


# -- a gateway that misbehaves ---------------------------------------------------------------


@dataclasses.dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answers = Callable[[Asked, int], "tuple[int, bytes] | tuple[int, bytes, int] | None"]
"""Status and body, and how long the body claims to be; None: the connection ends."""


class Gateway(BaseHTTPRequestHandler):
    """Answers by ``answers``, a function of the request and how many came before it."""

    protocol_version = "HTTP/1.1"
    answers: Answers
    seen: ClassVar[list[Asked]]

    def _answer(self):
        self.seen.append(Asked(self.command, self.path, dict(self.headers), self._body()))
        answer = self.answers(self.seen[-1], len(self.seen))
        if answer is None:
            self.close_connection = True
            return
        status, content, *promised = answer
        self.send_response(status)
        self.send_header("Content-Length", str(promised[0] if promised else len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = bool(promised)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # the library's names

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def gateway():
    """Starts a gateway that answers so; gives a client and what it was asked."""
    servers = []

    def start(answers):
        asked: list[Asked] = []
        kind = type("Scripted", (Gateway,), {"answers": staticmethod(answers), "seen": asked})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}")
        servers.append((server, client))
        return client, asked

    yield start
    for server, client in servers:
        client.close()
        server.shutdown()
        server.server_close()


DONE = json.dumps({"id": "01B", "status": "cancelled", "done": True}).encode()
BATCH = json.dumps({"id": "01B", "status": "running", "total": 3}).encode()


def taken(request, there=0):
    """The batch with as many tasks as the request brought."""
    total = there + request.body.count(b"\n")
    return json.dumps({"id": "01B", "status": "running", "total": total}).encode()


def test_a_lost_answer_makes_no_second_batch(gateway):
    client, seen = gateway(lambda request, number: None if number == 1 else (201, BATCH))
    assert client.create_batch(tasks=[spec(execute="true")]).id == "01B"
    assert len(seen) == 2
    assert seen[0].headers["Idempotency-Key"] == seen[1].headers["Idempotency-Key"] != ""


def test_a_stream_that_can_be_read_again_is_sent_again_whole(gateway):
    client, seen = gateway(lambda request, number: None if number == 1 else (201, taken(request)))
    tasks = [spec(execute=f"echo {n}") for n in range(5000)]
    client.stream_batch(tasks, name="x", labels={"a": "b"}, finish=spec(execute="true"), open=True)
    assert [json.loads(line) for line in seen[1].body.splitlines()] == tasks
    assert seen[0].body == seen[1].body
    assert seen[0].path == seen[1].path
    for part in ("name=x", "label=a%3Ab", "open=true", "finish=%7B"):
        assert part in seen[1].path
    assert seen[0].headers["Idempotency-Key"] == seen[1].headers["Idempotency-Key"]


def test_a_stream_that_is_read_once_is_not_sent_in_part(gateway):
    client, seen = gateway(lambda request, number: None)
    with pytest.raises(Unreachable):
        client.stream_batch(iter([spec(execute="true")]), key="k")
    assert len(seen) == 1


def test_a_stream_that_lost_its_end_on_the_way_is_told_of(gateway):
    client, _ = gateway(lambda request, number: (201, BATCH))
    tasks = [*[json.dumps(spec(execute="true"))] * 4, " "]
    assert client.stream_batch([*tasks[:3], " "]).total == 3
    with pytest.raises(AccordClientError, match="took 3 of the 4 tasks"):
        client.stream_batch(tasks)


def test_a_stream_is_not_held_in_memory(gateway):
    client, _ = gateway(lambda request, number: (201, BATCH))
    sizes = [len(piece) for piece in _pieces(client, 20_000)]
    assert len(sizes) > 10
    assert max(sizes) < 80_000


def _pieces(client, number):
    from accord.client.batches import _Body

    return iter(_Body({"execute": {"command": f"echo {n}"}} for n in range(number)))


def test_a_large_finishing_task_does_not_stand_in_the_address(gateway):
    client, seen = gateway(lambda request, number: (201, BATCH))
    client.stream_batch([spec(execute="true")], finish=spec("x" * 20_000, language="python"))
    create, extend = seen
    assert json.loads(create.body)["open"] is True
    assert len(create.path) < 100
    assert extend.path == "/api/v1/batches/01B/tasks?at=0&close=true"


def test_adding_says_where_so_that_a_repeat_adds_nothing_twice(gateway):
    client, seen = gateway(
        lambda request, number: None if number == 2 else (200, taken(request, 3))
    )
    client.extend_batch("01B", [spec(execute="true")], close=True)
    assert [request.path for request in seen[1:]] == [
        "/api/v1/batches/01B/tasks?at=3&close=true"
    ] * 2


def test_results_go_on_where_the_connection_broke(gateway):
    lines = [json.dumps({"id": f"T{n}", "index": n}).encode() + b"\n" for n in range(6)]

    def answers(request, number):
        if number == 1:
            return 200, b"".join(lines[:4]) + b'{"id": "T', 9999
        return 200, b"".join(lines[4:])

    client, seen = gateway(answers)
    assert [found["index"] for found in client.batch_results("01B")] == list(range(6))
    assert seen[1].path.endswith("?after=T3")


def test_events_of_a_batch_go_on_until_it_is_done(gateway):
    def event(**fields):
        return f"event: state\ndata: {json.dumps({'id': '01B', **fields})}\n\n".encode()

    def answers(request, number):
        if number == 1:
            return 200, event(status="running") + b"event: sta", 9999
        return 200, event(status="done", done=True) + b'event: done\ndata: {"id": "01B"}\n\n'

    client, _ = gateway(answers)
    assert [batch.status for batch in client.batch_events("01B")] == ["running", "done"]


def test_a_batch_is_fine_only_with_all_of_its_tasks():
    def batch(**fields):
        return Batch.from_json({"id": "b", "status": "done", "done": True, **fields})

    assert batch(counts={"success": 3}).ok
    assert batch(counts={"success": 3}, finish_status="success").ok
    assert not batch(counts={"success": 3}, finish_status="run_failed").ok
    assert not batch(counts={"success": 3, "run_failed": 1}).ok
    assert not batch(counts={"success": 3}, broken_off=True).ok
    assert not batch(counts={"success": 3}, status="cancelled").ok
    assert not batch(counts={"success": 3}, status="running").ok
    assert batch(counts={"success": 3, "skipped": 1, "pending": 2}).failed == 1


def test_the_exit_code_of_map_is_bounded_as_in_parallel():
    class Ran:
        def __init__(self, failed):
            self.failed = failed

        def run(self, source, shown):
            return self.failed

    for failed, code in [(0, 0), (3, 3), (100, 100), (101, 101), (5000, 101)]:
        found = mapping.guarded(Ran(failed), None, Arguments([]), progress.Silent())  # type: ignore[arg-type]
        assert found == code
