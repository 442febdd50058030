"""Where a setting comes from, and how a wrong one is refused."""

from __future__ import annotations

import pytest

from accord.config import load
from accord.core.errors import Invalid


@pytest.fixture
def file(tmp_path):
    """Writes a configuration file; gives its path."""

    def write(text):
        path = tmp_path / "accord.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(file):
    path = file("[gateway]\nport = 1\nhost = 'a'\n[executor]\nslots = 1\n")
    env = {"ACCORD_GATEWAY_PORT": "2", "ACCORD_EXECUTOR_SLOTS": "2", "ACCORD_URL": "http://x"}
    settings = load(path, env, {"gateway": {"port": 3}})
    assert (settings.gateway.port, settings.gateway.host, settings.executor.slots) == (3, "a", 2)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nonsense = 1", "nonsense"),
        ("[gateway]\nprot = 1", "gateway.prot"),
        ("[caps]\nmemry = 1", "caps.memry"),
        ("[policy]\nretry = 1", "policy.retry"),
        ("[[sandbox.mounts]]\nsource = '/a'\nwriteable = true", "writeable"),
    ],
)
def test_an_unknown_setting_is_refused_by_name_and_file(file, text, name):
    path = file(text)
    with pytest.raises(Invalid) as refused:
        load(path, {}, {})
    assert name in refused.value.message
    assert str(path) in refused.value.message


def test_an_unknown_setting_in_the_environment_is_refused():
    with pytest.raises(Invalid, match=r"gateway\.prot, which is in the environment"):
        load(None, {"ACCORD_GATEWAY_PROT": "1"}, {})


def test_a_variable_that_only_begins_like_a_setting_is_none_of_ours():
    env = {"ACCORD_DATA": "/data", "ACCORD_DATA_HOME": "x", "ACCORD_GATEWAY": "x"}
    assert load(None, env, {}).data == "/data"


@pytest.mark.parametrize("text", ["port = ", b"\xff\xfe", "[gateway]\nport = 'x'", "gateway = 1"])
def test_what_cannot_be_read_is_refused_with_the_files_name(file, text):
    path = file(text)
    with pytest.raises(Invalid, match=r"accord\.toml"):
        load(path, {}, {})


def test_an_executor_that_would_be_lost_between_two_signs_of_life_is_refused():
    with pytest.raises(Invalid, match=r"executor\.lease \(15\).*judicator\.lease \(5\)"):
        load(None, {"ACCORD_JUDICATOR_LEASE": "5"}, {})
    env = {"ACCORD_JUDICATOR_LEASE": "5", "ACCORD_EXECUTOR_LEASE": "5"}
    assert load(None, env, {}).judicator.lease == 5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[trust]\ndaily_quota = 0", "trust.daily_quota"),
        ("[trust]\nquarantine_after = 0", "trust.quarantine_after"),
        ("[trust]\ncheck_floor = 1.5", "trust.check_floor"),
        ("[executor]\nbenchmark = -1.0", "executor.benchmark"),
        ("[executor]\nbenchmark = 5000.0", "executor.benchmark"),
    ],
)
def test_what_no_policy_of_trust_can_be_is_refused(file, text, name):
    with pytest.raises(Invalid, match=name):
        load(file(text), {}, {})


def test_trust_is_a_group_of_its_own(file):
    settings = load(file("[trust]\nprobation = 9\n"), {"ACCORD_TRUST_REST": "5"}, {})
    assert (settings.trust.probation, settings.trust.rest) == (9, 5.0)


def test_more_toolchains_of_a_language_are_a_list_of_tables(file):
    text = "[[executor.languages]]\nname = 'python@3.12'\nmounts = ['/opt/python3.12']\n"
    (found,) = load(file(text), {}, {}).executor.languages
    assert (found.name, found.mounts) == ("python@3.12", ("/opt/python3.12",))


@pytest.mark.parametrize("name", ["python", "python@", "cobol@1", "python@../x", "Python@3", ""])
def test_a_toolchain_has_the_name_of_a_language_and_another(file, name):
    with pytest.raises(Invalid, match="languages"):
        load(file(f"[[executor.languages]]\nname = '{name}'\n"), {}, {})


def test_two_toolchains_of_one_name_are_refused(file):
    twice = "[[executor.languages]]\nname = 'c@14'\n" * 2
    with pytest.raises(Invalid, match="c@14 twice"):
        load(file(twice), {}, {})
