//! On whose behalf money is spent.

use pgrx::datum::Uuid;

use crate::error::Error;
use crate::pg::spi::{Row, Session, statement};
use crate::stops::Work;

statement!(
    TASK,
    "select t.agent_id, t.attempt, t.lease_token, t.status = 'IN_PROGRESS'
     from devart.tasks t
     where t.id = $1",
    [UUIDOID]
);

/// The agent, the task and the attempt that a charge is for, as far as there are any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Payer {
    pub agent_id: Option<Uuid>,
    pub task_id: Option<Uuid>,
    pub attempt: Option<i32>,
}

impl Payer {
    /// What begins when the service is paid.
    pub fn work(&self, service_id: Uuid) -> Work {
        Work {
            agent: self.agent_id,
            service: Some(service_id),
            run: None,
            task: self.task_id,
        }
    }

    /// Checks that `agent` (`None` for an operator) may spend for the task: while it works on it,
    /// under the lease when one is given.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when the lease is not the current one, [`Error::Forbidden`] when the
    /// agent does not work on the task,
    /// [`Error::InvalidArgument`] for a lease without a task.
    pub fn check(
        session: &Session,
        agent: Option<Uuid>,
        task_id: Option<Uuid>,
        lease_token: Option<Uuid>,
    ) -> Result<Self, Error> {
        let Some(task_id) = task_id else {
            return match lease_token {
                Some(_) => Err(Error::invalid("task_id", "must be given with lease_token")),
                None => Ok(Payer {
                    agent_id: agent,
                    ..Payer::default()
                }),
            };
        };
        TASK.with(|statement| {
            let rows = statement.rows(session, &[task_id.into()]);
            let task = rows.first();
            check_lease(task.as_ref(), lease_token)?;
            check_agent(task.as_ref(), agent)?;
            let (agent_of_task, attempt) =
                task.map_or((None, None), |task| (task.get(1), task.get(2)));
            Ok(Payer {
                agent_id: agent.or(agent_of_task),
                task_id: Some(task_id),
                attempt,
            })
        })
    }
}

fn check_lease(task: Option<&Row>, lease_token: Option<Uuid>) -> Result<(), Error> {
    let Some(lease_token) = lease_token else {
        return Ok(());
    };
    let is_current = task.is_some_and(|task| task.required(4) && task.get(3) == Some(lease_token));
    let lost = || Error::lease_lost("is not the current lease of the task");
    is_current.then_some(()).ok_or_else(lost)
}

fn check_agent(task: Option<&Row>, agent: Option<Uuid>) -> Result<(), Error> {
    let Some(agent) = agent else {
        return Ok(());
    };
    let works_on_it = task.is_some_and(|task| task.required(4) && task.get(1) == Some(agent));
    works_on_it.then_some(()).ok_or(Error::Forbidden(
        "the agent does not work on the task it charges for",
    ))
}
