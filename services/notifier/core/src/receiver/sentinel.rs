//! Microsoft Sentinel through the Logs Ingestion API. Dedup: none by Azure; `EscalationId` is a
//! column. Resolve: none; rows are appended. Azure drops columns that the table lacks.

use balefire_event::Event;
use serde::Deserialize;
use serde_json::json;

use super::{Auth, Call};
use crate::classify::{Response, Verdict};
use crate::json::{Object, name};
use crate::story::{Story, clip};
use crate::view::View;
use crate::{body, feed};

/// Longest text of a column, characters: the service's 64 KiB a field, at four bytes each.
const FIELD_CHARS_MAX: usize = 16_000;

/// Configuration of its own. The receiver's URL is the data collection endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Immutable id of the data collection rule: dcr-….
    pub dcr: String,
    /// Stream of the rule: Custom-Balefire_CL.
    pub stream: String,
    /// Entra tenant.
    pub tenant_id: String,
    /// Application whose secret is the receiver's secret.
    pub client_id: String,
    /// Where tokens are sold; default: the public cloud's login.microsoftonline.com.
    #[serde(default)]
    pub login_url: Option<String>,
}

impl Config {
    pub(crate) fn path(&self) -> String {
        format!(
            "/dataCollectionRules/{}/streams/{}?api-version=2023-01-01",
            self.dcr, self.stream
        )
    }

    pub(super) fn auth(&self) -> Auth {
        let login = self.login_url.as_deref();
        let login = login.unwrap_or("https://login.microsoftonline.com");
        Auth::ClientCredentials {
            token_url: format!("{login}/{}/oauth2/v2.0/token", self.tenant_id),
            client_id: self.client_id.clone(),
            scope: "https://monitor.azure.com/.default",
        }
    }
}

/// An array of one row.
#[must_use]
pub fn encode(config: &Config, view: &View) -> Call {
    let (record, story) = (view.record(), Story::of(view));
    let whom = view.whom().unwrap_or("");
    let body = json!([{
        "TimeGenerated": record.breach_at.to_string(),
        "EscalationId": record.escalation_id.to_string(),
        "EpisodeId": record.episode_id.to_string(),
        "Kind": record.kind.as_str(),
        "Tenant": record.tenant,
        "Rule": record.rule_name,
        "Title": record.title,
        "Severity": record.severity.as_str(),
        "Category": view.event().map_or("", |event| event.category.as_str()),
        "Subject": clip(whom, FIELD_CHARS_MAX),
        "EventCount": record.event_count,
        "WhatWasSeen": clip(&story.seen, FIELD_CHARS_MAX),
        "WhyItMatters": story.why,
        "WhatToDoFirst": story.first,
        "Query": clip(&story.kql, FIELD_CHARS_MAX),
    }]);
    Call::post(config.path(), &body)
}

/// One row of the feed: the source document's fields as columns, and `Balefire` (dynamic).
pub fn event(out: &mut Vec<u8>, event: &Event<'_>, tenant: &str) {
    let mut row = Object::open(out);
    row.quoted(name!("TimeGenerated"), &[&event.occurred_at.text()]);
    row.text(name!("EventId"), &feed::id(event));
    feed::write_ours(row.field(name!("Balefire")), event, tenant);
    body::write_record(&mut row, event);
    row.close();
}

/// 204 is success; 401 is a token that ran out.
#[must_use]
pub fn classify(response: &Response<'_>) -> Verdict {
    match response.status {
        401 => Verdict::AuthExpired,
        _ => response.by_status(),
    }
}
