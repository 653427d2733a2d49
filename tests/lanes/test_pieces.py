"""A plan in pieces: the bodies, their limits, and what unpacks to what."""

import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cython_ext import WireError
from lanes import pieces
from lanes.envelope import SMALL_BYTES_MAX, Envelope, Kind, peek, seal
from lanes.pieces import PACKED_BYTES_MAX, PIECE_BYTES, Piece, Want
from tests.kit.plans import key

PIECE = Piece(b"p" * 32, b"q" * 32, 1000, 512, b"x" * 488)


@given(st.binary(max_size=20_000))
def test_all_pieces_of_a_file_are_the_file(file):
    packed = pieces.pack(b"p" * 32, file)
    found = [Piece.unpack(packed.piece(first).pack()) for first in range(0, len(packed.data), PIECE_BYTES)]
    assert pieces.unpack(b"".join(piece.data for piece in found)) == file
    assert {(piece.plan, piece.packed, piece.size) for piece in found} == {(b"p" * 32, packed.digest, len(packed.data))}


@pytest.mark.parametrize(
    "broken",
    [
        [b"p" * 32, b"q" * 32, 1000, 0],
        [b"p" * 31, b"q" * 32, 1000, 0, b"x"],
        [b"p" * 32, b"q" * 32, PACKED_BYTES_MAX + 1, 0, b"x"],
        [b"p" * 32, b"q" * 32, 1 << 60, 0, b"x"],
        [b"p" * 32, b"q" * 32, 1000, -1, b"x"],
        [b"p" * 32, b"q" * 32, 1000, 1000, b"x"],
        [b"p" * 32, b"q" * 32, 1000, 999, b"xy"],
        [b"p" * 32, b"q" * 32, 1000, 0, b""],
        [b"p" * 32, b"q" * 32, 1000, 0, b"x" * (PIECE_BYTES + 1)],
        [b"p" * 32, b"q" * 32, 1000, 0, "text"],
        "no list",
    ],
)
def test_a_hostile_piece_is_refused(broken):
    with pytest.raises(WireError):
        Piece.unpack(broken)


@pytest.mark.parametrize("broken", [[b"q" * 32, PACKED_BYTES_MAX + 1, ""], [b"q", 0, ""], [b"q" * 32, 0, "w" * 25], 7])
def test_a_hostile_want_is_refused(broken):
    with pytest.raises(WireError):
        Want.unpack(broken)


def test_the_longest_names_leave_room_for_both():
    heads = ("c" * 26, "n" * 25, bytes(8), (1 << 50) - 1, 1 << 52, (1 << 31) - 1, 1 << 31)
    piece = Piece(bytes(32), bytes(32), PACKED_BYTES_MAX, PACKED_BYTES_MAX - PIECE_BYTES, b"x" * PIECE_BYTES)
    data = seal(Envelope(Kind.CHUNK, *heads, piece.pack()), key("iasi"))
    assert peek(data).body == piece.pack()
    want = Want(bytes(32), PACKED_BYTES_MAX, "w" * 24)
    assert len(seal(Envelope(Kind.WANT, *heads, want.pack()), key("n1"))) <= SMALL_BYTES_MAX


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"not zlib",
        zlib.compress(b"x" * 100)[:-1],
        zlib.compress(b"x" * 100) + b"more",
        zlib.compress(bytes(pieces.FILE_BYTES_MAX + 1)),  # 4 kB that would be 4 MB and a byte
        zlib.compress(bytes(64 << 20)),
    ],
    ids=["empty", "other", "cut", "trailing", "large", "bomb"],
)
def test_what_does_not_unpack_to_a_plan_is_refused(hostile):
    with pytest.raises(WireError):
        pieces.unpack(hostile)


def test_a_plan_too_long_for_the_lane_says_so():
    with pytest.raises(WireError, match="deliver it as a file"):
        pieces.pack(bytes(32), Random(1).randbytes(PACKED_BYTES_MAX + 1))
