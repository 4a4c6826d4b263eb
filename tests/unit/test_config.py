import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Config
from shared.errors import ConfigurationError
from shared.secret import Secret

GOOD = {
    "SOS_ADDRESS": "https://signin.clinic.example",
    "KEY_VAULT_URL": "https://my-vault.vault.azure.net",
    "TABLES_URL": "https://myaccount.table.core.windows.net",
}
LOCAL_STORE = "DefaultEndpointsProtocol=http;AccountName=devstore;AccountKey=c2VjcmV0;"
URLS = ["SOS_ADDRESS", "SOS_APP_URL", "KEY_VAULT_URL", "TABLES_URL", "ENTRA_AUTHORITY_HOST", "GRAPH_URL"]
ORIGINS = ["SOS_ADDRESS", "ENTRA_AUTHORITY_HOST"]


def read(**changes: str) -> Config:
    """Read a good environment with some variables changed."""
    return Config.from_environ(GOOD | changes)


def problems(environ: dict[str, str]) -> tuple[str, ...]:
    """Answer what is wrong with an environment."""
    try:
        Config.from_environ(environ)
    except ConfigurationError as error:
        return error.problems
    return ()


def test_the_least_that_is_needed() -> None:
    """Three variables make a configuration; all else has a default."""
    config = read()
    assert config == Config(
        address="https://signin.clinic.example",
        app_url="",
        key_vault_url="https://my-vault.vault.azure.net",
        tables_url="https://myaccount.table.core.windows.net",
        tables_connection_string=None,
        authority_host="https://login.microsoftonline.com",
        graph_url="https://graph.microsoft.com",
        managed_identity_client_id="",
        trusted_ca_file="",
        threads=config.threads,
    )
    assert config.redirect_uri == "https://signin.clinic.example/azure"
    assert config.audience == config.app_origin == "https://signin.clinic.example"
    assert config.is_https


