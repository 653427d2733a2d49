/* Counts what is asked of the C heap, by all and by the code within ranges that were named. For LD_PRELOAD; glibc only. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

enum { RANGES = 64 };
static uintptr_t first[RANGES], last[RANGES];
static int ranges;
unsigned long allocations_of_all, allocations_of_ours;

int allocations_watch(uintptr_t from, uintptr_t to) {
    if (ranges == RANGES)
        return -1;
    first[ranges] = from;
    last[ranges] = to;
    return ++ranges;
}

static void count(void *caller) {
    allocations_of_all++;
    for (int i = 0; i < ranges; i++)
        if ((uintptr_t)caller >= first[i] && (uintptr_t)caller < last[i])
            allocations_of_ours++;
}

void *malloc(size_t size) {
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t items, size_t size) {
    count(__builtin_return_address(0));
    return __libc_calloc(items, size);
}

void *realloc(void *old, size_t size) {
    count(__builtin_return_address(0));
    return __libc_realloc(old, size);
}

int posix_memalign(void **found, size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    *found = __libc_memalign(alignment, size);
    return *found ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}
