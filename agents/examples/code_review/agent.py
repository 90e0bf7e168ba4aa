"""A devart agent that reviews pull requests by rules. Start it as the README says."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

from review import PullRequest, price_usd, review

from devart import Client, DevartError, Task

_log = logging.getLogger("code_review")


class CodeReviewer:
    """Reviews the pull request of a task, and charges a service for it when one is known.

    Args:
        client: the agent's client.
        service_id: the service to charge when a task names none; None charges nothing then.
    """

    def __init__(self, client: Client, service_id: str | None) -> None:
        self._client = client
        self._service_id = service_id

    def handle(self, task: Task) -> dict[str, Any]:
        """Review, and charge first: what the budget refuses is not done. Then the task fails and is tried again."""
        pull = PullRequest.from_payload(task.payload)
        cost = self._charge(task, pull)
        # A model call belongs here, in place of or beside the rules: see the README.
        result = review(pull)
        _log.info("%s", result["summary"])
        return {**result, "cost": cost}

    def _charge(self, task: Task, pull: PullRequest) -> dict[str, Any] | None:
        service_id = task.service_id or self._service_id
        if service_id is None:
            return None
        amount = price_usd(pull)
        charge = self._client.charge(service_id, amount, task)
        return {"amount_usd": amount, "service_id": charge.charged_service_id, "delegated": charge.delegated}


def main() -> int:
    """Run the agent; return the exit status."""
    options = _parse_options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        api_url, api_key = os.environ["DEVART_API_URL"], os.environ["DEVART_API_KEY"]
    except KeyError as missing:
        print(f"{missing.args[0]} is not set; see the README of this example", file=sys.stderr)
        return 2
    try:
        with Client(api_url, api_key) as client:
            reviewer = CodeReviewer(client, os.environ.get("DEVART_SERVICE_ID") or None)
            taken = client.run(reviewer.handle, max_tasks=options.max_tasks)
    except (DevartError, ValueError) as error:
        print(f"the agent cannot work: {error}", file=sys.stderr)
        return 1
    _log.info("stopped after %d task(s)", taken)
    return 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reviews pull requests by rules.")
    parser.add_argument("--max-tasks", type=int, metavar="N", help="stop after N tasks (default: go on)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
