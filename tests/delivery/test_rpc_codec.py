"""Nothing is lost or changed on the wire, and whatever comes in is a value or a clear refusal."""

from __future__ import annotations

import contextlib
import enum
import inspect
import os
import shutil
import struct
import subprocess
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.core import documents
from accord.core.batch import (
    Batch,
    BatchPage,
    BatchSource,
    BatchStatus,
    BatchView,
    Counters,
    NewBatch,
)
from accord.core.errors import AccordError, Corrupt, Invalid, NotFound, TooLarge, all_errors
from accord.core.executor import Executor, ExecutorInfo, ExecutorState, Isolation
from accord.core.ids import BatchId, ExecutorName, SessionId, TaskId, UserName
from accord.core.limits import EXECUTE_DEFAULTS
from accord.core.parameters import Values
from accord.core.replica import (
    Content,
    ErrorClass,
    Failure,
    Outcome,
    Phase,
    Result,
    StepResult,
    Verdict,
    content,
)
from accord.core.search import Page, Query, Summary
from accord.core.status import Status
from accord.core.task import NewTask, Spec, Step
from accord.core.user import Role, Token
from accord.delivery.rpc import codec
from accord.delivery.rpc.binary import CALL, ELEMENTS, Malformed, Reader, write
from accord.delivery.rpc.dispatch import parse
from accord.delivery.rpc.frames import FRAME
from accord.delivery.rpc.idl import PATH, WIRE
from accord.delivery.rpc.methods import BY_WIRE, METHODS, Declared
from accord.ports.judicator import (
    Assignment,
    Finished,
    Held,
    Judicator,
    News,
    Orders,
    Pong,
    Report,
    Results,
    TaskView,
)
from accord.ports.store import Chunk
from tests.builders import a_task
from tests.delivery.rpc_values import TEXTS, values

ID = TaskId("01ARZ3NDEKTSV4RRFFQ69G5FAV")
ENUMS: list[type[enum.Enum]] = [Phase, Verdict, Outcome, ErrorClass, Status, ExecutorState, Role]
STRUCTS = [
    Assignment, Chunk, Content, Executor, ExecutorInfo, Failure, Finished, Held, Isolation, News,
    Orders, Pong, Report, Result, Results, StepResult, TaskView, Token,
]  # fmt: skip
HINTS = {name: typing.get_type_hints(getattr(Judicator, name)) for name in METHODS}


def a_report(**changes: Any) -> Report:
    plain = Report(
        executor=ExecutorName("e1"), session=SessionId("s1"), sequence=1, poll=True, vacant=2
    )
    return msgspec.structs.replace(plain, **changes)


def a_new_task(name: str = "", **spec: Any) -> NewTask:
    step = Step(command="true", limits=EXECUTE_DEFAULTS)
    return NewTask(user=UserName("u"), name=name, spec=Spec(execute=step, **spec))


def a_sweep_of(*values: int) -> NewBatch:
    return NewBatch(
        user=UserName("u"),
        source=BatchSource.TEMPLATE,
        template=a_new_task(),
        axes=(Values(name="n", values=values),),
    )


def sent(name: str, *arguments: Any) -> list[Any]:
    """The arguments as they come out at the server."""
    message = METHODS[name].request(5, arguments)
    request = parse(message)
    assert not request.refusal
    assert request.header.sequence == 5
    return request.arguments


# -- the definition is the code's ---------------------------------------------------------


@pytest.mark.parametrize("type_", ENUMS, ids=lambda t: t.__name__)
def test_every_enum_of_the_definition_is_the_cores(type_):
    wire = getattr(WIRE, type_.__name__)
    assert set(wire._NAMES_TO_VALUES) == {member.name for member in type_}


def test_no_enum_of_the_definition_is_forgotten_here():
    found = {n for n, v in vars(WIRE).items() if hasattr(v, "_NAMES_TO_VALUES")}
    assert found == {t.__name__ for t in ENUMS}


@pytest.mark.parametrize("type_", STRUCTS, ids=lambda t: t.__name__)
def test_every_field_of_the_ports_is_in_the_definition_and_none_besides(type_):
    wire = {spec[1] for spec in getattr(WIRE, type_.__name__).thrift_spec.values()}
    ours = {f.name for f in msgspec.structs.fields(type_)}
    renamed = {"inline": {"data"}, "next": {"cursor"}, "end": {"result", "failure"}}
    assert wire == set().union(*(renamed.get(name, {name}) for name in ours))


