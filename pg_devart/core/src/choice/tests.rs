//! The rules of a chain: who is billed, who stands in, and what a refusal says.

use serde_json::json;

use super::*;
use crate::status::ServiceState;

/// A service that has spent nothing, with a hard limit.
fn service(id: &'static str, limit: i64) -> Candidate<&'static str> {
    Candidate {
        id,
        status: ServiceState::Active,
        spent: Decimal::ZERO,
        held: Decimal::ZERO,
        limit: Some(limit.into()),
        next_alert: None,
        window_ended: false,
        deferred_until: None,
    }
}

fn with_status(id: &'static str, status: ServiceState) -> Candidate<&'static str> {
    Candidate {
        status,
        ..service(id, 100)
    }
}

/// A hard limit of which this much is left.
fn budget(id: &'static str, scope: BudgetScope, room: i64) -> Budget<&'static str> {
    Budget {
        id,
        scope,
        hard_limit: true,
        limit: room.into(),
        used: Decimal::ZERO,
    }
}

fn dollars(amount: i64) -> Cost {
    Cost::of_amount(amount.into())
}

fn requests(count: i64) -> Cost {
    let usage = Usage::from_json(&json!({"request": count})).expect("usage");
    Cost::new("amount_usd", None, Some(usage)).expect("a cost")
}

fn billed(choice: Choice<&'static str>) -> Offer {
    match choice {
        Choice::Bill(offer) => offer,
        Choice::Refuse(refusal) => panic!("refused: {refusal:?}"),
    }
}

fn refused(choice: Choice<&'static str>) -> Refusal<&'static str> {
    match choice {
        Choice::Refuse(refusal) => refusal,
        Choice::Bill(offer) => panic!("billed: {offer:?}"),
    }
}

fn no_prices(_: &'static str) -> Option<Prices> {
    None
}

#[test]
fn the_service_that_was_asked_for_is_billed_up_to_the_last_cent() {
    let offer = billed(choose(&[service("dear", 5)], &dollars(5), &[], &no_prices));
    assert_eq!((offer.index, offer.instead_because), (0, None));
}

#[test]
fn the_first_substitute_that_can_pay_stands_in_and_the_reason_is_that_of_the_one_asked_for() {
    let chain = [
        with_status("asked for", ServiceState::Suspended),
        with_status("out of service", ServiceState::Disabled),
        service("too small", 1),
        service("large", 9),
    ];
    let offer = billed(choose(&chain, &dollars(5), &[], &no_prices));
    assert_eq!(
        (offer.index, offer.instead_because),
        (3, Some(Reason::Suspended))
    );
}

#[test]
fn a_refusal_tells_the_most_that_anybody_in_the_chain_could_pay() {
    let chain = [service("dear", 1), service("cheap", 4), service("small", 2)];
    let refusal = refused(choose(&chain, &dollars(5), &[], &no_prices));
    assert_eq!(refusal.reason, Reason::BudgetExceeded);
    assert_eq!((refusal.needed, refusal.remaining), (5.into(), 4.into()));
    assert_eq!(
        (refusal.scope, refusal.budget_id),
        (BudgetScope::Service, None)
    );
}

#[test]
fn nothing_remains_where_no_amount_would_be_admitted() {
    let chain = [with_status("asked for", ServiceState::Disabled)];
    let refusal = refused(choose(&chain, &dollars(5), &[], &no_prices));
    assert_eq!(
        (refusal.reason, refusal.remaining),
        (Reason::Disabled, Decimal::ZERO)
    );
}

#[test]
fn the_tightest_budget_refuses_by_its_name() {
    let budgets = [
        budget("of the task", BudgetScope::Task, 4),
        budget("of the agent", BudgetScope::Agent, 3),
    ];
    let refusal = refused(choose(
        &[service("dear", 9)],
        &dollars(5),
        &budgets,
        &no_prices,
    ));
    assert_eq!(refusal.reason.text(), "budget of the agent exceeded");
    assert_eq!(
        (refusal.scope, refusal.budget_id),
        (BudgetScope::Agent, Some("of the agent"))
    );
    assert_eq!(refusal.remaining, 3.into());
}

#[test]
fn a_price_that_the_service_asked_for_does_not_have_refuses_at_once() {
    let cheap_has_one = |id| match id {
        "cheap" => Prices::from_json(&json!({"request": 1})),
        _ => None,
    };
    let chain = [service("dear", 9), service("cheap", 9)];
    let refusal = refused(choose(&chain, &requests(2), &[], &cheap_has_one));
    assert_eq!(refusal.reason, Reason::PriceUnknown("request".to_owned()));
    assert_eq!(refusal.reason.code(), "price_unknown");
}

#[test]
fn a_substitute_without_the_price_is_passed_over() {
    let middle_has_none = |id| match id {
        "middle" => None,
        _ => Prices::from_json(&json!({"request": 1})),
    };
    let chain = [
        service("first", 1),
        service("middle", 9),
        service("last", 9),
    ];
    let offer = billed(choose(&chain, &requests(2), &[], &middle_has_none));
    assert_eq!((offer.index, offer.amount), (2, 2.into()));
}

#[test]
fn a_refusal_for_usage_tells_how_much_of_it_can_be_paid() {
    let priced = |_| Prices::from_json(&json!({"request": 2}));
    let refusal = refused(choose(&[service("dear", 5)], &requests(4), &[], &priced));
    let affordable = refusal.affordable.expect("it has a price").to_json();
    assert_eq!(affordable, json!({"request": 2}));
}

#[test]
fn usage_beyond_what_money_can_hold_is_too_much_for_any_budget() {
    let priced = |_| Prices::from_json(&json!({"request": 1}));
    let absurd = requests(1_000_000_000_000);
    let refusal = refused(choose(&[service("dear", 5)], &absurd, &[], &priced));
    assert_eq!(refusal.reason, Reason::BudgetExceeded);
}

#[test]
fn what_is_free_is_billed_to_an_overdrawn_limit() {
    let mut overdrawn = service("model", 100);
    overdrawn.held = 150.into();
    let offer = billed(choose(&[overdrawn.clone()], &dollars(0), &[], &|_| None));
    assert_eq!(offer.amount, Decimal::ZERO);
    refused(choose(&[overdrawn], &dollars(1), &[], &|_| None));
    let budgets = [budget("task", BudgetScope::Task, -5)];
    billed(choose(
        &[service("model", 100)],
        &dollars(0),
        &budgets,
        &|_| None,
    ));
    refused(choose(
        &[service("model", 100)],
        &dollars(1),
        &budgets,
        &|_| None,
    ));
}

#[test]
fn what_is_free_is_billed_to_a_service_whose_limit_is_spent() {
    let suspended = with_status("first", ServiceState::Suspended);
    let chain = [suspended, service("substitute", 10)];
    let offer = billed(choose(&chain, &dollars(0), &[], &|_| None));
    assert_eq!((offer.index, offer.amount), (0, Decimal::ZERO));
    let disabled = [with_status("first", ServiceState::Disabled)];
    let refusal = refused(choose(&disabled, &dollars(0), &[], &|_| None));
    assert_eq!(refusal.reason, Reason::Disabled);
}

#[test]
fn a_deferred_service_is_not_billed_and_its_substitute_is() {
    let deferred = Candidate {
        deferred_until: Some(1),
        ..service("one", 100)
    };
    let alone = choose(&[deferred.clone()], &dollars(0), &[], &|_| None);
    assert_eq!(refused(alone).reason, Reason::Deferred, "what is free, too");
    let offer = billed(choose(
        &[deferred, service("two", 100)],
        &dollars(1),
        &[],
        &|_| None,
    ));
    assert_eq!(
        (offer.index, offer.instead_because),
        (1, Some(Reason::Deferred))
    );
}
