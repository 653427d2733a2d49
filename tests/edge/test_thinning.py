"""What is left of many samples: their lowest, highest and last, and it says so."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from edge.telemetry.births import RECORD
from edge.telemetry.thinning import thin

S = 1_000_000_000
rows = st.tuples(
    st.integers(0, 600 * S), st.floats(-5, 5, width=16), st.integers(0, 2), st.sampled_from([0, 8]), st.just(0)
)


def pack(*found) -> bytes:
    return b"".join(RECORD.pack(*row) for row in found)


def unpacked(records: bytes) -> list[tuple]:
    return list(RECORD.iter_unpack(records))


def test_a_minute_of_one_point_leaves_three_samples_with_their_own_times():
    values = [1.0, 3.0, 0.5, 2.0, 1.5]
    assert unpacked(thin(pack(*((n * S, v, 0, 0, 0) for n, v in enumerate(values))), 60)) == [
        (1 * S, 3.0, 0, 0, 60),
        (2 * S, 0.5, 0, 0, 60),
        (4 * S, 1.5, 0, 0, 60),
    ]


def test_what_stands_alone_is_not_called_thinned():
    slow = [(n * 600 * S, float(n), 0, 0, 0) for n in range(5)]
    assert unpacked(thin(pack(*slow), 60)) == slow


def test_a_fault_within_the_interval_is_still_seen():
    found = unpacked(thin(pack(*((n * S, 1.0, 0, 8 if n == 30 else 0, 0) for n in range(60))), 60))
    assert (30 * S, 1.0, 0, 8, 0) in found
    assert len(found) <= 4


@given(st.lists(rows, max_size=80), st.sampled_from([60, 600]))
def test_bounds_and_lasts_of_every_interval_stay_true(found, interval):
    left = unpacked(thin(pack(*found), interval))
    assert len(left) <= len(found)
    assert {row[:4] for row in left} <= {row[:4] for row in found}
    assert [row[0] for row in left] == sorted(row[0] for row in left)
    whole, kept = defaultdict(list), defaultdict(list)
    for source, group in ((found, whole), (left, kept)):
        for row in source:
            group[row[2], row[3], row[0] // (interval * S)].append(row)
    assert whole.keys() == kept.keys()
    for key, members in whole.items():
        assert min(r[1] for r in kept[key]) == min(r[1] for r in members)
        assert max(r[1] for r in kept[key]) == max(r[1] for r in members)
        assert max(r[0] for r in kept[key]) == max(r[0] for r in members)
        gone = len(members) > len(kept[key])
        assert all(row[4] == (interval if gone else 0) for row in kept[key])


@given(st.lists(rows, max_size=80))
def test_thinned_again_it_is_as_if_thinned_at_once(found):
    once = {row[:4] for row in unpacked(thin(pack(*found), 600))}
    twice = {row[:4] for row in unpacked(thin(thin(pack(*found), 60), 600))}
    # Of equal values the first found stays: the times may differ, what was lowest, highest and last does not.
    assert {row[1:] for row in once} == {row[1:] for row in twice}
