"""Replaying recorded answers: what is read, what a rule makes of it, what waiting for it costs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.evaluation import CannotEvaluate, ballots, intervals, latency, recordings
from gateway.evaluation.evaluating import evaluate, evaluation
from gateway.evaluation.recordings import Recording
from gateway.evaluation.replay import replay


def answered(answer: str | None, latency_s: float | None = None, **more: Any) -> dict[str, Any]:
    """Return one recorded answer in our own form."""
    return {"answer": answer, **({} if latency_s is None else {"latency_s": latency_s}), **more}


def written(folder: Path, *rows: dict[str, Any], name: str = "recorded.jsonl") -> Path:
    """Write rows to a file, gzipped if its name says so."""
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def three(identifier: str, gold: str, *answers: str | None, latencies: tuple[float, ...] = ()) -> dict[str, Any]:
    """Return a row of the targets a, b and c."""
    given = zip("abc", answers, latencies or (None, None, None), strict=True)
    return {"id": identifier, "gold": gold, "answers": {name: answered(key, seconds) for name, key, seconds in given}}


ROWS = (
    three("1", "4", "4", "4", "5", latencies=(1.0, 2.0, 3.0)),
    three("2", "7", "6", "7", "7", latencies=(4.0, 1.0, 6.0)),
    three("3", "9", "9", "8", None, latencies=(2.0, 7.0, 1.0)),
    three("4", "3", "2", "1", "3", latencies=(3.0, 1.0, 2.0)),
)


def recording(folder: Path, *rows: dict[str, Any]) -> Recording:
    return recordings.read(written(folder, *(rows or ROWS)))


def test_a_majority_is_right_as_often_as_counting_by_hand_says(tmp_path: Path) -> None:
    """Three of four: two agree on 4, two on 7, a tie of 9 and 8 goes to the first target; the last row is lost."""
    figures = evaluate(written(tmp_path, *ROWS), ["a", "b", "c"], "majority").document()
    assert figures["n"] == 4
    assert figures["accuracy"] == 75.0
    assert figures["agreement"] == pytest.approx(100 * (2 / 3 + 2 / 3 + 1 / 2 + 1 / 3) / 4, abs=0.01)
    assert figures["singles"] == {"a": 50.0, "b": 50.0, "c": 50.0}
    low, high = figures["accuracy_interval"]
    assert low < 75 < high


def test_the_order_of_the_targets_is_their_priority(tmp_path: Path) -> None:
    """With c first, the three-way tie of the last row goes to c, and the tie of 9 and 8 to the next of a and b."""
    path = written(tmp_path, *ROWS)
    assert evaluate(path, ["c", "a", "b"], "majority").document()["accuracy"] == 100.0
    assert evaluate(path, ["c", "b", "a"], "majority").document()["accuracy"] == 75.0


def test_calls_are_saved_where_those_that_answered_cannot_be_overruled(tmp_path: Path) -> None:
    """Only the first row is decided after two of three calls: 1 of 12 saved, and a tie ahead saves another in none."""
    figures = evaluate(written(tmp_path, *ROWS), ["a", "b", "c"], "majority").document()
    assert figures["calls_saved"] == pytest.approx(100 / 12, abs=0.01)
    assert evaluate(written(tmp_path, *ROWS), ["a", "b", "c"], "priority").document()["calls_saved"] == 66.67


def test_a_null_answer_abstains_and_a_missing_one_counts_as_failed(tmp_path: Path) -> None:
    """Neither has a vote, so the only answer wins with all of the votes; what nobody answered is wrong."""
    lone = {"id": "1", "gold": "4", "answers": {"a": answered(None), "c": answered("4"), "b": answered(None)}}
    missing = {"id": "2", "gold": "4", "answers": {"c": answered("4")}}
    nobody = {"id": "3", "gold": "4", "answers": {"a": answered(None)}}
    figures = evaluate(written(tmp_path, lone, missing, nobody), ["a", "b", "c"], "majority").document()
    assert figures["accuracy"] == 66.67
    assert figures["agreement"] == 100.0


def test_texts_are_compared_by_the_key_that_the_selector_names(tmp_path: Path) -> None:
    """Without recorded answers the key of the selector reads them out of the text, as in the gateway."""
    texts = {"a": "So the answer is 4.", "b": "It comes to 4.0", "c": "5"}
    row = {"answers": {name: {"text": text, "correct": text != "5"} for name, text in texts.items()}}
    path = written(tmp_path, row)
    assert evaluate(path, ["c", "a", "b"], "{majority: {key: number}}").document()["accuracy"] == 100.0
    assert evaluate(path, ["c", "a", "b"], "majority").document()["accuracy"] == 0.0


def test_published_forms_are_recognised_by_their_rows(tmp_path: Path) -> None:
    """A list of models, gzipped; tool calls; repeated samples: all become answers by target."""
    listed = {
        "gold": "B",
        "answers": [{"model": "m", "answer": "B", "correct": 1, "verbal_conf": 0.9, "seq_prob": None}],
    }
    keyed = {"answers": [{"model": "m", "raw_answer": "$18", "answer_key": "18", "correct": 0}]}
    called = {"answers": [{"model": "m", "calls": [{"name": "f", "arguments": {"x": 1}}], "key": "f", "correct": 1}]}
    free = {"answers": [{"model": "m", "text": "Guess: Paris", "answer": "Paris", "correct": 1, "verbal_conf": -1}]}
    sampled = {"samples": ["x", "y"], "correct": [1, 0]}
    forms: list[dict[str, Any]] = [listed, keyed, called, free]
    for number, row in enumerate(forms):
        (read,) = recordings.read(written(tmp_path, row, name=f"{number}.jsonl.gz")).rows
        answer = read.answers["m"]
        assert answer.correct is (row is not keyed)
        assert answer.key == {0: "B", 1: "18", 2: "f", 3: None}[number]
        assert answer.confidence() == (0.9 if row is listed else None)
        assert [call.arguments for call in answer.calls] == (['{"x":1}'] if row is called else [])
        assert answer.text == {0: "B", 1: "$18", 2: "f", 3: "Paris"}[number]
    repeated = recording(tmp_path, sampled)
    assert repeated.targets == ("sample-1", "sample-2")
    assert [answer.correct for answer in repeated.rows[0].answers.values()] == [True, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "recorded.jsonl holds no rows, expected one JSON object a line"),
        ("[1]\n", "line 1 of recorded.jsonl is not a JSON object"),
        ('{"id": 1}\n', "line 1 of recorded.jsonl holds id, expected `answers` by target"),
        ('{"answers": {"a": {"latency_s": 1}}}\n', "has neither `answer` nor `text` nor `calls`"),
        ('{"answers": {"a": {"answer": "x", "latency_s": -1}}}\n', "`latency_s` in line 1 of recorded.jsonl is -1"),
        ('{"answers": {"a": {"answer": "x", "confidence": "high"}}}\n', "is 'high', expected a number"),
        ('{"answers": {"a": {"answer": "x", "calls": [3]}}}\n', "a tool call in line 1 of recorded.jsonl has no name"),
        ("{", "line 1 of recorded.jsonl is not JSON"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_in_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    """It names the line and says what belongs there."""
    path = tmp_path / "recorded.jsonl"
    path.write_text(content)
    with pytest.raises(CannotEvaluate) as refused:
        evaluate(path, ["a"], "majority")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Missing, or a gzip file that was cut."""
    with pytest.raises(CannotEvaluate, match=r"none\.jsonl cannot be read \(No such file or directory\)"):
        recordings.read(tmp_path / "none.jsonl")
    whole = written(tmp_path, *ROWS, name="cut.jsonl.gz")
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(CannotEvaluate, match="damaged gzip file"):
        recordings.read(whole)


