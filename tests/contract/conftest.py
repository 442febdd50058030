"""Failed asserts of the shipped suites are explained as those of tests are."""

import pytest

for port in ("blobs", "clock", "judicator", "registry", "store"):
    pytest.register_assert_rewrite(f"accord.testing.{port}_suite")
