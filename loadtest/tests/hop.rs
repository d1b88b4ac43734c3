//! The reference hop against a real `nats-server` (in `.tools/` or on PATH).

use std::path::Path;

use balefire_loadtest::hop::{Broker, Message};
use balefire_loadtest::nats::Sync;

fn messages(count: u64) -> Vec<Message> {
    let message = |number: u64| Message {
        at_ns: number * 1_000_000,
        stream: usize::from(number % 2 == 1),
        bytes: 300,
    };
    (0..count).map(message).collect()
}

#[test]
fn every_message_comes_back_once_and_later_than_it_was_meant() {
    let own = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../.tools/nats-server"
    ));
    let program = if own.exists() {
        own
    } else {
        Path::new("nats-server")
    };
    let broker = Broker::start(program, Sync::Always).expect("a nats-server in .tools or on PATH");
    for run in 0..2 {
        let reading = broker.measure(run, &messages(60)).unwrap();
        assert_eq!((reading.messages, reading.streams), (60, 2));
        assert_eq!(reading.consumed_ns.len(), 60);
        assert!(reading.consumed_ns.iter().all(|took| *took > 10_000));
    }
}
