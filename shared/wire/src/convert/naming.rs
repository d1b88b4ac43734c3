//! Whose events are.

use balefire_event::{Group, Naming, Shares};

use crate::{event, join};

impl From<(&Group, &Shares)> for join::v1::GroupCoverage {
    fn from((group, shares): (&Group, &Shares)) -> Self {
        Self {
            source: group.source.as_ref().to_owned(),
            application: group.application.as_ref().to_owned(),
            category: event::v1::Category::from(group.category).into(),
            human: shares.of(Naming::Human),
            principal_only: shares.of(Naming::PrincipalOnly),
            nobody: shares.of(Naming::Nobody),
            conflicting: shares.of(Naming::Conflicting),
            ungrouped: shares.of(Naming::Ungrouped),
            without_request_id: shares.without_request_id,
            service_principal: group
                .principal
                .map_or_else(String::new, |it| it.to_string()),
        }
    }
}
