from __future__ import annotations

import os

import pytest

from batcher.environment import COMETAPI, SIMULATED_KEY, Environment
from batcher.errors import ConfigurationError, MissingKeyError, UsageError

KEY = "sk-test-0001"
GATEWAY = "https://gateway.example"
HOME = "https://api.cometapi.com"


def endpoint(process=None, file=None, **options):
    return Environment(process=process or {}, file=file or {}).endpoint(COMETAPI, **options)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return str(path)


# ---- where a value comes from -------------------------------------------------------------------------------------


def test_the_process_goes_before_the_file():
    environment = Environment(process={"A": "process"}, file={"A": "file", "B": "file"})
    assert [environment.get(name) for name in "ABC"] == ["process", "file", None]


def test_empty_means_unset():
    assert Environment(process={"A": ""}, file={"A": "file"}).get("A") == "file"
    assert Environment(process={"A": ""}).get("A") is None


def test_a_env_file_in_the_working_directory_is_read_but_not_put_into_the_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHER_NAMESPACE", "of-process")
    (tmp_path / ".env").write_text("BATCHER_NAMESPACE=of-file\nCOMETAPI_KEY='sk-1'\nEMPTY\nSHELL=$(touch hacked)\n")
    environment = Environment.read()
    assert environment.get("BATCHER_NAMESPACE") == "of-process"
    assert environment.file["COMETAPI_KEY"] == "sk-1"
    assert "COMETAPI_KEY" not in environment.process
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_without_a_env_file_there_is_the_process_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Environment.read().file == {}


def test_a_named_env_file_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        Environment.read(tmp_path / "missing.env")
    (tmp_path / "my.env").write_text("COMETAPI_KEY=sk-1\n")
    assert Environment.read(tmp_path / "my.env").has_key()


# ---- the account --------------------------------------------------------------------------------------------------


def test_the_simulator_needs_nothing():
    made = Environment(process={"COMETAPI_BASE_URL": GATEWAY, "COMETAPI_KEY": KEY}).endpoint("simulator")
    assert (made.scope, made.key, made.base_url) == ("simulator", SIMULATED_KEY, None)
    assert made.is_simulated
    assert made.is_loopback


def test_a_key_alone_leads_to_cometapi():
    made = endpoint({"COMETAPI_KEY": f" {KEY}\n"})
    assert (made.provider, made.scope, made.key, made.base_url) == (COMETAPI, "cometapi", KEY, HOME)
    assert not made.is_simulated
    assert not made.is_loopback


def test_an_endpoint_does_not_show_its_key():
    made = endpoint({"COMETAPI_KEY": KEY})
    assert KEY not in repr(made)
    assert KEY not in made.fingerprint
    assert made.fingerprint != endpoint({"COMETAPI_KEY": KEY + "x"}).fingerprint


def test_an_environment_does_not_show_its_keys():
    """It is in the locals of every frame that a traceback may print."""
    assert KEY not in repr(Environment(process={"COMETAPI_KEY": KEY}, file={"COMETAPI_KEY": KEY}))


def test_another_base_url_is_another_world():
    assert endpoint({"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": f"{GATEWAY}/v1/"}).scope == f"cometapi@{GATEWAY}"


@pytest.mark.parametrize(
    ("base_url", "is_loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("https://127.0.0.1.example.com", False),
        (GATEWAY, False),
    ],
)
def test_loopback_is_this_machine_only(base_url, is_loopback):
    assert endpoint({"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": base_url}).is_loopback is is_loopback


def test_an_unknown_provider_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="'kling'") as refused:
        Environment(process={}).endpoint("kling")
    assert refused.value.hint == "one of simulator, cometapi"


# ---- the key and where it may go ----------------------------------------------------------------------------------


def test_a_paid_provider_without_a_key_is_refused():
    with pytest.raises(MissingKeyError, match="needs an API key") as refused:
        endpoint({"COMETAPI_KEY": ""})
    assert refused.value.exit_code == 64
    assert "--provider simulator" in refused.value.hint


def test_a_plan_needs_no_key():
    assert endpoint(needs_key=False).scope == "cometapi"
    assert endpoint({"COMETAPI_BASE_URL": GATEWAY}, needs_key=False).scope == f"cometapi@{GATEWAY}"


def test_a_key_may_lie_in_a_file(key_file):
    assert endpoint({"COMETAPI_KEY_FILE": key_file}).key == KEY
    assert endpoint({"COMETAPI_KEY": "sk-2", "COMETAPI_KEY_FILE": key_file}).key == "sk-2"
    assert endpoint({"COMETAPI_KEY_FILE": key_file}, {"COMETAPI_KEY": "sk-2"}).key == KEY


def test_a_key_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"COMETAPI_KEY_FILE=.*none cannot be read"):
        endpoint({"COMETAPI_KEY_FILE": str(tmp_path / "none")})


def test_a_bad_key_is_refused_and_not_quoted():
    """The HTTP library would print the whole of it."""
    with pytest.raises(ConfigurationError, match="at position 9 of") as refused:
        endpoint({"COMETAPI_KEY": "sk-secre\nt: injected"})
    assert "secre" not in f"{refused.value} {refused.value.hint}"


def test_a_base_url_from_a_file_counts_with_the_key_in_the_same_file():
    file = {"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": GATEWAY}
    assert endpoint(file=file).base_url == GATEWAY
    assert endpoint({"COMETAPI_BASE_URL": "https://mine.example"}, file).base_url == "https://mine.example"


