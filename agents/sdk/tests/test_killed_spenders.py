"""Agents that are killed at random: the ledger never says less than what a provider served."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ledger import Ledger

from devart import Client

_log = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("spending_agent.py")
_AGENTS = 6


class Provider:
    """Serves calls of up to 0.05 USD each, and counts what they cost, by their holds."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._lock = threading.Lock()
        self.url = ""
        self.served: dict[str, Decimal] = defaultdict(Decimal)

    @property
    def total(self) -> Decimal:
        """US dollars of all that was served."""
        with self._lock:
            return sum(self.served.values(), Decimal(0))

    def serve(self, hold_id: str) -> str:
        """Serve a call; return what it cost."""
        with self._lock:
            cost = Decimal(self._draw.randint(0, 50)) / 1000
            self.served[hold_id] += cost
        return str(cost)


@contextmanager
def _provider(draw: random.Random) -> Iterator[Provider]:
    provider = Provider(draw)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"cost_usd": provider.serve(asked["hold_id"])}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    provider.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


def test_the_ledger_is_never_below_what_was_served_and_equals_it_in_the_end(
    ledger: Ledger, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    seed = random.randrange(1_000_000)
    _log.warning("seed %d", seed)
    draw = random.Random(seed)
    ledger.limit = Decimal(1_000_000)
    for _ in range(500):
        ledger.offer_with_money("0.06")
    with _provider(draw) as provider:
        threads = threading.active_count()
        for number in range(_AGENTS):
            _spend_until_killed(ledger, provider, seed + number, draw.randint(5, 30), eventually)
        # What was under way when an agent was killed is served to its end.
        eventually(lambda: threading.active_count() <= threads)
        ledger.expire()
        assert provider.total > 0
        assert ledger.spent >= provider.total
        with Client(ledger.url, "dva_key") as client:
            for hold_id, hold in ledger.holds.items():
                if hold.presumed:
                    client.settle(hold_id, provider.served[hold_id])
        settled_at_what_was_held = [
            hold.cost - provider.served[hold_id]
            for hold_id, hold in ledger.holds.items()
            if hold.cost != provider.served[hold_id]
        ]
    assert all(beyond > 0 for beyond in settled_at_what_was_held)
    assert ledger.spent - sum(settled_at_what_was_held) == provider.total


def _spend_until_killed(
    ledger: Ledger,
    provider: Provider,
    seed: int,
    calls: int,
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    """Kill an agent behind a number of its requests, wherever it is by then."""
    before = len(ledger.requests)
    command = [sys.executable, str(_PROGRAM), ledger.url, provider.url, str(seed)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as agent:
        try:
            eventually(lambda: agent.poll() is not None or len(ledger.requests) > before + calls)
            assert agent.poll() is None, agent.stderr.read() if agent.stderr else ""
        finally:
            agent.kill()