def test_every_method_of_the_port_is_in_the_definition_and_none_besides():
    ours = {n for n, _ in inspect.getmembers(Judicator, inspect.isfunction) if n[0] != "_"}
    assert set(METHODS) == ours
    assert set(BY_WIRE) == set(WIRE.Judicator.thrift_services)


def test_every_method_declares_the_one_error():
    for name in WIRE.Judicator.thrift_services:
        spec = getattr(WIRE.Judicator, f"{name}_result").thrift_spec
        assert [s[2] for number, s in spec.items() if number] == [WIRE.Fault], name


def test_apaches_compiler_takes_the_definition(tmp_path):
    compiler = shutil.which("thrift")
    if compiler is None:
        assert not os.environ.get("CI"), "make deps-system installs the compiler"
        pytest.skip("there is no thrift compiler here; make deps-system installs it")
    for language in ("py", "java", "cpp"):
        done = subprocess.run(
            [compiler, "-strict", "-o", tmp_path, "--gen", language, PATH],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- round trips --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(METHODS))
@settings(max_examples=60)
@given(data=st.data())
def test_arguments_come_out_as_they_went_in(name, data):
    hints = [h for n, h in HINTS[name].items() if n != "return"]
    arguments = [data.draw(values(h)) for h in hints]
    assert sent(name, *arguments) == arguments


@pytest.mark.parametrize("name", sorted(METHODS))
@settings(max_examples=60)
@given(data=st.data())
def test_results_come_out_as_they_went_in(name, data):
    result = data.draw(values(HINTS[name]["return"]))
    method = METHODS[name]
    assert method.response(method.reply(9, result), 9) == result


FACTS = st.none() | st.integers() | st.floats(allow_nan=False) | TEXTS


@settings(max_examples=200)
@given(
    cls=st.sampled_from(list(all_errors().values())),
    message=st.text(max_size=50),
    facts=st.dictionaries(st.text(max_size=9), FACTS | st.integers(-(2**70), 2**70), max_size=4),
)
def test_every_error_comes_out_as_it_went_in(cls, message, facts):
    went = cls(message)
    went.fields = facts
    with pytest.raises(Declared) as raised:
        METHODS["purge"].response(METHODS["purge"].failure(3, went), 3)
    came = raised.value.error
    assert type(came) is cls
    assert came.message == went.message.encode("utf-8", "replace").decode()
    assert came.fields == {
        k.encode("utf-8", "replace").decode(): v
        if not isinstance(v, int) or -(2**63) <= v < 2**63
        else str(v)
        for k, v in facts.items()
    }


def test_an_error_that_a_newer_judicator_knows_keeps_its_code_and_message():
    came = codec.error({"code": "too_sunny", "message": "Wait for clouds.", "fields": {}})
    assert type(came) is AccordError
    assert (came.message, came.fields) == ("Wait for clouds.", {"code": "too_sunny"})


def test_output_that_is_no_text_comes_out_byte_for_byte():
    blob = bytes(range(256)) * 10
    end = Result(verdict=Verdict.OK, execute=StepResult(exit_code=0, stdout=content(blob)))
    finished = Finished(task=ID, number=0, session=SessionId("s1"), end=end)
    (came,) = sent("report", a_report(complete=(finished,)))
    assert came.complete[0].end.execute.stdout.inline == blob


# -- bad values ---------------------------------------------------------------------------


def a_wire_report(**changes: Any) -> Any:
    fields = {"executor": "e1", "session": "s1", "sequence": 1, "poll": True, **changes}
    return WIRE.Judicator.report_args(report=WIRE.Report(**fields))


def a_wire_held(**changes: Any) -> Any:
    return WIRE.Held(**{"task": ID, "number": 0, "session": "s1", **changes})


def outcome(payload: Any, name: str = "report") -> AccordError | None:
    return refused(write(name, CALL, 1, payload))


