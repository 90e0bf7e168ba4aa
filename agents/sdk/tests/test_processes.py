"""Other processes: forked, spawned, and those of servers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
from stand_in import StandIn

from devart import AsyncAgentSDK, Client, Task
from devart.signals import forward_signals
from devart.testing import make_task

# A process with threads is forked here on purpose; Python warns of that since 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

_HERE = Path(__file__).parent


def _complete_in_child(task: Task, url: str) -> None:
    with Client(url, "dva_key") as client:
        client.complete(task, "from the child")


def _exit_status_of_fork(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_has_its_own_connections(api: StandIn) -> None:
    with Client(api.url, "dva_key") as client:
        client.heartbeat()
        parents = client._transport._connections.http

        def work() -> None:
            client.heartbeat()
            assert client._transport._connections.http is not parents

        assert _exit_status_of_fork(work) == 0
        client.heartbeat()
        assert client._transport._connections.http is parents
    assert len(api.asked("heartbeat")) == 3


def test_a_forked_child_may_run_by_itself(api: StandIn) -> None:
    statuses: list[int] = []
    with Client(api.url, "dva_key") as client:

        def handle(task: Task) -> None:
            if task.id == "child":
                return
            api.offer(task_id="child")
            statuses.append(_exit_status_of_fork(lambda: client.run(handle, max_tasks=1)))

        api.offer()
        client.run(handle, max_tasks=1)
    assert statuses == [0]
    assert "child" in [body["lease_token"] for body in api.asked("status")]


def test_a_forked_child_dies_of_a_signal_as_ever() -> None:
    inbox: SimpleQueue[Any] = SimpleQueue()
    reader, writer = os.pipe()
    with forward_signals(inbox):
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"!")
            time.sleep(30)
            os._exit(0)
        # Python forgets a signal that arrives in the midst of the fork.
        os.read(reader, 1)
        os.kill(pid, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reader)
    os.close(writer)
    assert status == -signal.SIGTERM
    assert inbox.empty()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_task_may_be_worked_on_in_another_process(api: StandIn, method: str) -> None:
    context = multiprocessing.get_context(method)
    child = context.Process(  # type: ignore[attr-defined]
        target=_complete_in_child, args=(make_task(), api.url)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert api.asked("status")[0]["result"] == "from the child"


@pytest.fixture
def gunicorn(api: StandIn, tmp_path: Path) -> Iterator[str]:
    """An app that is loaded once and forked, on a Unix socket."""
    address = str(tmp_path / "socket")
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--log-level"]
    process = subprocess.Popen(
        [*command, "error", "--bind", f"unix:{address}", "wsgi_app:app"],
        cwd=_HERE,
        env={**os.environ, "DEVART_API_URL": api.url, "DEVART_API_KEY": "dva_key"},
    )
    yield address
    process.terminate()
    process.wait(30)


def test_an_app_that_gunicorn_forks_creates_tasks(
    api: StandIn, gunicorn: str, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    def listens() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(gunicorn) == 0

    eventually(listens)
    transport = httpx.HTTPTransport(uds=gunicorn)
    with httpx.Client(transport=transport, base_url="http://app", timeout=30) as http:
        pids = {http.get("/", headers={"Connection": "close"}).text for _ in range(20)}
    assert len(api.asked("tasks")) == 20
    assert str(os.getpid()) not in pids


async def _serve_fastapi(api: StandIn) -> tuple[int, list[str]]:
    import asyncio  # noqa: PLC0415
    from contextlib import asynccontextmanager  # noqa: PLC0415

    from fastapi import FastAPI  # noqa: PLC0415

    sdk = AsyncAgentSDK(api.url, "dva_key")
    loops: list[str] = []
    done = asyncio.Event()

    async def handle(_: Task) -> str:
        loops.append(str(id(asyncio.get_running_loop())))
        done.set()
        return "by the app"

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        async with sdk:
            consuming = asyncio.create_task(sdk.start_consuming(handle, wait_seconds=1))
            yield
            sdk.stop()
            await consuming

    app = FastAPI(lifespan=lifespan)

    @app.post("/")
    async def create() -> str:
        return (await sdk.create_task("T")).id

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http,
    ):
        status = (await http.post("/")).status_code
        await asyncio.wait_for(done.wait(), 15)
    return status, [*loops, str(id(asyncio.get_running_loop()))]


def test_an_app_of_fastapi_creates_and_works_on_tasks(api: StandIn) -> None:
    import asyncio  # noqa: PLC0415

    api.offer()
    status, (of_handler, of_app) = asyncio.run(_serve_fastapi(api))
    assert status == 200
    assert of_handler == of_app
    assert api.asked("status")[0]["result"] == "by the app"
