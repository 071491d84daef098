import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.hosts import Hosts, host_of, is_loopback, is_plainly_loopback, parse_hosts


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "LOCALHOST", "localhost.", "app.localhost", "127.0.0.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1",
        "::ffff:127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
    ],
)  # fmt: skip
def test_names_that_lead_to_this_machine_only(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "0.0.0.0", "::",  # noqa: S104
        "128.0.0.1", "::ffff:8.8.8.8", "134744072", "0x08080808", "127.0.0.1 evil", "127.0.0.256", "1271", "fe80::1%lo",
        "127.0.0.1.", "4294967296", "1.2.3.4.5",
    ],
)  # fmt: skip
def test_other_names(name: str) -> None:
    # `127.0.0.1.` is the address, as browsers read it
    assert is_loopback(name) == (name == "127.0.0.1.")


@pytest.mark.parametrize(
    ("host", "plain"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(name, False) for name in ("127.1", "2130706433", "app.localhost", "10.0.0.1", "::", "evil.example", "")],
)
def test_what_is_listened_on_is_taken_for_this_machine_in_plain_forms_only(host: str, plain: bool) -> None:
    assert is_plainly_loopback(host) == plain


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("localhost:8080", "localhost"),
        ("LocalHost.:8080", "localhost"),
        ("[::1]:8080", "::1"),
        ("[::1]", "::1"),
        ("a.example:", "a.example"),
        ("", None),
        ("::1", None),
        ("[::1", None),
        ("localhost@evil.example", None),
        ("localhost:8080:evil.example", None),
        ("localhost/evil.example", None),
        ("localhost, evil.example", None),
        ("localhost\\evil.example", None),
        ("localhost:8080@evil.example", None),
        ("localhost:port", None),
        ("l\u00f6calhost", None),
        ("localhost\u3002evil.example", None),
        ("localhost%00.evil.example", None),
        ("x" * 300, None),
    ],
)
def test_the_host_in_an_authority(authority: str, host: str | None) -> None:
    assert host_of(authority) == host


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", ()),
        ("llm.example", ("llm.example",)),
        (" LLM.example:8080 , *.Lan, ", ("llm.example", "*.lan")),
        ("*", ("*",)),
        ("fd00::1, [fd00::2]:80, 10.0.0.1", ("fd00::1", "fd00::2", "10.0.0.1")),
    ],
)
def test_the_setting(value: str, names: tuple[str, ...]) -> None:
    assert parse_hosts(value) == names


@pytest.mark.parametrize("value", ["http://llm.example", "a b", "*.*", "a.*", "*llm.example", "a/b", "*."])
def test_what_is_no_list_of_names_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be a list of host names, such as"):
        parse_hosts(value)


@pytest.mark.parametrize(
    ("authority", "accepted"),
    [
        ("desk", True),
        ("DESK:80", True),
        ("10.0.0.5:8080", True),
        ("localhost", True),
        ("llm.example", True),
        ("llm.example.:443", True),
        ("a.lan", True),
        ("b.a.lan:1", True),
        ("lan", False),
        ("evillan", False),
        ("evil-llm.example", False),
        ("x.llm.example", False),
        ("10.0.0.6", False),
        ("", False),
    ],
)
def test_names_of_this_machine_and_those_allowed(authority: str, accepted: bool) -> None:
    hosts = Hosts(["desk", "10.0.0.5"], parse_hosts("llm.example,*.lan"))

    for _ in range(2):
        assert hosts.accept(authority) == accepted


def test_a_star_allows_any_name_but_not_what_is_none() -> None:
    hosts = Hosts([], parse_hosts("*"))

    assert hosts.accept("evil.example:80")
    assert not hosts.accept("evil@example")


@pytest.mark.parametrize(
    ("fields", "target", "refused"),
    [
        ([("Host", "localhost")], "/", None),
        ([("Host", "localhost")], "//evil.example/v1", None),
        ([("Host", "localhost")], "*", None),
        ([("Host", "localhost")], "http://localhost:80/v1?a=b", None),
        ([("Host", "localhost")], "http://evil.example/v1", "evil.example"),
        ([("Host", "localhost")], "HTTP://evil.example", "evil.example"),
        ([("Host", "localhost")], "http://localhost@evil.example/v1", "localhost@evil.example"),
        ([("Host", "localhost")], "http://evil.example?http://localhost/", "evil.example"),
        ([("Host", "localhost")], "evil.example:443", "evil.example:443"),
        ([("Host", "evil.example")], "http://localhost/v1", "evil.example"),
        ([("Host", "localhost"), ("Host", "evil.example")], "/", "evil.example"),
        ([], "/", ""),
        ([("Host", "localhost"), ("X-Forwarded-Host", "evil.example")], "/", "evil.example"),
        ([("Host", "localhost"), ("X-Forwarded-Host", "localhost, evil.example")], "/", "evil.example"),
        ([("Host", "localhost"), ("x-forwarded-host", "localhost:80")], "/", None),
        ([("Host", "localhost"), ("Forwarded", 'for=1.2.3.4;Host="evil.example:80"')], "/", "evil.example:80"),
        ([("Host", "localhost"), ("Forwarded", "for=1.2.3.4, for=2;host=evil.example")], "/", "evil.example"),
        ([("Host", "localhost"), ("Forwarded", "for=1.2.3.4;proto=https")], "/", None),
    ],
)
def test_every_host_that_a_request_names_counts(
    fields: list[tuple[str, str]], target: str, refused: str | None
) -> None:
    hosts = Hosts([])
    headers = CIMultiDictProxy(CIMultiDict(fields))

    for _ in range(2):
        assert hosts.refused(headers, target) == refused
        hosts.accept("localhost")


def test_names_that_were_accepted_do_not_fill_the_memory() -> None:
    hosts = Hosts([])

    assert all(hosts.accept(f"{number}.localhost") for number in range(5000))
    assert len(hosts._known) <= 100
