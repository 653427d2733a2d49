# cython: cdivision=True, autotestdict=False, auto_pickle=False
"""A panel's state as bytes and back: elapsed times instead of instants, so that it holds across a restart of the clock.

Layout, little-endian: "BUCP", u16 version, u16 0, 32 bytes digest of the configuration, u32 points, u32 groups; each point:
u8 length, id, POINT,
u8 whether it has windows, WINDOWS; each group: u8 length, id, GROUP, u32 members, each MEMBER; SHA-256 of all before.
A time is now minus the instant; INT64_MIN: never. Every field is checked before anything is changed.
"""

import struct
from hashlib import sha256

from libc.math cimport isfinite, isnan
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cython_ext.state cimport NOWHERE, SLOTS, UNSET, Core, Extra, Group, Hot, Warm

from cython_ext.errors import WireError

cdef bytes MAGIC = b"BUCP"
cdef int VERSION = 1
HEADER = struct.Struct("<4sHH32sII")
POINT = struct.Struct("<2q3d 6q2q6q d2IIH10B".replace(" ", ""))
WINDOWS = struct.Struct("<12q12dq3Idq")
GROUP = struct.Struct("<Q2qI2B")
MEMBER = struct.Struct("<I3q")
cdef int64_t OLDEST = <int64_t> 1 << 61


cdef inline int64_t elapsed(int64_t at_ns, int64_t now_ns):
    return UNSET if at_ns == UNSET else now_ns - at_ns


cdef bytes save_point(const Hot* hot, const Warm* warm, int64_t now, bint plain):
    cdef int64_t anchor_ns = hot.anchor_ns
    cdef double before = hot.before, anchor = hot.anchor
    cdef int values = warm.values
    if plain:  # of history such a panel follows the last value alone (panel.plain), so nothing older is kept
        before = anchor = hot.last
        values = min(values, 1)
        if anchor_ns != UNSET:
            anchor_ns = hot.last_ns
    return POINT.pack(
        elapsed(hot.last_ns, now), elapsed(anchor_ns, now), hot.last, before, anchor,
        *[elapsed(warm.since_ns[k], now) for k in range(3)], *[elapsed(warm.raised_ns[k], now) for k in range(3)],
        elapsed(warm.level_ns, now), elapsed(warm.first_ns, now),
        *[elapsed(warm.raises_ns[k], now) for k in range(3)], *[elapsed(warm.faults_ns[k], now) for k in range(3)],
        warm.rate, warm.trouble, warm.fail, warm.restated, warm.last_status, warm.level, warm.raw, warm.active, warm.pending,
        warm.confirmed, warm.counts, values, warm.qc, warm.flags, warm.noted,
    )


cdef bytes save_windows(const Extra* extra, int64_t now):
    return WINDOWS.pack(
        *[elapsed(extra.kept[k].at_ns, now) for k in range(SLOTS)], *[extra.kept[k].value for k in range(SLOTS)],
        elapsed(extra.pushed_ns, now), extra.head, extra.count, extra.calm, extra.baseline, elapsed(extra.drift_ns, now),
    )


cdef bytes save(Core* core, object config, bytes digest, int64_t now_ns):
    """The whole state."""
    cdef list parts = [HEADER.pack(MAGIC, VERSION, 0, digest, core.points, core.total - core.points)]
    cdef uint32_t i, g, m
    cdef const Group* group
    for i in range(core.points):
        id_ = config.points[i].id.encode()
        parts.append(bytes((len(id_),)) + id_)
        parts.append(save_point(&core.hot[i], &core.warm[i], now_ns, core.plain != 0))
        if core.warm[i].extra == NOWHERE:
            parts.append(b"\0")
        else:
            parts.append(b"\1" + save_windows(&core.extras[core.warm[i].extra], now_ns))
    for g in range(core.total - core.points):
        group = &core.groups[g]
        id_ = config.groups[g].id.encode()
        parts.append(bytes((len(id_),)) + id_)
        parts.append(
            GROUP.pack(
                group.evidence, elapsed(group.level_ns, now_ns), elapsed(group.counted_ns, now_ns), group.trouble, group.level,
                group.real,
            ) + struct.pack("<I", group.count)
        )
        for m in range(group.first, group.first + group.count):
            left = [elapsed(core.members[m].left_ns[k], now_ns) for k in range(3)]
            parts.append(MEMBER.pack(core.members[m].point, *left))
    cdef bytes body = b"".join(parts)
    return body + sha256(body).digest()


cdef class Reader:
    """Walks a snapshot; every step is checked."""

    cdef bytes data
    cdef Py_ssize_t at

    def __init__(self, data):
        self.data = data
        self.at = 0

    cdef tuple take(self, object layout):
        if self.at + layout.size > len(self.data):
            raise WireError("snapshot", "ends too early")
        fields = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return fields

    cdef str name(self):
        if self.at >= len(self.data) or self.at + 1 + self.data[self.at] > len(self.data):
            raise WireError("snapshot", "ends too early")
        length = self.data[self.at]
        raw = self.data[self.at + 1 : self.at + 1 + length]
        self.at += 1 + length
        if not raw.isascii():
            raise WireError("snapshot", "an id is not ASCII")
        return raw.decode()


cdef require(bint condition, str what):
    if not condition:
        raise WireError("snapshot", f"{what} is out of range")


cdef check_times(tuple times, str what):
    for value in times:
        if value != UNSET and not -OLDEST <= value <= OLDEST:
            raise WireError("snapshot", f"a time of {what} is out of range")


