//! Reaching the broker as a role, and believing its streams only after a look.

use balefire_bus::{Bus, Credential, Error, Role, SyncProof, Topology, Verification, provision};

use crate::config::BrokerArgs;

impl BrokerArgs {
    /// What proves that the server syncs before it acknowledges.
    #[must_use]
    pub fn verification(&self) -> Verification {
        let sync = match &self.nats_monitoring_url {
            Some(url) => SyncProof::Monitoring(url.clone()),
            None if self.nats_sync_confirmed => SyncProof::Confirmed,
            None => SyncProof::Unknown,
        };
        Verification {
            sync,
            allow_lossy: self.allow_lossy,
        }
    }

    /// Connects as `role`.
    ///
    /// # Errors
    /// Where the credential cannot be read or the server is not usable.
    pub async fn connect(&self, role: Role) -> Result<Bus, Error> {
        let credential = match self.credentials() {
            Some(dir) => Credential::from_dir(dir, role)?,
            None => Credential::none(role),
        };
        Bus::connect(
            &self.nats_url,
            &credential,
            &format!("balefire-{}", role.as_str()),
        )
        .await
    }

    /// Connects as `role`, and looks at every stream before anything is believed.
    ///
    /// # Errors
    /// As [`BrokerArgs::connect`]; streams that are missing or weak.
    pub async fn connect_verified(&self, role: Role) -> Result<(Bus, Topology), Error> {
        let bus = self.connect(role).await?;
        let topology = provision::discover(&bus)
            .await?
            .ok_or_else(|| Error::Topology {
                reason: "there are no streams yet; `balefire provision` makes them".into(),
            })?;
        provision::verify(&bus, &topology, &self.verification()).await?;
        Ok((bus, topology))
    }
}
