//! What is in force at one control revision: receivers, routes, silences, and the SOC's own words
//! for severities. [`Plan::decide`] says who is told of an escalation; [`Plan::explain`] says the
//! same with every reason. Pure: made of the receivers file and of control objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use balefire_control::Hours;
use balefire_event::digest::FieldHasher;
use balefire_event::time::MINUTE;
use balefire_event::{Escalation, Severity, Timestamp};

use crate::inhibit::Inhibition;
use crate::matcher::{Matchers, values};
use crate::route::{Receiver, Routes};

/// How long a group lasts where a route does not say, nanoseconds.
pub const GROUP_FOR: i64 = 10 * MINUTE;

/// When a route or a silence concerns an escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Not less severe.
    pub severity_min: Severity,
    /// Not more severe.
    pub severity_max: Severity,
    /// For one of these. Empty: any.
    pub audiences: Vec<String>,
    /// Of one of these rules. Empty: any.
    pub rules: Vec<String>,
    /// Field by field.
    pub matchers: Matchers,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            severity_min: Severity::Low,
            severity_max: Severity::Critical,
            audiences: Vec::new(),
            rules: Vec::new(),
            matchers: Matchers::default(),
        }
    }
}

impl Condition {
    /// What keeps it from concerning an escalation, in words. `None`: nothing does.
    #[must_use]
    pub fn miss(&self, escalation: &Escalation) -> Option<String> {
        let severity = escalation.severity;
        if severity < self.severity_min {
            return Some(format!(
                "severity {severity} is below {}",
                self.severity_min
            ));
        }
        if severity > self.severity_max {
            return Some(format!(
                "severity {severity} is above {}",
                self.severity_max
            ));
        }
        if !for_one_of(&self.audiences, escalation) {
            return Some(format!("it is for none of {}", self.audiences.join(", ")));
        }
        if !self.rules.is_empty() && !self.rules.contains(&escalation.rule_name) {
            return Some(format!("its rule is none of {}", self.rules.join(", ")));
        }
        let (field, wanted) = self.matchers.miss(escalation)?;
        Some(format!("{field} is not {wanted}"))
    }
}

/// An escalation that names no audience is for everyone.
fn for_one_of(audiences: &[String], escalation: &Escalation) -> bool {
    audiences.is_empty()
        || escalation.audiences.is_empty()
        || audiences
            .iter()
            .any(|one| escalation.audiences.contains(one))
}

/// What makes escalations one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Fields that must be the same.
    pub by: Vec<String>,
    /// How long after its first escalation a group lasts, nanoseconds.
    pub lasts: i64,
}

impl Grouping {
    /// A number for the group of an escalation, never 0.
    fn group(&self, tenant: &str, route: &str, escalation: &Escalation) -> u64 {
        let mut hasher = FieldHasher::new("balefire notify group v1");
        hasher.field(tenant.as_bytes()).field(route.as_bytes());
        for field in &self.by {
            hasher.field(field.as_bytes());
            for value in values(escalation, field) {
                hasher.field(value.as_bytes());
            }
        }
        let [a, b, c, d, e, f, g, h, ..] = hasher.id();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
    }
}

/// Which receivers are told of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Who is told, as the log names them.
    pub receivers: Vec<Arc<str>>,
    /// Of what.
    pub when: Condition,
    /// Routes behind it are asked too.
    pub continues: bool,
    /// Of a group only the first is told, and what is more severe.
    pub grouping: Option<Grouping>,
    /// It is asked only then. Empty: always.
    pub times: Vec<Hours>,
    /// What must not be open beside what it tells of.
    pub inhibition: Option<Inhibition>,
}

/// That it is none of some hours, in words. `None`: it is, or there are none.
fn outside(times: &[Hours], now: Timestamp) -> Option<String> {
    let within = times.is_empty() || times.iter().any(|hours| hours.contains(now));
    (!within).then(|| {
        let all: Vec<&str> = times.iter().map(Hours::as_str).collect();
        format!("it is asked only {}", all.join(", "))
    })
}

