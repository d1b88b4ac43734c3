//! Records the log of a running system (deploy/golden/record.py), or puts messages on it that no
//! stage can take.
//!
//! `golden record URL CREDENTIALS PARTITIONS FILE` · `golden spoil URL CREDENTIALS PARTITIONS`

use std::path::Path;
use std::process::ExitCode;

use balefire_bus::{Bus, Credential, Log, Role, Topology};
use balefire_event::{BarrierId, Lane, Timestamp};
use balefire_golden::Recording;
use balefire_wire::{BatchWriter, Header, RecordRef};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments.as_slice() {
        ["record", url, credentials, partitions, file] => {
            record(url, credentials, partitions, file).await
        }
        ["spoil", url, credentials, partitions] => spoil(url, credentials, partitions).await,
        _ => Err("usage: golden record URL CREDENTIALS PARTITIONS FILE | golden spoil URL CREDENTIALS PARTITIONS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _nobody_reads = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("golden: {failure}\n"),
            );
            ExitCode::FAILURE
        }
    }
}

async fn connect(url: &str, credentials: &str, role: Role) -> Result<Bus, Failure> {
    let credential = Credential::from_dir(Path::new(credentials), role)?;
    Ok(Bus::connect(url, &credential, "golden").await?)
}

async fn record(url: &str, credentials: &str, partitions: &str, file: &str) -> Result<(), Failure> {
    let topology = Topology::new(partitions.parse()?)?;
    let bus = connect(url, credentials, Role::Operator).await?;
    let log = Log::new(&bus);
    let mut streams: Vec<String> = topology.streams().into_iter().map(|s| s.name).collect();
    // Against the flow: whatever an output that was read rests on is there when its stream is read.
    let rank = |name: &String| {
        ["DELIVERIES", "ESCALATIONS", "EVENTS", "INTAKE"]
            .iter()
            .position(|start| name.starts_with(start))
            .unwrap_or(usize::MAX)
    };
    streams.sort_by_key(rank);
    let mut recording = Recording::new(topology.partitions);
    for stream in streams {
        let mut tail = log.read_all(&stream, 1).await?;
        while let Some(message) = tail.next().await? {
            recording.push(&stream, message);
        }
    }
    bus.close().await;
    Ok(recording.write(Path::new(file))?)
}

/// No batch, a batch of a later version, records that do not belong there, and a record that is
/// none between two that are.
async fn spoil(url: &str, credentials: &str, partitions: &str) -> Result<(), Failure> {
    let topology = Topology::new(partitions.parse()?)?;
    let bus = connect(url, credentials, Role::Ingest).await?;
    let log = Log::new(&bus);
    let later = Header {
        semantics_version: 99,
        ..Header::default()
    };
    let foreign = {
        let mut writer = BatchWriter::default();
        writer.push(RecordRef::Watermark {
            partition: 0,
            at: Timestamp(1),
        });
        writer
    };
    let stub = balefire_event::Stub {
        key: balefire_event::CorrelationKey {
            kind: balefire_event::KeyKind::Request,
            value: "spoilt".into(),
        },
        dedup_id: balefire_event::DedupId([7; 16]),
        partition: 0,
        first_key: balefire_event::CorrelationKey {
            kind: balefire_event::KeyKind::Trace,
            value: "spoilt".into(),
        },
        received_at: Timestamp(1),
    };
    let mut mixed = BatchWriter::default();
    let barrier = BarrierId([9; 16]);
    mixed.push(RecordRef::Tick(Timestamp(1)));
    mixed.push_encoded(&[0xff, 0xff]);
    mixed.push(RecordRef::Stub(&stub));
    mixed.push(RecordRef::Barrier {
        id: barrier,
        at: Timestamp(1),
    });
    let header = Header {
        tenant: "default".into(),
        ..Header::default()
    };
    let (mut foreign, mut empty) = (foreign, BatchWriter::default());
    let intake = topology.intake_door(Lane::Normal, 0);
    let events = topology.events_door(Lane::Normal, topology.partitions - 1);
    for (subject, payload) in [
        (events.as_str(), b"\x0a\xff no batch".to_vec()),
        (intake.as_str(), b"nor this".to_vec()),
        (&events, empty.finish(&later, None)),
        (&intake, foreign.finish(&header, None)),
        (&events, mixed.finish(&header, None)),
    ] {
        log.append(subject, payload.into(), None).await?;
    }
    bus.close().await;
    Ok(())
}
