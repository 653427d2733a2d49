"""Posting to one HTTP receiver, and what its answers mean."""

from typing import Final

from lanes.store import Runner, run_here

from . import Answer
from .http import Broken, Client, Response, Trust

ANSWER_BYTES_MAX: Final = 64 << 10  # of an answer's body that is read, so that the connection can be used again
_OF_THE_MESSAGE: Final = frozenset({400, 409, 413, 415, 422})  # this message is refused; the next may pass


class Poster:
    """Posts to `url`, within `timeout_s` for the whole of one post. `what` names the channel in a refusal."""

    def __init__(self, url: str, *, timeout_s: float, trust: Trust, what: str, runner: Runner = run_here) -> None:
        self._client = Client(url, timeout_s=timeout_s, trust=trust, what=what, runner=runner)

    async def post(self, body: bytes, headers: dict[str, str]) -> Answer:
        """One attempt."""
        try:
            return _answer(
                await self._client.request("POST", self._client.target, headers, body, answer_max=ANSWER_BYTES_MAX)
            )
        except Broken as broken:
            return Answer(False, broken.why)

    async def close(self) -> None:
        await self._client.close()


def _answer(response: Response) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(True, str(status))
    wish = response.headers.get("retry-after", "")
    after_s = float(wish) if wish.isascii() and wish.isdecimal() and len(wish) < 6 else 0.0
    return Answer(False, str(status), refused=status in _OF_THE_MESSAGE, after_s=after_s)