/// Nobody is told for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its name.
    pub name: Arc<str>,
    /// Of what.
    pub when: Condition,
    /// Who is not told, as the log names them. Empty: nobody is.
    pub receivers: Vec<Arc<str>>,
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// And only at these hours. Empty: all the time.
    pub times: Vec<Hours>,
}

impl Silence {
    fn is_over(&self, escalation: &Escalation, now: Timestamp, receiver: &Arc<str>) -> bool {
        let now_and_here = (self.from..self.until).contains(&now)
            && outside(&self.times, now).is_none()
            && (self.receivers.is_empty() || self.receivers.contains(receiver));
        !(now_and_here && self.when.miss(escalation).is_none())
    }
}

/// What one tenant set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// In the order in which they are asked. Empty: every receiver by its own conditions.
    pub routes: Vec<Route>,
    /// By name.
    pub silences: Vec<Silence>,
    /// The SOC's own words, by severity.
    pub tiers: BTreeMap<Severity, Arc<str>>,
}

/// Everything that is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Control revision that it is of.
    pub revision: u64,
    /// The receivers, those of the file first.
    pub receivers: Vec<Receiver>,
    /// What each tenant set.
    pub tenants: BTreeMap<String, Table>,
}

/// A receiver that a route names, and what is decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The receiver, as the log names it.
    pub receiver: Arc<str>,
    /// The route.
    pub route: Arc<str>,
    /// The silence that keeps it from being told.
    pub silence: Option<Arc<str>>,
    /// Its group, and how long that lasts; `None`: it is of none.
    pub group: Option<(u64, i64)>,
    /// Where something may be open that keeps it from being told; `None`: nowhere.
    pub inhibited_at: Option<u64>,
}

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What it is about: "route NAME", "receiver NAME", "silence NAME".
    pub about: String,
    /// What it did, in words.
    pub said: String,
}

/// Who is told and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What is decided, silenced ones too.
    pub choices: Vec<Choice>,
    /// Every step on the way.
    pub reasons: Vec<Reason>,
}

impl Plan {
    /// Only the receivers of a file: the default.
    #[must_use]
    pub fn of_file(routes: &Routes) -> Self {
        Self {
            receivers: routes.receivers().to_vec(),
            ..Self::default()
        }
    }

