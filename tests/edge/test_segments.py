"""The backlog's files: what was appended is read, whatever the power cut left of the rest; damage is told and set aside."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.telemetry.births import RECORD
from edge.telemetry.segments import SEGMENT_BYTES, Batch, Segment, Segments, parse

NAMES = (("level", "gauge"), ("smoke", "bank"))
BOOT = b"12345678"


def batch(first: int, count: int = 10, point: int = 0, boot: bytes = BOOT) -> Batch:
    records = b"".join(RECORD.pack(n, float(n), point, 0, 0) for n in range(first, first + count))
    return Batch(boot, 1_000, True, records)


def opened(folder, told: list | None = None) -> Segments:
    heard = [] if told is None else told
    return Segments(folder, lambda name, size: heard.append((name, size)))


def values(segments: Segments) -> list[float]:
    found = []
    for segment in sorted(segments.sizes):
        for each in segments.read(segment).batches:
            found += [row[1] for row in RECORD.iter_unpack(each.records)]
    return found


def test_what_was_appended_is_there_after_a_restart_and_goes_on(tmp_path):
    first = opened(tmp_path)
    first.append(batch(0), NAMES)
    second = opened(tmp_path)
    second.append(batch(10), NAMES)
    assert len(second.sizes) == 1
    third = opened(tmp_path)
    assert values(third) == [float(n) for n in range(20)]
    (segment,) = third.sizes
    content = third.read(segment)
    assert (content.names, content.damaged, content.size) == (NAMES, 0, third.total)
    assert content.batches[0] == batch(0)


def test_other_points_begin_another_segment(tmp_path):
    segments = opened(tmp_path)
    segments.append(batch(0), NAMES)
    segments.append(batch(10), NAMES[:1])
    segments.append(batch(20), NAMES)
    assert len(segments.sizes) == 3
    assert values(segments) == [float(n) for n in range(30)]


def test_segments_have_an_end_and_the_most_thinned_comes_first(tmp_path):
    segments = opened(tmp_path)
    for n in range(20):
        segments.append(batch(n * 1000, 1000), NAMES)
    segments.append(batch(0), NAMES, 2)
    assert all(size <= SEGMENT_BYTES for size in segments.sizes.values())
    assert segments.oldest() == Segment(-2, 1)
    assert segments.oldest(0) == Segment(0, 1)
    assert segments.oldest(0, but={Segment(0, 1)}) == Segment(0, 2)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_torn_tail_costs_at_most_the_last_batch_and_is_told(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("torn")
    segments = opened(folder)
    for n in range(3):
        segments.append(batch(n * 10), NAMES)
    path = segments.path(segments.oldest())
    whole = path.read_bytes()
    last = len(batch(0).pack())
    cut = data.draw(st.integers(1, last))
    rubbish = data.draw(st.binary(max_size=cut))  # blocks that never reached the card
    path.write_bytes(whole[:-cut] + rubbish)
    told: list = []
    again = opened(folder, told)
    if rubbish != whole[-cut:]:
        assert values(again) == [float(n) for n in range(20)]
        assert sum(size for _, size in told) == len(whole) - cut + len(rubbish) - (len(whole) - last)
    again.append(batch(20), NAMES)
    assert values(again)[-10:] == [float(n) for n in range(20, 30)]
    assert len(again.sizes) == 1


@settings(max_examples=100, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen_and_costs_no_more_than_its_batch(where, bit):
    batches = [batch(n * 10) for n in range(5)]
    head = b""
    import edge.telemetry.segments as module

    head = module._head(NAMES)
    data = bytearray(head + b"".join(each.pack() for each in batches))
    at = int(where * len(data))
    data[at] ^= 1 << bit
    content = parse(bytes(data))
    if at < len(head):
        assert content is None
    else:
        assert content is not None
        hurt = (at - len(head)) // len(batches[0].pack())
        assert list(content.batches) == [b for n, b in enumerate(batches) if n != hurt]
        assert content.damaged == len(batches[0].pack())


@given(st.binary(max_size=400))
def test_rubbish_is_nobodys(data):
    content = parse(data)
    assert content is None or not content.batches


def test_a_damaged_segment_is_set_aside_once_its_good_part_is_sent_and_never_goes_on(tmp_path):
    segments = opened(tmp_path)
    for n in range(3):
        segments.append(batch(n * 10), NAMES)
    path = segments.path(segments.oldest())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    told: list = []
    again = opened(tmp_path, told)
    segment = again.oldest()
    content = again.read(segment)
    assert len(content.batches) == 2
    again.append(batch(50), NAMES)
    assert len(again.sizes) == 2
    assert again.drop(segment, content)
    assert [name for name, _ in told] == [segment.name]
    assert (tmp_path / f"aside-{segment.name}").exists()
    assert opened(tmp_path).sizes.keys() == again.sizes.keys()
    assert again.drop_asides()
    assert not again.drop_asides()


def test_a_segment_that_has_grown_is_not_given_up(tmp_path):
    segments = opened(tmp_path)
    segments.append(batch(0), NAMES)
    segment = segments.oldest()
    content = segments.read(segment)
    segments.append(batch(10), NAMES)
    assert not segments.drop(segment, content)
    assert segments.drop(segment, segments.read(segment))
    segments.append(batch(20), NAMES)
    assert segments.oldest() == Segment(0, 2), "a number is not used again"


def test_a_batch_that_the_disk_did_not_take_leaves_nothing(tmp_path, monkeypatch):
    segments = opened(tmp_path)
    segments.append(batch(0), NAMES)

    def fails(_handle):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input"):
            segments.append(batch(10), NAMES)
    segments.append(batch(20), NAMES)
    assert values(segments) == [float(n) for n in (*range(10), *range(20, 30))]
    assert len(segments.sizes) == 2, "after a failed sync the file is never gone on with"


def test_strange_files_are_left_alone(tmp_path):
    for name in ("notes.txt", "x-1.seg", "9-1.seg", "0-.seg", "aside-0-1.seg"):
        (tmp_path / name).write_bytes(b"?")
    assert opened(tmp_path).sizes == {}
    (tmp_path / "0-0000000007.seg").write_bytes(b"rubbish")
    segments = opened(tmp_path)
    content = segments.read(Segment(0, 7))
    assert (content.batches, content.damaged) == ((), 7)
    assert segments.drop(Segment(0, 7), content)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["notes.txt", "x-1.seg", "9-1.seg", "0-.seg", "aside-0-1.seg", "aside-0-0000000007.seg"]
    )
