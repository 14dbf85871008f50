"""What is passed on unread: no path leaves the provider's base URL, no query overrides the operator's."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.wires.passing import behind, below, without


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        (b"/v1/files", "files"),
        (b"/v1/files/file-abc/content", "files/file-abc/content"),
        (b"/openai/v1/batches", "batches"),
        (b"//v1///files//x/", "files/x/"),
        (b"/v1/models/ft%3Agpt%2Fx", "models/ft%3Agpt%2Fx"),
        (b"/v1/files/a..b/...", "files/a..b/..."),
        (b"/v1/files/100%25", "files/100%25"),
        (b"/v1/evil.example@x:y", "evil.example@x:y"),
    ],
)
def test_a_path_stays_as_the_client_wrote_it(path: bytes, rest: str) -> None:
    """Percent-encoding included: what it means is the provider's business."""
    assert below(path) == rest


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/../admin",
        b"/v1/files/..",
        b"/v1/./files",
        b"/v1/%2e%2e/admin",
        b"/v1/%2E./admin",
        b"/v1/%252e%252e/admin",
        b"/v1/%25252e%25252e/admin",
        b"/v1/files%2f..%2f..%2fadmin",
        b"/v1/files%5c..%5cadmin",
        b"/v1/files/\\..\\admin",
        b"/v1/files%00",
        b"/v1/files%0d%0ahost:%20evil",
        b"/v1/files/%0a",
        b"/v1/f\xc3\xbcr",
        b"/v1/files?x",
        b"/v1/files#x",
        b"/v1/" + b"%25" * 9 + b"2525252525252525252525252e.",
        b"/admin",
        b"/v1",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: bytes) -> None:
    """However often it is encoded, and whichever slash it has."""
    with pytest.raises(InvalidRequest):
        below(path)


@given(st.lists(st.sampled_from(["/", ".", "..", "%2e", "%2f", "%5c", "%25", "2e", "a", "%", "@", ":", "//"])))
def test_whatever_a_server_decodes_and_normalises_stays_below_the_base(pieces: list[str]) -> None:
    """Decoding any number of times and normalising then gives a path below the base, or the path is refused."""
    try:
        rest = below(b"/v1/" + "".join(pieces).encode())
    except InvalidRequest:
        return
    for _ in range(12):
        assert posixpath.normpath(f"/base/v1/{rest}".replace("\\", "/")).startswith("/base/v1")
        rest = unquote(rest)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("limit=2&after=x", "limit=2&after=x"),
        ("api-version=1&limit=2", "limit=2"),
        ("api%2Dversion=1&limit=2&api-version", "limit=2"),
        ("metadata%5Bk%5D=a%26b&order=asc", "metadata%5Bk%5D=a%26b&order=asc"),
    ],
)
def test_what_the_operator_sets_no_client_can_set(query: str, left: str) -> None:
    """However the name is written; everything else stays byte for byte."""
    assert without(query, {"api-version"}) == left
    assert without(query, ()) == query


def test_a_query_that_is_none_is_refused() -> None:
    """A control character or a fragment never reaches a URL."""
    assert behind(b"a=b&c[]=%20+x") == "a=b&c[]=%20+x"
    for query in (b"a b", b"a#b", b"a\r\nb", b"\xff"):
        with pytest.raises(InvalidRequest):
            behind(query)
