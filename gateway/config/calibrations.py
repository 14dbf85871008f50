"""`calibration: FILE` in a selector → what `hedgerow calibrate` wrote there, found relative to the configuration."""

from __future__ import annotations

from pathlib import Path

from gateway.config import document
from gateway.config.faults import ConfigError, Faults
from gateway.config.files import Files
from gateway.config.node import Node

OPTION = "calibration"
LEARNED = "learned"
"""In place of a file: what the route itself has learned from its votes (`reliability: learn`)."""
LARGEST_FILE = 1024 * 1024


def load(root: Node, folder: Path, files: Files, faults: Faults) -> None:
    """Put the content of each calibration file of the routes in place of its name; `folder` holds the configuration.

    Only a configuration file gets this: what a request writes itself can name no file.
    """
    routes = root.child("routes")
    for route in routes.children().values() if routes else ():
        select = route.child("select")
        for spec in list(select.walk()) if select else ():
            option = spec.child(OPTION)
            if option is not None and isinstance(option.value, str) and option.value != LEARNED:
                _replace(option, folder / option.value, files, faults)


def _replace(option: Node, path: Path, files: Files, faults: Faults) -> None:
    expected = "a file that `hedgerow calibrate` wrote"
    try:
        content = files.read(path)
        if len(content) > LARGEST_FILE:
            faults.found(option, f"{expected}, of at most {LARGEST_FILE} bytes")
            return
        written = document.read(content.decode("utf-8-sig"), {}, Faults(str(path)))
    except OSError as error:
        faults.found(option, expected, f"it cannot be read ({error.strerror})")
    except (UnicodeDecodeError, ConfigError):
        faults.found(option, expected, "it is no YAML and no JSON")
    else:
        if isinstance(written.value, dict):
            option.value = written.value
        else:
            faults.found(option, expected, "it holds no mapping")
