"""Fixtures of the dead letters' tests."""

from tests.support.letters import desk

__all__ = ["desk"]
