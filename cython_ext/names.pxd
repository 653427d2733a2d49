# Names of metrics that were born without an alias: found by the wire's own bytes, without a Python object.
# Open addressing, at most half full; a birth has at most MAX_METRICS names, so the worst search is bounded too.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy


cdef struct Name:
    uint64_t hash
    uint32_t at  # where its text begins
    uint32_t size  # 0: the slot is free, for no name is empty
    int32_t point  # -1: known, and not judged
    uint8_t datatype


cdef struct Names:
    Name* slots  # NULL before the first
    uint64_t mask
    uint32_t count
    uint8_t* text  # all names, one after the other
    uint32_t used


cdef inline uint64_t hash_of(const uint8_t* text, uint32_t size) noexcept nogil:
    # FNV-1a (Fowler, Noll, Vo), 64 bits.
    cdef uint64_t hash = 0xCBF29CE484222325ULL
    cdef uint32_t i
    for i in range(size):
        hash = (hash ^ text[i]) * 0x100000001B3ULL
    return hash


cdef inline Name* seek(const Names* names, const uint8_t* text, uint32_t size, uint64_t hash) noexcept nogil:
    # The slot of this name, or the free one where it would be. There are slots.
    cdef uint64_t at = hash & names.mask
    cdef Name* slot
    while True:
        slot = &names.slots[at]
        if slot.size == 0:
            return slot
        if slot.hash == hash and slot.size == size and memcmp(names.text + slot.at, text, size) == 0:
            return slot
        at = at + 1 & names.mask


cdef inline const Name* find_name(const Names* names, const uint8_t* text, uint32_t size) noexcept nogil:
    # NULL: it was not born.
    cdef const Name* slot
    if names.count == 0:
        return NULL
    slot = seek(names, text, size, hash_of(text, size))
    return slot if slot.size else NULL


cdef inline bint make_room(Names* names, uint32_t size) noexcept nogil:
    # For one more name of this many bytes; False: no memory, and nothing has changed.
    cdef uint64_t i, slots = names.mask + 1 if names.slots != NULL else 0
    cdef Name* old = names.slots
    cdef Name* slot
    cdef uint8_t* text = <uint8_t*> realloc(names.text, names.used + size)
    if text == NULL:
        return False
    names.text = text
    if 2 * <uint64_t> (names.count + 1) <= slots:
        return True
    slot = <Name*> calloc(max(16, 2 * slots), sizeof(Name))
    if slot == NULL:
        return False
    names.slots = slot
    names.mask = max(16, 2 * slots) - 1
    for i in range(slots):
        if old[i].size:
            seek(names, names.text + old[i].at, old[i].size, old[i].hash)[0] = old[i]
    free(old)
    return True


cdef inline Name* put_name(Names* names, const uint8_t* text, uint32_t size) noexcept nogil:
    # The slot of a name that is new here, for its point and datatype. After make_room.
    cdef uint64_t hash = hash_of(text, size)
    cdef Name* slot = seek(names, text, size, hash)
    memcpy(names.text + names.used, text, size)
    slot.hash = hash
    slot.at = names.used
    slot.size = size
    names.used += size
    names.count += 1
    return slot


cdef inline void drop_names(Names* names) noexcept nogil:
    free(names.slots)
    free(names.text)
