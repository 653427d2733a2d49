"""When which machine could not do its work, through no fault of its program. The checkers forgive that time, and no more."""

from collections.abc import Callable, Iterable, Iterator


def merged(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch made one."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def without(spans: Iterable[tuple[int, int]], first_ns: int, last_ns: int) -> Iterator[tuple[int, int]]:
    """The parts of that time that no span covers."""
    at_ns = first_ns
    for begin, end in merged(iter(spans)):
        if end <= at_ns or begin >= last_ns:
            continue
        if begin > at_ns:
            yield at_ns, begin
        at_ns = max(at_ns, end)
    if at_ns < last_ns:
        yield at_ns, last_ns


class Outages:
    """When which machine could not do its work, through no fault of its program."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._open: dict[str, list[int]] = {}
        self._spans: dict[str, list[tuple[int, int]]] = {}

    def begin(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._open.setdefault(name, []).append(self._now_ns())

    def end(self, names: tuple[str, ...]) -> None:
        for name in names:
            began = self._open.get(name)
            if began:
                self._spans.setdefault(name, []).append((began.pop(0), self._now_ns()))

    def spans(self, name: str) -> list[tuple[int, int]]:
        still = ((began, self._now_ns()) for began in self._open.get(name, ()))
        return merged(iter((*self._spans.get(name, ()), *still)))

    def last_end(self, name: str, before_ns: int) -> int:
        """When the last outage that began before this was over; not later than this."""
        return max((min(end, before_ns) for begin, end in self.spans(name) if begin <= before_ns), default=0)

    def within(self, name: str, first_ns: int, last_ns: int) -> int:
        """How much of that time it was out."""
        return sum(max(0, min(end, last_ns) - max(begin, first_ns)) for begin, end in self.spans(name))

    def clear(self, node: str, first_ns: int, last_ns: int) -> Iterator[tuple[int, int]]:
        """The parts of that time in which the node, its disk and its gauge were well; and its program had time to start."""
        yield from without((*self.spans(node), *self.spans(f"{node}/gauge")), first_ns, last_ns)
