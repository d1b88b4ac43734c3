//! The client against a server that fails as a script says.

mod one_request;
mod pipeline;
mod server;

use std::time::Duration;

use balefire_client::{Client, Options, Retry};
use bytes::Bytes;

use crate::server::Server;

/// Options that try again quickly.
fn quick() -> Options {
    Options {
        deadline: Duration::from_secs(10),
        retry: Retry {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(20),
            give_up_after: Some(Duration::from_secs(20)),
        },
        ..Options::default()
    }
}

async fn connect(server: &Server, options: Options) -> Client {
    Client::connect(&server.addr.to_string(), options)
        .await
        .expect("the server listens")
}

fn line(number: usize) -> Bytes {
    format!("{{\"event_id\":\"e-{number}\"}}").into()
}