@pytest.mark.parametrize("process", ["key", "file"])
def test_a_strangers_env_file_cannot_send_your_key_to_a_server_of_theirs(process, key_file):
    yours = {"COMETAPI_KEY": KEY} if process == "key" else {"COMETAPI_KEY_FILE": key_file}
    theirs = {"COMETAPI_BASE_URL": "https://thief.example"}
    assert endpoint(yours, theirs).base_url == HOME
    assert endpoint(yours, {**theirs, "COMETAPI_KEY": "sk-bait"}).base_url == HOME


def test_a_base_url_that_is_not_used_is_told():
    """Whoever wrote it into `.env` may have meant it, and would wonder where the money went."""
    made = endpoint({"COMETAPI_KEY": KEY}, {"COMETAPI_BASE_URL": GATEWAY})
    [note] = made.notes
    assert "COMETAPI_BASE_URL in .env is not used" in note
    assert HOME in note


@pytest.mark.parametrize(
    ("process", "file"),
    [
        pytest.param({"COMETAPI_KEY": KEY}, {}, id="there is none"),
        pytest.param({}, {"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": GATEWAY}, id="it is used"),
        pytest.param(
            {"COMETAPI_KEY": KEY, "COMETAPI_BASE_URL": HOME}, {"COMETAPI_BASE_URL": GATEWAY}, id="another was typed"
        ),
    ],
)
def test_otherwise_there_is_nothing_to_tell(process, file):
    assert endpoint(process, file).notes == ()


def test_nor_by_pointing_at_the_file_that_holds_it(key_file):
    """The key must stand in the file itself: a path is no proof that its author knows the key."""
    file = {"COMETAPI_KEY_FILE": key_file, "COMETAPI_BASE_URL": "https://thief.example"}
    made = endpoint(file=file)
    assert (made.key, made.base_url) == (KEY, HOME)


# ---- tasks of an account ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["cometapi", f"cometapi@{GATEWAY}", "simulator"])
def test_tasks_go_on_where_they_belong(scope):
    process = {"COMETAPI_KEY": KEY}
    if "@" in scope:
        process["COMETAPI_BASE_URL"] = GATEWAY
    assert Environment(process=process).endpoint_of(scope).scope == scope


@pytest.mark.parametrize(
    ("scope", "base_url", "hint"),
    [
        (f"cometapi@{GATEWAY}", None, f"COMETAPI_BASE_URL={GATEWAY}"),
        (f"cometapi@{GATEWAY}", "https://other.example", f"COMETAPI_BASE_URL={GATEWAY}"),
        ("cometapi", GATEWAY, f"COMETAPI_BASE_URL={HOME}"),
    ],
)
def test_tasks_never_go_on_somewhere_else(scope, base_url, hint):
    """Where nobody knows their ids, they would be bought again."""
    process = {"COMETAPI_KEY": KEY} | ({"COMETAPI_BASE_URL": base_url} if base_url else {})
    with pytest.raises(ConfigurationError, match=f"these tasks belong to {scope}") as refused:
        Environment(process=process).endpoint_of(scope)
    assert hint in refused.value.hint


# ---- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["12345678", "north-of-here", "x" * 200])
def test_a_namespace_is_taken_as_it_is(text):
    assert Environment(process={"BATCHER_NAMESPACE": text}).namespace() == text


@pytest.mark.parametrize("text", ["short", "x" * 201, "with a blank", "tab\tinside", "größer-als", "line\nbreak"])
def test_a_bad_namespace_is_refused(text):
    with pytest.raises(ConfigurationError, match="8 to 200 printable"):
        Environment(process={"BATCHER_NAMESPACE": text}).namespace()


def test_no_namespace_is_fine():
    assert Environment(process={}).namespace() is None


def test_hosts_of_clips_are_a_list():
    environment = Environment(process={"BATCHER_ASSET_HOSTS": " CDN.example.com, clips.example.org ,"})
    assert environment.asset_hosts() == ("cdn.example.com", "clips.example.org")
    assert Environment(process={}, file={"BATCHER_ASSET_HOSTS": "a.example"}).asset_hosts() == ("a.example",)
    assert Environment(process={}).asset_hosts() == ()


@pytest.mark.parametrize("text", ["*", "https://cdn.example.com", "10.0.0.1", "localhost", "a b.example"])
def test_what_is_no_host_name_is_refused(text):
    with pytest.raises(ConfigurationError, match="is no host name"):
        Environment(process={"BATCHER_ASSET_HOSTS": text}).asset_hosts()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o604, 0o644])
@pytest.mark.parametrize("place", ["key file", "env file"])
def test_a_key_that_others_may_read_is_told(tmp_path, monkeypatch, mode, place):
    """Each paid run says so, with the command that ends it."""
    path = tmp_path / ("key" if place == "key file" else ".env")
    path.write_text(KEY if place == "key file" else f"COMETAPI_KEY={KEY}\n")
    path.chmod(mode)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMETAPI_KEY", raising=False)
    monkeypatch.delenv("COMETAPI_BASE_URL", raising=False)
    if place == "key file":
        monkeypatch.setenv("COMETAPI_KEY_FILE", str(path))
    notes = Environment.read().endpoint(COMETAPI).notes
    assert [f"chmod 600 {path.name}" in note.replace(f"{tmp_path}/", "") for note in notes] == [True] * bool(
        mode & 0o77
    )


def test_a_key_file_may_be_a_pipe_and_has_an_end(tmp_path):
    """`COMETAPI_KEY_FILE=<(pass show key)` works; a device without an end is no key, and fills no memory."""
    reading, writing = os.pipe()
    os.write(writing, KEY.encode())
    os.close(writing)
    assert endpoint({"COMETAPI_KEY_FILE": f"/dev/fd/{reading}"}).key == KEY
    os.close(reading)
    with pytest.raises(ConfigurationError, match="holds more than a key"):
        endpoint({"COMETAPI_KEY_FILE": "/dev/zero"})
