"""Times: formats, zones, and the days on which the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.routing.expressions import NAMES, parse, zones
from bridge.routing.expressions.times import day_at, format_time, timestamp, weekday
from tests.support.evaluation import evaluate, failure, refusal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT = 1_795_685_400_123  # 2026-11-26T09:30:00.123Z, a Thursday
#: Of both halves of the world, with quarters of an hour, and with a day that was skipped.
SOME = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC")
PARTS = (
    *("%Y-%m-%d %H:%M:%S.%f %z", "%d.%m.%y %I:%M %p %:z %S %f", "%j/%Y %T.%f%z", "%A, %d. %B %Y %H.%M.%S,%f %:z"),
    "%Y%m%d%H%M%S%f%z",
    "iso",
)


@pytest.fixture(autouse=True)
def _loaded() -> None:
    """The zones, as a route that names them loads them."""
    for name in SOME:
        zones.load(name)


def ms(moment: datetime) -> int:
    """Return the milliseconds since 1970."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "written", "expected"),
    [
        ("26.11.2026", "%d.%m.%Y", "2026-11-26T00:00:00"),
        ("6.1.2026 7:05", "%d.%m.%Y %H:%M", "2026-01-06T07:05:00"),
        ("20261126T103000", "%Y%m%dT%H%M%S", "2026-11-26T10:30:00"),
        ("2026", "%Y", "2026-01-01T00:00:00"),
        ("330 2026", "%j %Y", "2026-11-26T00:00:00"),
        ("366 2024", "%j %Y", "2024-12-31T00:00:00"),
        ("26 nov 69", "%d %b %y", "1969-11-26T00:00:00"),
        ("26 NOVEMBER 68", "%d %B %y", "2068-11-26T00:00:00"),
        ("thu 26 Nov 2026", "%a %d %b %Y", "2026-11-26T00:00:00"),
        ("12:05 AM 1.5.2026", "%I:%M %p %d.%m.%Y", "2026-05-01T00:05:00"),
        ("12:05 pm 1.5.2026", "%I:%M %p %d.%m.%Y", "2026-05-01T12:05:00"),
        ("1:05 Pm 1.5.2026", "%I:%M %p %d.%m.%Y", "2026-05-01T13:05:00"),
        ("2026-11-26 10:30:00.5", "%F %T.%f", "2026-11-26T10:30:00.500"),
        ("2026-11-26 10:30:00.123456789", "%F %T.%f", "2026-11-26T10:30:00.123"),
        ("100% 2026", "100%% %Y", "2026-01-01T00:00:00"),
        ("%F 2026", "%%F %Y", "2026-01-01T00:00:00"),
        ("(2026)*", "(%Y)*", "2026-01-01T00:00:00"),
        ("2026-11-26", "iso", "2026-11-26T00:00:00"),
        ("0001-01-01", "%F", "0001-01-01T00:00:00"),
        ("9999-12-31 23:59:59.999", "%F %T.%f", "9999-12-31T23:59:59.999"),
    ],
)
def test_a_text_is_read_by_its_format(text: str, written: str, expected: str) -> None:
    """In the zone that is given."""
    moment = datetime.fromisoformat(expected)
    assert timestamp(text, written, "UTC") == ms(moment.replace(tzinfo=UTC))
    if 1 < moment.year < 9999:
        assert timestamp(text, written, "Asia/Kathmandu") == ms(moment.replace(tzinfo=ZoneInfo("Asia/Kathmandu")))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *(("2026-11-26 10:30 " + offset, "%F %H:%M %z") for offset in ("+0100", "+01:00", "+01:00:00")),
        *(("2026-11-26 9:30 " + offset, "%F %H:%M %:z") for offset in ("Z", "z", "+0000", "-00:00")),
        ("2026-11-26T09:30Z", "iso"),
        ("Thu, 26 Nov 2026 10:30:00 +0100", "rfc2822"),
        ("26 Nov 2026 09:30 GMT (London)", "rfc2822"),
        (" Thu,  26 nov 2026 09:30:00 UT ", "rfc2822"),
        ("26 Nov 2026 10:30:00", "rfc2822"),
        ("Thu, 26 Nov 2026 09:30:00 GMT", "http"),
    ],
)
def test_an_offset_in_the_text_wins(text: str, written: str) -> None:
    """Over the zone that is given; a text without one is in that zone."""
    more = () if written == "http" else ("Europe/Berlin",)
    assert timestamp(text, written, *more) == AT - 123


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1795685400, "s", AT - 123), (1795685400.123, "s", AT), ("1795685400.1239", "s", AT), ("-0.0001", "s", -1),
        (AT, "ms", AT), (1.9, "ms", 1), (-1.1, "ms", -2), (AT * 1000 + 999, "us", AT), (-1, "us", -1),
        (AT * 10**6, "ns", AT), (-1, "ns", -1), (str(AT * 10**6), "ns", AT), ("+1", "s", 1000),
    ],
)  # fmt: skip
def test_an_epoch_is_cut_towards_minus_infinity(value: object, unit: str, expected: int) -> None:
    """By its digits: no float is computed with."""
    assert timestamp(value, unit) == expected


