"""Scorers: rules that ask one more model about the answers. The rules are pure, the gateway's loop does the asking."""

from gateway.scorers.fuse import fuse
from gateway.scorers.judge import judge

__all__ = ["fuse", "judge"]