def test_everything_set(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every variable reaches its field, without spaces at its ends and without a trailing slash."""
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca_file.write_text("a certificate")
    config = read(
        SOS_ADDRESS=" https://Signin.Clinic.Example/ ",
        SOS_APP_URL="https://sos.clinic.example/lists/",
        KEY_VAULT_URL="https://my-vault.vault.azure.net/",
        TABLES_URL="https://myaccount.table.core.windows.net/",
        ENTRA_AUTHORITY_HOST="https://login.microsoftonline.us/",
        GRAPH_URL="https://graph.microsoft.us/",
        AZURE_CLIENT_ID=" 3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21 ",
        TRUSTED_CA_FILE=f" {ca_file} ",
    )
    assert config.address == "https://signin.clinic.example"
    assert config.app_url == config.audience == "https://sos.clinic.example/lists"
    assert config.app_origin == "https://sos.clinic.example"
    assert config.key_vault_url == "https://my-vault.vault.azure.net"
    assert config.tables_url == "https://myaccount.table.core.windows.net"
    assert config.authority_host == "https://login.microsoftonline.us"
    assert config.graph_url == "https://graph.microsoft.us"
    assert config.managed_identity_client_id == "3b9c4a76-1f2d-4c58-8a9e-0d6b7e5f4c21"
    assert config.trusted_ca_file == str(ca_file)


@pytest.mark.parametrize(
    ("authority_host", "graph_url"),
    [
        ("https://login.microsoftonline.us", "https://graph.microsoft.us"),
        ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
        ("https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"),
    ],
)
def test_the_sovereign_clouds(authority_host: str, graph_url: str) -> None:
    """The clouds of governments and of China are named by two variables."""
    config = read(ENTRA_AUTHORITY_HOST=authority_host, GRAPH_URL=graph_url)
    assert (config.authority_host, config.graph_url) == (authority_host, graph_url)


def test_nothing_set() -> None:
    """Every variable that is missing is named at once, with what to set it to."""
    address, vault, tables = problems({})
    assert address.startswith("SOS_ADDRESS is missing: set it to ")
    assert "https://signin.clinic.example" in address
    assert vault.startswith("KEY_VAULT_URL is missing: set it to ")
    assert "https://my-vault.vault.azure.net" in vault
    assert tables.startswith("TABLES_URL is missing: set it to ")
    assert "TABLES_CONNECTION_STRING" in tables


def test_every_problem_at_once() -> None:
    """Nobody mends one setting, starts again, and reads of the next."""
    wrong = dict.fromkeys(URLS, "not a URL") | {"TRUSTED_CA_FILE": "nowhere.pem"}
    with pytest.raises(ConfigurationError) as caught:
        Config.from_environ(wrong)
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == [
        "SOS_ADDRESS",
        "SOS_APP_URL",
        "KEY_VAULT_URL",
        "TABLES_URL",
        "ENTRA_AUTHORITY_HOST",
        "GRAPH_URL",
        "TRUSTED_CA_FILE",
    ]
    for problem in caught.value.problems:
        assert f"- {problem}" in str(caught.value)


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("host.example", "write it like https://"),
        ("//host.example", "write it like https://"),
        ("https://", "write it like https://"),
        ("https:host.example", "write it like https://"),
        ("ftp://host.example", "write it like https://"),
        ("javascript:alert(1)", "write it like https://"),
        ("https://ho st.example", "write it like https://"),
        ("https://host_.example", "write it like https://"),
        ("https://-host.example", "write it like https://"),
        ("https://host.example:port", "write it like https://"),
        ("https://host.example:99999", "write it like https://"),
        ("https://[::1", "write it like https://"),
        ("https://host.example\\evil.example", "write it like https://"),
        ("https://hôpital.example", "write it like https://"),
        ("http://host.example", "must begin with https://"),
        ("http://localhost.evil.example", "must begin with https://"),
        ("http://127.0.0.1.evil.example", "must begin with https://"),
        ("http://10.0.0.1", "must begin with https://"),
        ("https://user@host.example", "no user name"),
        ("https://user:password@host.example", "no user name"),
        ("https://@host.example", "no user name"),
        ("https://host.example?query", "query or fragment"),
        ("https://host.example/?query", "query or fragment"),
        ("https://host.example#fragment", "query or fragment"),
    ],
)
def test_what_is_no_usable_url(name: str, value: str, remedy: str) -> None:
    """Each kind of wrong URL is refused, and the remedy fits it."""
    found = problems(GOOD | {name: value})
    assert len(found) == 1
    assert found[0].startswith(f"{name} ")
    assert remedy in found[0]


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("mark", ["?", "/#"])
def test_an_empty_query_or_fragment_is_not_taken_along(name: str, mark: str) -> None:
    """Paths are put behind these URLs: behind a `?` or `#` they would not be paths."""
    environ = GOOD | {name: f"https://host.example{mark}"}
    assert problems(environ) or f"example{mark}" not in repr(Config.from_environ(environ))


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("character", ["\t", "\n", "\r", "\x00", "\x7f", "\u2028", "\u200b"])
def test_characters_that_cannot_be_seen_are_refused(name: str, character: str) -> None:
    """Python's parser drops some of them: what was checked would not be what is used."""
    assert len(problems(GOOD | {name: f"https://host.example/{character}x"})) == 1
    assert len(problems(GOOD | {name: f"https://host{character}.example"})) == 1


@pytest.mark.parametrize("name", ORIGINS)
@pytest.mark.parametrize("path", ["/path", "/azure", "//", "/a/", "/%20"])
def test_a_path_on_an_origin_is_refused(name: str, path: str) -> None:
    """The redirect URI is the Address and `/azure`: a path in between would not be registered."""
    found = problems(GOOD | {name: f"https://host.example{path}"})
    if path.strip("/"):
        assert found == (f"{name} has a path: leave only the scheme and the host.",)
    else:
        assert found == ()


@pytest.mark.parametrize("name", ["SOS_APP_URL", "KEY_VAULT_URL", "TABLES_URL", "GRAPH_URL"])
def test_a_path_elsewhere_is_kept(name: str) -> None:
    """An application may live under a path; so does Azurite."""
    assert "https://host.example/path" in repr(read(**{name: "https://host.example/path/"}))


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("http://localhost:7071", "http://localhost:7071"),
        ("http://LOCALHOST:7071/", "http://localhost:7071"),
        ("http://127.0.0.1:7071", "http://127.0.0.1:7071"),
        ("http://[::1]:7071", "http://[::1]:7071"),
        ("HTTPS://Signin.Clinic.Example:8443", "https://signin.clinic.example:8443"),
    ],
)
def test_the_address_is_written_in_one_way(value: str, address: str) -> None:
    """Plain http is for a laptop; scheme and host are in lower case."""
    config = read(SOS_ADDRESS=value)
    assert config.address == address
    assert config.is_https == address.startswith("https://")


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("https://signin.clinic.example:443", "https://signin.clinic.example"),
        ("http://localhost:80", "http://localhost"),
        ("https://signin.clinic.example:", "https://signin.clinic.example"),
        ("https://Signin.Clinic.Example", "https://signin.clinic.example"),
    ],
)
def test_origins_are_spelled_as_browsers_spell_them(value: str, origin: str) -> None:
    """A form's `Origin` is compared with these exactly: lower case, no default port (RFC 6454, section 6.2)."""
    assert read(SOS_ADDRESS=value).address == origin
    assert read(SOS_APP_URL=f"{value}/lists").app_origin == origin