@pytest.mark.parametrize(
    ("text", "payload", "cause"),
    [
        ('timestamp(payload, "%F", "UTC")', "26.11.2026", "'26.11.2026' does not fit the format '%F'"),
        ('timestamp(payload, "%F", "UTC")', "2026-02-30", "'2026-02-30': there is no such time"),
        ('timestamp(payload, "%F", "UTC")', " 2026-02-03", "' 2026-02-03' does not fit the format '%F'"),
        ('timestamp(payload, "%F", "UTC")', "\N{FULLWIDTH DIGIT TWO}026-02-03", "does not fit the format '%F'"),
        ('timestamp(payload, "%j %Y", "UTC")', "366 2026", "there is no such time"),
        ('timestamp(payload, "%j %Y", "UTC")', "0 2026", "there is no such time"),
        ('timestamp(payload, "%I %p %Y", "UTC")', "0 AM 2026", "there is no such time"),
        ('timestamp(payload, "%F %z")', "2026-01-01 +24:00", "there is no such time"),
        ('timestamp(payload, "%a %F", "UTC")', "Mon 2026-11-26", "2026-11-26 is no Monday"),
        ('timestamp(payload, "%d%m%Y", "UTC")', "1112026", "does not fit the format '%d%m%Y'"),
        ('timestamp(payload, "rfc2822")', "26 Nov 2026 10:30", 'no zone: timestamp(x, "rfc2822", "Europe/Berlin")'),
        ('timestamp(payload, "rfc2822")', "26 Nov 2026 10:30 EST", "does not fit the format 'rfc2822'"),
        ("timestamp(payload)", "2026-11-26T10:30:00", 'no zone: timestamp(x, "iso", "Europe/Berlin")'),
        ("timestamp(payload)", 1, 'timestamp() takes text (a number with a format: timestamp(x, "s")), not a number'),
        ("timestamp(payload)", None, "timestamp() takes text, not null"),
        ('timestamp(payload, "s")', "1e3", "'1e3' is not a number"),
        ('timestamp(payload, "s")', True, "timestamp() takes text or a number, not true or false"),
        ('timestamp(payload, "s")', 253402300800, "a time is in the years 1 to 9999"),
        ("timestamp(payload)", "0001-01-01T00:00+00:01", "a time is in the years 1 to 9999"),
        ('format_time(payload, "%F")', 253402300800000, "a time is in the years 1 to 9999"),
        ('format_time(payload, "%F", "+00:01")', 253402300799999, "a time is in the years 1 to 9999"),
        ('format_time(payload, "%F")', 10**400, "a time is in the years 1 to 9999"),
        ('format_time(payload, "%F")', 1.0, "format_time() takes a whole number of milliseconds, not a fraction"),
        ('format_time(payload, "%F")', "1", "format_time() takes a whole number of milliseconds, not text"),
        ("weekday(0, payload)", "Europe/Berln", "there is no zone 'Europe/Berln': a zone is a name such as"),
        ("weekday(0, payload)", "../../etc/passwd", "there is no zone"),
        ("weekday(0, payload)", "posix/Europe/Berlin", "there is no zone"),
        ("weekday(0, payload)", "localtime", "there is no zone"),
        ("weekday(0, payload)", "+24:00", "there is no zone '+24:00'"),
        ("weekday(0, payload)", 1, "a zone takes text, not a number"),
        ('day_at(0, payload, "08:00", "UTC")', 367, "day_at() takes -366 to 366 days, not 367"),
        ('day_at(0, payload, "08:00", "UTC")', 1.0, "day_at() takes a whole number of days, not a number"),
        ('day_at(0, 1, payload, "UTC")', "8:00", "'8:00' is no time of the day such as \"08:00\""),
        ('day_at(0, 1, payload, "UTC")', "24:00", "is no time of the day"),
        ('day_at(payload, 1, "08:00", "UTC")', 253402300799999, "a time is in the years 1 to 9999"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_an_error(text: str, payload: object, cause: str) -> None:
    """In words that say the reason."""
    assert cause in failure(text, payload).cause


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ('timestamp(topic, "%d.%m.%Y")', 'no zone: timestamp(x, "%d.%m.%Y", "Europe/Berlin")', 0),
        ('timestamp(topic, "%d.%m", "UTC")', "the format has no year (%Y)", 17),
        ('timestamp(topic, "%Y %Q", "UTC")', "'%Q' is no code of a time format; the codes are %Y %y", 17),
        ('timestamp(topic, "%Y %", "UTC")', "'%' is no code", 17),
        ('timestamp(topic, "%Y %F", "UTC")', "%Y stands twice in the format", 17),
        ('timestamp(topic, "%Y %y", "UTC")', "%Y and %y say the same", 17),
        ('timestamp(topic, "%Y %I", "UTC")', "%I, an hour up to 12, needs %p beside it", 17),
        ('timestamp(topic, oven, "UTC")', "the format of timestamp() is a constant text", 17),
        ('timestamp(topic, "s", "UTC")', 'the format "s" needs no zone', 0),
        ('format_time(0, "%Q")', "'%Q' is no code", 15),
        ("format_time(0, oven)", "the format of format_time() is a constant text", 15),
        ('format_time(0, "http", "UTC")', 'the format "http" has no zone', 0),
        ('weekday(0, "Europe/Berln")', "\"+02:00\"; did you mean 'Europe/Berlin'?", 11),
        ('day_at(0, 1, "8:00", "UTC")', "'8:00' is no time of the day", 13),
        ("weekday(0, 2)", "a zone takes text, not a number", 11),
        (f'format_time(0, "{"%Y" * 101}")', "a format of a time has at most 100 characters", 15),
    ],
)  # fmt: skip
def test_a_mistake_is_found_when_the_file_is_read(text: str, message: str, at: int) -> None:
    """Formats, zones and times of the day that are written out."""
    found = refusal(text)
    assert message in str(found)
    assert found.offset == at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-29T02:30:00", "2026-03-29T01:30:00Z"),  # skipped: moved on by the hour
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),  # twice: the first
        ("2026-03-29T01:59:59", "2026-03-29T00:59:59Z"),
        ("2026-03-29T03:00:00", "2026-03-29T01:00:00Z"),
        ("2026-10-25T03:00:00", "2026-10-25T02:00:00Z"),
    ],
)
def test_the_clocks_change(text: str, expected: str) -> None:
    """In Berlin: a time that does not exist, and one that exists twice."""
    assert timestamp(text, "iso", "Europe/Berlin") == timestamp(expected)
    day, clock = text[:10], text[11:16]
    if text.endswith(":00"):
        noon = timestamp(f"{day}T12:00:00", "iso", "Europe/Berlin")
        assert day_at(noon, 0, clock, "Europe/Berlin") == timestamp(expected)


