"""Delivery: transitions become messages, messages go to receivers, and nothing that was written is lost.

What is to be done is in the outbox; a process that dies leaves it there. A message counts as sent when the receiver has
taken it and that is written: who dies in between sends that one again, with the same key. One deliverer at a time works, by
a lease.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import apsw

from hvac_platform.alerts import outbox
from hvac_platform.alerts.composing import build_message, note_reference
from hvac_platform.alerts.messages import Message
from hvac_platform.alerts.new_transitions import plan_transitions
from hvac_platform.alerts.planning import BUNDLES, message_key
from hvac_platform.alerts.receivers import Answer, DeliveryError, Sender, make_sender
from hvac_platform.alerts.routing import base_transition
from hvac_platform.alerts.tree import ENDING, RAISING, AlertsFileError, Tree, current_tree, redaction
from hvac_platform.alerts.troubles import Trouble, clear_trouble, open_troubles, raise_trouble
from hvac_platform.config import Settings
from hvac_platform.monitoring.lifecycle import ACTIVE, State, handling_by_id, settled_since, state_of
from hvac_platform.stores.base import Lease, Store, StoreError
from hvac_platform.stores.records import OutboxMessage
from hvac_platform.timestamps import DAY_MS, day_of, now_ms

LEASE_TOPIC = ":alerts"
"""Name under which the ledger keeps who delivers; no topic of a log can have it."""
RENEW_SECONDS = 1.0
POLL_SECONDS, SERVER_POLL_SECONDS = 0.25, 1.0
"""How often the outbox is looked at; on a server each look is some statements, and who writes wakes the deliverer."""
RECENT_MS = 3 * DAY_MS
"""What is to be done is looked for so far back each time, and further back each half minute."""
WHOLE_LOOK_SECONDS = 30.0
AWAY_SECONDS = 2.0
"""A store that can't be used is asked again after so long."""
LONGEST_ERROR = 500


