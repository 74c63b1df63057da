"""The waits of a retry loop."""

from __future__ import annotations

from bridge.backoff import Backoff


def test_waits_double_with_jitter_up_to_the_bound() -> None:
    """Each wait is between half of its doubled value and the whole of it, never longer than `max_s`; `reset` begins anew."""
    backoff = Backoff(first_s=0.05, max_s=2.0)
    for _ in range(2):
        for whole in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, *[2.0] * 100):
            assert whole / 2 <= backoff.next() <= whole
        backoff.reset()


def test_a_refused_password_or_permission_is_tried_again_after_5_s() -> None:
    """Credentials and permissions need a person: even the first wait is 5 s, a longer one stays as it is."""
    assert Backoff(first_s=0.05, max_s=2.0).next(denied=True) == 5.0
    assert 10 <= Backoff(first_s=20.0, max_s=20.0).next(denied=True) <= 20
