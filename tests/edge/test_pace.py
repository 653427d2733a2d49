"""How fast the past follows: within the limit, and as the link takes it."""

from hypothesis import given
from hypothesis import strategies as st

from edge.telemetry.pace import PIECE_MAX, PIECE_MIN, Pace

S = 1_000_000_000
FRAME = 140  # MQTT, TCP, IP and the sign that is asked for


def played(
    link_bytes_per_s: int, limit: int = 1_000_000, way_s: float = 0.05, seconds: float = 600.0
) -> tuple[Pace, int, float]:
    """A link that carries so much: the pace, bytes sent, and the longest that anything stood behind a piece."""
    pace, now, sent, longest = Pace(limit), 0, 0, 0.0
    pace.arrived(round(way_s * S))
    while now < seconds * S:
        now += pace.wait_ns(now)
        size = pace.piece
        took = way_s + (size + FRAME) / link_bytes_per_s
        pace.sent(size, now)
        now += round(took * S)
        pace.arrived(round(took * S))
        sent += size
        if now > 60 * S:
            longest = max(longest, took - way_s)
    return pace, sent, longest


def test_at_9600_bits_nothing_waits_longer_than_half_a_second_behind_it():
    pace, sent, longest = played(1200)
    assert pace.piece in (256, 512)
    assert longest < 0.6
    assert sent / 600 > 500  # and it still uses the link


def test_a_fast_link_gets_the_limit_and_no_more():
    _, sent, _ = played(1_000_000, limit=4000)
    assert 0.95 < sent / (600 * 4000) <= 1.01


def test_a_long_way_is_not_a_slow_link():
    pace, sent, _ = played(100_000, limit=20_000, way_s=1.5)
    assert pace.piece == PIECE_MAX
    assert sent / 600 > 5_000


def test_no_sign_and_another_connection_begin_small():
    pace, _, _ = played(1_000_000)
    pace.arrived(None)
    assert pace.piece == PIECE_MIN
    pace.anew()
    assert not pace.known


@given(st.lists(st.one_of(st.none(), st.integers(0, 20 * S)), max_size=50), st.integers(100, 1_000_000))
def test_it_stays_within_its_bounds(signs, limit):
    pace = Pace(limit)
    for sign in signs:
        pace.arrived(sign)
        assert PIECE_MIN <= pace.piece <= max(PIECE_MIN, min(PIECE_MAX, limit))
