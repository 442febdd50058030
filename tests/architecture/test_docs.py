"""The docs say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from accord.core.executor import ISOLATION_LEVELS
from accord.core.replica import ErrorClass, Outcome, ReplicaState, Verdict
from accord.core.status import OPEN, Reason, Status

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STATES = (ROOT / "docs" / "reference" / "states.md").read_text(encoding="utf-8")


def diagram(after: str) -> str:
    """The first mermaid diagram after that sentence."""
    return ARCHITECTURE.split(after, 1)[1].split("```mermaid", 1)[1].split("```", 1)[0]


def test_the_tables_that_follow_from_the_code_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"run python docs/generate.py\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_status_is_in_the_diagram_and_final_ones_end_there():
    shown = diagram("The status that users see")
    for status in Status:
        assert re.search(rf"\b{status}\b", shown), f"{status} is not in the diagram"
        assert (f"{status} --> [*]" in shown) == (status not in OPEN), f"{status} --> [*]"


def test_every_state_of_a_replica_is_in_the_diagram():
    shown = diagram("A replica goes one way")
    for state in ReplicaState:
        assert state in shown


@pytest.mark.parametrize("kind", [Status, Reason, Verdict, Outcome, ErrorClass])
def test_the_page_of_states_names_every_value(kind):
    for value in kind:
        assert f"`{value}`" in STATES, f"docs/reference/states.md does not name {value}"


def test_final_statuses_are_marked_as_such():
    for status in Status:
        row = next(line for line in STATES.splitlines() if line.startswith(f"| `{status}` |"))
        assert (row.split("|")[2].strip() == "yes") == status.done


def test_the_isolation_levels_are_explained():
    text = (ROOT / "docs" / "explanation" / "box.md").read_text(encoding="utf-8")
    for level in ISOLATION_LEVELS:
        if level.startswith("bwrap"):
            assert f"`{level}`" in text


def test_every_rule_that_the_core_cites_is_stated():
    stated = set()
    for match in re.finditer(
        r"\*\*([A-Z]\d+)(?:[-,]\s?([A-Z]\d+))*\*\*",
        (ROOT / "docs/reference/redundancy.md").read_text(encoding="utf-8"),
    ):
        ends = [int(n) for n in re.findall(r"\d+", match[0])]
        stated |= {f"{match[1][0]}{n}" for n in range(ends[0], ends[-1] + 1)}
    for module in (ROOT / "src/accord/core").glob("*.py"):
        for rule in re.findall(r"\b[Rr]ules? ([STRVAF]\d+)", module.read_text(encoding="utf-8")):
            assert rule in stated, (
                f"{module.name} cites {rule}, which docs/reference/redundancy.md does not state"
            )
