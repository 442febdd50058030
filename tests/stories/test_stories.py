"""Stories: what a cluster is told, and what becomes of it, to be read as prose.

Each ``*.txt`` beside this file is one. Lines that begin with ``>`` are commands (see ``cluster``),
those that begin with ``#`` comments, the others what the cluster says. Where what it says is to
change, ``pytest tests/stories --update`` rewrites the files, and the difference is reviewed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stories.cluster import Cluster

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


def told(story: str, cluster: Cluster) -> str:
    """The story as it goes now."""
    lines = []
    for line in story.splitlines():
        if line.startswith(">"):
            lines += [line, *cluster.tell(line[1:])]
        elif not line or line.startswith("#"):
            lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    written = path.read_text(encoding="utf-8")
    now = told(written, Cluster(tmp_path))
    if request.config.getoption("--update"):
        path.write_text(now, encoding="utf-8")
        return
    assert now == written


def test_there_are_stories() -> None:
    assert len(STORIES) >= 5