cdef check_point(str name, tuple f):
    check_times(f[0:2] + f[5:19], name)
    require(all(value != UNSET for value in f[5:12] + f[13:19]), name)
    require(all(isnan(value) or isfinite(value) for value in f[2:5]), name)
    level, raw, active, pending, confirmed, counts, values, qc, flags, noted = f[24:34]
    require(f[20] < 1 << 17 and f[21] < 1 << 17 and level <= 3 and raw <= 3 and active < 8 and pending < 8, name)
    require(confirmed < 8 and counts < 64 and values <= 2 and qc in (1, 2, 3, 4, 9) and flags < 16, name)
    require(noted & 15 <= 3 and noted >> 4 <= 3, name)


cdef check_windows(str name, tuple f):
    check_times(f[0:12] + f[24:25] + f[29:30], name)
    require(all(value != UNSET for value in f[0:12] + f[24:25]), name)
    require(f[25] < SLOTS and f[26] <= SLOTS and f[27] <= SLOTS and isfinite(f[28]), name)
    require(all(isfinite(value) for value in f[12:24]), name)


cdef inline int64_t instant(object elapsed_ns, int64_t now_ns):
    return UNSET if elapsed_ns == UNSET else now_ns - <int64_t> elapsed_ns


cdef load_point(Hot* hot, Warm* warm, tuple f, int64_t now):
    cdef int k
    hot.last_ns, hot.anchor_ns = instant(f[0], now), instant(f[1], now)
    hot.last, hot.before, hot.anchor = f[2], f[3], f[4]
    hot.quiet_tick = 0
    for k in range(3):
        warm.since_ns[k] = instant(f[5 + k], now)
        warm.raised_ns[k] = instant(f[8 + k], now)
        warm.raises_ns[k] = instant(f[13 + k], now)
        warm.faults_ns[k] = instant(f[16 + k], now)
    warm.level_ns, warm.first_ns = instant(f[11], now), instant(f[12], now)
    warm.rate, warm.trouble, warm.fail, warm.restated, warm.last_status = f[19:24]
    (
        warm.level, warm.raw, warm.active, warm.pending, warm.confirmed, warm.counts, warm.values, warm.qc, warm.flags, warm.noted
    ) = f[24:34]


cdef load_windows(Extra* extra, tuple f, int64_t now):
    cdef int k
    for k in range(SLOTS):
        extra.kept[k].at_ns = instant(f[k], now)
        extra.kept[k].value = f[12 + k]
    extra.pushed_ns = instant(f[24], now)
    extra.head, extra.count, extra.calm, extra.baseline = f[25:29]
    extra.drift_ns = instant(f[29], now)


cdef object load(Core* core, object config, bytes digest, object data, int64_t now_ns):
    """Read, check, then take up what is known here by id. Returns whether the configuration was the same."""
    cdef bytes raw = bytes(data)
    if len(raw) < HEADER.size + 32 or raw[:4] != MAGIC:
        raise WireError("snapshot", "not a snapshot")
    if sha256(raw[:-32]).digest() != raw[-32:]:
        raise WireError("snapshot", "the checksum does not hold")
    cdef Reader reader = Reader(raw[:-32])
    _, version, reserved, theirs, points, groups = reader.take(HEADER)
    if version != VERSION or reserved:
        raise WireError("snapshot", f"version {version}: this program reads version {VERSION}")
    cdef list seen = []
    cdef list voting = []
    for _ in range(points):
        name, fields, windows = reader.name(), reader.take(POINT), None
        check_point(name, fields)
        if reader.take(struct.Struct("<B"))[0]:
            windows = reader.take(WINDOWS)
            check_windows(name, windows)
        seen.append((name, fields, windows))
    for _ in range(groups):
        name, fields = reader.name(), reader.take(GROUP)
        check_times(fields[1:3], name)
        require(fields[3] < 1 << 17 and fields[4] <= 3 and UNSET not in fields[1:3], name)
        members = [reader.take(MEMBER) for _ in range(reader.take(struct.Struct("<I"))[0])]
        for member in members:
            require(member[0] < points, name)
            check_times(member[1:], name)
        voting.append((name, fields, members))
    if reader.at != len(reader.data):
        raise WireError("snapshot", "bytes are left over")
    take_up(core, config, seen, voting, now_ns)
    return theirs == digest


cdef take_up(Core* core, object config, list seen, list voting, int64_t now_ns):
    cdef dict points = {point.id: i for i, point in enumerate(config.points)}
    cdef dict groups = {each.id: g for g, each in enumerate(config.groups)}
    cdef uint32_t i, m
    cdef Group* group
    for name, fields, windows in seen:
        if name not in points:
            continue
        i = points[name]
        load_point(&core.hot[i], &core.warm[i], fields, now_ns)
        if windows is not None and core.warm[i].extra != NOWHERE:
            load_windows(&core.extras[core.warm[i].extra], windows, now_ns)
    for name, fields, members in voting:
        if name not in groups:
            continue
        group = &core.groups[groups[name]]
        group.level_ns, group.counted_ns = instant(fields[1], now_ns), instant(fields[2], now_ns)
        group.trouble, group.level, group.real = fields[3:6]
        group.evidence = 0
        left = {seen[member[0]][0]: (fields[0] >> at & 1, member[1:]) for at, member in enumerate(members)}
        for m in range(group.count):
            known = left.get(config.points[core.members[group.first + m].point].id)
            if known is not None:
                group.evidence |= <uint64_t> known[0] << m
                for k in range(3):
                    core.members[group.first + m].left_ns[k] = instant(known[1][k], now_ns)
