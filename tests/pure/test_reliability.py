"""What votes tell about who is right: laws of the update, truths that it finds again, and what it cannot know."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin import Calibration, Estimate, Reliability, build
from gateway.evaluation import recordings
from gateway.evaluation.recordings import Recording

FOLDER = Path(os.environ.get("HEDGEROW_RECORDINGS", Path(__file__).resolve().parents[3] / "shared" / "data"))
NAMES = "abcde"

votes = st.lists(
    st.dictionaries(st.sampled_from([*NAMES, "stranger"]), st.sampled_from(["x", "y", "z", None, 3]), max_size=6),
    max_size=12,
)


def after(told: list[dict[str, object]], **options: float) -> Reliability:
    known = Reliability.of(NAMES, **options)
    for vote in told:
        known = known.learned(vote)
    return known


def right(known: Reliability) -> dict[str, float]:
    return {target: estimate.reliability for target, estimate in known.targets.items()}


def crowd(truths: Mapping[str, float], count: int, *, shared: float = 0.0, seed: int = 1) -> Iterator[dict[str, str]]:
    """Votes of independent targets that are right so often; wrong answers are `shared` as often as that."""
    dice = random.Random(seed)  # noqa: S311
    for question in range(count):
        trap = f"{question} trap"
        yield {
            target: f"{question} right"
            if dice.random() < truth
            else trap
            if dice.random() < shared
            else f"{question} {target} {dice.randrange(8)}"
            for target, truth in truths.items()
        }


@given(votes, st.permutations(NAMES))
def test_names_and_order_of_the_targets_do_not_matter(told: list[dict[str, object]], others: list[str]) -> None:
    """Whoever is called what, in whatever place: who votes so is judged so."""
    renamed = dict(zip(NAMES, others, strict=True))
    known = right(after(told))
    swapped = right(after([{renamed.get(name, name): key for name, key in reversed(vote.items())} for vote in told]))
    assert swapped == pytest.approx({renamed[name]: value for name, value in known.items()})


@given(votes)
def test_estimates_stay_between_their_bounds_and_their_number_never_grows(told: list[dict[str, object]]) -> None:
    """A stranger's answer is not even counted; what comes out is a calibration that selectors read."""
    known = after(told, half_life=3)
    assert set(known.targets) == set(NAMES)
    for estimate in known.targets.values():
        assert 0.02 <= estimate.reliability <= 0.98
        assert 0 <= estimate.right <= estimate.seen <= 3 / 0.69 + 1
    assert known.agreement is None or 0 < known.agreement <= 1
    read = Calibration.read(known.calibration())
    assert set(read.priors) == set(NAMES)
    build({"weighted": {"calibration": known.calibration()}})
    build({"guarded": {"calibration": known.calibration()}})


@given(votes, st.sampled_from(NAMES), st.sampled_from(["x", 7]))
def test_an_answer_alone_changes_nothing(told: list[dict[str, object]], target: str, key: object) -> None:
    """Nobody confirms it and nobody contradicts it; nor do strangers, or answers that cannot be compared."""
    known = after(told)
    assert known.learned({target: key}) is known
    assert known.learned({target: key, "stranger": key, **dict.fromkeys(set(NAMES) - {target})}) is known
    assert known.learned({}) is known


@given(votes)
def test_nobody_gains_by_dissent(told: list[dict[str, object]]) -> None:
    """Who says the same as all others comes out at least as reliable as if he had said something else."""
    known = after(told)
    agreeing = known.learned(dict.fromkeys(NAMES, "x"))
    dissenting = known.learned({**dict.fromkeys(NAMES, "x"), "a": "y"})
    assert agreeing.targets["a"].reliability >= dissenting.targets["a"].reliability - 1e-12


