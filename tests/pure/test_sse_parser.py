"""The SSE parser: any chunk border, any legal line end, and nothing that only looks like one."""

from __future__ import annotations

import itertools
import json
import random
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.sse import EventTooLarge, SSEParser


def parse(chunks: list[bytes]) -> list[bytes]:
    """The data of all events of a stream that arrives in these chunks."""
    parser = SSEParser()
    return [data for chunk in chunks for data in parser.feed(chunk)] + list(parser.close())


STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"event: message\r\ndata: first\r\n\r\n"
    b"data:second\n\n"
    b"data: two\rdata: lines\r\r"
    b"id: 7\ndata\n\n"
    b":\n\n"
    b"data: caf\xc3\xa9 \xe2\x80\xa8 \xc2\x85 end\n\n"
)
EVENTS = [b"first", b"second", b"two\nlines", b"", "caf\u00e9 \u2028 \u0085 end".encode()]


def test_the_standard_s_spellings_are_understood() -> None:
    """BOM, comments, CR LF, LF, CR, several data lines, a bare field name, an optional space."""
    assert parse([STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_chunk_borders_never_change_the_events(cuts: list[int]) -> None:
    """However the bytes are split, also inside a character or a CR LF, the events are the same."""
    borders = [0, *sorted(cuts), len(STREAM)]
    assert parse([STREAM[a:b] for a, b in itertools.pairwise(borders)]) == EVENTS


def test_ten_thousand_random_splits_give_the_same_events() -> None:
    """Many more borders than Hypothesis has time for."""
    chance = random.Random(0)  # noqa: S311 -- borders, not secrets
    for _ in range(10_000):
        cuts = sorted(chance.choices(range(len(STREAM) + 1), k=chance.randrange(30)))
        assert parse([STREAM[a:b] for a, b in itertools.pairwise([0, *cuts, len(STREAM)])]) == EVENTS


@given(st.lists(st.text(), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 7))
def test_json_of_any_text_survives(texts: list[str], newline: str, size: int) -> None:
    """What is encoded as one data line a piece comes out as it went in, in pieces of any size."""
    sent = [json.dumps(text, ensure_ascii=False).replace("\u007f", "") for text in texts]
    raw = "".join(f"data: {data}{newline}{newline}" for data in sent).encode("utf-8", "surrogatepass")
    got = parse([raw[i : i + size] for i in range(0, len(raw), size)])
    assert got == [data.encode("utf-8", "surrogatepass") for data in sent]


def test_an_event_without_its_blank_line_at_the_end_still_counts() -> None:
    """Providers that forget the last blank line exist."""
    assert parse([b"data: [DONE]"]) == [b"[DONE]"]
    assert parse([b"data: [DONE]\r"]) == [b"[DONE]"]


@pytest.mark.parametrize("before", [b"", b": ping\n", b"data: a\n", b"\xef\xbb", b"data: a"])
def test_a_chunk_that_looks_like_a_whole_event_is_read_in_its_context(before: bytes) -> None:
    """What came before may make it the rest of something else."""
    whole = b"data: b\n\n"
    assert parse([before, whole]) == parse([before + whole])


def test_an_event_that_never_ends_is_refused() -> None:
    """An upstream cannot fill the memory."""
    parser = SSEParser(limit=1000)
    with pytest.raises(EventTooLarge):
        for _ in range(100):
            list(parser.feed(b"data: " + b"x" * 50))


def test_a_long_line_is_searched_once_however_small_its_pieces() -> None:
    """What an upstream drips without a line end is looked at when the line ends, not anew with every piece."""
    parser = SSEParser()
    assert list(parser.feed(b"data: ")) == []
    with patch.object(SSEParser, "_lines", wraps=parser._lines) as searched:
        for _ in range(1000):
            assert list(parser.feed(b"x" * 100)) == []
        assert list(parser.feed(b"\n\n")) == [b"x" * 100_000]
    assert searched.call_count == 1


def test_a_naive_parser_breaks_where_this_one_does_not() -> None:
    """The control: `str.splitlines` tears an event at U+2028."""
    naive = [line[6:] for line in STREAM.decode("utf-8-sig").splitlines() if line.startswith("data: ")]
    assert "caf\u00e9 \u2028 \u0085 end" not in naive
