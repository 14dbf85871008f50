"""The configuration that runs, and the watch over the files that may replace it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway import config
from gateway.api import shared_replays
from gateway.config import ConfigError, Files
from gateway.observe import tracing
from gateway.serving.listening import Addresses, CannotServe, may_be_open
from gateway.settings import Settings


class Configuration:
    """A good configuration stays until a good one replaces it: `settings`, made of `files`."""

    def __init__(self, path: Path | None, environ: Mapping[str, str], addresses: Addresses) -> None:
        """Read it.

        Raises:
            ConfigError: with everything that is wrong with it.
            CannotServe: it asks nobody for a key, and the address is open to others; or it wants what is not installed.
        """
        self.path, self._environ, self._addresses = path, environ, addresses
        self.files = self._watched = Files()
        self.settings = self._load(self.files)
        self._marks = self.files.marks()

    def changed(self) -> bool:
        """Whether a file has changed and was left alone since the last call: one being written would look broken."""
        before, self._marks = self._marks, self._watched.marks()
        return self._marks == before and self._watched.changed()

    def refresh(self) -> Settings | None:
        """Read the files again; None when they say what they said before.

        Raises:
            Refused: they cannot be used. What runs stays; the same fault is not told again until a file changes.
        """
        files = self._watched = Files()
        try:
            settings = self._load(files)
        except (ConfigError, CannotServe) as exc:
            raise Refused(str(exc)) from None
        finally:
            self._marks = files.marks()
        if files.contents == self.files.contents:
            return None
        self.files, self.settings = files, settings
        return settings

    def _load(self, files: Files) -> Settings:
        path, environ = self.path, self._environ
        settings = config.discover(environ) if path is None else config.load(path, environ, files)
        may_be_open(self._addresses, settings)
        if lacking := tracing.lacking(settings.traces, environ) or shared_replays.lacking(settings.redis is not None):
            raise CannotServe(lacking)
        return settings


class Refused(Exception):
    """The new configuration cannot be used; the message tells every fault."""