def refused(message: bytes) -> AccordError | None:
    """What is answered at once, if it is."""
    request = parse(message)
    if not request.refusal:
        return None
    assert request.method
    with pytest.raises(Declared) as raised:
        request.method.response(request.refusal, request.header.sequence)
    return raised.value.error


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (a_wire_report(executor=None), "report.executor"),
        (a_wire_report(poll=None), "report.poll"),
        (a_wire_report(executor="no spaces"), "report.executor"),
        (a_wire_report(session=""), "report.session"),
        (a_wire_report(session="s" * 129), "report.session"),
        (a_wire_report(wait=float("nan")), "report.wait"),
        (a_wire_report(wait=float("inf")), "report.wait"),
        (a_wire_report(holds=[a_wire_held(), a_wire_held(task="1")]), "report.holds[1].task"),
        (a_wire_report(holds=[a_wire_held(phase=99)]), "report.holds[0].phase"),
        (a_wire_report(holds=[a_wire_held(number=None)]), "report.holds[0].number"),
        (
            a_wire_report(
                complete=[
                    WIRE.Finished(
                        task=ID,
                        number=0,
                        session="s",
                        started=True,
                        result=WIRE.Result(verdict=1, kept={"a": WIRE.Content(digest="x", size=1)}),
                    )
                ]
            ),
            "report.complete[0].result.kept.a.digest",
        ),
        (
            a_wire_report(
                complete=[
                    WIRE.Finished(
                        task=ID,
                        number=0,
                        session="s",
                        started=True,
                        result=WIRE.Result(verdict=1),
                        failure=WIRE.Failure(error_class=1, message=""),
                    )
                ]
            ),
            "report.complete[0].failure",
        ),
    ],
)
def test_a_bad_value_is_refused_by_its_path(report, field):
    error = outcome(report)
    assert isinstance(error, Invalid)
    assert error.fields["field"] == field
    assert field in error.message


def test_an_argument_that_is_left_out_is_named():
    error = outcome(WIRE.Judicator.get_args(id=ID), "get")
    assert isinstance(error, Invalid)
    assert error.fields["field"] == "wait"


def test_an_id_that_is_none_names_nothing():
    assert isinstance(outcome(WIRE.Judicator.batch_args(id="../etc", wait=0.0), "batch"), NotFound)
    assert isinstance(outcome(WIRE.Judicator.explain_args(id="../etc"), "explain"), NotFound)


def test_a_task_id_is_taken_in_any_case():
    assert sent("explain", ID.lower()) == [ID]


def test_text_that_is_not_utf8_is_refused_by_its_field():
    payload = WIRE.Judicator.steer_args(name=b"\xff\xfe", verb="drain")
    error = outcome(payload, "steer")
    assert isinstance(error, Invalid)
    assert error.fields["field"] == "name"


def test_a_value_of_another_type_is_refused_by_its_field():
    message = bytearray(METHODS["explain"].request(1, [ID]))
    at = message.index(b"explain") + len("explain") + 4
    assert message[at] == 11
    wrong = bytes(message[:at]) + b"\x0a\x00\x01" + b"\0" * 8 + b"\0"  # an i64 as the id
    error = refused(wrong)
    assert isinstance(error, Invalid)
    assert error.fields["field"] == "id"


def test_a_field_that_is_not_known_is_passed_over():
    message = METHODS["explain"].request(1, [ID])
    more = b"\x0d\x00\x63" + struct.pack("!bbi", 11, 12, 1) + b"\0\0\0\x01k" + b"\x08\0\x01abcd\0"
    assert parse(message[:-1] + more + b"\0").arguments == [ID]


def test_a_document_that_cannot_be_read_is_refused_by_its_path():
    error = outcome(WIRE.Judicator.add_args(tasks=[b"\x80"]), "add")
    assert isinstance(error, Invalid)
    assert error.fields["field"] == "tasks[0]"


def test_a_deep_document_is_refused():
    deep = b"\x81\xa1z" + b"\x91" * 500_000 + b"\xc0"
    assert outcome(WIRE.Judicator.add_args(tasks=[deep]), "add") is not None
    deep = b"\x81\xa1z" + b"\x91" * 1000 + b"\xc0"
    with pytest.raises(Corrupt):
        documents.decode(deep[:3] + b"\x91" * 5000 + b"\xc0", NewTask)


def test_a_document_of_many_small_values_is_refused():
    flood = b"\x81\xa7outputs\xdd" + struct.pack(">I", 500_000) + b"\xa0" * 500_000
    assert isinstance(outcome(WIRE.Judicator.add_args(tasks=[flood]), "add"), TooLarge)


@pytest.mark.parametrize(("name", "about"), [("add", {}), ("extend_batch", {"id": ID, "at": 0})])
def test_many_tasks_are_refused_on_both_sides(name, about):
    arguments = [*about.values(), [a_new_task()] * 101, *([True] if about else [])]
    with pytest.raises(Invalid) as raised:
        METHODS[name].request(1, arguments)
    assert raised.value.fields["most"] == 100
    made = getattr(WIRE.Judicator, f"{name}_args")(**about)
    made.tasks = [documents.encode(a_new_task())] * 101
    made.close = True
    error = outcome(made, name)
    assert isinstance(error, Invalid)
    assert error.fields["most"] == 100


