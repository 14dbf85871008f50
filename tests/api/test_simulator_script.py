"""The simulator's scripts: what model names and files mean, and what is said about those that mean nothing."""

from __future__ import annotations

import math
import random
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.simulator import WORDS, Behaviour, Script, ScriptError
from gateway.providers.simulator.behaviour import vocabulary
from gateway.providers.simulator.problems import CATALOGUE
from gateway.providers.simulator.readers import ExpectedError, Wait, wait
from gateway.providers.simulator.replying import tokenise
from gateway.providers.simulator.script import UnknownModelError

CHANCE = random.Random(7)  # noqa: S311 -- a replayable script


def one(model: str, source: Any = None) -> Behaviour:
    (behaviour,) = Script(source).behaviours(model)
    return behaviour


def test_a_model_name_says_how_it_behaves() -> None:
    """Words after the question mark become the fields of a behaviour, durations in seconds."""
    behaviour = one("paris?ttft=0.1&tps=50&cut=12&cut-by=fin&reset&answer=50%25+%26+more")
    assert behaviour == Behaviour(
        ttft=Wait("fixed", (0.1,)), tps=50, cut=12, cut_by="fin", reset=True, answer="50%+&+more"
    )
    assert behaviour.pace == Wait("fixed", (0.02,))


def test_the_words_of_a_name_are_added_to_what_the_script_says_about_it() -> None:
    """A name with words takes the script's entry as its ground, for every item of a list."""
    script = Script({"paris": [{"answer": "Paris", "ttft": 1}, "answer=Lyon"]})
    first, second = script.behaviours("paris?ttft=0.5")
    assert (first.answer, first.ttft) == ("Paris", Wait("fixed", (0.5,)))
    assert (second.answer, second.ttft) == ("Lyon", Wait("fixed", (0.5,)))


def test_an_empty_script_knows_every_name_and_a_full_one_only_its_own() -> None:
    """An unlisted bare name is unknown unless the script has an entry for all others; a name with words needs none."""
    assert one("anything") == Behaviour()
    script = Script({"known": {}})
    with pytest.raises(UnknownModelError):
        script.behaviours("unknown")
    assert script.behaviours("unknown?status=500")[0].status == 500
    assert Script({"known": {}, "*": {"answer": "?"}}).behaviours("unknown")[0].answer == "?"
    assert Script({"known": {}, "*": {}}).models == ("known",)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("m?ttfb=1", "m?ttfb=1: the simulator knows no word 'ttfb'; the nearest is 'ttft'"),
        ("m?retry_afer=1", "m?retry_afer=1: the simulator knows no word 'retry_afer'; the nearest is 'retry_after'"),
        ("m?ttft=soon", "m?ttft=soon: ttft = 'soon', expected seconds such as 0.2, 0.1..0.3,"),
        ("m?cut=1.5", "m?cut=1.5: cut = '1.5', expected a whole number such as 12"),
        ("m?rate=2", "m?rate=2: rate = '2', expected a probability between 0 and 1"),
        ("m?confidence=0", "m?confidence=0: confidence = '0', expected a mean token probability above 0 and up to 1"),
        ("m?status=200", "m?status=200: status = '200', expected an HTTP status from 300 to 599"),
        ("m?cut_by=knife", "m?cut_by=knife: cut_by = 'knife', expected one of rst, fin, eof"),
        ("m?reset=perhaps", "m?reset=perhaps: reset = 'perhaps', expected the bare word, or 1 or 0"),
        ("m?cut=1&cut=2", "m?cut=1&cut=2: the word 'cut' is given twice"),
        ("m?answers=x", "m?answers=x: answers = 'x', expected a mapping of regular expression to answer"),
        ("m?tps=5&gap=1", "m?tps=5&gap=1: `tps` and `gap` say the same thing: give one of them"),
        ("m?wrong=0.5", "m?wrong=0.5: `wrong` needs `wrong_answers` to choose from"),
        ("m?error_in=body", "m?error_in=body: `error_in` needs an `error`, such as error=overloaded"),
        ("m?ttft=nan", "m?ttft=nan: ttft = 'nan', expected seconds"),
        ("m?headers=no name:x", "m?headers=no name:x: headers = 'no name:x', expected header fields such as"),
    ],
)
def test_what_means_nothing_is_named_with_its_cure(model: str, fault: str) -> None:
    """An error quotes the model, the word and the value, and says what would have been right."""
    with pytest.raises(ScriptError) as caught:
        Script().behaviours(model)
    assert str(caught.value).startswith(fault)


def test_a_file_is_told_all_its_faults_at_once(tmp_path: Path) -> None:
    """Every fault of a script file has a line of its own, with the path to it."""
    path = tmp_path / "script.yaml"
    path.write_text("a: [{stauts: 500}, {ttft: soon}]\nb: 7\nc: []\nd: {answers: {'(': x}}\n", encoding="utf-8")
    with pytest.raises(ScriptError) as caught:
        Script.load(path)
    lines = str(caught.value).split("\n")
    assert [line.partition(":")[0] for line in lines] == ["a[0]", "a[1]", "b", "c", "d"]
    assert "nearest is 'status'" in lines[0]


