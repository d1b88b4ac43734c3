//! Sends one event and prints what became of it:
//! `cargo run -p balefire-client --example send_event -- 127.0.0.1:7400`.

use balefire_client::{AppendOptions, Client, Options};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it did")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1);
    let addr = addr.as_deref().unwrap_or("127.0.0.1:7400");
    let record = br#"{
        "timestamp": "2026-02-11T14:30:00Z", "event_id": "example-1",
        "category": "prompt_attack", "user_id": "jgill@example.com", "endpoint": "/api/chat"
    }"#;

    let client = Client::connect(addr, Options::default()).await?;
    let (mut sender, mut outcomes) = client.sender(AppendOptions::default());
    sender.send_raw(record.as_slice().into()).await?;
    drop(sender);
    while let Some(outcome) = outcomes.next().await {
        println!("record {}: {:?}", outcome.number, outcome.result?.status());
    }
    Ok(())
}
