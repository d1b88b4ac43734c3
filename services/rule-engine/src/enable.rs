//! Rules that were disabled for a while are in force again when their time has come: that too is a
//! change in the log, written by whichever instance is first.

use std::time::Duration;

use balefire_control::{Ask, Caller as By, Guard, Kind, Object, Request, Spec};
use balefire_event::Timestamp;
use balefire_kit::clock;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::objects::Objects;

/// How often it is looked.
const ENABLE_EVERY: Duration = Duration::from_millis(500);
/// Actor of what happens by itself.
const SERVICE: &str = "service:rule-engine";

impl Objects {
    /// Puts rules in force again when their time has come, until `shutdown`.
    ///
    /// # Errors
    /// Never: what does not succeed is tried again.
    pub async fn enable_again(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut pace = tokio::time::interval(ENABLE_EVERY);
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let now = clock::now();
            let due = self.control.look(|book| {
                let due = |object: &&Object| {
                    Timestamp::parse(object.text("disabled_until")).is_ok_and(|until| until <= now)
                };
                book.rules().filter(due).cloned().collect::<Vec<_>>()
            })?;
            for rule in due {
                let by = By {
                    tenant: &rule.key.tenant,
                    subject: SERVICE,
                };
                if let Err(status) = self.change(by, &enabled(&rule), false).await {
                    tracing::warn!(rule = rule.key.name, %status, "the rule stays disabled");
                }
            }
        }
    }
}

/// The request that puts a rule in force again.
fn enabled(rule: &Object) -> Request {
    Request {
        kind: Kind::Rule,
        name: rule.key.name.clone(),
        ask: Ask::Update {
            mask: vec!["spec.disabled_until".into(), "spec.disabled_reason".into()],
            spec: Spec::new(),
            labels: Default::default(),
            managed_by: String::new(),
            guard: Guard {
                expected_revision: rule.revision,
                managed_by: rule.managed_by.clone(),
                overriding: false,
            },
        },
        request_id: String::new(),
        reason: "its time is over".into(),
        purpose: String::new(),
    }
}
