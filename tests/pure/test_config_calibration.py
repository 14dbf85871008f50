"""A selector's calibration file: found beside the configuration, read into the rule, refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

import fanin
from gateway.config import ConfigError, load, parse

CONFIG = """\
providers:
  local: {base_url: "http://127.0.0.1:8000/v1"}
routes:
  careful:
    targets: [local/strong, local/weak, local/small]
    select: {defer: {weighted: {calibration: FILE}}}
"""


def configured(folder: Path, file: str) -> Path:
    """Write a configuration whose selector names this calibration file."""
    path = folder / "hedgerow.yaml"
    path.write_text(CONFIG.replace("FILE", file))
    return path


@pytest.mark.parametrize(
    ("select", "warned"),
    [
        ("max_confidence", True),
        ("[{quorum: {k: 2, of: max_confidence}}, priority]", True),
        ("{max_confidence: {raw: true}}", False),
        ("{max_confidence: {calibration: {bins: {local/strong: [0.2, 0.9]}}}}", False),
        ("majority", False),
    ],
)
def test_raw_confidences_of_different_models_are_warned_about_unless_they_are_meant(select: str, warned: bool) -> None:
    """The gateway serves all the same; `hedgerow check` and the log say it, with the cure. One model is one scale."""
    text = CONFIG.replace("{defer: {weighted: {calibration: FILE}}}", select)
    notes = [note for note in parse(text, {}).notes if "raw confidences" in note]
    assert [note.startswith("Route careful: max_confidence") for note in notes] == [True] * warned
    alone = text.replace("[local/strong, local/weak, local/small]", "[local/strong, {model: local/strong, name: b}]")
    assert not any("raw confidences" in note for note in parse(alone.replace(", priority]", "]"), {}).notes)


def fault(path: Path) -> str:
    """Return the only fault of a configuration."""
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    (found,) = refused.value.faults
    return str(found)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("fitted.yaml", "weights: {local/strong: 3.0, local/weak: 1.0, local/small: 1.0}\nquestions: 50\n"),
        ("kept/fitted.json", '{"weights": {"local/strong": 3.0, "local/weak": 1.0, "local/small": 1.0}}'),
    ],
)
def test_a_calibration_is_found_relative_to_the_configuration(tmp_path: Path, name: str, content: str) -> None:
    """The rule weighs by what stands in the file: one strong target outweighs two others."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    rule = load(configured(tmp_path, name), {}).routes["careful"].select
    said = {"local/strong": "yes", "local/weak": "no", "local/small": "no"}
    candidates = tuple(fanin.Candidate(name, text, priority=place) for place, (name, text) in enumerate(said.items()))
    selection = rule(fanin.Ballot(3, candidates, closed=True))
    assert selection is not None
    assert selection.winner.target == "local/strong"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it cannot be read (No such file or directory)"),
        ("weights: {", "it is no YAML and no JSON"),
        ("- 1", "it holds no mapping"),
        ("a: " + "x" * 1024 * 1024, "of at most 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_calibration_is_a_fault_of_the_configuration(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """The fault names the place, quotes the name and says what belongs there."""
    if content is not None:
        (tmp_path / "fitted.yaml").write_text(content)
    told = fault(configured(tmp_path, "fitted.yaml"))
    assert told.startswith('routes.careful.select.defer.weighted.calibration: found "fitted.yaml"')
    assert "expected a file that `hedgerow calibrate` wrote" in told
    assert said in told


def test_a_number_out_of_range_in_the_file_is_told(tmp_path: Path) -> None:
    """What the rule itself refuses is a fault of the configuration too."""
    (tmp_path / "fitted.yaml").write_text("weights: {local/strong: -1}\n")
    assert "weights.local/strong" in fault(configured(tmp_path, "fitted.yaml"))


def test_only_a_configuration_file_can_name_another_file(tmp_path: Path) -> None:
    """A text that is no file, such as what a request writes, never makes the gateway read one."""
    (tmp_path / "fitted.yaml").write_text("weights: {local/strong: 1}\n")
    with pytest.raises(ConfigError, match="calibration"):
        parse(CONFIG.replace("FILE", str(tmp_path / "fitted.yaml")), {})
