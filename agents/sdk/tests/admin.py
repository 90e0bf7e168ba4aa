"""What the tests do as an administrator: make agents, services and tasks, and look at them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import httpx

from devart import exact_json
from devart.models import parse_time


@dataclass(frozen=True)
class Agent:
    """A registered agent, and a capability that no other test's agent has."""

    id: str
    api_key: str
    capability: str


class Money(NamedTuple):
    """US dollars of a service, in the open window."""

    spent: Decimal
    held: Decimal


def money(spent: str, held: str = "0") -> Money:
    return Money(Decimal(spent), Decimal(held))


class Admin:
    """The management side of the API."""

    def __init__(self, api_url: str, token: str) -> None:
        self.api_url = api_url
        self._http = httpx.Client(
            base_url=api_url, headers={"Authorization": f"Bearer {token}"}, timeout=15
        )

    def close(self) -> None:
        self._http.close()

    def register_agent(self, capability: str | None = None) -> Agent:
        capability = capability or f"sdk-{uuid.uuid4().hex[:12]}"
        body = {"name": f"sdk-test-{uuid.uuid4()}", "capabilities": [capability]}
        row = self._send("POST", "/api/agents/register", body)
        return Agent(row["id"], row["api_key"], capability)

    def deactivate(self, agent: Agent) -> None:
        self._send("PUT", f"/api/agents/{agent.id}/activation", {"active": False})

    def create_task(self, agent: Agent, **fields: Any) -> str:
        """Create a task that only `agent` can take; return its id."""
        body = {
            "title": "A task of the SDK's tests",
            "required_capabilities": [agent.capability],
            **fields,
        }
        task_id: str = self._send("POST", "/api/tasks", body)["id"]
        return task_id

    def task(self, task_id: str) -> dict[str, Any]:
        row: dict[str, Any] = self._send("GET", f"/api/tasks/{task_id}")
        return row

    def charges(self, task_id: str) -> list[tuple[str, Decimal]]:
        charges = self._send("GET", f"/api/tasks/{task_id}/events")["charges"]
        return [(charge["kind"], Decimal(charge["amount_usd"])) for charge in charges]

    def lease_left(self, task_id: str) -> timedelta:
        return parse_time(self.task(task_id)["lease_expires_at"]) - datetime.now(timezone.utc)

    def pause(self, task_id: str, reason: str) -> None:
        self._send("POST", f"/api/tasks/{task_id}/pause", {"reason": reason})

    def resume(self, task_id: str) -> None:
        self._send("POST", f"/api/tasks/{task_id}/resume", {})

    def cancel(self, task_id: str) -> None:
        self._send("POST", f"/api/tasks/{task_id}/cancel", {})

    def create_service(self, budget_usd: Decimal, *, substitute: str | None = None) -> str:
        body = {
            "name": f"sdk-test-{uuid.uuid4()}",
            "budget_usd": budget_usd,
            "substitute_service_id": substitute,
        }
        service_id: str = self._send("POST", "/api/services", body)["id"]
        return service_id

    def set_price(self, service_id: str, unit: str, usd_per_unit: Decimal) -> None:
        self._send(
            "POST",
            f"/api/services/{service_id}/prices",
            {"unit": unit, "usd_per_unit": usd_per_unit},
        )

    def increase_budget(self, service_id: str, amount_usd: Decimal) -> None:
        self._send(
            "POST", f"/api/services/{service_id}/increase-budget", {"amount_usd": amount_usd}
        )

    def money(self, service_id: str) -> Money:
        items = self._send("GET", "/api/services/status?limit=200")["items"]
        item = next(item for item in items if item["id"] == service_id)
        return Money(Decimal(item["spent_usd"]), Decimal(item["held_usd"]))

    def spent_usd(self, service_id: str) -> Decimal:
        return self.money(service_id).spent

    def _send(self, method: str, path: str, body: object = None) -> Any:
        content = None if body is None else exact_json.encode(body)
        response = self._http.request(
            method, path, content=content, headers={"Content-Type": "application/json"}
        )
        assert response.is_success, (
            f"{method} {path} answered {response.status_code}: {response.text}"
        )
        return exact_json.decode(response.content) if response.content else None
