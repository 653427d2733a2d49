"""What the channels share that write to people: a list of recipients, and persons of duty.toml who are called one by one."""

from collections.abc import Sequence
from typing import Any, Final

from ..duty import Duty
from . import Answer
from .settings import AppriseSettings, MailSettings

NO_ADDRESS: Final = Answer(False, "no-address", refused=True)


class ToPeople:
    """Without `to` it only calls persons. What it writes is never too old: it says when it happened."""

    def __init__(self, settings: MailSettings | AppriseSettings, duty: Duty) -> None:
        self._name, self._to = settings.name, settings.to
        self._duty = duty

    @property
    def name(self) -> str:
        return self._name

    @property
    def expires(self) -> bool:
        return False

    def wants(self, *, cap: bool) -> bool:
        del cap
        return bool(self._to)

    def _recipients(self, summary: dict[str, Any]) -> Sequence[str]:
        """The addresses of a message; none: the person whom it calls has none here."""
        person = str(summary.get("person", ""))
        if not person:
            return self._to
        address = self._duty.address(person, self._name)
        return (address,) if address else ()
