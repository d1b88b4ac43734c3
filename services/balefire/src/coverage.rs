//! Join coverage: whose the events are, and what to do where nobody knows.

use std::collections::BTreeMap;

use balefire_event::{Applications, Category};
use balefire_wire::event::v1::Category as WireCategory;
use balefire_wire::ingest::v1::GetNamingCoverageRequest;
use balefire_wire::ingest::v1::ingest_service_client::IngestServiceClient;
use balefire_wire::join::v1::join_service_client::JoinServiceClient;
use balefire_wire::join::v1::{GetJoinCoverageRequest, GroupCoverage};
use serde_json::{Value, json};

use crate::Failure;
use crate::connect::Connection;

/// Groups by source, application and category.
pub type Coverage = BTreeMap<(String, String, &'static str), GroupCoverage>;

/// What a server's ingest and correlator know. A server without one of them has no such part.
///
/// # Errors
/// Where the server cannot be reached, or refuses.
pub async fn read(connection: Connection) -> Result<Coverage, Failure> {
    let mut ingest = IngestServiceClient::new(connection.clone());
    let mut join = JoinServiceClient::new(connection);
    let named = ingest
        .get_naming_coverage(GetNamingCoverageRequest {})
        .await;
    let named = present(named)?.map_or_else(Vec::new, |answer| answer.groups);
    let joined = join.get_join_coverage(GetJoinCoverageRequest {}).await;
    let joined = present(joined)?.map_or_else(Vec::new, |answer| answer.groups);
    Ok(sum(&[named, joined].concat()))
}

fn present<T>(
    answer: Result<tonic::Response<T>, tonic::Status>,
) -> Result<Option<T>, tonic::Status> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) if status.code() == tonic::Code::Unimplemented => Ok(None),
        Err(status) => Err(status),
    }
}

/// By source, application and category. Events that name no application are of the one that all
/// groups of their service principal, which name one, agree on.
fn sum(groups: &[GroupCoverage]) -> Coverage {
    let mut applications = Applications::default();
    let of_principals = groups
        .iter()
        .filter(|group| !group.service_principal.is_empty());
    for group in of_principals {
        applications.learn(&group.service_principal, &group.application);
    }
    let mut coverage = Coverage::new();
    for group in groups {
        let application = match group.application.as_str() {
            "" => applications
                .of(&&group.service_principal)
                .unwrap_or_default(),
            said => said,
        };
        let category = WireCategory::try_from(group.category);
        let category = category.ok().and_then(|word| Category::try_from(word).ok());
        let category = category.map_or("unknown", Category::as_str);
        let key = (group.source.clone(), application.to_owned(), category);
        let all = coverage.entry(key).or_default();
        all.human += group.human;
        all.principal_only += group.principal_only;
        all.nobody += group.nobody;
        all.conflicting += group.conflicting;
        all.ungrouped += group.ungrouped;
        all.without_request_id += group.without_request_id;
    }
    coverage
}

/// As one JSON array.
pub fn as_json(coverage: &Coverage) -> Value {
    let rows = coverage.iter().map(|((source, application, category), group)| {
        json!({
            "source": source, "application": application, "category": category,
            "human": group.human, "principal_only": group.principal_only, "nobody": group.nobody,
            "conflicting": group.conflicting, "ungrouped": group.ungrouped,
            "without_request_id": group.without_request_id,
            "reasons": reasons(source, application, group),
        })
    });
    rows.collect()
}

/// The head of [`rows`].
pub const HEAD: [&str; 9] = [
    "SOURCE",
    "APPLICATION",
    "CATEGORY",
    "EVENTS",
    "HUMAN",
    "PRINCIPAL",
    "NOBODY",
    "CONFLICT",
    "UNGROUPED",
];

/// A row a group.
pub fn rows(coverage: &Coverage) -> Vec<Vec<String>> {
    let row =
        |((source, application, category), group): (&(String, String, &str), &GroupCoverage)| {
            let all = all(group);
            let share = |count: u64| match count {
                0 => "-".to_owned(),
                count if count * 200 < all => "<1 %".to_owned(),
                count => format!("{} %", (count * 200 + all) / (2 * all.max(1))),
            };
            let application = match application.as_str() {
                "" => "-",
                name => name,
            };
            vec![
                source.clone(),
                application.to_owned(),
                (*category).to_owned(),
                all.to_string(),
                share(group.human),
                share(group.principal_only),
                share(group.nobody),
                share(group.conflicting),
                share(group.ungrouped),
            ]
        };
    coverage.iter().map(row).collect()
}

