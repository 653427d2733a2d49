"""What people do: each act verified, single-use, within the person's zones, journaled with what came of it (design §2.4).

A refused act changes nothing; it is journaled too, with the reason. Nothing here waits: the answer to the person is given by the
desk once the rows are durable.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any, Final

from cython_ext import BuciumError, Level, WireError
from lanes.acts import (
    ALL,
    AckAlarm,
    CheckSiren,
    RemoveAlarm,
    RequestSiren,
    ResetAlarm,
    ReturnAlarm,
    ShelveAlarm,
    Signed,
    StopSiren,
    UnshelveAlarm,
    VetoSiren,
    open_act,
    open_person,
)
from lanes.control import ControlError
from lanes.envelope import Kind, Opened
from lanes.identity import INCIDENT_BYTES, AlarmId
from lanes.keys import Mode
from lanes.orders import NONCES_MAX, SOUND_MAX_S, TESTS, ZONES_MAX, Action, Approval, OrderCore
from lanes.passkeys import challenge_of, is_assertion, open_assertion
from lanes.plan import Siren
from lanes.roster import Signer

from .alarm.book import Moved
from .alarm.record import Alarm
from .approvals import LIFE_US, Request, Yes, pack_request
from .deciding import Deciding
from .ordering import Ordering
from .policy import asked_of_people, sirens_of
from .record.records import Record
from .room import Room, one_moment
from .shelving import Shelving

USED_MAX: Final = (
    65_536  # acts that still could be repeated: they live 60 s, so this many only come from a machine gone wild
)


class Acting:
    """Carries out people's acts."""

    def __init__(self, room: Room, ordering: Ordering, deciding: Deciding) -> None:
        self._room = room
        self._ordering = ordering
        self._deciding = deciding
        shelving = Shelving(room, self._alarm, self._covered, self._moved)
        self._verbs: dict[type[Any], Callable[[Signed, Any], dict[str, Any]]] = {
            AckAlarm: self._acknowledge,
            ResetAlarm: self._reset,
            ShelveAlarm: shelving.shelve,
            UnshelveAlarm: shelving.unshelve,
            RemoveAlarm: shelving.remove,
            ReturnAlarm: shelving.put_back,
            RequestSiren: self._request,
            VetoSiren: self._veto,
            StopSiren: self._stop,
            CheckSiren: self._check,
        }

    @one_moment
    def act(self, data: bytes, verb: str) -> dict[str, Any]:
        """Carry out a signed act that came under `verb`. BuciumError with the reason when it is refused."""
        room = self._room
        now_us = room.clock.wall_us()
        signed = open_act(data, room.plan.roster, service=room.plan.controller, now_us=now_us)
        if verb != signed.act.VERB:
            raise ControlError("verb", f"signed for {signed.act.VERB}, sent as {verb}")
        self.once(signed.once, signed.not_after_us)
        try:
            result = self._verbs[type(signed.act)](signed, signed.act)
        except (BuciumError, WireError) as error:
            code = error.code if isinstance(error, (ControlError, WireError)) else "refused"
            self._keep(signed, code)
            raise
        self._keep(signed, "done")
        return result

    def _keep(self, signed: Signed, outcome: str) -> None:
        self._room.journal.append(Record.ACT, [signed.data, signed.once, signed.not_after_us, outcome])
        self._room.notify()

    def once(self, once: bytes, not_after_us: int) -> None:
        """An act or approval counts once; ControlError for its repeat."""
        used = self._room.used
        if once in used:
            raise ControlError("repeated", "this act has been taken already; sign a new one")
        if len(used) >= USED_MAX:
            raise ControlError("busy", "too many acts in the last minute")
        used[once] = not_after_us

    # Alarms.

    def _alarm(self, signed: Signed, wanted: AlarmId) -> Alarm:
        """The open alarm, which the person may act on."""
        alarm = self._room.book.find(wanted)
        if alarm is None:
            raise ControlError("no-alarm", f"no open alarm {wanted}; see: bucium alarm list")
        self._covered(signed, (alarm.id.zone,))
        if alarm.mode is not signed.mode:
            raise ControlError(
                "mode", f"this alarm is {alarm.mode.name.lower()}, your key is {signed.mode.name.lower()}"
            )
        return alarm

    def _covered(self, signed: Signed, zones: tuple[str, ...]) -> None:
        known = [zone.id for zone in self._room.plan.zones]
        missing = [zone for zone in zones if zone not in signed.zones]
        if missing and missing[0] not in known:
            raise ControlError("zone", f"the plan has no zone {missing[0]!r}; it has: {', '.join(known)}")
        if missing:
            raise ControlError("zone", f"{signed.person} is not named for zone {missing[0]} in the plan")

    def _moved(self, moved: Moved) -> dict[str, Any]:
        self._room.moved(moved)
        alarm = moved.alarm
        self._deciding.consider((alarm.id.zone, alarm.id.hazard, alarm.mode))
        return {"alarm": str(alarm.id), "state": str(alarm.state), "unseen": len(alarm.unseen)}

    def _acknowledge(self, signed: Signed, act: AckAlarm) -> dict[str, Any]:
        self._alarm(signed, act.alarm)
        return self._moved(self._room.book.acknowledge(act, signed.person, self._room.clock.wall_us()))

    def _reset(self, signed: Signed, act: ResetAlarm) -> dict[str, Any]:
        alarm, resets = self._alarm(signed, act.alarm), self._deciding.resets
        points = resets.latched(alarm)
        if points and alarm.unseen:
            raise ControlError("refused", "not all of its events are acknowledged; first: bucium alarm ack")
        if not points:
            return self._moved(self._room.book.reset(act, self._room.clock.wall_us()))
        asked = resets.ask(signed, act, points)
        return {"alarm": str(alarm.id), "state": str(alarm.state), "unseen": 0, "asked": asked}

    # Sirens.

    def _request(self, signed: Signed, act: RequestSiren) -> dict[str, Any]:
        """A request that people must approve. It sounds nothing."""
        room, plan = self._room, self._room.plan
        if not act.zones:
            raise ControlError("zone", "name at least one zone")
        self._covered(signed, act.zones)
        if act.mode is not signed.mode:
            raise ControlError("mode", f"a {act.mode.name.lower()} request needs your {act.mode.name.lower()} key")
        self._ordering.check_mode(act.mode)
        pattern = plan.pattern(act.pattern)
        if pattern is None:
            known = ", ".join(each.id for each in plan.patterns)
            raise ControlError("pattern", f"the plan has no pattern {act.pattern!r}; it has: {known}")
        longest = min(ceil(pattern.length_s), SOUND_MAX_S)
        if act.max_s > longest:
            raise ControlError("duration", f"{act.max_s} s is longer than {pattern.id}, which lasts {longest} s")
        able = sirens_of(plan, act.zones, pattern)
        if not able:
            raise ControlError("no-siren", f"no siren of {', '.join(act.zones)} can sound {pattern.id}")
        if strange := set(act.sirens) - {siren.id for siren in able}:
            raise ControlError(
                "siren", f"siren {min(strange)} is none of {', '.join(act.zones)}, or cannot sound {pattern.id}"
            )
        sirens = _chosen(able, act.sirens)
        if room.requests.full:
            raise ControlError("busy", "too many requests are open")
        people, centres = asked_of_people(plan, act.zones, pattern.id)
        incident = act.incident if act.incident != ALL else room.entropy(INCIDENT_BYTES)
        core = self._ordering.core(incident, act.zones, pattern.id, act.mode, act.max_s or longest, LIFE_US)
        core = replace(core, plan=self._ordering.plan_of(sirens))
        request = Request(core, core.digest(), signed.person, act.reason, people, centres, sirens=act.sirens)
        room.journal.append(Record.REQUEST, pack_request(request))
        room.requests.put(request)
        return self.describe(request)

    def describe(self, request: Request) -> dict[str, Any]:
        """A request as people see it before they approve: every field of the core that they sign."""
        room, core = self._room, request.core
        pattern = room.plan.pattern(core.pattern)
        sirens = _chosen(sirens_of(room.plan, core.zones, pattern), request.sirens) if pattern else ()
        now_us = room.clock.wall_us()
        nonces = self._nonces((*sirens, *self._reserve(core)))
        return {
            "request": request.id,
            "digest": request.digest.hex(),
            "challenge": challenge_of(request.digest, nonces).hex(),
            "incident": core.incident.hex(),
            "zones": list(core.zones),
            "pattern": core.pattern,
            "mode": core.mode.name.lower(),
            "max_s": core.max_s,
            "not_after_us": core.not_after_us,
            "plan": core.plan.hex(),
            "by": request.person,
            "reason": request.reason,
            "sirens": [siren.id for siren in sirens],
            "nonces": [nonce.hex() for nonce in nonces],
            "approved_by": [each.person for each in request.valid(now_us)],
            "missing": request.missing(now_us),
        }

    def _reserve(self, core: OrderCore) -> list[Siren]:
        """Sirens that may have to stand in for one of these zones: the approvals are good for their nodes too."""
        zones = frozenset(core.zones)
        return [siren for siren in self._room.plan.sirens if not zones.isdisjoint(siren.reserve_zones)]

    def _nonces(self, sirens: tuple[Siren, ...]) -> tuple[bytes, ...]:
        nodes = self._room.fold.registry.nodes
        return tuple(dict.fromkeys(nodes[siren.node].boot for siren in sirens))[:NONCES_MAX]

    @one_moment
    def approve(self, data: bytes) -> dict[str, Any]:
        """One more person's yes, by key or by passkey. When it is the last that was missing, the order goes."""
        room, now_us = self._room, self._room.clock.wall_us()
        request, signer, once, end_us = self._passkey(data) if is_assertion(data) else self._signature(data, now_us)
        mode = request.core.mode.name.lower()
        if signer.mode is not request.core.mode:
            raise ControlError("mode", f"the request is {mode}: sign it with your {mode} key")
        if not (signer.zones and signer.covers(request.core.zones)):
            raise ControlError("zone", f"{signer.id} is not named for all of {', '.join(request.core.zones)}")
        self.once(once, end_us)
        yes = Yes(signer.id, signer.centre, end_us, data)
        row = room.journal.append(
            Record.APPROVAL, [data, once, request.digest, yes.person, yes.centre, yes.not_after_us]
        )
        room.requests.approve(request, yes)
        answer = self.describe(request)
        if not answer["missing"]:
            answer["activation"] = row.seq
            self._sound(request, row.seq, now_us)
        return answer

    def _signature(self, data: bytes, now_us: int) -> tuple[Request, Signer, bytes, int]:
        """The request that a signed approval is for, whose it is, what makes it single-use, and its end."""
        plan = self._room.plan
        opened = open_person(data, Kind.APPROVAL, plan.roster, service=plan.controller, now_us=now_us)
        request = self._room.requests.get(Approval.unpack(opened.envelope.body).digest)
        if request is None:
            raise ControlError("no-request", "no open request has this digest; see: bucium siren status")
        return request, opened.signer, _once_of(opened), opened.envelope.not_after_us

    def _passkey(self, data: bytes) -> tuple[Request, Signer, bytes, int]:
        """The same of a passkey's assertion: it lasts as long as the core that it signs."""
        found = open_assertion(data, self._room.plan.roster)
        request = next((each for each in self._room.requests if found.approves(each.digest)), None)
        if request is None:
            raise ControlError("no-request", "no open request has this challenge; see: bucium siren status")
        return request, found.signer, found.kid + found.challenge[:16], request.core.not_after_us

    def _sound(self, request: Request, number: int, now_us: int) -> None:
        room, core = self._room, request.core
        pattern = room.plan.pattern(core.pattern)
        assert pattern is not None, "it was there when it was requested"
        chosen = request.chosen(now_us)
        end_us = request.not_after_us(now_us)
        by = ",".join(each.person for each in request.valid(now_us))
        for siren in _chosen(sirens_of(room.plan, core.zones, pattern), request.sirens):
            self._ordering.send(
                number,
                Action.START,
                siren.id,
                core,
                heads=("", Level.NORMAL, by),
                approvals=tuple(each.data for each in chosen),
                not_after_us=end_us,
            )
        for alarm in list(room.book):
            if alarm.incident == core.incident:
                room.moved(room.book.latch(alarm, now_us))
        self.close(request, "sounded")

    def close(self, request: Request, why: str) -> None:
        """A request's end."""
        self._room.journal.append(Record.CLOSED, [request.digest, why])
        self._room.requests.close(request.digest)

    def _veto(self, signed: Signed, act: VetoSiren) -> dict[str, Any]:
        """Ends a veto time, and open requests, of this incident."""
        room = self._room
        alarms = [alarm for alarm in room.book if alarm.incident == act.incident]
        requests = [request for request in room.requests if request.core.incident == act.incident]
        if not alarms and not requests:
            raise ControlError("no-incident", f"nothing waits for incident {act.incident.hex()}")
        for alarm in alarms:
            self._covered(signed, (alarm.id.zone,))
        for request in requests:
            self._covered(signed, request.core.zones)
        for alarm in alarms:
            self._deciding.bar(alarm, "vetoed")
        for request in requests:
            self.close(request, "vetoed")
        return {"incident": act.incident.hex(), "alarms": len(alarms), "requests": len(requests)}

    def _stop(self, signed: Signed, act: StopSiren) -> dict[str, Any]:
        """Silence: a stop order to every siren named, whatever it does now."""
        sirens = self._named(signed, act.zones, act.sirens)
        self._ordering.check_mode(signed.mode)
        incident = None if act.incident == ALL else act.incident
        self._ordering.withdraw(frozenset(siren.id for siren in sirens), incident)
        if signed.mode is Mode.LIVE:
            self._hold(sirens, incident)
        number = self._room.journal.seq
        for siren in sirens:
            zones = siren.zones[:ZONES_MAX]
            core = self._ordering.core(act.incident, zones, "", signed.mode, 0, 0)
            self._ordering.send(number, Action.STOP, siren.id, core, heads=("", Level.NORMAL, signed.person))
        return {"activation": number, "sirens": sorted(siren.id for siren in sirens)}

    def _named(self, signed: Signed, zones: tuple[str, ...], names: tuple[str, ...]) -> list[Siren]:
        """These sirens and those of these zones; neither: all that the person may act for. ControlError when one may not be."""
        plan, mine = self._room.plan, self._warning(signed.zones)
        unknown = set(names) - {siren.id for siren in plan.sirens}
        if unknown:
            raise ControlError("siren", f"the plan has no siren {min(unknown)!r}")
        strange = set(zones) - {zone.id for zone in plan.zones}
        if strange:
            raise ControlError("zone", f"the plan has no zone {min(strange)!r}")
        named = self._warning(frozenset(zones)) | set(names) if zones or names else mine
        if not named:
            raise ControlError("no-siren", "no siren stands in these zones")
        for siren in sorted(named - mine):
            raise ControlError("zone", f"{signed.person} is not named for a zone of siren {siren}")
        return [siren for siren in plan.sirens if siren.id in named]

    def _warning(self, zones: frozenset[str]) -> set[str]:
        """The sirens that warn these zones: theirs, and those that were ordered in the place of one of theirs."""
        own = {siren.id for siren in self._room.plan.sirens if not zones.isdisjoint(siren.zones)}
        for activation in self._room.fold.activations:
            if not zones.isdisjoint(activation.core.zones):
                own.update(siren for fall in activation.falls.values() for siren in fall.stand_ins)
        return own

    def _hold(self, sirens: list[Siren], incident: bytes | None) -> None:
        """After a stop nothing automatic begins again for the alarms of these sirens' zones, up to their Level."""
        zones = {zone for siren in sirens for zone in siren.zones}
        for alarm in list(self._room.book):
            if alarm.id.zone in zones and incident in (None, alarm.incident):
                self._deciding.bar(alarm, "stopped")

    def _check(self, signed: Signed, act: CheckSiren) -> dict[str, Any]:
        """Arm, tests and status: one activation, siren by siren. A test is signed with a test key, as its node asks too."""
        sirens = self._named(signed, act.zones, act.sirens)
        if act.action in TESTS and signed.mode is not Mode.TEST:
            raise ControlError("mode", f"a test needs your test key, this one is {signed.mode.name.lower()}")
        self._ordering.check_mode(signed.mode)
        number = self._room.journal.seq
        for siren in sirens:
            core = self._ordering.core(ALL, siren.zones[:ZONES_MAX], "", signed.mode, 0)
            self._ordering.send(number, act.action, siren.id, core, heads=("", Level.NORMAL, signed.person))
        return {"activation": number, "sirens": sorted(siren.id for siren in sirens)}

    # Time.

    def tick(self, now_us: int) -> None:
        """End requests and forget acts whose time is over."""
        for request in self._room.requests.expired(now_us):
            self.close(request, "expired")
        used = self._room.used
        for once in [once for once, until_us in used.items() if until_us < now_us]:
            del used[once]


def _chosen(sirens: tuple[Siren, ...], named: tuple[str, ...]) -> tuple[Siren, ...]:
    """Those that are named; all, when none is."""
    return tuple(siren for siren in sirens if siren.id in named) if named else sirens


def _once_of(opened: Opened) -> bytes:
    envelope = opened.envelope
    return opened.signer.kid + envelope.boot + envelope.counter.to_bytes(8, "big")
