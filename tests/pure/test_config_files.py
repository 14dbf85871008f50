"""The files of a configuration: read once, watched through links, and named in a configuration as `${file:PATH}`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import config
from gateway.config import ConfigError, Files
from gateway.serving.configuration import Configuration, Refused
from gateway.serving.listening import Addresses, CannotServe

TEXT = 'providers: {local: {api: openai, base_url: "http://127.0.0.1:9/v1", api_key: "${file:key}"}}\n'
ROUTES = "routes: {a: {targets: [local/m]}}\n"


def written(folder: Path, text: str = TEXT + ROUTES, key: str = "sk-from-a-file\n") -> Path:
    (folder / "key").write_text(key)
    path = folder / "hedgerow.yaml"
    path.write_text(text)
    return path


def test_a_variable_may_be_a_file_beside_the_configuration(tmp_path: Path) -> None:
    """Mounted secrets are files; the line break at their end is not part of the key."""
    key = config.load(written(tmp_path), {}).providers["local"].api_key
    assert key is not None
    assert key.reveal() == "sk-from-a-file"


@pytest.mark.parametrize("break_it", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\xff\xfe")])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, break_it: object) -> None:
    """The path, not a traceback; and never what stands in it."""
    path = written(tmp_path)
    break_it(tmp_path / "key")  # type: ignore[operator]
    with pytest.raises(ConfigError, match="the file key cannot be read or is empty, expected a file with text"):
        config.load(path, {})


def test_a_request_can_name_no_file(tmp_path: Path) -> None:
    """An ad-hoc route is read without an environment: `${file:/etc/passwd}` is nothing there."""
    settings = config.load(written(tmp_path, TEXT + "adhoc_routes: true\n"), {})
    with pytest.raises(Exception, match="cannot be read or is empty"):
        config.adhoc_route("local/m", {"select": "${file:/etc/passwd}"}, settings)


def test_given_contents_nothing_is_read_from_the_disk(tmp_path: Path) -> None:
    """A worker gets exactly what its parent found good, whatever has become of the files."""
    path, files = written(tmp_path), Files()
    config.load(path, {}, files)
    path.write_text("nonsense")
    (tmp_path / "key").unlink()
    key = config.load(path, {}, Files(files.contents)).providers["local"].api_key
    assert key is not None
    assert key.reveal() == "sk-from-a-file"


def test_a_change_counts_when_it_has_lasted_from_one_look_to_the_next(tmp_path: Path) -> None:
    """A file that is still being written is left alone; the same content again is no change."""
    path = written(tmp_path)
    running = Configuration(path, {}, Addresses())
    assert not running.changed()
    path.write_text(TEXT + "routes: {b: {targets: [local/m]}}\n")
    assert not running.changed()
    assert running.changed()
    fresh = running.refresh()
    assert fresh is not None
    assert list(fresh.routes) == ["b"]
    assert not running.changed()
    os.utime(path, ns=(1, 1))
    assert not running.changed()
    assert running.changed()
    assert running.refresh() is None


def test_a_bad_configuration_is_refused_once_and_the_old_one_stays(tmp_path: Path) -> None:
    """Until a file changes again, nobody is told the same fault twice."""
    path = written(tmp_path)
    running = Configuration(path, {}, Addresses())
    path.write_text("providers: 5")
    assert [running.changed(), running.changed()] == [False, True]
    with pytest.raises(Refused, match="providers: "):
        running.refresh()
    assert [running.changed(), running.changed()] == [False, False]
    assert list(running.settings.routes) == ["a"]
    (tmp_path / "key").write_text("another")
    assert not running.changed()  # the broken file names no key: what it says is what counts
    path.write_text(TEXT + ROUTES)
    assert [running.changed(), running.changed()] == [False, True]
    assert running.refresh() is not None


def test_a_new_configuration_cannot_open_the_gateway_to_everybody(tmp_path: Path) -> None:
    """Keys that vanish from the file are refused like at the start, where others can reach the address."""
    secret = "keys: {web: 9fb1c4d07e62a85330c7f1be84ad6055}\n"
    path = written(tmp_path, TEXT + ROUTES + secret)
    running = Configuration(path, {}, Addresses(host="0.0.0.0"))
    path.write_text(TEXT + ROUTES)
    with pytest.raises(Refused, match="asks for no key"):
        running.refresh()
    assert running.settings.keys
    with pytest.raises(CannotServe):
        Configuration(path, {}, Addresses(host="0.0.0.0"))
