"""A devart agent that reviews pull requests by rules. Start it as the README says."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

from review import PullRequest, price_usd, review

from devart import AgentSDK, DevartError, Task

_log = logging.getLogger("code_review")


class CodeReviewer:
    """Reviews the pull request of a task, and spends money of a service on it when one is known.

    Args:
        sdk: the agent's connection.
        service_id: the service to spend of when a task names none; None spends nothing then.
    """

    def __init__(self, sdk: AgentSDK, service_id: str | None) -> None:
        self._sdk = sdk
        self._service_id = service_id

    def handle(self, task: Task) -> dict[str, Any]:
        """Review, with the money set aside first.

        What the budget refuses is not done, and the task waits for it.
        """
        pull = PullRequest.from_payload(task.payload)
        service_id = task.service_id or self._service_id
        if service_id is None:
            return {**self._review(pull), "cost": None}
        with self._sdk.spend(service_id, estimate=price_usd(pull)) as spend:
            result = self._review(pull)
            settlement = spend.settle(price_usd(pull))
        cost = {
            "amount_usd": settlement.charged_usd,
            "service_id": spend.service_id,
            "delegated": spend.delegated_from is not None,
        }
        return {**result, "cost": cost}

    def _review(self, pull: PullRequest) -> dict[str, Any]:
        # A model call belongs here, in place of or beside the rules: see the README.
        result = review(pull)
        _log.info("%s", result["summary"])
        return result


def main() -> int:
    """Run the agent; return the exit status."""
    options = _parse_options()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # devart's own log says all of it.
    for library in ("httpx", "aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        with AgentSDK.from_env() as sdk:
            reviewer = CodeReviewer(sdk, os.environ.get("DEVART_SERVICE_ID") or None)
            taken = sdk.start_consuming(reviewer.handle, max_tasks=options.max_tasks)
    except (DevartError, ValueError) as error:
        _log.error("the agent cannot work: %s", error)
        return 1
    _log.info("stopped after %d task(s)", taken)
    return 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reviews pull requests by rules.")
    parser.add_argument(
        "--max-tasks", type=int, metavar="N", help="stop after N tasks (default: go on)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
