//! `balefire status`: how the platform is.

use balefire_event::Timestamp;
use balefire_wire::status::v1::status_service_client::StatusServiceClient;
use balefire_wire::status::v1::{GetStatusRequest, ServiceStatus};
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::connect::Target;
use crate::coverage::{self, Coverage};
use crate::print::{Out, table};

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

/// Shows how the services of a server are; exit 1 when one is not ready.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    output: Form,
}

fn time(nanos: i64) -> Value {
    if nanos == 0 {
        Value::Null
    } else {
        json!(Timestamp(nanos).to_string())
    }
}

fn as_json(service: &ServiceStatus) -> Value {
    let partitions: Vec<Value> = service
        .partitions
        .iter()
        .map(|p| {
            json!({
                "partition": p.partition, "lag": p.lag, "step": p.step, "low_watermark": time(p.low_watermark_ns),
                "state_len": p.state_len, "state": p.state, "checkpoint_step": p.checkpoint_step,
            })
        })
        .collect();
    let counters: Map<String, Value> = service
        .counters
        .iter()
        .map(|c| (c.name.clone(), json!(c.value)))
        .collect();
    json!({
        "service": service.service, "version": service.version, "ready": service.ready,
        "reason": service.reason, "partitions": partitions, "counters": counters,
    })
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`]; also where a service is not ready.
pub async fn run(args: Args) -> Result<(), Failure> {
    let channel = args.target.connect().await?;
    let mut client = StatusServiceClient::new(channel.clone());
    let services = client
        .get_status(GetStatusRequest {})
        .await?
        .into_inner()
        .services;
    let coverage = coverage::read(channel).await?;
    let mut out = Out::new();
    match args.output {
        Form::Json => {
            let all: Vec<Value> = services.iter().map(as_json).collect();
            let coverage = coverage::as_json(&coverage);
            out.line(&json!({ "services": all, "coverage": coverage }).to_string());
        }
        Form::Table => {
            people(&services, &mut out);
            whose(&coverage, &mut out);
        }
    }
    out.flush();
    match services.iter().find(|service| !service.ready) {
        Some(service) => Err(Failure::Failed(format!(
            "{} is not ready: {}",
            service.service, service.reason
        ))),
        None => Ok(()),
    }
}

/// Whose the events are, and why users are not known.
fn whose(coverage: &Coverage, out: &mut Out) {
    if coverage.is_empty() {
        return;
    }
    out.line("");
    out.line(&table(&coverage::HEAD, &coverage::rows(coverage)));
    for ((source, application, category), group) in coverage {
        for reason in coverage::reasons(source, application, group) {
            out.line(&format!("{category}: {reason}"));
        }
    }
}

fn people(services: &[ServiceStatus], out: &mut Out) {
    let mut rows = Vec::new();
    for service in services {
        let ready = if service.ready {
            "ready".to_owned()
        } else {
            service.reason.clone()
        };
        if service.partitions.is_empty() {
            rows.push(vec![
                service.service.clone(),
                ready.clone(),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
            ]);
        }
        for partition in &service.partitions {
            rows.push(vec![
                service.service.clone(),
                ready.clone(),
                partition.partition.to_string(),
                partition.lag.to_string(),
                partition.state_len.to_string(),
                partition.state.clone(),
            ]);
        }
    }
    out.line(&table(
        &["SERVICE", "READY", "PARTITION", "LAG", "KEPT", "STATE"],
        &rows,
    ));
    for service in services {
        let told: Vec<String> = service
            .counters
            .iter()
            .filter(|c| c.value > 0)
            .map(|c| format!("{}={}", c.name, c.value))
            .collect();
        if !told.is_empty() {
            out.line(&format!("{}: {}", service.service, told.join(" ")));
        }
    }
}