@pytest.mark.parametrize(
    ("targets", "select", "said"),
    [
        (["a", "bb"], "majority", "recorded.jsonl holds no answers of 'bb', only of a, b, c; did you mean 'b'?"),
        (["a", "a"], "majority", "the target 'a' is named twice"),
        ([], "majority", "no target is named: name some of a, b, c"),
        (["a"], "majorty", "unknown selector 'majorty'; did you mean 'majority'?"),
        (["a"], "{majority: {agre: 2}}", "select.majority.agre: unknown option 'agre'; did you mean 'agree'?"),
        (["a"], "{majority", "--select is '{majority', expected a name such as majority"),
    ],
)
def test_a_wrong_target_or_selector_is_refused_with_the_nearest_one(
    tmp_path: Path, targets: list[str], select: str, said: str
) -> None:
    """A typing error costs one look at the message."""
    with pytest.raises(CannotEvaluate) as refused:
        evaluate(written(tmp_path, *ROWS), targets, select)
    assert said in str(refused.value)


def test_the_key_reaches_selectors_inside_chains_and_wrappers(tmp_path: Path) -> None:
    """`4.` and `4` are two recorded answers, but one whole text: only the recorded key tells them apart."""
    row = {"gold": "5", "answers": {"a": answered("5"), "b": answered("4"), "c": answered("4.")}}
    rows = recording(tmp_path, row)
    for spec in (["majority", "priority"], {"defer": "majority"}, {"quorum": {"k": 3, "of": {"majority": {}}}}):
        assert replay(rows, ballots.rule_of(spec)).accuracy == 1.0
    assert replay(rows, ballots.rule_of({"majority": {"key": "text"}})).accuracy == 0.0


