//! The weekly digest, with weeks of two seconds: each told once, each event of it counted once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use balefire_bus::{Log, Role};
use balefire_event::time::SECOND;
use balefire_event::{Category, DedupId, Event, Lane, Severity, Timestamp};
use balefire_kit::clock;
use balefire_notifier::Config;
use balefire_notifier_core::backoff::Backoff;
use balefire_notifier_core::digest::Calendar;
use balefire_notifier_core::route::ReceiverEntry;
use balefire_wire::{BatchWriter, Header, RecordRef};

use crate::receiver::Receiver;
use crate::world::{World, entry, until};

const CALENDAR: Calendar = Calendar {
    length: 2 * SECOND,
    settle: SECOND,
};

/// What was put, and when.
struct Put {
    log: Log,
    times: Vec<Timestamp>,
}

impl Put {
    /// An event of low severity twice, and one that is not low; in another lane and partition each
    /// time.
    async fn another(&mut self, world: &World) {
        let number = u32::try_from(self.times.len()).unwrap();
        let t = clock::now();
        let event = |severity, flag| {
            let mut id = [flag; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Event {
                dedup_id: DedupId(id),
                category: Category::GuardrailBlock,
                source: "chat".into(),
                severity,
                t,
                ..Event::default()
            }
        };
        let mut batch = BatchWriter::default();
        for one in [
            event(Severity::Low, 0),
            event(Severity::Medium, 1),
            event(Severity::Low, 0),
        ] {
            batch.push(RecordRef::Event(&one));
        }
        let header = Header {
            tenant: "default".into(),
            ..Header::default()
        };
        let lane = [Lane::Normal, Lane::Bulk][usize::from(number % 4 > 1)];
        let subject = world.topology.events_door(lane, number % 2);
        let payload = batch.finish(&header, None).into();
        self.log.append(&subject, payload, None).await.unwrap();
        self.times.push(t);
    }

    /// How many are of the week that begins at `from`.
    fn of_week(&self, from: Timestamp) -> u64 {
        let week = from..from.plus(CALENDAR.length);
        let count = self.times.iter().filter(|t| week.contains(t)).count();
        u64::try_from(count).unwrap()
    }
}

/// Events that each digest counts, by the beginning of its week.
fn told(receiver: &Receiver) -> BTreeMap<Timestamp, u64> {
    let mut told = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for request in receiver.requests() {
        let json = request.json();
        assert_eq!(json["data"]["rule"], "balefire_weekly_digest");
        assert!(ids.insert(request.id().to_owned()), "none is told twice");
        let from = Timestamp::parse(json["data"]["slot_start"].as_str().unwrap()).unwrap();
        let count = json["data"]["event_count"].as_u64().unwrap();
        assert!(told.insert(from, count).is_none(), "one message a week");
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn each_week_is_told_once_over_a_restart_and_counts_each_event_once() {
    let world = World::start().await;
    let receiver = Receiver::good().await;
    let entries = [ReceiverEntry {
        weekly_digest: true,
        ..entry("soc", &receiver.url)
    }];
    let deadline = Duration::from_secs(2);
    let mut config = Config::of(&entries, &[None], Backoff::default(), deadline).unwrap();
    config.calendar = CALENDAR;
    let mut put = Put {
        log: Log::new(&world.bus(Role::Ingest).await),
        times: Vec::new(),
    };
    let mut notifier = world.notifier(&config).await;
    for digests in [2, 4] {
        until("digests", async || {
            put.another(&world).await;
            (told(&receiver).len() >= digests).then_some(())
        })
        .await;
        notifier.stop().await;
        notifier = world.notifier(&config).await;
    }
    for (from, count) in told(&receiver) {
        assert_eq!(count, put.of_week(from), "of the week of {from}");
    }
    notifier.stop().await;
}