def test_the_next_working_day() -> None:
    """The recipe of the documents, from each hour of the two weekends on which the clocks change: Monday at eight."""
    recipe = """payload if weekday(payload, "Europe/Berlin") <= 5
        else day_at(payload, 8 - weekday(payload, "Europe/Berlin"), "08:00", "Europe/Berlin")"""
    for saturday, monday in (("2026-03-28", "2026-03-30T08:00:00+02:00"), ("2026-10-24", "2026-10-26T08:00:00+01:00")):
        first, last = timestamp(saturday, "iso", "Europe/Berlin"), timestamp(monday) - 8 * 3_600_000
        for at in range(first, last, 3_600_000):
            assert evaluate(recipe, at) == timestamp(monday)
        assert evaluate(recipe, last) == last


@given(st.datetimes(datetime(1900, 1, 1), datetime(2400, 1, 1)), st.sampled_from(SOME))  # noqa: DTZ001
def test_a_local_time_is_that_of_zoneinfo(local: datetime, name: str) -> None:
    """Of every day and zone, with the gaps and the hours that come twice."""
    local = local.replace(microsecond=local.microsecond // 1000 * 1000)
    expected = ms(local.replace(tzinfo=ZoneInfo(name)))
    assert timestamp(local.isoformat(), "iso", name) == expected
    day = (local.date() - timedelta(days=366)).isoformat()
    before = ms(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(name)))
    clock = local.replace(second=0, microsecond=0)
    assert day_at(before, 366, f"{clock:%H:%M}", name) == ms(clock.replace(tzinfo=ZoneInfo(name)))


