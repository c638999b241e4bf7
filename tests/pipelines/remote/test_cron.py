from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.remote.cron import check_cron, from_kfp, from_vertex, parse_cron, parse_timezone

BERLIN = parse_timezone("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "six"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("*/15 9-17 * * MON-FRI", "0 */15 9-17 * * 1-5"),
        ("0 0 1 JAN,jul *", "0 0 0 1 1,7 *"),
        ("0 0 * * 7", "0 0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 0 * * 0,5,6"),
        ("0 0 * * FRI-SUN", "0 0 0 * * 0,5,6"),
        ("5-59/20 0 * * *", "0 5,25,45 0 * * *"),
    ],
)
def test_kfp_gets_seconds_in_front_and_digits_with_sunday_as_0(text, six):
    assert parse_cron(text).for_kfp() == six


def test_vertex_gets_five_fields_behind_the_time_zone():
    assert parse_cron("0 3 * * SUN").for_vertex("Europe/Berlin") == "TZ=Europe/Berlin 0 3 * * 0"


def test_what_a_service_was_given_is_read_back():
    cron = parse_cron("0 3 * * MON-FRI")

    assert from_kfp(cron.for_kfp()) == "0 3 * * 1-5"
    assert from_vertex(cron.for_vertex("Asia/Tokyo")) == ("0 3 * * 1-5", "Asia/Tokyo")
    assert from_vertex("0 3 * * 1") == ("0 3 * * 1", "UTC")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0 3 * *", "has 4 fields; five are needed: minute, hour, day of month, month, day of week"),
        ("0 0 3 * * 1", "has 6 fields; five are needed"),
        ("@daily", "has 1 fields"),
        ("60 * * * *", "'60' is no minute; it holds numbers 0-59"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 0 0 * *", "'0' is no day of month; it holds numbers 1-31"),
        ("0 0 * FEBRUARY *", "'FEBRUARY' is no month; it holds numbers 1-12 or JAN-DEC"),
        ("0 0 * * 8", "'8' is no day of week"),
        ("0 5-3 * * *", "'5-3' is no hour"),
        ("5/15 * * * *", "'5/15' is no minute"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("0,,5 * * * *", "'0,,5' is no minute"),
        ("-1 * * * *", "'-1' is no minute"),
        ("\u0663 * * * *", "is no minute"),
        ("0 0 31 2,4 *", "never comes: none of its months has that day"),
    ],
)
def test_what_is_no_cron_is_refused_with_the_field_and_what_it_may_hold(text, why):
    with pytest.raises(UserError) as error:
        parse_cron(text)

    assert why in str(error.value)


def test_an_unknown_time_zone_is_refused():
    with pytest.raises(UserError, match=r"no time zone .Berlin.; write it as the IANA does"):
        check_cron("0 3 * * 1", "Berlin")


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("0 3 * * 1", "2026-03-25 12:00", "2026-03-30 03:00"),
        ("0 3 * * *", "2026-03-25 03:00", "2026-03-26 03:00"),  # never the moment itself
        ("30 2 * * *", "2026-03-29 00:00", "2026-03-30 02:30"),  # half past two does not exist on the 29th
        ("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 0 13 * 5", "2026-03-10 00:00", "2026-03-13 00:00"),  # both days restricted: either is enough
        ("0 0 14 * 5", "2026-03-13 00:00", "2026-03-14 00:00"),
        ("*/20 * * * *", "2026-03-25 12:41", "2026-03-25 13:00"),
    ],
)
def test_the_next_time_comes_by_the_clock_on_the_wall(text, after, expected):
    moment = datetime.fromisoformat(after).replace(tzinfo=BERLIN)

    assert parse_cron(text).next_after(moment) == datetime.fromisoformat(expected).replace(tzinfo=BERLIN)


@given(
    st.integers(0, 59), st.integers(0, 23), st.sets(st.integers(0, 6), min_size=1), st.datetimes(
        datetime(2024, 1, 1), datetime(2030, 1, 1)
    ),
)  # fmt: skip
@example(0, 0, {1}, datetime(2024, 1, 1))  # a Monday
def test_the_next_time_is_the_first_minute_that_fits(minute, hour, days, moment):
    cron = parse_cron(f"{minute} {hour} * * {','.join(map(str, days))}")
    moment = moment.replace(tzinfo=UTC)

    found = cron.next_after(moment)

    assert found > moment
    assert (found.minute, found.hour) == (minute, hour)
    assert found.isoweekday() % 7 in days
    waited = (found - moment).days
    assert found - moment <= timedelta(days=7)  # a whole week from a moment that fits itself
    missed = {(moment.isoweekday() + day) % 7 for day in range(1, waited + 1)} - {found.isoweekday() % 7}
    assert not missed & days
