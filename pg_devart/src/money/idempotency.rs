//! Idempotency keys: one caller's key belongs to one request, whose answer is given again.

use devart_core::argument_error::ArgumentError;
use pgrx::JsonB;
use pgrx::datum::Uuid;
use serde_json::Value;

use crate::error::Error;
use crate::pg::spi::{Session, statement};

statement!(
    BEGIN,
    "insert into devart_private.charge_keys (principal, key, request)
     values ($1, $2, $3)
     on conflict do nothing
     returning true",
    [UUIDOID, TEXTOID, JSONBOID]
);
statement!(
    KEPT,
    "select k.request = $3, k.answer
     from devart_private.charge_keys k
     where k.principal = $1 and k.key = $2",
    [UUIDOID, TEXTOID, JSONBOID]
);
statement!(
    KEEP,
    "update devart_private.charge_keys k set answer = $3 where k.principal = $1 and k.key = $2",
    [UUIDOID, TEXTOID, JSONBOID]
);
statement!(
    FORGET,
    "delete from devart_private.charge_keys k where k.principal = $1 and k.key = $2",
    [UUIDOID, TEXTOID]
);

/// A key in use by the request that is being answered.
pub struct Key {
    principal: Uuid,
    key: String,
}

/// Answers `request` by `work`, or as it was answered before under this key. `work` says whether
/// its answer is to be kept: a refusal is not, so that the same request can succeed when there is
/// money again.
///
/// A second request with the key waits until the first is decided. The caller was asked before
/// whether it may make the request: a kept answer is for nobody else.
///
/// # Errors
/// [`Error::Duplicate`] when the key was used for another request, and those of `work`.
pub fn once(
    session: &Session,
    agent: Option<Uuid>,
    key: Option<String>,
    request: Value,
    work: impl FnOnce() -> Result<(Value, bool), Error>,
) -> Result<JsonB, Error> {
    let Some(key) = key else {
        return work().map(|(answer, _)| JsonB(answer));
    };
    if !(1..=200).contains(&key.chars().count()) {
        return Err(Error::invalid(
            "idempotency_key",
            "must be 1 to 200 characters long",
        ));
    }
    let key = Key {
        principal: agent.unwrap_or(Uuid::from_bytes([0; 16])),
        key,
    };
    if let Some(answer) = key.begin(session, &request)? {
        return Ok(answer);
    }
    let (answer, keep) = work()?;
    match keep {
        true => key.keep(session, &answer),
        false => key.forget(session),
    }
    Ok(JsonB(answer))
}

impl Key {
    /// Takes the key, or gives the answer that was kept under it.
    fn begin(&self, session: &Session, request: &Value) -> Result<Option<JsonB>, Error> {
        let arguments = || {
            [
                self.principal.into(),
                self.key.clone().into(),
                JsonB(request.clone()).into(),
            ]
        };
        loop {
            if BEGIN.with(|statement| !statement.rows(session, &arguments()).is_empty()) {
                return Ok(None);
            }
            let kept = KEPT.with(|statement| {
                let rows = statement.rows(session, &arguments());
                rows.first().map(|row| (row.required(1), row.get(2)))
            });
            match kept {
                Some((true, answer)) => return Ok(answer),
                Some((false, _)) => {
                    return Err(Error::Duplicate(ArgumentError::new(
                        "idempotency_key",
                        "was used for another charge",
                    )));
                }
                // The request that had it was refused meanwhile.
                None => (),
            }
        }
    }

    fn keep(&self, session: &Session, answer: &Value) {
        let arguments = [
            self.principal.into(),
            self.key.clone().into(),
            JsonB(answer.clone()).into(),
        ];
        KEEP.with(|statement| statement.rows(session, &arguments).len());
    }

    fn forget(&self, session: &Session) {
        FORGET.with(|statement| {
            statement
                .rows(session, &[self.principal.into(), self.key.clone().into()])
                .len()
        });
    }
}
