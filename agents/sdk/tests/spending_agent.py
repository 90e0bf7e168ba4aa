"""An agent that spends until it is killed: `spending_agent.py API_URL PROVIDER_URL SEED`."""

from __future__ import annotations

import contextlib
import random
import sys
from decimal import Decimal

import httpx

from devart import Client, Task
from devart.spend import Spend


def main(api_url: str, provider_url: str, seed: int) -> None:
    """Spend in every way that a block knows, over and over."""
    draw = random.Random(seed)
    with Client(api_url, "dva_key") as client, httpx.Client(base_url=provider_url) as provider:

        def ask(spend: Spend) -> Decimal:
            answer = provider.post("/ask", json={"hold_id": spend.hold_id})
            return Decimal(answer.json()["cost_usd"])

        def spend_once(task: Task | None) -> None:
            estimate = None if task and draw.random() < 0.5 else "0.05"
            with client.spend("s", estimate=estimate, task=task) as spend:
                cost = ask(spend)
                if draw.random() < 0.2:
                    spend.extend("0.05")
                    cost += ask(spend)
                if draw.random() < 0.2:
                    raise TimeoutError("after the provider had served")
                spend.settle(cost)

        while True:
            [task, *_] = [*client.claim(), None] if draw.random() < 0.5 else [None]
            with contextlib.suppress(TimeoutError):
                spend_once(task)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