def test_a_large_task_is_refused_with_the_bound_named():
    with pytest.raises(TooLarge) as raised:
        METHODS["add"].request(1, [[a_new_task(name="x" * (1 << 20))]])
    assert raised.value.fields["bound"] == 1 << 20


def test_a_large_message_is_refused_with_the_bound_named():
    with pytest.raises(TooLarge) as raised:
        METHODS["write_blob"].request(1, ["up", 0, b"x" * FRAME])
    assert raised.value.fields["bound"] == FRAME


def test_a_large_piece_of_a_blob_is_refused_with_the_bound_named():
    payload = WIRE.Judicator.write_blob_args(upload="u", offset=0, data=b"x" * ((1 << 20) + 1))
    error = outcome(payload, "write_blob")
    assert isinstance(error, TooLarge)
    assert error.fields["bound"] == 1 << 20


def test_a_long_text_is_refused_with_the_bound_named():
    error = outcome(WIRE.Judicator.explain_args(id="0" * 100_000), "explain")
    assert isinstance(error, TooLarge)
    assert error.fields["bound"] == 1 << 16


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("steer", ["\ud800", "drain"]),
        ("read_blob", ["0" * 64, 1 << 70, 1]),
        ("report", [a_report(vacant=1 << 40)]),
        ("add", [[a_new_task(name="\ud800")]]),
        ("create_batch", [a_sweep_of(1 << 70)]),
    ],
)
def test_a_value_that_cannot_be_sent_is_refused(name, arguments):
    with pytest.raises(Invalid):
        METHODS[name].request(1, arguments)


# -- what does not fit into one answer -----------------------------------------------------


def test_assignments_beyond_a_frame_are_left_for_the_next_poll():
    task = a_task(name="x" * 900_000)
    assigned = tuple(Assignment(task=task, number=n, session=SessionId("s")) for n in range(20))
    orders = Orders(sequence=1, assign=assigned, cancel=((ID, 3),))
    method = METHODS["report"]
    data = method.reply(1, orders)
    came = method.response(data, 1)
    assert len(data) <= FRAME
    assert came.assign == assigned[: len(came.assign)]
    assert 1 <= len(came.assign) < 20
    assert came.cancel == orders.cancel


def a_summary(number: int) -> Summary:
    return Summary(
        id=TaskId(f"{number:026d}"), user=UserName("u"), name="x" * 100_000, labels={}, priority=0,
        status=Status.PENDING, add_time=1.0,
    )  # fmt: skip


def test_a_page_beyond_a_frame_ends_early_with_its_cursor_there():
    items = tuple(a_summary(n) for n in range(200))
    method = METHODS["search"]
    came = method.response(method.reply(1, Page(items=items, total=200)), 1)
    assert came.items == items[: len(came.items)]
    assert 1 <= len(came.items) < 200
    assert (came.next, came.total) == (came.items[-1].id, 200)


def a_batch_view(number: int) -> BatchView:
    batch = Batch(
        id=BatchId(f"{number:026d}"), user=UserName("u"), source=BatchSource.LIST, created=1.0,
        name="x" * 100_000,
    )  # fmt: skip
    return BatchView(batch=batch, counters=Counters(), status=BatchStatus.RUNNING, now=2.0)


def test_a_page_of_batches_beyond_a_frame_ends_early_with_its_cursor_there():
    items = tuple(a_batch_view(n) for n in range(200))
    method = METHODS["batches"]
    came = method.response(method.reply(1, BatchPage(items=items)), 1)
    assert came.items == items[: len(came.items)]
    assert 1 <= len(came.items) < 200
    assert came.next == came.items[-1].batch.id


def test_results_beyond_a_frame_end_early_with_their_cursor_there():
    made = [b'{"index":%d,"id":"%026d","stdout":"%s"}' % (n, n, b"x" * 300_000) for n in range(100)]
    method = METHODS["results"]
    came = method.response(method.reply(1, Results(lines=tuple(made))), 1)
    assert came.lines == tuple(made[: len(came.lines)])
    assert 1 <= len(came.lines) < 100
    assert came.next == f"{len(came.lines) - 1:026d}"


def test_a_line_of_results_may_be_long():
    line = b'{"stdout":"%s"}' % (b"x" * (3 << 20))
    method = METHODS["results"]
    assert method.response(method.reply(1, Results(lines=(line,))), 1).lines == (line,)


def test_as_many_small_values_as_a_batch_may_list_are_taken_and_no_more():
    most = a_sweep_of(*(n % 10 for n in range(codec.VALUES)))
    assert sent("create_batch", most) == [most]
    flood = WIRE.Judicator.create_batch_args(batch=documents.encode(a_sweep_of(*[1] * 500_000)))
    assert isinstance(outcome(flood, "create_batch"), TooLarge)


