"""YAML + environment → frozen settings, or one error that tells every fault as `path: fault, expected …`."""

from gateway.config.adhoc import adhoc_route
from gateway.config.discovery import discover
from gateway.config.faults import ConfigError, Fault
from gateway.config.files import Files
from gateway.config.loading import load, parse
from gateway.config.schema import json_schema

__all__ = ["ConfigError", "Fault", "Files", "adhoc_route", "discover", "json_schema", "load", "parse"]
