//! Who may do what.
//!
//! Permissions name every subject a role may publish on, stream by stream for reading. Streams
//! are created and updated by the provisioner alone. Nobody may delete or purge a stream,
//! restore one, or delete a message: not even the provisioner.
//!
//! A limit of the server: it does not check the reply subject of a request. Who may ask
//! JetStream anything can have the answer (a stream's description, a record it may read) stored
//! on a subject it may not publish on, by naming that as the reply. So a stolen credential can
//! append foreign bytes; it cannot change or erase what is there, and on a fenced subject the
//! owner notices at its next step. Accounts of their own with service imports would close it.

use crate::credential::Role;
use crate::lease;
use crate::topology::{self, Topology};

/// The subjects a role may publish and subscribe on; everything else is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// May publish on.
    pub publish: Vec<String>,
    /// May listen on.
    pub subscribe: Vec<String>,
}

impl Permissions {
    /// Those of `role` on the streams of `topology`.
    #[must_use]
    pub fn of(role: Role, topology: &Topology) -> Self {
        let mut publish: Vec<String> = vec!["$JS.API.INFO".into(), "$JS.API.STREAM.INFO.*".into()];
        for stream in reads(role, topology) {
            publish.extend([
                format!("$JS.API.CONSUMER.CREATE.{stream}.*"),
                format!("$JS.API.CONSUMER.INFO.{stream}.*"),
                format!("$JS.API.CONSUMER.DELETE.{stream}.*"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.*"),
                format!("$JS.API.DIRECT.GET.{stream}"),
                format!("$JS.API.DIRECT.GET.{stream}.>"),
                format!("$JS.API.STREAM.MSG.GET.{stream}"),
            ]);
        }
        publish.extend(writes(role, topology));
        publish.extend(leases(role, topology));
        Self {
            publish,
            subscribe: vec![format!("{}.>", role.inbox_prefix())],
        }
    }
}

/// The streams a role reads.
fn reads(role: Role, topology: &Topology) -> Vec<String> {
    let wanted: &[&str] = match role {
        Role::Provisioner => &[topology::CONTROL],
        Role::Ingest => &[topology::CONTROL],
        Role::Correlator => &[topology::CONTROL, "INTAKE_", "EVENTS_"],
        Role::RuleEngine => &[
            topology::CONTROL,
            topology::DEADLETTERS,
            "INTAKE_",
            "EVENTS_",
            "ESCALATIONS_",
            "REKEYED_",
        ],
        Role::Notifier => &[
            topology::CONTROL,
            topology::DEADLETTERS,
            topology::EVIDENCE,
            "INTAKE_",
            "EVENTS_",
            "ESCALATIONS_",
            "DELIVERIES_",
        ],
        // Every name starts with nothing.
        Role::Operator => &[""],
    };
    topology
        .streams()
        .into_iter()
        .map(|stream| stream.name)
        .filter(|name| wanted.iter().any(|start| name.starts_with(start)))
        .collect()
}

/// Owners keep the leases of their own stage; the door and operators look at them.
fn leases(role: Role, topology: &Topology) -> Vec<String> {
    match role {
        Role::Provisioner => Vec::new(),
        Role::Ingest | Role::Operator => vec![lease::permission_read()],
        Role::Correlator | Role::RuleEngine | Role::Notifier => vec![
            lease::permission_read(),
            lease::permission_write(topology.generation, role.as_str()),
        ],
    }
}

/// What a role publishes, beside requests.
fn writes(role: Role, topology: &Topology) -> Vec<String> {
    let g = topology.generation;
    let own = [
        topology::deadletters(role.as_str()),
        topology::audit(role.as_str()),
    ];
    let mut subjects: Vec<String> = match role {
        Role::Provisioner => vec![
            "$JS.API.STREAM.CREATE.*".into(),
            "$JS.API.STREAM.UPDATE.*".into(),
            "$JS.API.STREAM.NAMES".into(),
            "$JS.API.STREAM.LIST".into(),
        ],
        Role::Operator => vec![
            "$JS.API.STREAM.NAMES".into(),
            "$JS.API.STREAM.LIST".into(),
            "$JS.API.CONSUMER.NAMES.*".into(),
            "$JS.API.CONSUMER.LIST.*".into(),
        ],
        Role::Ingest => vec![
            format!("intake.g{g}.*.*.door"),
            format!("events.g{g}.*.*.door"),
            "evidence.*".into(),
        ],
        Role::Correlator => vec![
            format!("events.g{g}.*.*.c.*"),
            format!("intake.g{g}.bulk.*.c.*"),
            format!("intake.g{g}.*.*.tick"),
        ],
        Role::RuleEngine => vec![
            format!("escalations.g{g}.*.e.*"),
            format!("rekeyed.g{g}.*.e.*"),
            format!("events.g{g}.*.*.tick"),
            format!("intake.g{g}.*.*.tick"),
            "control.>".into(),
            topology::deadletters(topology::REKEYED_STAGE),
        ],
        Role::Notifier => vec![
            format!("deliveries.g{g}.>"),
            format!("intake.g{g}.*.*.replay"),
            format!("events.g{g}.*.*.replay"),
            format!("rekeyed.g{g}.*.replay"),
            topology::DEADLETTERS_RESOLUTION.into(),
        ],
    };
    if !matches!(role, Role::Provisioner | Role::Operator) {
        subjects.extend(own);
    }
    subjects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_delete_purge_or_restore() {
        let topology = Topology::new(2).unwrap();
        for role in Role::ALL {
            let permissions = Permissions::of(role, &topology);
            for refused in [
                "STREAM.DELETE",
                "PURGE",
                "MSG.DELETE",
                "RESTORE",
                "SNAPSHOT",
                "STEPDOWN",
                "PEER",
                "META",
            ] {
                assert!(
                    !permissions.publish.iter().any(|s| s.contains(refused)
                        || s == ">"
                        || s.starts_with("$JS.>")
                        || s.starts_with("$JS.API.>")),
                    "{role:?} {refused}"
                );
            }
        }
    }
}
