//! What control objects declare of identities and sources acts on the next request.

use std::collections::BTreeMap;

use balefire_bus::{Log, Role, topology};
use balefire_control::{Change, Key, Kind, Object, Value};
use balefire_event::identity::TenantKey;
use balefire_event::{IdentityKind, SubjectRef, Timestamp, partition};
use balefire_wire::log::v1::{Control, control};
use balefire_wire::schema::v1::schema_service_client::SchemaServiceClient;
use balefire_wire::schema::v1::{GetSchemaRequest, ListSchemasRequest, Reading};
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::harness::{Harness, record, until};

const TENANT: &str = "default";

/// Writes an object's change as the rule engine does, and waits until ingest has it.
async fn declare(harness: &Harness, kind: Kind, name: &str, spec: &[(&str, Value)]) {
    let key = Key {
        tenant: TENANT.into(),
        kind,
        name: name.into(),
    };
    let spec = spec.iter().cloned();
    let object = Object {
        key: key.clone(),
        revision: 1,
        managed_by: String::new(),
        labels: BTreeMap::new(),
        created: (Timestamp(0), String::new()),
        updated: (Timestamp(0), String::new()),
        spec: spec
            .map(|(field, value)| (field.to_owned(), value))
            .collect(),
        control_revision: 0,
    };
    let change = Change {
        key,
        old_revision: 0,
        new_revision: 1,
        object: Some(object),
        purpose: String::new(),
        overridden: false,
        request_id: String::new(),
        request_digest: [0; 32],
    };
    let control = Control {
        change: Some(control::Change::ObjectChange((&change).into())),
        ..Control::default()
    };
    let mut batch = BatchWriter::default();
    batch.push(RecordRef::Control(&control));
    let payload = Bytes::from(batch.finish(&Header::default(), None));
    let log = Log::new(&harness.bus(Role::RuleEngine).await);
    let place = log
        .append(topology::CONTROL_OBJECTS, payload, None)
        .await
        .unwrap();
    until("the object is known", || {
        let status = harness.status.status();
        let name = "balefire_ingest_control_revision";
        let mut counters = status.counters.iter();
        counters.any(|c| c.name == name && c.value >= place.sequence)
    })
    .await;
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn words(pairs: &[(&str, &str)]) -> Value {
    let pairs = pairs.iter();
    Value::Words(
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alias_decides_who_an_event_counts_for_and_where_it_lies() {
    let harness = Harness::start().await;
    let copy = record(r#""event_id":"1","user_id":"ada@old.example","request_id":"r1""#);
    harness.send(&[&copy]).await.unwrap();
    let user = [
        ("identity_kind", text("user")),
        ("alias", text("ADA@old.example")),
        ("canonical", text("ada@example.com")),
    ];
    declare(&harness, Kind::IdentityAlias, "ada", &user).await;
    let key = [
        ("identity_kind", text("api_key")),
        ("alias", text("k1")),
        ("canonical_kind", text("user")),
        ("canonical", text("ada@example.com")),
        ("valid_until", text("2100-01-01T00:00:00Z")),
    ];
    declare(&harness, Kind::IdentityAlias, "key", &key).await;
    let lines = [
        copy.clone(),
        record(r#""event_id":"2","api_key_id":"k1","request_id":"r2""#),
        record(r#""event_id":"3","user_id":"ada@example.com""#),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    harness.send(&lines).await.unwrap();
    let ada = SubjectRef::of(
        &TenantKey::default_of(TENANT),
        IdentityKind::User,
        "ada@example.com",
    );
    let home = partition::of_subject(TENANT, &ada, harness.topology.partitions);
    let mut ids = BTreeMap::new();
    for (stream, .., event) in harness.events().await {
        let user = event.user.clone().unwrap();
        if event.control_revision == 0 {
            assert_eq!(user.readable(), Some("ada@old.example"));
            ids.insert("before", event.dedup_id);
            continue;
        }
        assert_eq!(user.subject_ref, ada, "{event:?}");
        assert_eq!(user.readable(), Some("ada@example.com"));
        assert!(
            stream.starts_with("EVENTS") && stream.ends_with(&format!("_{home}")),
            "{stream}"
        );
        let via = match &*event.event_id {
            "1" => "alias:ada:user_id",
            "2" => "alias:key:api_key_id",
            _ => "user_id",
        };
        assert_eq!(user.via, via);
        if event.event_id == "1" {
            ids.insert("after", event.dedup_id);
        }
    }
    assert_eq!(
        ids["before"], ids["after"],
        "a copy behind an alias is a copy"
    );
    // What the event says of its request to others names the one that it stands for.
    let hints = harness.hints().await;
    let named = hints.iter().filter(|hint| hint.identity.subject_ref == ada);
    assert_eq!(named.count(), 2, "{hints:?}");
}

fn map() -> [(&'static str, Value); 4] {
    [
        ("authority", Value::Number(9)),
        (
            "fields",
            words(&[
                ("event_id", "id"),
                ("timestamp", "ts"),
                ("category", "kind"),
                ("user_id", "who.mail|who.id"),
            ]),
        ),
        ("defaults", words(&[("severity", "high")])),
        ("words", words(&[("category.deny", "guardrail_block")])),
    ]
}

/// The schemas that are listed hold the map, beside every adapter and the native record.
async fn the_schemas_have_it(harness: &Harness) {
    let channel = tonic::transport::Channel::from_shared(harness.grpc.clone()).unwrap();
    let mut schemas = SchemaServiceClient::new(channel.connect().await.unwrap());
    let listed = schemas
        .list_schemas(ListSchemasRequest {})
        .await
        .unwrap()
        .into_inner()
        .schemas;
    let own = listed
        .iter()
        .find(|schema| schema.name == "acme-chat")
        .unwrap();
    assert_eq!(
        (own.major, own.minor, own.reading()),
        (1, 1, Reading::FieldMap)
    );
    assert_eq!(own.fields.len(), 5);
    assert_eq!(listed.len(), balefire_ingest_core::adapt::ALL.len() + 1);
    let native = GetSchemaRequest {
        name: "native".into(),
    };
    let native = schemas
        .get_schema(native)
        .await
        .unwrap()
        .into_inner()
        .schema
        .unwrap();
    assert!(
        native
            .fields
            .iter()
            .any(|field| field.name == "category" && field.required)
    );
    let none = GetSchemaRequest {
        name: "none".into(),
    };
    assert_eq!(
        schemas.get_schema(none).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_map_of_a_source_object_reads_what_is_posted_to_it() {
    let harness = Harness::start().await;
    let post = async |body: Json| {
        let url = format!("{}/v1/sources/acme-chat", harness.http);
        let request = reqwest::Client::new().post(url).body(body.to_string());
        let answer = request
            .header("content-type", "application/json")
            .send()
            .await;
        let answer = answer.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str::<Json>(&text).unwrap_or_default(),
        )
    };
    let record = json!({"id": "7", "ts": balefire_kit::clock::now().to_string(), "kind": "deny",
        "who": {"mail": "ada@example.com"}, "secret": {"x": 1}});
    assert_eq!(post(record.clone()).await.0, 404, "nobody declared it");
    declare(&harness, Kind::Source, "acme-chat", &map()).await;
    let (status, answer) = post(json!([record, {"id": "8", "kind": "odd"}])).await;
    assert_eq!(
        (status, &answer["accepted"], &answer["dead_letters"]),
        (200, &json!(1), &json!(1)),
        "{answer}"
    );
    let (.., event) = harness.events().await.pop().unwrap();
    assert_eq!((&*event.source, &*event.event_id), ("acme-chat", "7"));
    assert_eq!(event.severity, balefire_event::Severity::High);
    assert_eq!(event.user.unwrap().readable(), Some("ada@example.com"));
    the_schemas_have_it(&harness).await;
    // Without a map it is none.
    let without = [("authority", Value::Number(9))];
    declare(&harness, Kind::Source, "acme-chat", &without).await;
    assert_eq!(post(json!({"id": "9", "kind": "deny"})).await.0, 404);
}
