"""Shows an example at work.

Registers an agent, gives it the task of its task.json, prints what came of it.

From the top of the clone, after `make up`: `.devart/venv/bin/python agents/examples/run.py
research`.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

_EXAMPLES = Path(__file__).resolve().parent
_ROOT = _EXAMPLES.parent.parent
_PATIENCE_SECONDS = 60.0
_FINISHED = {"DONE", "FAILED", "CANCELLED"}


def main(name: str) -> int:
    """Run the example in the folder `name`; return the exit status."""
    settings = _settings()
    new_task = json.loads((_EXAMPLES / name / "task.json").read_text())
    headers = {"Authorization": f"Bearer {_devart('token', '--role', 'supervisor')}"}
    # A proxy of the environment has no business here: the API is on this machine.
    with httpx.Client(base_url=settings["DEVART_API_URL"], headers=headers, trust_env=False) as api:
        task = api.post("/api/tasks", json=new_task).raise_for_status().json()
        agent = _start_agent(name, new_task["required_capabilities"], settings)
        try:
            task = _wait(api, agent, task["id"])
            # A task that hands its work on says who has the last word.
            while isinstance(task["result"], dict) and (
                final := task["result"].get("final_task_id")
            ):
                task = _wait(api, agent, final)
        finally:
            agent.send_signal(signal.SIGINT)
            agent.wait(timeout=30)
    print(
        json.dumps(
            task["result"] if task["status"] == "DONE" else task, indent=2, ensure_ascii=False
        )
    )
    return 0 if task["status"] == "DONE" else 1


def _settings() -> dict[str, str]:
    names = {"API_URL": "DEVART_API_URL", "RABBITMQ_URL": "RABBITMQ_URL"}
    shell = f". '{_ROOT}/.devart/env'; printf '%s\\n' " + " ".join(f'"${name}"' for name in names)
    lines = subprocess.run(
        ["sh", "-c", shell], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return dict(zip(names.values(), lines, strict=True))


def _devart(*arguments: str) -> str:
    command = [str(_ROOT / ".devart/bin/devart"), *arguments]
    environment = {**os.environ, "DEVART_ROOT": str(_ROOT)}
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout.strip()


def _start_agent(
    name: str, capabilities: list[str], settings: dict[str, str]
) -> subprocess.Popen[bytes]:
    options = [f"--capability={capability}" for capability in capabilities]
    key = _devart("agent", "register", f"example-{name}-{secrets.token_hex(3)}", *options)
    environment = {**os.environ, **settings, "DEVART_API_KEY": key, "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen([sys.executable, "agent.py"], cwd=_EXAMPLES / name, env=environment)


def _wait(api: httpx.Client, agent: subprocess.Popen[bytes], task_id: str) -> dict[str, Any]:
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        task: dict[str, Any] = api.get(f"/api/tasks/{task_id}").raise_for_status().json()
        if task["status"] in _FINISHED:
            return task
        if agent.poll() is not None or time.monotonic() > give_up_at:
            agent_is = "away" if agent.poll() else "at it"
            sys.exit(f"task {task_id} is {task['status']}, and the agent is {agent_is}")
        time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: run.py code_review|research|pipeline")
    sys.exit(main(sys.argv[1]))