def test_latencies_are_replayed_as_the_gateway_would_have_waited(tmp_path: Path) -> None:
    """By hand: who answers first, when the last answers, when a majority is certain, what the deadline cuts."""
    rows = recording(tmp_path)
    policies = latency.policies(rows, ballots.rule_of("majority"), ballots.recorded)
    waited = {policy.name: latency.wait(rows, policy) for policy in policies}
    assert waited["a alone"].latencies == (1.0, 4.0, 2.0, 3.0)
    assert waited["race"].latencies == (1.0, 1.0, 1.0, 1.0)
    assert waited["race"].right == (True, True, False, False)
    assert waited["wait for all"].latencies == (3.0, 6.0, 7.0, 3.0)
    assert waited["early"].latencies == (2.0, 6.0, 2.0, 3.0)  # in the third row b could only tie, and a outranks it
    assert waited["early"].right == waited["wait for all"].right
    assert waited["first 2 that agree"].latencies == (2.0, 6.0, 2.0, 3.0)
    assert waited["3 agree or 5 s"].latencies == (2.0, 5.0, 2.0, 3.0)
    assert waited["hedge at p90, 4.00 s"].calls == 1.0


def test_a_hedge_starts_the_second_target_only_when_the_first_is_late(tmp_path: Path) -> None:
    """The second answers at its own latency after the hedge; a call that was not needed is not counted."""
    rows = recording(tmp_path)
    waited = latency.wait(rows, latency.Policy("hedge", ballots.rule_of("first"), ("a", "b"), hedge_after=2.5))
    assert waited.latencies == (1.0, 3.5, 2.0, 3.0)
    assert waited.calls == 1.5


def test_a_recording_without_latencies_or_labels_still_tells_what_it_can(tmp_path: Path) -> None:
    """Accuracy is unknown without labels, not zero; agreement and savings are known."""
    row = {"answers": {"a": answered("x"), "b": answered("x"), "c": answered("y")}}
    told = evaluation(recording(tmp_path, row), ballots.rule_of("majority"), "majority")
    assert told.document()["accuracy"] is None
    assert told.document()["latency"] == {}
    assert told.document()["calls_saved"] == 33.33
    assert any("66.67 %" in line for line in told.lines())


def test_intervals_agree_with_published_values() -> None:
    """Wilson for 10 of 20 is 0.2993 to 0.7007; quantiles are nearest ranks; a paired gain of every row is certain."""
    assert intervals.wilson(10, 20) == pytest.approx((0.29929, 0.70071), abs=1e-5)
    assert intervals.wilson(0, 0) == (0.0, 1.0)
    assert [intervals.quantile([4, 1, 3, 2], share) for share in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1, 1, 2, 3, 4]
    assert intervals.paired_difference([True] * 9, [False] * 9) == (1.0, 1.0)
    assert intervals.paired_difference([True, False], [True, False]) == (0.0, 0.0)
    low, high = intervals.paired_difference([True] * 60 + [False] * 40, [False] * 10 + [True] * 50 + [False] * 40)
    assert low < 0.1 < high
