"""Calibration: what is fitted, that it holds on unseen rows, and that a vote that loses is not recommended."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import fanin
from gateway.evaluation import CannotEvaluate, calibrate, calibrating, fitting, write
from gateway.evaluation.recordings import Answer, Recording, Row


def recorded(rates: dict[str, float], *, rows: int = 400, shared: tuple[str, ...] = ()) -> Recording:
    """Return rows on which each target is right at its rate; the `shared` ones always say the same as one another."""
    draw = random.Random(7)  # noqa: S311 -- a test set, not a secret
    made = []
    for number in range(rows):
        common = draw.random()
        answers = {}
        for target, rate in rates.items():
            right = (common if target in shared else draw.random()) < rate
            key = "right" if right else "same" if target in shared else f"wrong {target}"
            answers[target] = Answer(key=key, keyed=True, correct=right)
        made.append(Row(str(number), answers))
    return Recording("made.jsonl", tuple(rates), tuple(made))


def as_file(folder: Path, recording: Recording) -> Path:
    path = folder / "made.jsonl"
    rows = (
        {"id": row.id, "gold": "right", "answers": {name: {"answer": each.key} for name, each in row.answers.items()}}
        for row in recording.rows
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_vote_of_equals_is_recommended_over_any_of_them(tmp_path: Path) -> None:
    """Three independent targets of 70 % each: the gain over the best single is certain, and said to be."""
    fitted = calibrate(as_file(tmp_path, recorded({"a": 0.7, "b": 0.7, "c": 0.7})), ["a", "b", "c"])
    assert fitted.recommended.name != calibrating.BEST_SINGLE
    assert fitted.recommended.difference[0] > 0
    assert "Recommended: " in "\n".join(fitted.lines())


def test_a_vote_that_loses_to_the_best_single_target_is_refused(tmp_path: Path) -> None:
    """One strong target and three weak ones that are wrong together: the majority loses, and nothing wins."""
    rates = {"weak-1": 0.4, "weak-2": 0.4, "strong": 0.95, "weak-3": 0.4}
    path = as_file(tmp_path, recorded(rates, shared=("weak-1", "weak-2", "weak-3")))
    fitted = calibrate(path, list(rates))
    by_name = {each.name: each for each in fitted.contenders}
    assert by_name["majority"].accuracy < by_name[calibrating.BEST_SINGLE].accuracy
    assert by_name["majority"].difference[1] < 0
    assert fitted.recommended.name == calibrating.BEST_SINGLE
    assert fitted.document()["recommended"] == "priority"
    assert fitted.document()["targets"][0] == "strong"
    assert "No vote beats strong alone" in "\n".join(fitted.lines())


def test_a_certain_gain_is_recommended_over_a_larger_one_that_may_be_chance() -> None:
    """And without a certain one the most accurate, of equals the one named first."""

    def contender(name: str, right: int, low: float) -> calibrating.Contender:
        return calibrating.Contender(name, (True,) * right + (False,) * (10 - right), (low, 0.3))

    def recommended(*contenders: calibrating.Contender) -> str:
        return calibrating.Calibration("made.jsonl", contenders, "a", {}).recommended.name

    single = contender(calibrating.BEST_SINGLE, 6, 0.0)
    assert recommended(single, contender("sure", 7, 0.1), contender("lucky", 8, -0.1)) == "sure"
    assert recommended(single, contender("lucky", 8, -0.1)) == "lucky"
    assert recommended(single, contender("equal", 6, 0.0)) == calibrating.BEST_SINGLE


def test_targets_that_are_wrong_together_share_one_voice() -> None:
    """Fitted together, three copies of one target weigh less each than an independent target of the same accuracy."""
    rates = {"copy-1": 0.6, "copy-2": 0.6, "copy-3": 0.6, "own-1": 0.6, "own-2": 0.6}
    made = calibrating.weighted(recorded(rates, rows=1000, shared=("copy-1", "copy-2", "copy-3")))
    weights = made.select["weighted"]["weights"]
    assert max(weights[name] for name in weights if "copy" in name) < min(weights["own-1"], weights["own-2"])


def test_the_guard_is_set_where_it_helped_most() -> None:
    """Against a strong target two weak ones that agree by chance are seldom right, all four together mostly are."""
    rates = {"strong": 0.9, "b": 0.5, "c": 0.5, "d": 0.5, "e": 0.5}
    rows = recorded(rates, rows=1500)
    options = calibrating.guarded(rows).select["guarded"]
    assert options["priors"]["strong"] > 0.85
    scores = {}
    for override in range(1, 7):
        made = calibrating.Fitted({"guarded": {**options, "override": override}}, rows.targets)
        scores[override] = sum(map(bool, calibrating.decide(rows, made)))
    assert scores[options["override"]] == max(scores.values())


def test_a_table_of_confidence_has_its_own_bin_for_none() -> None:
    """Bins begin at their edges; without confidences there is one bin."""
    table = fitting.Table((0.5, 0.9))
    assert [table.bin(confidence) for confidence in (None, 0.0, 0.5, 0.89, 0.9, 1.0)] == [0, 1, 2, 2, 3, 3]
    assert fitting.Table().bin(0.7) == 0


def test_calibration_gives_the_same_figures_whatever_the_order_of_the_rows() -> None:
    """Folds and fits go by the ids, so that a figure can be found again."""
    rows = recorded({"a": 0.7, "b": 0.6, "c": 0.65})
    turned = rows.subset(reversed(rows.rows))
    told = [list(calibrating.calibration(each, calibrating.FITS).lines()) for each in (rows, turned)]
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["fitted.yaml", "fitted.json"])
def test_the_written_file_is_what_the_option_calibration_takes(tmp_path: Path, name: str) -> None:
    """Every selector that was fitted can be made from the file as it is, and counts by what stands in it."""
    out = tmp_path / name
    fitted = calibrate(as_file(tmp_path, recorded({"a": 0.7, "b": 0.8, "c": 0.6})), ["a", "b", "c"])
    write(fitted, out)
    document = yaml.safe_load(out.read_text())
    assert document["questions"] == 400
    assert document["targets"] == ["b", "a", "c"]
    assert set(document["priors"]) == set(document["weights"]) == {"a", "b", "c"}
    assert 1 <= document["m"] <= 4
    for selector in ("guarded", "weighted"):
        assert fanin.build({selector: {"calibration": document}}).name == selector
    lone = fanin.Ballot(1, (fanin.Candidate("a", "x"),), closed=True)
    counted = fanin.build({"weighted": {"calibration": document}})(lone)
    assert counted is not None
    assert counted.tally == {"x": document["weights"]["a"]}


def test_a_vote_by_confidence_learns_whose_confidence_can_be_trusted() -> None:
    """One target says 0.9 when right and 0.1 when wrong, the others always 0.9: on unseen rows the first is heard."""
    rows = recorded({"honest": 0.6, "b": 0.6, "c": 0.6}, rows=600, shared=("b", "c"))
    told = []
    for row in rows.rows:
        stated = {target: 0.9 if target != "honest" or each.correct else 0.1 for target, each in row.answers.items()}
        answers = {
            target: replace(each, confidences={"confidence": stated[target]}) for target, each in row.answers.items()
        }
        told.append(replace(row, answers=answers))
    recording = rows.subset(told)
    found = calibrating.calibration(recording, calibrating.fits(recording))
    by_name = {each.name: each.accuracy for each in found.contenders}
    assert by_name["confidence_vote"] > by_name["weighted"]
    assert found.recommended.name == "confidence_vote"
    low, high = found.document()["bins"]["honest"]["right"]
    assert low < 0.6
    assert high > 0.9


def test_what_cannot_be_calibrated_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """Too few rows, no labels, a folder that is not there."""
    few = recorded({"a": 0.5, "b": 0.5}, rows=10)
    with pytest.raises(CannotEvaluate, match="gives 10 questions and 2 targets, calibration needs 50 and 2"):
        calibrating.calibration(few, calibrating.FITS)
    unlabelled = Recording("made.jsonl", ("a",), (Row("1", {"a": Answer(key="x", keyed=True)}),))
    with pytest.raises(CannotEvaluate, match="does not say which answers are right: give `correct` or `gold`"):
        calibrating.calibration(unlabelled, calibrating.FITS)
    fitted = calibrate(as_file(tmp_path, recorded({"a": 0.7, "b": 0.7})), ["a", "b"])
    with pytest.raises(CannotEvaluate, match="cannot be written"):
        write(fitted, tmp_path / "none" / "fitted.yaml")
