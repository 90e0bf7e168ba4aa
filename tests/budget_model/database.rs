//! The same steps on the database, compared with the model after each.

use anyhow::{Context, Result, ensure};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::model::{AGENT, Model, Settled, Verdict, Window};
use super::step::Step;
use crate::support::Database;
use crate::support::budget::{budget, expire, release, service, service_with, usd};
use crate::support::queue::{claim, create};

/// Two services of which one stands in for the other, and an agent with a budget and a task.
pub struct MoneyDatabase {
    database: Database,
    session: PgConnection,
    services: [Uuid; 2],
    budget: Uuid,
    task: Uuid,
}

impl MoneyDatabase {
    pub async fn create() -> Result<Self> {
        let database = Database::create().await?;
        let agent = database.agent(&[]).await?;
        let substitute = service(&database.owner, "substitute", "1").await?;
        let columns =
            json!({"name": "first", "budget_usd": 1, "substitute_service_id": substitute});
        let first = service_with(&database.owner, columns).await?;
        create(&database.owner, json!({"title": "t"})).await?;
        let task = claim(&database.owner, agent.id)
            .await?
            .context("the task")?
            .task_id;
        let budget = budget(&database.owner, "agent", agent.id, "1").await?;
        let session = database.session().await?;
        Ok(Self {
            database,
            session,
            services: [first, substitute],
            budget,
            task,
        })
    }

    pub async fn vacuum(&mut self) -> Result<()> {
        for table in [
            "charges",
            "holds",
            "budgets",
            "service_registry",
            "budget_windows",
        ] {
            let sql = format!("vacuum devart.{table}");
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .execute(&self.database.owner)
                .await?;
        }
        Ok(())
    }

    /// Plays a sequence in a transaction of its own and takes it back.
    pub async fn play(&mut self, mut model: Model, steps: &[Step]) -> Result<()> {
        let mut transaction = self.session.begin().await?;
        let mut play = Play {
            session: &mut transaction,
            services: self.services,
            budget: self.budget,
            task: self.task,
            holds: Vec::new(),
        };
        play.set_limits(&model).await?;
        for (number, step) in steps.iter().enumerate() {
            play.step(&mut model, step)
                .await
                .with_context(|| format!("step {number}, {step:?}"))?;
            if !step.is_time() {
                play.notice_time().await?;
                model.notice_time();
                play.compare(&model)
                    .await
                    .with_context(|| format!("after step {number}, {step:?}"))?;
            }
        }
        play.audit().await?;
        transaction.rollback().await?;
        Ok(())
    }
}

/// A sequence that is being played.
struct Play<'a> {
    session: &'a mut PgConnection,
    services: [Uuid; 2],
    budget: Uuid,
    task: Uuid,
    holds: Vec<(Uuid, Value)>,
}

