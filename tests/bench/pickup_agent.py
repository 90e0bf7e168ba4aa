"""The agent of the pickup benchmark: prints how long each task waited, in microseconds."""

import os
import time

from devart import Client, Task


def handle(task: Task) -> None:
    """Print the time from enqueueing to now."""
    waited_us = time.time_ns() // 1000 - int(task.payload["enqueued_at_us"])
    print(waited_us, flush=True)


if __name__ == "__main__":
    Client(os.environ["DEVART_API_URL"], os.environ["DEVART_API_KEY"]).run(handle)