@example(-1_700_000_000_000, "Asia/Kathmandu")  # its offset was +05:41:16
@given(st.integers(ms(datetime(1901, 1, 1, tzinfo=UTC)), ms(datetime(2399, 1, 1, tzinfo=UTC))), st.sampled_from(SOME))
def test_a_time_that_is_written_is_read_back(at: int, name: str) -> None:
    """By each format that says all of it."""
    moment = (EPOCH + timedelta(milliseconds=at)).astimezone(ZoneInfo(name))
    assert format_time(at, "iso", name) == moment.isoformat(timespec="milliseconds")
    assert weekday(at, name) == moment.isoweekday()
    for written in PARTS:
        if "%y" not in written or 1969 <= moment.year <= 2068:
            assert timestamp(format_time(at, written, name), written) == at
    assert timestamp(format_time(at, "rfc2822", name), "rfc2822") == at // 1000 * 1000
    assert timestamp(format_time(at, "http"), "http") == at // 1000 * 1000
    for unit, size in {"s": 1000, "ms": 1}.items():
        assert timestamp(format_time(at, unit), unit) == at // size * size
    for unit in ("us", "ns"):
        assert timestamp(format_time(at, unit), unit) == at


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001
def test_a_code_writes_as_strftime_does(moment: datetime) -> None:
    """Which writes English names here: no test sets a locale."""
    at = ms(moment.replace(tzinfo=UTC))
    for code in ["%m", "%d", "%H", "%M", "%S", "%y", "%j", "%b", "%B", "%a", "%A", "%I", "%p", "%T", "%%"]:
        assert format_time(at, code) == moment.strftime(code)
    assert format_time(at, "%F") == moment.date().isoformat()
    assert format_time(at, "rfc2822") == format_datetime(moment.replace(tzinfo=UTC))
    assert format_time(at, "http") == format_datetime(moment.replace(tzinfo=UTC), usegmt=True)


def test_a_zone_that_an_event_gives_reads_no_file() -> None:
    """Every zone is loaded with the configuration, so that a name is known or an error."""
    parse("weekday(0, payload)", NAMES)
    assert set(zones._loaded) >= zones.names()
    assert len(zones.names()) > 500
