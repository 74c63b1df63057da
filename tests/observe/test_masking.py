"""Secrets in texts that quote them: a quotation writes quotes, backslashes and ends of lines in another way."""

from __future__ import annotations

import ast

import pytest

from bridge.config.wording import quoted
from bridge.observe.masking import masked

SECRETS = ('it\'s "hunter2"', "back\\slash", "key\n\x00of two lines", "\u200bwide\\'space", "plain")
LONG = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq'hki\"G9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n-----END KEY-----\n"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_quoted_secret_is_masked(secret: str) -> None:
    """Alone, and within a text that has other quotes."""
    assert masked(quoted(secret), {secret})[1:-1] == "***"
    for text in (f"Bearer {secret}", f"'{secret}", f'"{secret}', f"'\"{secret}"):
        assert ast.literal_eval(masked(repr(text), {secret})) == text.replace(secret, "***")


def test_the_beginning_of_a_quoted_secret_is_masked() -> None:
    """A long value is cut where it is quoted."""
    assert quoted(LONG).endswith("…'")
    assert masked(f"{quoted(LONG)} is no number", {LONG}) == "'***…' is no number"
