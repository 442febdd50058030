"""``accord verify``: exit codes, what a person reads, and that no platform is asked."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys

import msgspec
import pytest

from accord.adapters.memory.store import MemoryStore
from accord.adapters.signing import StoreSigner
from accord.cli import app, main
from accord.core.certificate import canonical, statement_of, written
from accord.core.cluster_key import fingerprint, to_pem
from accord.core.policy import Policy
from accord.core.replica import Verdict, content
from accord.core.task import Numbers
from accord.core.validation import validate
from accord.testing.clock import FakeClock
from tests.builders import NOW, a_result, a_task, a_task_of, over

SIGNER = StoreSigner(MemoryStore(FakeClock()))
KEPT = {"out/\x1b[31m.csv": content(b"1,2\n")}


def certificate(task, signer=SIGNER):
    statement = statement_of(
        validate(msgspec.structs.replace(task, need_validate=True), NOW, Policy()),
        signer.public_key,
        NOW + 60,
    )
    return written(statement, signer.public_key, signer.sign(canonical(statement)))


AGREED = certificate(
    a_task_of(
        "",
        name="sum",
        comparator=Numbers(rel=1e-6),
        done_time=NOW + 5,
        replicas=tuple(
            over(n, result=a_result(text, kept=KEPT), executor=f"e{n}")
            for n, text in enumerate((b"7\n", b"8\n", b"7.0\n"))
        ),
    )
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the certificate and the key are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_bytes(AGREED)
    (tmp_path / "cluster.pem").write_text(to_pem(SIGNER.public_key))
    monkeypatch.delenv("ACCORD_CLUSTER_KEY", raising=False)
    monkeypatch.setenv("ACCORD_URL", "http://127.0.0.1:1")  # nobody is there to be asked
    return tmp_path


@pytest.fixture
def verify(folder, monkeypatch, capsys):
    """Runs ``accord verify`` here; gives its exit code, stdout and stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["accord", "verify", *argv])
        code = main.guarded(app.run)
        return code, *capsys.readouterr()

    return call


KEY = ("--key", "cluster.pem")


def facts(out):
    """What it says, by the words before it."""
    return dict(re.split(r"\s{2,}|(?<=by) ", line, maxsplit=1) for line in out.splitlines()[1:14])


def test_a_valid_one_is_told_to_a_person(verify):
    code, out, err = verify("c.json", *KEY)
    assert (code, err) == (0, "")
    assert out.startswith("Valid")
    told = facts(out)
    assert told["name"] == "sum"
    assert told["verdict"] == "ok"
    assert told["agreed"] == "2 of 3 runs, where 2 had to"
    assert told["executors"] == "e0, e2"
    assert told["compared by"].startswith("numbers")
    assert told["added"] == "2023-11-14 22:13:20 UTC"
    assert told["decided"] == "2023-11-14 22:13:25 UTC"
    assert told["issued"] == "2023-11-14 22:14:20 UTC"
    assert fingerprint(SIGNER.public_key) in out
    assert content(b"7\n").digest in out
    assert "\x1b" not in out  # a program names its files as it likes


def test_one_that_nobody_confirmed_says_so(verify, folder):
    (folder / "one.json").write_bytes(certificate(a_task(replicas=(over(),))))
    code, out, _ = verify("one.json", *KEY)
    assert code == 0
    assert "nobody confirmed it" in out


def test_what_people_and_executors_are_called_does_not_steer_the_terminal(verify, folder):
    (folder / "c.json").write_bytes(certificate(a_task(replicas=(over(),), name="\x1b[2J")))
    code, out, _ = verify("c.json", *KEY)
    assert code == 0
    assert r"\x1b[2J" in out
    assert "\x1b" not in out


def test_the_key_may_be_named_by_the_environment(verify, monkeypatch):
    monkeypatch.setenv("ACCORD_CLUSTER_KEY", "cluster.pem")
    assert verify("c.json")[0] == 0


def test_it_reads_standard_input(verify, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(AGREED)))
    assert verify("-", *KEY)[0] == 0


def told(answer, code, *words):
    """It failed so, in one line that has these words."""
    found, out, err = answer
    assert (found, out, err.count("\n")) == (code, "", 1)
    for word in words:
        assert word in err


def test_the_key_in_the_file_is_never_trusted(verify):
    told(verify("c.json"), 2, "accord key > cluster.pem", "--key")


def test_what_was_changed_is_refused(verify, folder):
    (folder / "c.json").write_bytes(AGREED.replace(b'"agreed":2', b'"agreed":3'))
    told(verify("c.json", *KEY), 1, "c.json is refused", "changed")
    document = json.loads(AGREED)
    (folder / "c.json").write_text(json.dumps(document, indent=2))
    told(verify("c.json", *KEY), 1, "refused", "spelled")


def test_what_another_cluster_signed_is_refused_and_both_keys_are_named(verify, folder):
    stranger = StoreSigner(MemoryStore(FakeClock()))
    (folder / "c.json").write_bytes(certificate(a_task(replicas=(over(),)), stranger))
    keys = (fingerprint(SIGNER.public_key), fingerprint(stranger.public_key))
    told(verify("c.json", *KEY), 1, *keys)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"hello", to_pem(b"k" * 32).encode(), b" " * 3_000_000]
)
def test_what_is_no_certificate_is_a_misuse(verify, folder, data):
    (folder / "c.json").write_bytes(data)
    told(verify("c.json", *KEY), 2, "c.json: This is no certificate", "accord certificate")
    told(verify("c.json"), 2, "This is no certificate")


def test_files_that_are_not_there_are_named(verify):
    told(verify("absent.json", *KEY), 2, "absent.json cannot be read")
    told(verify("c.json", "--key", "absent.pem"), 2, "absent.pem cannot be read")
    told(verify("c.json", "--key", "c.json"), 2, "c.json", "no Ed25519 public key", "accord key")
    told(verify("c.json", *KEY, "--output", "absent"), 2, "absent cannot be read")
    told(verify(".", *KEY), 2, "cannot be read")


def test_an_output_is_compared_with_the_certified_one(verify, folder):
    (folder / "good").write_bytes(b"7\n")
    (folder / "bad").write_bytes(b"8\n")
    code, out, _ = verify("c.json", *KEY, "--output", "good")
    assert code == 0
    assert "good is that standard output" in out
    told(verify("c.json", *KEY, "--output", "bad"), 1, "bad is refused", content(b"7\n").digest)
    broken = a_result(verdict=Verdict.COMPILE_ERROR, execute=None)
    (folder / "c.json").write_bytes(certificate(a_task(replicas=(over(result=broken),))))
    told(verify("c.json", *KEY, "--output", "good"), 1, "was not run")


@pytest.mark.parametrize(("data", "code"), [(AGREED, 0), (AGREED[:-9] + AGREED[-8:], 2)])
def test_a_process_of_its_own_says_the_same(folder, data, code):
    done = subprocess.run(
        [sys.executable, "-m", "accord", "verify", "-", *KEY],
        input=data,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.startswith(b"Valid") == (code == 0)
