"""The agent of the round trip benchmark: works for some seconds, prints tasks per second."""

import os
import sys
import time

from devart import Client


def tasks_per_second(client: Client, seconds: float) -> float:
    """Claim and complete, one request after the other, as an agent with one task in hand."""
    started = time.monotonic()
    done = 0
    while (elapsed := time.monotonic() - started) < seconds:
        for task in client.claim():
            client.complete(task)
            done += 1
    return done / elapsed


if __name__ == "__main__":
    with Client(os.environ["DEVART_API_URL"], os.environ["DEVART_API_KEY"]) as sdk:
        print(tasks_per_second(sdk, float(sys.argv[1])))