def test_a_file_says_the_same_as_names_do(tmp_path: Path) -> None:
    """YAML, JSON and the compact form lead to the same behaviour."""
    yaml_path, json_path = tmp_path / "s.yaml", tmp_path / "s.json"
    yaml_path.write_text("m: {status: 429, retry-after: 2, wrong: 0.5, wrong_answers: [a, b]}", encoding="utf-8")
    json_path.write_text('{"m": "status=429&retry_after=2&wrong=0.5&wrong_answers=a|b"}', encoding="utf-8")
    assert Script.load(yaml_path).behaviours("m") == Script.load(json_path).behaviours("m")


@pytest.mark.parametrize("content", [b"- a list", b"{", b"\xff\xfe\x00"])
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, content: bytes) -> None:
    """Neither a list, nor broken YAML, nor bytes that are not text end in a traceback of another kind."""
    path = tmp_path / "script.yaml"
    path.write_bytes(content)
    with pytest.raises(ScriptError):
        Script.load(path)
    with pytest.raises(ScriptError, match="No such file"):
        Script.load(tmp_path / "missing.yaml")


@given(st.text(max_size=60))
def test_any_name_is_either_understood_or_refused(words: str) -> None:
    """Whatever follows the question mark, the outcome is a behaviour or a ScriptError."""
    try:
        outcome: object = Script().behaviours(f"m?{words}")
    except ScriptError as fault:
        outcome = str(fault)
    assert outcome


@given(
    st.sampled_from(sorted(WORDS)),
    st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.none(), st.booleans()),
)
def test_any_value_is_either_read_or_refused(word: str, value: Any) -> None:
    """Whatever a file gives as a value, the outcome is a behaviour or a ScriptError."""
    try:
        outcome = str(Script({"m": {word: value}}).models)
    except ScriptError as fault:
        outcome = str(fault)
    assert outcome.startswith(("('m',", "m: "))


@pytest.mark.parametrize(
    ("written", "mean", "most"),
    [
        ("0.2", 0.2, 0.2),
        ("0.1..0.3", 0.2, 0.3),
        ("lognormal:0.5:0.4", 0.5 * math.exp(0.08), 10.0),
        ("tail:0.1:0.05:8", 0.1 * 0.95 + 0.4, 8.0),
        ("0.1|0.4|1", 0.5, 1.0),
    ],
)
def test_a_wait_has_the_distribution_that_is_written(written: str, mean: float, most: float) -> None:
    """Fixed, uniform, lognormal, heavy-tailed and listed waits have the mean their formula promises (±5 %)."""
    drawn = wait(written)
    samples = [drawn.draw(CHANCE) for _ in range(20_000)]
    assert statistics.fmean(samples) == pytest.approx(mean, rel=0.05)
    assert min(samples) >= 0
    assert max(samples) <= most


@pytest.mark.parametrize(
    "written", ["lognormal:0:1", "lognormal:1", "tail:1:2:3", "tail:1:0.5", "1..2..3", "", "-1", []]
)
def test_a_wait_that_is_none_is_refused(written: Any) -> None:
    """A distribution with a number too few, too many or out of range is refused."""
    with pytest.raises(ExpectedError):
        wait(written)


def spared(behaviour: Behaviour, n: int, moment: float) -> bool:
    return not behaviour.for_call(n, moment, CHANCE).reset


def test_faults_strike_the_calls_they_are_scripted_for() -> None:
    """`first` counts calls, `after` and `until` bound a window of time, and `every` repeats the window."""
    assert [spared(one("m?reset&first=2"), n, 0.0) for n in (1, 2, 3)] == [False, False, True]
    window = one("m?reset&after=1&until=2")
    assert [spared(window, 9, t) for t in (0.9, 1.0, 1.9, 2.0)] == [True, False, False, True]
    flap = one("m?reset&until=3&every=6")
    assert [spared(flap, 9, t) for t in (0.0, 2.9, 3.0, 5.9, 6.0, 9.0)] == [False, False, True, True, False, True]


def test_a_spared_call_keeps_everything_but_the_faults() -> None:
    """Where a fault does not strike, answer, rhythm and dress stay as they are."""
    behaviour = one("m?answer=Paris&ttft=0.1&newline=crlf&status=500&cut=1&first=0")
    assert behaviour.for_call(1, 0.0, CHANCE) == one("m?answer=Paris&ttft=0.1&newline=crlf&first=0")


def test_every_word_tells_what_it_means() -> None:
    """The vocabulary has a line for each word, and every fault can be spared: none is without a harmless default."""
    lines = list(vocabulary())
    assert [line.split()[0] for line in lines] == list(WORDS)
    assert all(word.metadata["says"] for word in WORDS.values())


def test_every_named_error_can_be_said() -> None:
    """Each word of the error catalogue is a value of `error`."""
    for name in CATALOGUE:
        assert one(f"m?error={name}").error == name


@given(st.text())
def test_tokens_join_up_to_the_text(text: str) -> None:
    """Cutting into tokens loses and adds nothing, and no token is longer than a word."""
    tokens = tokenise(text)
    assert "".join(tokens) == text
    assert all(re.fullmatch(r"\s+|.{1,13}", token, re.DOTALL) for token in tokens)
