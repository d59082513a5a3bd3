import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.machine.clock import Clock, Rtc, VirtualTime, parse_date


def test_events_fire_in_order_at_their_own_time():
    t, seen = VirtualTime(), []
    for when in (30, 10, 20, 10):
        t.at(when, lambda when=when: seen.append((when, t.now)))
    t.at(15, lambda: seen.append("never")).cancel()
    t.advance(25)
    assert seen == [(10, 10), (10, 10), (20, 20)] and t.now == 25 and t.deadline == 30


def test_time_follows_a_source_only_while_started():
    ns = [1000]
    t = VirtualTime()
    t.follow(lambda: ns[0])
    ns[0] += 500
    assert t.now == 0
    t.start()
    ns[0] += 70
    assert t.now == 70
    fired = []
    t.at(100, lambda: fired.append(t.now))
    assert t.fire() == 0
    t.stop()
    ns[0] += 1000
    assert t.now == 70
    t.start()
    ns[0] += 30
    assert t.fire() == 1 and fired == [100]


def test_cancelled_events_do_not_pile_up():
    t = VirtualTime()
    for i in range(10_000):
        t.at(10**12 + i, print).cancel()
    assert len(t._queue) < 200


@settings(deadline=None)
@given(st.integers(1, 10**10), st.integers(0, 10**9))
def test_a_deadline_is_the_first_moment_of_its_tick(hz, tick):
    c = Clock(hz)
    when = c.ns(tick)
    c.time.advance_to(when)
    assert c.ticks >= tick
    if when:
        before = Clock(hz)
        before.time.advance_to(when - 1)
        assert before.ticks < tick


def test_a_stopped_clock_stands_still_and_resumes():
    c, seen = Clock(1000), []
    c.at(5, lambda: seen.append(c.ticks))
    c.time.advance(2_000_000)
    c.hz = 0
    c.time.advance(10**9)
    assert c.ticks == 2 and not seen
    c.hz = 1000
    c.time.advance(3_000_000)
    assert seen == [5]


def test_clocks_that_tick_together():
    """Also where a tick is no whole number of nanoseconds and the one stood still in between."""
    t = VirtualTime()
    first, second, fired = Clock(16_000_000, t), Clock(16_000_000, t), []
    t.advance_to(first.ns(3))
    second.hz = 0
    second.at(5, lambda: fired.append(first.ticks))
    t.advance_to(first.ns(1001))
    second.join(first)
    for tick in range(1001, 1200):
        t.advance_to(first.ns(tick))
        assert (first.ticks, second.ticks) == (tick, tick - 998)
    assert fired == [1003]
    first.hz = 2_000_000
    second.join(first)
    t.advance_to(first.ns(2000))
    assert (second.hz, second.ticks) == (2_000_000, 2000 - 998)


def test_rtc_base_and_clock():
    t = VirtualTime()
    r = Rtc(t, "2006-06-17T16:01:21", "vm")
    assert r.now == 1150560081 * 10**9
    t.advance(5)
    assert r.now == 1150560081 * 10**9 + 5
    with pytest.raises(ValueError, match="invalid datetime"):
        parse_date("17 June")