IN_DIGEST = "in digest"
"""State of a message that waits for a digest, which says itself how things ended."""
WAITING = ("waiting", IN_DIGEST)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that a receiver took.

    Attributes:
        row: of the outbox, as it is now.
        title: its title.
        reference: what the receiver calls it.
    """

    row: OutboxMessage
    title: str
    reference: str


@dataclass(frozen=True, slots=True)
class _Result:
    row: OutboxMessage
    title: str
    answer: Answer | None
    error: DeliveryError | None


class Deliverer:
    """Plans and sends, as long as it has the lease.

    Attributes:
        sent: messages that were taken, by this deliverer.

    Args:
        store: of the calling thread.
        settings: where the routing tree is, and the dashboard.
        tree: in place of the file's.
        holder: name under which it has the lease; one of its own when absent.
        clock: the present, epoch milliseconds.
        write: where the console's messages go.
        on_sent: told of each message that was taken.
        on_trouble: told of what goes wrong, one line each.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        tree: Tree | None = None,
        holder: str | None = None,
        clock: Callable[[], int] = now_ms,
        write: Callable[[str], object] = print,
        on_sent: Callable[[Sent], object] = lambda _: None,
        on_trouble: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._given, self._tree = tree, tree
        self._write, self._on_sent, self._on_trouble = write, on_sent, on_trouble
        self._holder = holder or f"deliverer-{uuid.uuid4().hex}"
        self._lease: Lease | None = None
        self._renewed = 0.0
        self._results: queue.Queue[_Result | None] = queue.Queue()
        self._busy: dict[str, str] = {}
        self._lined: dict[str, deque[OutboxMessage]] = defaultdict(deque)
        self._resting: dict[str, int] = {}
        self._senders: dict[str, Sender] = {}
        self._troubled: set[str] | None = None
        self._said = ""
        self._looked = self._lined_up = float("-inf")
        self._raised: dict[tuple[str, str], dict[str, tuple[int, str]]] | None = None
        self._waits_for_more = False
        self.sent = 0

    # -- the loop ----------------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Deliver until asked to stop; a store that is away is waited for."""
        while not stop.is_set():
            try:
                self.step()
                self.wait(SERVER_POLL_SECONDS if self._store.parallel else POLL_SECONDS)
            except (StoreError, OSError, apsw.Error) as error:
                self._say(f"alerts wait for the store: {type(error).__name__}: {error}")
                stop.wait(AWAY_SECONDS)

    def wait(self, seconds: float) -> None:
        """Wait for a receiver's answer, for :meth:`wake`, or until the time is over."""
        try:
            result = self._results.get(timeout=seconds)
        except queue.Empty:
            return
        self._take(result)

    def wake(self) -> None:
        """Look at once: something was written. From any thread."""
        self._results.put(None)

    def deliver_everything(self, seconds: float = 60.0, *, at_once: bool = True, patience: float = 0.0) -> bool:
        """Plan and send all that is due; returns whether nothing is left that is due, or somebody else delivers.

        Args:
            seconds: for so long at most.
            at_once: without the wait in which more of the same is gathered.
            patience: seconds to wait for the lease of another deliverer, which may be dead.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            self.step(at_once=at_once)
            if self._lease is None and time.monotonic() - begin >= patience:
                return True
            if self._lease is not None and not self._busy and not self._waits_for_more and not self._lined_now():
                return True
            self.wait(0.05)
        return False

    def _lined_now(self) -> bool:
        now = self._clock()
        return any(rows and now >= self._resting.get(receiver, 0) for receiver, rows in self._lined.items())

    def step(self, *, at_once: bool = False) -> None:
        """One look: plan what is new, send what is due to every receiver that isn't busy."""
        self._take_results()
        tree = self._current_tree()
        if tree is None or not self._has_lease():
            return
        whole = time.monotonic() - self._looked >= WHOLE_LOOK_SECONDS
        since_ms = None if whole else self._clock() - RECENT_MS
        if whole:
            self._looked = time.monotonic()
        planned = self._plan(tree, since_ms, at_once=at_once)
        if whole or planned or not self._lined_now() or time.monotonic() - self._lined_up >= POLL_SECONDS:
            self._line_up(tree, since_ms)
        for receiver in list(self._lined):
            self._send_next(tree, receiver)

    def close(self) -> None:
        """Take the answers that are due, let go of the lease and of connections."""
        end = time.monotonic() + 20.0
        while self._busy and time.monotonic() < end:
            self.wait(0.1)
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()
        if self._lease is not None:
            self._store.release_lease(self._lease)
            self._lease = None

    # -- who delivers ------------------------------------------------------------------------------------------------------

    @property
    def delivers(self) -> bool:
        """Whether this deliverer has the lease."""
        return self._lease is not None

    def _has_lease(self) -> bool:
        if self._lease is not None and time.monotonic() - self._renewed >= RENEW_SECONDS:
            if not self._store.renew_lease(self._lease):
                self._lease = None
                self._lined.clear()
            self._renewed = time.monotonic()
        if self._lease is None:
            self._lease = self._store.take_lease(LEASE_TOPIC, 0, self._holder, at=0)
            self._renewed, self._looked = time.monotonic(), float("-inf")
        return self._lease is not None

    def _current_tree(self) -> Tree | None:
        if self._given is not None:
            return self._given
        try:
            tree = current_tree(self._settings.hvac_alerts)
        except AlertsFileError as error:
            self._say(f"alerts go by the file as it was: {error}" if self._tree else f"nobody is told: {error}")
            return self._tree
        if tree is not self._tree:
            for sender in self._senders.values():
                sender.close()
            self._senders.clear()
            self._tree, self._said = tree, ""
        return self._tree

    def _say(self, line: str) -> None:
        """Tell of a trouble once, as long as it stays the same."""
        if line != self._said:
            self._said = line
            self._on_trouble(line)

    # -- planning ----------------------------------------------------------------------------------------------------------

    def _plan(self, tree: Tree, since_ms: int | None, *, at_once: bool) -> bool:
        now = self._clock()
        rows = outbox.new_transitions(self._store, now, since_ms=since_ms)
        rows = outbox.in_history(self._store, rows) if rows else rows
        self._waits_for_more = False
        if not rows:
            return False
        waited = now - min(row.updated_at for row in rows)
        if not at_once and 0 <= waited < tree.group_wait:
            self._waits_for_more = True
            return False
        plan_transitions(self._store, tree, rows, now)
        return True

    # -- what is due -------------------------------------------------------------------------------------------------------

    def _line_up(self, tree: Tree, since_ms: int | None) -> None:
        """Messages that are due, by receiver, in the order of what they tell."""
        now, sending = self._clock(), set(self._busy.values())
        self._lined_up = time.monotonic()
        waiting = outbox.messages(self._store, now, "waiting", since_ms=since_ms)
        due = [row for row in waiting if (row.next_attempt_at or 0) <= now and row.message_key not in sending]
        self._lined.clear()
        self._raised = None
        if not due:
            return
        due = self._bundled(tree, due, now)
        for row in due:
            receiver = row.receiver or ""
            if receiver not in tree.receivers:
                self._finish(row, "dead", f"the file of alerts has no receiver {receiver} any more", now)
            else:
                self._lined[receiver].append(row)

    def _bundled(self, tree: Tree, due: Sequence[OutboxMessage], now: int) -> list[OutboxMessage]:
        """What waited for an hour of the day becomes one message for each receiver; what is over by then is not told."""
        found: list[OutboxMessage] = []
        bundles: dict[tuple[str, str, int], list[OutboxMessage]] = defaultdict(list)
        for row in due:
            purpose = outbox.purpose(row)
            if purpose in ("digest", "hold"):
                kind = "digest" if purpose == "digest" else "held"
                bundles[row.receiver or "", kind, int(row.next_attempt_at or 0)].append(row)
            else:
                found.append(row)
        for (receiver, kind, at_ms), items in bundles.items():
            if kind == "held":
                items = self._still_to_tell(items, now)
                if len(items) <= 1:
                    found += items
                    continue
            found.append(self._bundle(receiver, kind, at_ms, items, now))
        return sorted(found, key=lambda row: (row.queued_at, row.message_key))

    def _still_to_tell(self, items: Sequence[OutboxMessage], now: int) -> list[OutboxMessage]:
        left = []
        for row in items:
            base = base_transition(row.transition)
            if base in RAISING and not any(self._state(i, now) in ACTIVE for i in row.incidents):
                self._finish(row, "superseded", "it was over by the time until which it was held", now)
            elif base in RAISING and len(row.incidents) == 1 and "sent" in self._states_raised(row, now, later=True):
                self._finish(row, "superseded", "it was told meanwhile that this is worse or goes on", now)
            elif base in ENDING and (raised := self._states_raised(row, now)) and not {"sent", *WAITING} & raised:
                self._finish(row, "superseded", "it was not told that this began", now)
            else:
                left.append(row)
        return left

    def _bundle(self, receiver: str, kind: str, at_ms: int, items: Sequence[OutboxMessage], now: int) -> OutboxMessage:
        key = message_key(str(at_ms), kind, receiver)
        bundle = outbox.row_of(self._store, at_ms, key)
        if bundle is None:
            first = items[0]
            bundle = replace(
                first,
                date=day_of(at_ms),
                queued_at=at_ms,
                message_key=key,
                transition=kind,
                incidents=list(dict.fromkeys(i for row in items for i in row.incidents)),
                details={
                    "reason": f"{len(items)} messages waited for it",
                    "due": at_ms,
                    "planned_at": now,
                    "severities": {i: told for row in items for i, told in outbox.severities(row).items()},
                },
                state="waiting",
                next_attempt_at=at_ms,
                updated_at=now,
            )
            self._write_rows([bundle])
        self._write_rows(
            [
                replace(row, state="superseded", next_attempt_at=None, error=f"told in {key}", updated_at=now)
                for row in items
            ],
        )
        return bundle

    def _why_not(self, row: OutboxMessage, now: int) -> str | None:
        """Why a message that is due is no longer to be sent; None where it is.

        Only what waited on purpose can become needless: what a receiver failed to take is news when it is back.
        """
        if outbox.purpose(row).startswith("escalation"):
            states = [self._state(incident_id, now) for incident_id in row.incidents]
            if "open" not in states:
                return f"{row.incident_id} is {states[0].replace('_', ' ')}, so nobody else is called"
            began_ms = outbox.recorded_ms(row)
            taken_on = [settled_since(self._store, incident_id, began_ms) for incident_id in row.incidents]
            if all(one is not None for one in taken_on):
                return f"{row.incident_id} was {taken_on[0]} since: what began then is escalated by itself"
        if base_transition(row.transition) in ENDING:
            raised = self._states_raised(row, now)
            if raised and "sent" not in raised:
                return "it was not told that this began"
            if "sent" in self._states_raised(row, now, later=True):
                return "it was told meanwhile that this is no longer over"
        return None

    def _states_raised(self, row: OutboxMessage, now: int, *, later: bool = False) -> set[str]:
        """States of the messages by which a row's receiver knows, or is to know, that its incidents began.

        Of what began before the row's own transition; with ``later``, of what began again after it.
        """
        if self._raised is None:
            self._raised = defaultdict(dict)
            for message in outbox.read_outbox(self._store, now, only=outbox.TOLD_COLUMNS, kind="message"):
                self._note_raised(message)
        receiver = row.receiver or ""
        return {
            state
            for i in row.incidents
            for began_ms, state in self._raised.get((i, receiver), {}).values()
            if (began_ms > row.queued_at) == later
        }

    def _note_raised(self, row: OutboxMessage) -> None:
        """Remember the state of a message that says that something began."""
        if self._raised is None or outbox.purpose(row).startswith("escalation"):
            return
        base = base_transition(row.transition)
        if base in (*RAISING, *BUNDLES):
            began_ms = 0 if base in BUNDLES else row.queued_at  # a bundle is made after all that it tells of
            state = IN_DIGEST if row.state == "waiting" and outbox.purpose(row) == "digest" else row.state
            for incident_id in row.incidents:
                self._raised.setdefault((incident_id, row.receiver or ""), {})[row.message_key] = began_ms, state

    def _state(self, incident_id: str, now: int) -> str:
        handling = handling_by_id(self._store, incident_id)
        if handling is None:
            return State.OPEN
        return "merged" if handling.continues is not None else state_of(handling, now)

    # -- sending -----------------------------------------------------------------------------------------------------------

    def _send_next(self, tree: Tree, receiver: str) -> None:
        """Give a receiver that isn't busy its next message."""
        now, lined = self._clock(), self._lined[receiver]
        if receiver in self._busy or now < self._resting.get(receiver, 0):
            return
        while lined:
            row = lined.popleft()
            raised = self._states_raised(row, now) if base_transition(row.transition) in ENDING else set()
            if "waiting" in raised or (IN_DIGEST in raised and "sent" not in raised):
                continue  # first what it is the end of
            if (reason := self._why_not(row, now)) is not None:
                self._finish(row, "superseded", reason, now)
                continue
            message = build_message(self._store, self._settings, tree, row)
            self._busy[receiver] = row.message_key
            threading.Thread(
                target=self._send, args=(tree, receiver, row, message), name=f"alert to {receiver}", daemon=True
            ).start()
            return

    def _send(self, tree: Tree, receiver: str, row: OutboxMessage, message: Message) -> None:
        """In a thread of its own: a receiver that is slow keeps no other waiting. The store is not touched here."""
        answer, failure = None, None
        try:
            sender = self._senders.get(receiver)
            if sender is None:
                sender = self._senders[receiver] = make_sender(receiver, tree.receivers[receiver], self._write)
            answer = sender.send(message)
        except DeliveryError as error:
            failure = error
        except Exception as error:  # of a library: whatever it is, this message was not taken
            failure = DeliveryError(f"{type(error).__name__}: {error}", everything=False)
        self._results.put(_Result(row, message.title, answer, failure))

    def _take_results(self) -> None:
        while True:
            try:
                result = self._results.get_nowait()
            except queue.Empty:
                return
            self._take(result)

    def _take(self, result: _Result | None) -> None:
        """Write what a receiver said, and give it the next message."""
        if result is None:
            return
        now, receiver = self._clock(), result.row.receiver or ""
        try:
            if result.error is None:
                assert result.answer is not None
                self._taken(result.row, result.title, result.answer, now)
            else:
                self._failed(result.row, result.error, now)
        except (StoreError, OSError, apsw.Error):
            self._results.put(result)  # it is written when the store is back; until then the receiver counts as busy
            raise
        self._busy.pop(receiver, None)
        if self._tree is not None and self._lease is not None:
            self._send_next(self._tree, receiver)

    def _taken(self, row: OutboxMessage, title: str, answer: Answer, now: int) -> None:
        details = {**row.details, **({"reference": answer.reference} if answer.reference else {})}
        done = replace(
            row,
            state="sent",
            sent_at=now,
            attempts=row.attempts + 1,
            next_attempt_at=None,
            error=None,
            details=details,
            updated_at=now,
        )
        self._write_rows([done])
        self.sent += 1
        receiver = row.receiver or ""
        self._resting.pop(receiver, None)
        if answer.reference:
            note_reference(self._store, done, answer.reference, now)
        if receiver in self._troubles(now):
            clear_trouble(self._store, "receiver", receiver, now)
            self._troubles(now).discard(receiver)
        self._on_sent(Sent(done, title, answer.reference))

    def _failed(self, row: OutboxMessage, error: DeliveryError, now: int) -> None:
        assert self._tree is not None
        delivery = self._tree.delivery
        said = redaction(self._tree)(" ".join(str(error).split()))[:LONGEST_ERROR]
        receiver = row.receiver or ""
        # What keeps one message from a receiver that is away keeps all of them: they count the attempt together.
        rows = [row, *(self._lined[receiver] if error.everything else ())]
        attempts = max(one.attempts for one in rows) + 1
        pause = max(min(delivery.first_wait * 2 ** min(attempts - 1, 30), delivery.longest_wait), error.retry_after_ms)
        if error.everything:
            self._resting[receiver] = now + pause
            self._lined[receiver].clear()
        changed = []
        for one in rows:
            dead = one.attempts + 1 >= delivery.attempts
            changed.append(
                replace(
                    one,
                    state="dead" if dead else "waiting",
                    attempts=one.attempts + 1,
                    next_attempt_at=None if dead else now + pause,
                    error=said,
                    updated_at=now,
                )
            )
        dead = [one for one in changed if one.state == "dead"]
        if dead:  # told before the rows are dead, so that a crash in between tells it again, not never
            text = (
                f"receiver {receiver} took no message in {delivery.attempts} attempts, {len(dead)} are given up: {said}"
            )
            raise_trouble(self._store, Trouble("receiver", receiver, "critical", text), now)
            self._troubles(now).add(receiver)
        self._write_rows(changed)
        waiting = len(changed) - len(dead)
        counts = [f"{waiting} messages wait {pause / 1000:.0f} s"] if waiting else []
        counts += [f"{len(dead)} are given up after {delivery.attempts} attempts"] if dead else []
        self._say(f"{receiver}: {said}; {', '.join(counts)}")

    def _troubles(self, now: int) -> set[str]:
        """Receivers that are known to be in trouble."""
        if self._troubled is None:
            self._troubled = {
                trouble.subject for trouble in open_troubles(self._store, now) if trouble.kind == "receiver"
            }
        return self._troubled

    def _finish(self, row: OutboxMessage, state: str, reason: str, now: int) -> None:
        self._write_rows([replace(row, state=state, next_attempt_at=None, error=reason, updated_at=now)])

    def _write_rows(self, rows: Sequence[OutboxMessage]) -> None:
        outbox.write(self._store, rows)
        for row in rows:
            self._note_raised(row)
