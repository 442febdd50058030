"""The tree keeps its promises: imports, the way in, and nothing that does not belong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import accord.client

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_the_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_no_exception_is_swallowed_and_nothing_is_left_undone(module):
    text = module.read_text(encoding="utf-8")
    assert not re.search(r"except[^\n]*:\n\s+pass\b", text), (
        "say why nothing is to be done: contextlib.suppress with a reason"
    )
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    if "testing" not in module.parts:  # there, a suite's subclass says how what it tests is made
        assert "raise NotImplementedError" not in text


def test_pins_are_names_and_versions_only():
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert (
            not line
            or line.startswith("#")
            or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+( ;.*)?", line)
        ), line


def test_no_machine_or_registry_is_named():
    forbidden = re.compile(
        rb"https?://[a-z.-]*(pypi|pythonhosted|npmjs|debian\.org/debian)|/(home|root)/[a-z]+/|/"
        + rb"work/"
    )
    for path in tracked():
        if path.is_file() and path.suffix not in {".png"} and path.name != "LICENSE":
            assert not forbidden.search(path.read_bytes()), path


def test_the_client_imports_nothing_of_the_rest():
    code = (
        "import sys, accord.client; "
        "print([m for m in sys.modules if m.startswith('accord.') and '.client' not in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_client_offers_is_on_its_page():
    page = (ROOT / "docs" / "howto" / "client.md").read_text(encoding="utf-8")
    for name in accord.client.__all__:
        assert name in page, f"docs/howto/client.md does not name {name}"
