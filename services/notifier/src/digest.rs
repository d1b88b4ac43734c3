//! Reads a week of EVENTS, every lane of every partition, and counts it.

use balefire_bus::{Bus, Error as BusError, Log, Topology};
use balefire_event::Lane;
use balefire_notifier_core::digest::{Span, Tally};
use balefire_wire::{BatchView, RecordView};

/// Counts what the log has of a week: that of every partition, whoever owns it.
///
/// # Errors
/// A log that does not read on; the week is read again.
pub async fn scan(bus: &Bus, topology: &Topology, span: Span) -> Result<Tally, BusError> {
    let log = Log::new(bus);
    let mut tally = Tally::new(span);
    for partition in 0..topology.partitions {
        for &lane in Lane::ALL {
            let stream = topology.events_stream(lane, partition);
            read(&log, &stream, span, &mut tally).await?;
        }
    }
    Ok(tally)
}

async fn read(log: &Log, stream: &str, span: Span, tally: &mut Tally) -> Result<(), BusError> {
    let mut tail = log.read_since(stream, span.stored_from).await?;
    while let Some(message) = tail.next().await? {
        if message.stored_at >= span.stored_until {
            break;
        }
        // What cannot be read is a dead letter of the rule engine's.
        let Ok(view) = BatchView::parse(&message.payload) else {
            continue;
        };
        for record in view.records() {
            if let Ok(RecordView::Event(event)) = record {
                tally.take(&view.header.tenant, &event, message.stored_at);
            }
        }
    }
    Ok(())
}