    /// The receiver of a name of the log.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|one| &*one.name == name)
    }

    /// The SOC's own words for a severity. Empty: it has none of its own.
    #[must_use]
    pub fn tier(&self, tenant: &str, severity: Severity) -> Arc<str> {
        let table = self.tenants.get(tenant);
        let tier = table.and_then(|table| table.tiers.get(&severity));
        tier.cloned().unwrap_or_default()
    }

    /// Whether a tenant has routes of its own.
    #[must_use]
    pub fn is_routed(&self, tenant: &str) -> bool {
        let table = self.tenants.get(tenant);
        table.is_some_and(|table| !table.routes.is_empty())
    }

    /// Who is told of an escalation now, and who would be but for a silence.
    #[must_use]
    pub fn decide(&self, escalation: &Escalation, now: Timestamp) -> Vec<Choice> {
        self.explain(escalation, now).choices
    }

    /// The same, with every reason.
    #[must_use]
    pub fn explain(&self, escalation: &Escalation, now: Timestamp) -> Explanation {
        let table = self.tenants.get(&escalation.tenant);
        let mut explained = match table.filter(|table| !table.routes.is_empty()) {
            Some(table) => self.by_routes(&table.routes, escalation, now),
            None => self.by_default(escalation),
        };
        let silences = table.map_or(&[][..], |table| &table.silences);
        for choice in &mut explained.choices {
            let silence = silences
                .iter()
                .find(|silence| !silence.is_over(escalation, now, &choice.receiver));
            if let Some(silence) = silence {
                choice.silence = Some(Arc::clone(&silence.name));
                let said = format!("keeps {} from being told", choice.receiver);
                explained
                    .reasons
                    .push(reason("silence", &silence.name, said));
            }
        }
        explained
    }

    /// Every receiver by its own conditions.
    fn by_default(&self, escalation: &Escalation) -> Explanation {
        let mut explained = Explanation::default();
        for receiver in &self.receivers {
            if receiver.feed || !receiver.is_of(&escalation.tenant) {
                continue;
            }
            let said = match receiver.miss(escalation) {
                Some(miss) => format!("is not told: {miss}"),
                None => {
                    explained.choices.push(Choice {
                        receiver: Arc::clone(&receiver.name),
                        route: receiver.route().into(),
                        silence: None,
                        group: None,
                        inhibited_at: None,
                    });
                    "is told by the default: no route objects exist".to_owned()
                }
            };
            let about = reason("receiver", &receiver.name, said);
            explained.reasons.push(about);
        }
        explained
    }

    /// The places at which an escalation keeps others from being told.
    #[must_use]
    pub fn inhibits(&self, escalation: &Escalation) -> Vec<u64> {
        let table = self.tenants.get(&escalation.tenant);
        let routes = table.into_iter().flat_map(|table| &table.routes);
        let each = routes.filter_map(|route| Some((route, route.inhibition.as_ref()?)));
        each.filter(|(_, inhibition)| inhibition.by.miss(escalation).is_none())
            .map(|(route, inhibition)| inhibition.place(&route.name, escalation))
            .collect()
    }

    fn by_routes(&self, routes: &[Route], escalation: &Escalation, now: Timestamp) -> Explanation {
        let mut explained = Explanation::default();
        let mut seen = BTreeSet::new();
        let mut decided: Option<&str> = None;
        for route in routes {
            if let Some(earlier) = decided {
                let said = format!("is not asked: {earlier} has decided");
                explained.reasons.push(reason("route", &route.name, said));
                continue;
            }
            let miss = route.when.miss(escalation);
            if let Some(miss) = miss.or_else(|| outside(&route.times, now)) {
                let said = format!("does not match: {miss}");
                explained.reasons.push(reason("route", &route.name, said));
                continue;
            }
            let said = "matches".to_owned();
            explained.reasons.push(reason("route", &route.name, said));
            for name in &route.receivers {
                if !seen.insert(Arc::clone(name)) {
                    continue;
                }
                let said = self.along(route, name, escalation, &mut explained.choices);
                explained.reasons.push(reason("receiver", name, said));
            }
            if !route.continues {
                decided = Some(&route.name);
            }
        }
        explained
    }

    /// What a matching route does for one of its receivers, in words.
    fn along(
        &self,
        route: &Route,
        name: &Arc<str>,
        escalation: &Escalation,
        choices: &mut Vec<Choice>,
    ) -> String {
        let receiver = self.receiver(name);
        if receiver.is_some_and(|receiver| receiver.feed) {
            return "is not told: it gets the event feed".to_owned();
        }
        if let Some(miss) = receiver.and_then(|receiver| receiver.miss(escalation)) {
            return format!("is not told: {miss}");
        }
        let grouping = route.grouping.as_ref();
        choices.push(Choice {
            receiver: Arc::clone(name),
            route: Arc::clone(&route.name),
            silence: None,
            group: grouping.map(|grouping| {
                let group = grouping.group(&escalation.tenant, &route.name, escalation);
                (group, grouping.lasts)
            }),
            inhibited_at: route
                .inhibition
                .as_ref()
                .map(|inhibition| inhibition.place(&route.name, escalation)),
        });
        match receiver {
            Some(_) => format!("is told by route {}", route.name),
            None => "is told as soon as there is a receiver of this name".to_owned(),
        }
    }
}

fn reason(kind: &str, name: &str, said: String) -> Reason {
    Reason {
        about: format!("{kind} {name}"),
        said,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