def test_an_answer_that_has_no_parts_is_refused_with_the_bound_named():
    with pytest.raises(TooLarge):
        METHODS["explain"].reply(1, "x" * FRAME)


# -- hostile bytes -------------------------------------------------------------------------


def a_list_of(kind: int, count: int, elements: bytes) -> bytes:
    """A report whose field of that number and type is a list."""
    head = write("report", CALL, 1, WIRE.Judicator.report_args())[:-1]
    return head + b"\x0c\0\x01" + b"\x0f\0\x09" + struct.pack("!bi", kind, count) + elements


@pytest.mark.parametrize("kind", [12, 2, 11, 13])
def test_millions_of_empty_elements_are_refused_before_they_are_read(kind):
    data = a_list_of(kind, 4_000_000, b"\0" * 4_000_000)
    assert isinstance(refused(data), TooLarge)


@pytest.mark.parametrize(
    ("kind", "level"),
    [(12, b"\x0c\0\x63"), (15, b"\x0f\0\0\0\x01"), (13, b"\x02\x0d\0\0\0\x01\0")],
    ids=["structs", "lists", "maps"],
)
def test_deep_nesting_is_refused(kind, level):
    head = write("report", CALL, 1, WIRE.Judicator.report_args())[:-1]
    with pytest.raises(Malformed, match="nested"):
        parse(head + bytes([kind]) + b"\0\x63" + level * 20_000)


def test_a_count_that_costs_nothing_to_send_costs_nothing_to_read():
    with pytest.raises(Malformed):
        parse(a_list_of(12, ELEMENTS - 100, b""))
    with pytest.raises(Malformed):
        parse(a_list_of(12, -1, b""))


@pytest.mark.parametrize("kind", [2, 3, 4])
def test_what_is_no_call_ends_the_connection(kind):
    with pytest.raises(Malformed):
        parse(write("ping", kind, 1, WIRE.Judicator.ping_args()))


def test_bytes_after_the_message_end_the_connection():
    with pytest.raises(Malformed):
        parse(METHODS["ping"].request(1, []) + b"\0")


VALID = [
    METHODS["report"].request(
        1,
        [
            a_report(
                holds=(Held(task=ID, number=1, session=SessionId("s"), phase=Phase.RUNNING),),
                output=(Chunk(task=ID, number=1, stream="stdout", offset=0, data=b"x"),),
            )
        ],
    ),
    METHODS["add"].request(1, [[a_new_task()]]),
    METHODS["search"].request(1, [Query(text="a")]),
    METHODS["create_batch"].request(1, [a_sweep_of(1, 2)]),
    METHODS["extend_batch"].request(1, [ID, 0, [a_new_task()], True]),
]


def taken(data: bytes) -> None:
    """A value or a refusal; anything else would be a traceback in the judicator's log."""
    with contextlib.suppress(Malformed):
        parse(data)


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data):
    taken(data)
    taken(VALID[0][:15] + data)


@settings(max_examples=1000)
@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
def test_any_changed_byte_is_a_message_or_malformed(valid, changes):
    data = bytearray(valid)
    for at, value in changes:
        data[at % len(data)] = value
    taken(bytes(data))


@given(st.sampled_from(VALID), st.integers(0))
def test_any_part_of_a_message_is_malformed(valid, at):
    with pytest.raises(Malformed):
        parse(valid[: at % len(valid)])


# -- answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        METHODS["ping"].reply(8, Pong(name="j", version="1", now=1.0, leader=True)),
        METHODS["explain"].reply(7, "x"),
        write("ping", 2, 7, WIRE.Judicator.ping_result()),
        write("ping", 2, 7, WIRE.Judicator.ping_result(success=WIRE.Pong(name="j"))),
        METHODS["ping"].request(7, []),
        b"",
        b"HTTP/1.1 400 Bad Request",
    ],
    ids=["other id", "other method", "no result", "half a result", "a call", "nothing", "HTTP"],
)
def test_what_is_no_answer_to_the_call_is_malformed(data):
    with pytest.raises(Malformed):
        METHODS["ping"].response(data, 7)


def test_the_reader_takes_the_protocol_of_others():
    """The header, byte for byte as the specification of the strict binary protocol has it."""
    data = b"\x80\x01\x00\x01" + b"\0\0\0\x04ping" + b"\0\0\0\x2a" + b"\0"
    assert Reader(data).header() == ("ping", 1, 42)
    assert data == METHODS["ping"].request(42, [])
