//! How ingest is.

use balefire_kit::StatusSource;
use balefire_kit::clock;
use balefire_wire::status::v1::{Counter, ServiceStatus};

use crate::append::Door;

impl StatusSource for Door {
    fn status(&self) -> ServiceStatus {
        let unready = self.unready(clock::now());
        let mut counters = self.counters.all();
        counters.push(Counter {
            name: "balefire_ingest_control_revision".to_owned(),
            value: self.control.revision(),
        });
        counters.push(Counter {
            name: "balefire_ingest_in_flight_bytes".to_owned(),
            value: self.in_flight_bytes(),
        });
        counters.push(Counter {
            name: "balefire_ingest_owners_lag".to_owned(),
            value: self.owners_lag(),
        });
        ServiceStatus {
            service: crate::SERVICE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: unready.is_none(),
            reason: unready.unwrap_or_default().to_owned(),
            partitions: Vec::new(),
            counters,
        }
    }
}