impl Play<'_> {
    async fn set_limits(&mut self, model: &Model) -> Result<()> {
        for (service, scope) in self.services.iter().zip(&model.scopes) {
            // Not suspended even without any money: that takes a charge.
            sqlx::query("update devart.service_registry set budget_usd = $2 where id = $1")
                .bind(service)
                .bind(dollars(scope.limit))
                .execute(&mut *self.session)
                .await?;
            sqlx::query("update devart.service_registry set status = 'ACTIVE' where id = $1")
                .bind(service)
                .execute(&mut *self.session)
                .await?;
        }
        let sql = match model.agent_has_budget {
            true => "update devart.budgets set budget_usd = $2 where id = $1",
            false => "delete from devart.budgets where id = $1 and $2::numeric is not null",
        };
        sqlx::query(sql)
            .bind(self.budget)
            .bind(dollars(model.scopes[AGENT].limit))
            .execute(&mut *self.session)
            .await?;
        Ok(())
    }

    async fn step(&mut self, model: &mut Model, step: &Step) -> Result<()> {
        match *step {
            Step::Charge { service, cents } => {
                let answer = self.charge(service, cents).await?;
                self.check_verdict(
                    model.charge(service, cents),
                    &answer,
                    "success",
                    "charged_service_id",
                )
            }
            Step::Reserve {
                service,
                cents,
                dispatched,
            } => {
                let key = self.holds.len();
                let answer = self.reserve(service, (cents, dispatched), key).await?;
                self.check_verdict(
                    model.reserve(service, cents, dispatched),
                    &answer,
                    "admitted",
                    "service_id",
                )?;
                if let Some(hold) = answer["hold_id"].as_str() {
                    self.holds.push((hold.parse()?, answer.clone()));
                }
                Ok(())
            }
            Step::ReserveAgain { hold } => self.reserve_again(model, hold).await,
            Step::Dispatch { hold } if hold < self.holds.len() => {
                let sql = "select devart.mark_dispatched($1)";
                let dispatched: bool = sqlx::query_scalar(sql)
                    .bind(self.holds[hold].0)
                    .fetch_one(&mut *self.session)
                    .await?;
                ensure!(
                    dispatched == model.dispatch(hold),
                    "dispatched: {dispatched}"
                );
                Ok(())
            }
            Step::Extend { hold, cents } if hold < self.holds.len() => {
                self.extend(model, hold, cents).await
            }
            Step::Correct { hold, cents }
                if hold < self.holds.len() && model.correct(hold, cents) =>
            {
                self.correct(hold, cents).await
            }
            Step::Settle { hold, cents }
                if hold < self.holds.len() && model.settled(hold).is_none() =>
            {
                let expected = model.settle(hold, cents);
                self.settle(hold, expected).await
            }
            Step::SettleAgain { hold }
                if hold < self.holds.len() && model.settled(hold).is_some() =>
            {
                let expected = model.settled(hold).context("it is settled")?;
                self.settle(hold, expected).await
            }
            Step::Release { hold } if hold < self.holds.len() => {
                let released = release(&mut *self.session, self.holds[hold].0).await?;
                ensure!(released == model.release(hold), "released: {released}");
                Ok(())
            }
            Step::Expire { hold } if hold < self.holds.len() => {
                model.expire(hold);
                Ok(expire(&mut *self.session, self.holds[hold].0).await?)
            }
            Step::Increase { service, cents } => {
                model.increase(service, cents);
                sqlx::query("select devart.increase_budget($1, $2)")
                    .bind(self.services[service])
                    .bind(dollars(cents))
                    .execute(&mut *self.session)
                    .await?;
                Ok(())
            }
            Step::EndWindow { scope } => {
                model.end_window(scope);
                self.end_window(scope).await
            }
            // Of a hold that there is not.
            _ => Ok(()),
        }
    }

    async fn charge(&mut self, service: usize, cents: i64) -> sqlx::Result<Value> {
        sqlx::query_scalar("select devart.charge_service($1, $2, $3)")
            .bind(self.services[service])
            .bind(dollars(cents))
            .bind(self.task)
            .fetch_one(&mut *self.session)
            .await
    }

    async fn extend(&mut self, model: &mut Model, hold: usize, cents: i64) -> Result<()> {
        let answer: Value = sqlx::query_scalar("select devart.extend_charge($1, $2)")
            .bind(self.holds[hold].0)
            .bind(dollars(cents))
            .fetch_one(&mut *self.session)
            .await?;
        let expected = model.extend(hold, cents);
        ensure!(
            answer["admitted"] == expected.is_some(),
            "{answer}, not {expected:?}"
        );
        if let Some(held) = expected {
            ensure!(
                money(&answer["held_usd"]) == dollars(held),
                "{answer}, not {held}"
            );
        }
        Ok(())
    }

    async fn correct(&mut self, hold: usize, cents: i64) -> Result<()> {
        sqlx::query(
            "select devart.correct_charge(c.id, $2, 'a test')
             from devart.charges c where c.hold_id = $1 and c.kind = 'settle'",
        )
        .bind(self.holds[hold].0)
        .bind(dollars(cents))
        .execute(&mut *self.session)
        .await?;
        Ok(())
    }

    async fn reserve(
        &mut self,
        service: usize,
        (cents, dispatched): (i64, bool),
        key: usize,
    ) -> sqlx::Result<Value> {
        sqlx::query_scalar(
            "select devart.reserve_charge($1, $2, task_id => $3, idempotency_key => $4, dispatched => $5)",
        )
        .bind(self.services[service])
        .bind(dollars(cents))
        .bind(self.task)
        .bind(format!("key {key}"))
        .bind(dispatched)
        .fetch_one(&mut *self.session)
        .await
    }

    async fn reserve_again(&mut self, model: &Model, hold: usize) -> Result<()> {
        let Some((_, first)) = self.holds.get(hold).cloned() else {
            return Ok(());
        };
        let (service, request) = (model.holds[hold].asked, model.holds[hold].request);
        let again = self.reserve(service, request, hold).await?;
        ensure!(again == first, "{again} is not {first}");
        Ok(())
    }

    async fn settle(&mut self, hold: usize, expected: Settled) -> Result<()> {
        let answer: Value = sqlx::query_scalar("select devart.settle_charge($1, $2)")
            .bind(self.holds[hold].0)
            .bind(dollars(expected.charged))
            .fetch_one(&mut *self.session)
            .await?;
        let told = (
            money(&answer["charged_usd"]),
            money(&answer["overage_usd"]),
            answer["late"] == true,
            answer["presumed"] == true,
        );
        let expected = (
            dollars(expected.charged),
            dollars(expected.overage),
            expected.late,
            expected.presumed,
        );
        ensure!(told == expected, "{answer}, not {expected:?}");
        Ok(())
    }

    async fn end_window(&mut self, scope: usize) -> Result<()> {
        let (table, id) = match scope {
            AGENT => ("budgets", self.budget),
            service => ("service_registry", self.services[service]),
        };
        let sql =
            format!("update devart.{table} set window_end = clock_timestamp() where id = '{id}'");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&mut *self.session)
            .await?;
        Ok(())
    }

    fn check_verdict(
        &self,
        expected: Verdict,
        answer: &Value,
        admitted: &str,
        billed: &str,
    ) -> Result<()> {
        let service = expected.billed.map(|service| self.services[service]);
        ensure!(
            answer[admitted] == service.is_some() && answer[billed] == json!(service),
            "{answer}, not {expected:?}"
        );
        if let Some(remaining) = expected.remaining {
            ensure!(
                money(&answer["remaining_usd"]) == dollars(remaining),
                "{answer}, not {expected:?}"
            );
        }
        Ok(())
    }

    async fn notice_time(&mut self) -> Result<()> {
        sqlx::query(
            "select devart_private.expire_holds(1000),
                (select count(*) from devart_private.lock_services($1, true)),
                (select count(*) from devart_private.lock_budgets(array[$2], true))",
        )
        .bind(self.services.to_vec())
        .bind(self.budget)
        .execute(&mut *self.session)
        .await?;
        Ok(())
    }

    async fn compare(&mut self, model: &Model) -> Result<()> {
        let state: Vec<(bool, Decimal, Decimal, Decimal)> = sqlx::query_as(
            "select * from (
                select status = 'SUSPENDED', budget_usd, spent_usd, held_usd from devart.service_registry where id = $1
                union all
                select status = 'SUSPENDED', budget_usd, spent_usd, held_usd from devart.service_registry where id = $2
                union all
                select false, budget_usd, spent_usd, held_usd from devart.budgets where id = $3
                union all
                select false, 0, coalesce(sum(spent_usd), 0), coalesce(sum(held_usd), 0) from devart.budget_windows) x",
        )
        .bind(self.services[0])
        .bind(self.services[1])
        .bind(self.budget)
        .fetch_all(&mut *self.session)
        .await?;
        let row = |suspended, limit, window: Window| {
            (
                suspended,
                dollars(limit),
                dollars(window.spent),
                dollars(window.held),
            )
        };
        let scope = |scope: usize| {
            row(
                model.is_suspended(scope),
                model.scopes[scope].limit,
                model.window(scope),
            )
        };
        let agent = row(false, model.scopes[AGENT].limit, model.window(AGENT));
        let mut expected = vec![scope(0), scope(1)];
        expected.extend(model.agent_has_budget.then_some(agent));
        expected.push(row(false, 0, model.closed()));
        ensure!(
            state == expected,
            "the database has {state:?}, the model {expected:?}"
        );
        Ok(())
    }

    async fn audit(&mut self) -> Result<()> {
        let broken: Vec<Value> =
            sqlx::query_scalar("select to_jsonb(a) from devart_private.audit_budgets() a")
                .fetch_all(&mut *self.session)
                .await?;
        ensure!(broken.is_empty(), "the audit found {broken:?}");
        Ok(())
    }
}

fn dollars(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

fn money(value: &Value) -> Decimal {
    usd(&value.to_string())
}
