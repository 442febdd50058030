"""The promises of ports.sandbox, kept by bubblewrap at every accounting that this machine has."""

from __future__ import annotations

import pytest

from accord.adapters.sandbox.bwrap import BwrapSandbox
from accord.adapters.system import SystemClock
from accord.config import SandboxSettings
from accord.core.errors import SandboxError
from accord.core.limits import MIB
from accord.testing.sandbox_suite import PROMISES

pytestmark = pytest.mark.box

SETTINGS = SandboxSettings(archive_bytes=32 * MIB, archive_entries=200)
FIRST_UID = 210_000


@pytest.fixture(scope="module", params=["v2", "v1", "poll"])
def sandbox(request):
    try:
        made = BwrapSandbox(
            SandboxSettings(
                cgroup=request.param,
                archive_bytes=SETTINGS.archive_bytes,
                archive_entries=SETTINGS.archive_entries,
            ),
            SystemClock(),
            FIRST_UID,
        )
    except SandboxError as error:
        if request.param == "poll":
            raise
        pytest.skip(error.message)
    yield made
    made.close()


@pytest.mark.parametrize("promise", PROMISES)
def test_it_promises_that(promise, sandbox):
    PROMISES[promise](sandbox)
