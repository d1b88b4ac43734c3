//! The reference hop against a real `nats-server` (on PATH, as the other service tests find it).

use std::path::Path;

use balefire_loadtest::hop::{Broker, Message};

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
    let broker = Broker::start(Path::new("nats-server")).expect("a nats-server on PATH");
    for run in 0..2 {
        let reading = broker.measure(run, &messages(60)).unwrap();
        assert_eq!((reading.messages, reading.streams), (60, 2));
        assert_eq!(reading.consumed_ns.len(), 60);
        assert!(reading.consumed_ns.iter().all(|took| *took > 10_000));
    }
}