@pytest.mark.parametrize(
    ("app_url", "elsewhere"),
    [
        ("", False),
        ("https://signin.clinic.example", False),
        ("https://signin.clinic.example/", False),
        ("https://SIGNIN.clinic.example:443", False),
        ("https://signin.clinic.example/lists", True),
        ("https://sos.clinic.example", True),
        ("https://signin.clinic.example:8443", True),
    ],
)
def test_whether_the_application_is_elsewhere(app_url: str, *, elsewhere: bool) -> None:
    """At this very address a redirect to it would come back for ever."""
    assert read(SOS_APP_URL=app_url).app_is_elsewhere == elsewhere


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("32", 32), (" 16 ", 16)])
def test_the_size_of_the_workers_pool(value: str, threads: int) -> None:
    """The platform's own setting says it."""
    assert read(PYTHON_THREADPOOL_THREAD_COUNT=value).threads == threads


@pytest.mark.parametrize(
    "value", ["0", "-1", "many", "1.5", "1e3", "³", "٣", "10000", "100000", "9" * 5000, "00010000", "+8"]
)
def test_a_size_that_no_pool_has(value: str) -> None:
    """Among the other problems, with a remedy."""
    (problem,) = problems(GOOD | {"PYTHON_THREADPOOL_THREAD_COUNT": value})
    assert problem.startswith("PYTHON_THREADPOOL_THREAD_COUNT is not a number from 1 to ")
    assert "set it to 32, or remove it" in problem


@pytest.mark.parametrize(("processors", "threads"), [(1, 5), (2, 6), (28, 32), (64, 32), (None, 5)])
def test_a_size_that_is_not_set(
    processors: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's own rule: four more than there are processors, and 32 at most."""
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert read().threads == threads


def test_the_store_by_connection_string() -> None:
    """On a laptop the connection string stands for the URL."""
    environ = {name: value for name, value in GOOD.items() if name != "TABLES_URL"}
    config = Config.from_environ(environ | {"TABLES_CONNECTION_STRING": LOCAL_STORE})
    assert config.tables_url == ""
    assert isinstance(config.tables_connection_string, Secret)
    assert config.tables_connection_string.reveal() == LOCAL_STORE.strip()


def test_the_store_named_twice() -> None:
    """Of two stores nobody could say which one holds the accounts."""
    assert problems(GOOD | {"TABLES_CONNECTION_STRING": LOCAL_STORE}) == (
        "TABLES_URL and TABLES_CONNECTION_STRING are both set: keep one of them.",
    )


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_blank_is_not_set(blank: str) -> None:
    """An empty application setting counts as none."""
    optional = ["SOS_APP_URL", "ENTRA_AUTHORITY_HOST", "GRAPH_URL", "AZURE_CLIENT_ID", "TRUSTED_CA_FILE"]
    assert read(**dict.fromkeys(optional, blank)) == read()
    assert len(problems(dict.fromkeys(GOOD, blank))) == len(GOOD)


@pytest.mark.parametrize("path", ["nowhere.pem", ".", "a" * 5000, "a\0b"])
def test_a_file_that_is_not_there(path: str) -> None:
    """A name that no file has is a problem with a remedy, not a start that fails later or otherwise."""
    assert problems(GOOD | {"TRUSTED_CA_FILE": path}) == (
        "TRUSTED_CA_FILE names no file: give the path of a PEM file, or remove it.",
    )


@given(
    st.dictionaries(
        st.sampled_from([*URLS, "TABLES_CONNECTION_STRING", "TRUSTED_CA_FILE"]),
        st.text(max_size=30).map(lambda text: f"QZX{text}") | st.just("https://QZX:QZX@QZX/QZX?QZX#QZX"),
        min_size=1,
    )
)
def test_values_are_never_repeated_in_problems(environ: dict[str, str]) -> None:
    """A value may be a secret in the wrong place; the exception stands in the log of a failed start."""
    assert not any("QZX" in problem for problem in problems(environ))


@given(st.text(max_size=40))
def test_nothing_but_a_configuration_error(text: str) -> None:
    """Whatever stands in a variable, the answer is a configuration or a list of problems."""
    for name in URLS:
        for value in (text, f"https://{text}", f"https://host.example{text}"):
            problems(GOOD | {name: value})


def test_the_connection_string_is_not_shown() -> None:
    """It holds a key of the storage account, and configurations end up in logs."""
    environ = {name: value for name, value in GOOD.items() if name != "TABLES_URL"}
    config = Config.from_environ(environ | {"TABLES_CONNECTION_STRING": LOCAL_STORE})
    shown = f"{config!r} {config} {config.tables_connection_string} {config.tables_connection_string!r}"
    assert "c2VjcmV0" not in shown
    assert "Secret(…)" in shown
