"""Debounce: a contact's state changes when its level has stood for `hold_ns`. Pure; fed by edges and by level reads.

Both are needed: edges may be lost (a kernel queue overflows, a driver swallows them), level reads alone miss what is
short. However fast the line chatters, there is at most one change in `hold_ns`.
"""


class Debounce:
    """One contact. `state` is None until a level has stood for `hold_ns`."""

    __slots__ = ("_candidate", "_hold_ns", "_since_ns", "state")

    def __init__(self, hold_ns: int) -> None:
        self._hold_ns = hold_ns
        self._candidate: bool | None = None
        self._since_ns = 0
        self.state: bool | None = None

    def feed(self, level: bool, at_ns: int) -> bool:
        """Take a level seen at `at_ns`. True when the state changed."""
        if level is not self._candidate:
            self._candidate = level
            self._since_ns = at_ns
        return self.settle(at_ns)

    def settle(self, now_ns: int) -> bool:
        """Let time pass. True when the state changed."""
        if self._candidate is None or self._candidate is self.state or now_ns - self._since_ns < self._hold_ns:
            return False
        self.state = self._candidate
        return True

    @property
    def due_ns(self) -> int | None:
        """When `settle` will change the state if no edge comes; None: nothing is pending."""
        if self._candidate is None or self._candidate is self.state:
            return None
        return self._since_ns + self._hold_ns
