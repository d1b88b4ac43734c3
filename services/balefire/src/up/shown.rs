//! What `up` would run with, in words that hold no secret.

use std::path::PathBuf;

use balefire_bus::connection::shown;

use super::Args;
use crate::Failure;

impl Args {
    /// The settings as lines of TOML; secrets are left out.
    ///
    /// # Errors
    /// Where the settings contradict each other.
    pub fn shown(&self) -> Result<Vec<String>, Failure> {
        self.server
            .authenticator()
            .map_err(|e| Failure::chain(&e))?;
        let text = |value: &dyn std::fmt::Display| format!("{:?}", value.to_string());
        let path = |value: &Option<PathBuf>| value.as_ref().map(|path| text(&path.display()));
        let settings = [
            ("data_dir", Some(text(&self.data_dir.display()))),
            ("grpc_addr", Some(text(&self.server.grpc_addr))),
            ("http_addr", Some(text(&self.server.http_addr))),
            ("keys", path(&self.server.keys)),
            (
                "insecure_no_auth",
                Some(self.server.insecure_no_auth.to_string()),
            ),
            ("log", Some(text(&self.server.log))),
            (
                "self_alert",
                self.server
                    .self_alert
                    .self_alert_url
                    .as_ref()
                    .map(|url| text(&without_path(url))),
            ),
            (
                "nats_url",
                self.nats_url.as_ref().map(|url| text(&shown(url))),
            ),
            ("credentials", path(&self.credentials)),
            (
                "nats_monitoring_url",
                self.nats_monitoring_url
                    .as_ref()
                    .map(|url| text(&shown(url))),
            ),
            (
                "nats_sync_confirmed",
                Some(self.nats_sync_confirmed.to_string()),
            ),
            ("allow_lossy", Some(self.allow_lossy.to_string())),
            ("rules", path(&self.rules)),
            ("partitions", self.partitions.map(|count| count.to_string())),
            (
                "allowed_lateness_seconds",
                Some(self.allowed_lateness.as_secs().to_string()),
            ),
            ("store", Some(text(&self.store.as_str()))),
            (
                "changes_per_second",
                Some(self.pace.changes_per_second.to_string()),
            ),
            (
                "reads_per_second",
                Some(self.pace.reads_per_second.to_string()),
            ),
            (
                "heartbeat_seconds",
                Some(self.server.heartbeat_seconds.to_string()),
            ),
        ];
        let line = |(name, value): (&str, Option<String>)| match value {
            Some(value) => format!("{name} = {value}"),
            None => format!("# {name} is not set"),
        };
        Ok(settings.into_iter().chain(self.told()).map(line).collect())
    }

    /// Those about who is told.
    fn told(&self) -> [(&'static str, Option<String>); 5] {
        let text = |value: &dyn std::fmt::Display| format!("{:?}", value.to_string());
        let path = |value: &Option<PathBuf>| value.as_ref().map(|path| text(&path.display()));
        [
            (
                "webhook",
                self.receivers
                    .webhook
                    .as_ref()
                    .map(|url| text(&without_path(url))),
            ),
            (
                "webhook_signed",
                Some(self.receivers.webhook_secret.is_some().to_string()),
            ),
            ("receivers", path(&self.receivers.receivers)),
            (
                "delivery_attempts",
                self.receivers
                    .delivery_attempts
                    .map(|count| count.to_string()),
            ),
            (
                "dead_man",
                self.receivers
                    .dead_man_url
                    .as_ref()
                    .map(|url| text(&without_path(url))),
            ),
        ]
    }
}

/// A receiver's URL without user, password and path: the path often is the secret.
fn without_path(url: &str) -> String {
    let shown = shown(url);
    let (scheme, rest) = shown.split_once("://").unwrap_or(("", &shown));
    match rest.split_once(['/', '?', '#']) {
        Some((host, path)) if !path.is_empty() => format!("{scheme}://{host}/…"),
        Some(_) | None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_receivers_url_only_the_host_is_shown() {
        for (url, shown) in [
            (
                "https://hooks.example/services/T0/s3cret",
                "https://hooks.example/…",
            ),
            (
                "https://u:s3cret@hooks.example:8443/?key=s3cret",
                "https://hooks.example:8443/…",
            ),
            ("https://hooks.example?s3cret", "https://hooks.example/…"),
            (
                "https://hooks.example/s3cret@x/y",
                "https://hooks.example/…",
            ),
            ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
        ] {
            assert_eq!(without_path(url), shown, "{url}");
        }
    }
}