const fn all(group: &GroupCoverage) -> u64 {
    group.human + group.principal_only + group.nobody + group.conflicting + group.ungrouped
}

/// Why users are not known, and what would help, in plain words; nothing where all are known.
pub fn reasons(source: &str, application: &str, group: &GroupCoverage) -> Vec<String> {
    let who = match application {
        "" => format!("source `{source}`"),
        name => format!("application `{name}`"),
    };
    let mut reasons = Vec::new();
    if group.ungrouped > 0 {
        reasons.push(format!(
            "{who} sends neither request, trace nor session id with {} events: nothing can join them to a user",
            group.ungrouped
        ));
    }
    // Those without any id are told of already.
    let only_request = group.without_request_id.saturating_sub(group.ungrouped);
    if only_request > 0 {
        reasons.push(format!(
            "{who} sends no request id with {only_request} events: a gateway's record of the same request cannot name their user"
        ));
    }
    let unanswered = (group.principal_only + group.nobody).saturating_sub(only_request);
    if unanswered > 0 {
        reasons.push(format!(
            "no record with an id of {unanswered} events of {who} names a user: does the gateway log the same ids, and is it sent here?"
        ));
    }
    if group.conflicting > 0 {
        reasons.push(format!(
            "sources name different users for {} events of {who}: give the one to be believed more authority",
            group.conflicting
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_who_and_what_to_do() {
        let group = |human, principal_only, nobody, conflicting, ungrouped, without_request_id| {
            GroupCoverage {
                human,
                principal_only,
                nobody,
                conflicting,
                ungrouped,
                without_request_id,
                ..GroupCoverage::default()
            }
        };
        assert!(reasons("envoy", "", &group(9, 0, 0, 0, 0, 0)).is_empty());
        let told = reasons("native", "chat", &group(0, 0, 2, 0, 0, 2));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("application `chat` sends no request id with 2"),
            "{told:?}"
        );
        let told = reasons("bedrock", "", &group(1, 3, 1, 1, 2, 3));
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told[0].contains("source `bedrock` sends neither"),
            "{told:?}"
        );
        assert!(told[1].contains("no request id with 1"), "{told:?}");
        assert!(told[2].contains("id of 3 events"), "{told:?}");
        assert!(told[3].contains("different users for 1"), "{told:?}");
    }

    #[test]
    fn groups_of_both_services_are_one_row() {
        let of = |human, nobody| GroupCoverage {
            source: "native".into(),
            application: "chat".into(),
            category: WireCategory::Anomaly.into(),
            human,
            nobody,
            ..GroupCoverage::default()
        };
        let rows = rows(&sum(&[of(3, 0), of(0, 1)]));
        assert_eq!(
            rows,
            [[
                "native", "chat", "anomaly", "4", "75 %", "-", "25 %", "-", "-"
            ]
            .map(str::to_owned)]
        );
    }

    #[test]
    fn a_service_principal_is_of_the_application_that_others_name() {
        let of = |source: &str, application: &str, principal: &str| GroupCoverage {
            source: source.into(),
            application: application.into(),
            category: WireCategory::Anomaly.into(),
            principal_only: 1,
            service_principal: principal.into(),
            ..GroupCoverage::default()
        };
        let groups = [
            of("bedrock", "", "role"),
            of("bedrock", "", "shared"),
            of("bedrock", "", ""),
            of("native", "chat", "role"),
            of("native", "chat", "shared"),
            of("native", "search", "shared"),
        ];
        let told = |order: &[usize]| -> Vec<(String, String, u64)> {
            let groups: Vec<_> = order.iter().map(|at| groups[*at].clone()).collect();
            let rows = sum(&groups).into_iter();
            rows.map(|((source, application, _), group)| (source, application, all(&group)))
                .collect()
        };
        let row =
            |source: &str, application: &str, count| (source.into(), application.into(), count);
        let want = [
            row("bedrock", "", 2),
            row("bedrock", "chat", 1),
            row("native", "chat", 2),
            row("native", "search", 1),
        ];
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]] {
            assert_eq!(told(&order), want, "{order:?}");
        }
    }
}
