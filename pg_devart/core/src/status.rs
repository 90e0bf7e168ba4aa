//! The enumerated types of the schema `devart`, one Rust enum for each: statuses, kinds, scopes.
//!
//! A test compares them with the migrated database in both directions, so that no label is missing
//! here, and none is here that the database does not know.

use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

/// A text that is no label of the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{label:?} is no label of devart.{sql_type}")]
pub struct UnknownLabel {
    pub label: String,
    pub sql_type: &'static str,
}

macro_rules! sql_enums {
    ($(
        $(#[$doc:meta])*
        $name:ident of $sql_type:literal {
            $($(#[$variant_doc:meta])* $variant:ident = $label:literal),+ $(,)?
        }
    )+) => {
        /// Each type's name in the schema `devart`, with its labels in the order in which they
        /// compare.
        pub const SQL_ENUMS: &[(&str, &[&str])] = &[$(($sql_type, &[$($label),+])),+];

        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum $name {
                $($(#[$variant_doc])* $variant),+
            }

            impl $name {
                /// In the order in which they compare.
                pub const ALL: &[Self] = &[$(Self::$variant),+];

                /// The label in the database.
                pub const fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$variant => $label),+
                    }
                }

                /// The label for Postgres' own look-ups.
                pub const fn as_c_str(self) -> &'static CStr {
                    let bytes = match self {
                        $(Self::$variant => concat!($label, "\0").as_bytes()),+
                    };
                    match CStr::from_bytes_with_nul(bytes) {
                        Ok(label) => label,
                        Err(_) => panic!("labels contain no zero byte"),
                    }
                }
            }

            impl FromStr for $name {
                type Err = UnknownLabel;

                fn from_str(label: &str) -> Result<Self, UnknownLabel> {
                    match label {
                        $($label => Ok(Self::$variant),)+
                        _ => Err(UnknownLabel { label: label.to_owned(), sql_type: $sql_type }),
                    }
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                    formatter.write_str(self.as_str())
                }
            }
        )+
    };
}

sql_enums! {
    /// What a person may do.
    AppRole of "app_role" {
        Admin = "admin",
        Supervisor = "supervisor",
        Viewer = "viewer",
    }

    /// How urgent a task is; the most urgent first, as tasks are claimed.
    TaskPriority of "task_priority" {
        Critical = "CRITICAL",
        High = "HIGH",
        Medium = "MEDIUM",
        Low = "LOW",
    }

    /// Where a task is in its life.
    TaskStatus of "task_status" {
        Blocked = "BLOCKED",
        AwaitingApproval = "AWAITING_APPROVAL",
        Scheduled = "SCHEDULED",
        Todo = "TODO",
        InProgress = "IN_PROGRESS",
        Done = "DONE",
        Failed = "FAILED",
        Cancelled = "CANCELLED",
    }

    /// What a stop keeps from beginning.
    StopScope of "stop_scope" {
        All = "all",
        Agent = "agent",
        Service = "service",
        Run = "run",
        Task = "task",
    }

    /// Whether a service can be billed.
    ServiceState of "service_state" {
        Active = "ACTIVE",
        /// Its limit is reached in the window of this moment.
        Suspended = "SUSPENDED",
        /// People have taken it out of service.
        Disabled = "DISABLED",
    }

    /// How long a budget's window is.
    BudgetPeriod of "budget_period" {
        None = "none",
        Day = "day",
        Week = "week",
        Month = "month",
    }

    /// What a row of the ledger is.
    ChargeKind of "charge_kind" {
        /// Money set aside.
        Hold = "hold",
        /// Spent; out of the hold, when there is one.
        Settle = "settle",
        /// Of a hold, given back.
        Release = "release",
        /// Spent beyond what was held.
        Overage = "overage",
        /// Corrects what people found wrong.
        Adjustment = "adjustment",
    }

    /// What an agent does.
    AgentStatus of "agent_status" {
        Idle = "IDLE",
        Busy = "BUSY",
        Offline = "OFFLINE",
        Deactivated = "DEACTIVATED",
    }

    /// Where a sandbox is in its life.
    SandboxStatus of "sandbox_status" {
        Requested = "REQUESTED",
        Provisioning = "PROVISIONING",
        Running = "RUNNING",
        Terminating = "TERMINATING",
        Terminated = "TERMINATED",
        Failed = "FAILED",
        Lost = "LOST",
    }

    /// How a workflow's run stands.
    RunStatus of "run_status" {
        Running = "RUNNING",
        Completed = "COMPLETED",
        Failed = "FAILED",
        Cancelled = "CANCELLED",
    }

    /// What people have decided.
    ApprovalStatus of "approval_status" {
        Pending = "PENDING",
        Approved = "APPROVED",
        Rejected = "REJECTED",
        Expired = "EXPIRED",
    }

    /// What people decide about.
    ApprovalSubject of "approval_subject" {
        Task = "task",
        Budget = "budget",
        Sandbox = "sandbox",
        Publish = "publish",
    }

    /// What the marketplace offers.
    ItemType of "item_type" {
        Agent = "AGENT",
        Workflow = "WORKFLOW",
    }

    /// What became of money that was set aside.
    HoldStatus of "hold_status" {
        Held = "HELD",
        Settled = "SETTLED",
        Released = "RELEASED",
        Expired = "EXPIRED",
    }

    /// Whom a budget limits.
    BudgetScope of "budget_scope" {
        Service = "service",
        Agent = "agent",
        Task = "task",
        Run = "run",
        User = "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_parsed_to_what_has_it() {
        for status in TaskStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(status.as_c_str().to_str(), Ok(status.as_str()));
        }
    }

    #[test]
    fn another_text_is_no_label() {
        let refused = "todo".parse::<TaskStatus>().expect_err("labels are exact");
        assert_eq!(
            refused.to_string(),
            "\"todo\" is no label of devart.task_status"
        );
    }

    #[test]
    fn the_most_urgent_priority_compares_lowest() {
        assert!(TaskPriority::Critical < TaskPriority::Low);
    }
}