@pytest.mark.parametrize(
    "truths",
    [
        {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5},
        {"a": 0.85, "b": 0.85, "c": 0.85},
        {"a": 0.7, "b": 0.95, "c": 0.6, "d": 0.3},
    ],
)
def test_the_truth_about_independent_targets_is_found_without_labels(truths: dict[str, float]) -> None:
    """Within 5 points after 3000 votes, the best known as the best."""
    known = Reliability.of(truths, half_life=1500)
    for vote in crowd(truths, 3000):
        known = known.learned(vote)
    assert right(known) == pytest.approx(truths, abs=0.05)
    assert max(right(known).values()) == pytest.approx(right(known)[max(truths, key=truths.__getitem__)], abs=0.02)


def test_a_model_that_was_changed_shows_within_a_few_half_lives() -> None:
    """Old votes are forgotten: a target that goes bad loses its weight, one that recovers gains it again."""
    good, bad = dict.fromkeys(NAMES, 0.85), {**dict.fromkeys(NAMES, 0.85), "a": 0.1}
    known, seen = Reliability.of(NAMES, half_life=50), []
    for truths, seed in ((good, 1), (bad, 2), (good, 3)):
        for vote in crowd(truths, 300, seed=seed):
            known = known.learned(vote)
        seen.append(right(known)["a"])
    assert seen[0] > 0.75
    assert seen[1] < 0.25
    assert seen[2] > 0.75


def test_a_constant_answer_is_worth_nothing() -> None:
    """It always agrees with itself, which is not heard."""
    known = Reliability.of(NAMES, half_life=200)
    for vote in crowd(dict.fromkeys("abcd", 0.7), 1000):
        known = known.learned({**vote, "e": "choose me"})
    assert known.calibration()["weights"]["e"] == 0
    assert min(known.calibration()["weights"][name] for name in "abcd") > 1


def test_two_liars_in_league_do_not_overturn_three_honest_ones() -> None:
    """They always agree with each other; the honest agree often enough among themselves."""
    known = Reliability.of(NAMES, half_life=500)
    for number, vote in enumerate(crowd(dict.fromkeys("abc", 0.8), 2000)):
        known = known.learned({**vote, "d": f"lie {number}", "e": f"lie {number}"})
    weights = known.calibration()["weights"]
    assert weights["d"] + weights["e"] < min(weights[name] for name in "abc")


def test_errors_that_are_shared_are_taken_for_knowledge() -> None:
    """The limit that the docstring names: where most are wrong together, the one who knows looks wrong."""
    truths = {"a": 0.9, **dict.fromkeys("bcde", 0.3)}
    known = Reliability.of(truths)
    for vote in crowd(truths, 2000, shared=0.95):
        known = known.learned(vote)
    assert right(known)["a"] < right(known)["b"]


def test_an_update_keeps_the_value_before() -> None:
    """It is a value: whoever holds the old one still has it."""
    known = Reliability.of("ab")
    assert known.learned({"a": "x", "b": "x"}) is not known
    assert known.targets == {"a": Estimate(), "b": Estimate()}


def recorded(name: str) -> Recording:
    path = FOLDER / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no recordings in {FOLDER}: name their folder in HEDGEROW_RECORDINGS")
    return recordings.read(path)


@pytest.mark.slow
def test_recorded_models_are_ranked_as_their_labels_rank_them() -> None:
    """Of 22 models, without labels: rank correlation above 0.95, every estimate within 13 points and too high."""
    found = recorded("mmlupro_conf")
    rows = list(found.rows)
    random.Random(1).shuffle(rows)  # noqa: S311
    known = Reliability.of(found.targets, half_life=2000)
    for row in rows:
        known = known.learned({target: answer.key for target, answer in row.answers.items()})
    truth = {
        target: sum(bool(row.answers[target].correct) for row in rows if target in row.answers) / len(rows)
        for target in found.targets
    }
    told = right(known)
    ranks = [{name: place for place, name in enumerate(sorted(each, key=each.__getitem__))} for each in (truth, told)]
    count = len(truth)
    spearman = 1 - 6 * sum((ranks[0][name] - ranks[1][name]) ** 2 for name in truth) / (count * (count**2 - 1))
    assert spearman > 0.95
    assert all(-0.02 < told[name] - truth[name] < 0.13 for name in truth), {
        name: (round(truth[name], 3), round(told[name], 3)) for name in truth
    }
