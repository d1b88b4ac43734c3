//! The conformance suite of control objects: what holds of one kind holds of all.

use std::collections::BTreeMap;

use balefire_control::{Kind, Spec, Value};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::world::World;

type Client = ControlServiceClient<Channel>;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// A rule file of a name; `level` is what an update changes.
pub fn rule(name: &str, level: &str) -> String {
    let mut id = 0u64;
    for byte in name.bytes() {
        id = id.wrapping_mul(31).wrapping_add(u64::from(byte));
    }
    format!(
        "title: {name}\nid: 7b1f0c5e-1111-4222-8333-{:012x}\nname: {name}\nlogsource:\n  product: ai_security\n\
         detection:\n  selection:\n    category: prompt_attack\n  condition: selection\nlevel: {level}\n",
        id & 0xffff_ffff_ffff
    )
}

/// A spec that does; two words give two of them.
fn spec(kind: Kind, name: &str, word: &str) -> Spec {
    let fields: Vec<(&str, Value)> = match kind {
        Kind::Rule => vec![(
            "yaml",
            Value::Text(rule(name, if word == "one" { "high" } else { "critical" })),
        )],
        Kind::Route => vec![
            ("receivers", Value::Texts(vec!["soc".into(), "ai".into()])),
            ("audiences", Value::Texts(vec![word.into()])),
            ("priority", Value::Number(7)),
        ],
        Kind::Receiver => vec![
            ("url", Value::Text(format!("https://{word}.example/hook"))),
            ("allow_loopback", Value::Flag(true)),
        ],
        Kind::Silence => vec![
            ("ends_at", text("2030-01-01T00:00:00Z")),
            ("reason", text(word)),
        ],
        Kind::Source => vec![
            ("lateness", text("90m")),
            (
                "authority",
                Value::Number(if word == "one" { 1 } else { 2 }),
            ),
        ],
        Kind::SeverityMap => {
            let words: BTreeMap<String, String> = [(word.to_owned(), "high".to_owned())].into();
            vec![("source", text("gateway")), ("words", Value::Words(words))]
        }
        Kind::IdentityAlias => vec![
            ("identity_kind", text("user")),
            ("alias", text(word)),
            ("canonical", text("jane@example.com")),
        ],
        Kind::ApiKey => vec![
            ("subject", text(word)),
            ("scopes", Value::Texts(vec!["read".into()])),
            ("token_blake3", Value::Text("0a".repeat(32))),
        ],
        Kind::Tenant => vec![
            ("title", text(word)),
            ("deletion_allowed", Value::Flag(true)),
        ],
    };
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn object(kind: Kind, name: &str, word: &str, managed_by: &str) -> wire::Object {
    wire::Object {
        name: name.into(),
        managed_by: managed_by.into(),
        labels: [("team".to_owned(), "soc".to_owned())].into(),
        spec: Some(wire::Spec::of(kind, &spec(kind, name, word))),
        ..wire::Object::default()
    }
}

fn number(kind: Kind) -> i32 {
    wire::Kind::from(kind).into()
}

async fn create(
    client: &Client,
    object: wire::Object,
    request_id: &str,
) -> Result<wire::CreateObjectResponse, Status> {
    let request = wire::CreateObjectRequest {
        object: Some(object),
        request_id: request_id.into(),
        ..Default::default()
    };
    client
        .clone()
        .create_object(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn get(client: &Client, kind: Kind, name: &str) -> Result<wire::Object, Status> {
    let request = wire::GetObjectRequest {
        kind: number(kind),
        name: name.into(),
    };
    let answer = client.clone().get_object(request).await?;
    Ok(answer.into_inner().object.unwrap())
}

fn update(
    object: wire::Object,
    expected_revision: u64,
    managed_by: &str,
) -> wire::UpdateObjectRequest {
    wire::UpdateObjectRequest {
        object: Some(object),
        update_mask: vec!["spec".into()],
        expected_revision,
        managed_by: managed_by.into(),
        cause: Some(wire::Cause {
            reason: "because".into(),
            purpose: "test".into(),
        }),
        ..Default::default()
    }
}

async fn updated(
    client: &Client,
    request: wire::UpdateObjectRequest,
) -> Result<wire::Object, Status> {
    let answer = client.clone().update_object(request).await?;
    Ok(answer.into_inner().object.unwrap())
}

fn delete(kind: Kind, name: &str) -> wire::DeleteObjectRequest {
    wire::DeleteObjectRequest {
        kind: number(kind),
        name: name.into(),
        ..Default::default()
    }
}

async fn list(
    client: &Client,
    kind: Kind,
    page_size: i32,
    page_token: &str,
) -> wire::ListObjectsResponse {
    let request = wire::ListObjectsRequest {
        kind: number(kind),
        page_size,
        page_token: page_token.into(),
        managed_by: "tf".into(),
    };
    client
        .clone()
        .list_objects(request)
        .await
        .unwrap()
        .into_inner()
}

fn names(page: &wire::ListObjectsResponse) -> Vec<&str> {
    page.objects
        .iter()
        .map(|object| object.name.as_str())
        .collect()
}

/// Creation: checked first, echoed exactly, adopted where it is an orphan, once a request.
async fn creation(client: &Client, kind: Kind) {
    let first = object(kind, "c_a", "one", "tf");
    let checked = wire::CreateObjectRequest {
        object: Some(first.clone()),
        validate_only: true,
        ..Default::default()
    };
    client.clone().create_object(checked).await.unwrap();
    assert_eq!(
        get(client, kind, "c_a").await.unwrap_err().code(),
        Code::NotFound,
        "{kind}"
    );
    let made = create(client, first.clone(), &format!("r-a-{kind}"))
        .await
        .unwrap();
    let echoed = get(client, kind, "c_a").await.unwrap();
    assert_eq!(
        Some(&echoed),
        made.object.as_ref(),
        "{kind}: read your writes"
    );
    assert_eq!(
        (&echoed.spec, &echoed.labels),
        (&first.spec, &first.labels),
        "{kind}: echo"
    );
    assert_eq!((echoed.revision, echoed.tenant.as_str()), (1, "default"));
    assert!(!made.adopted && echoed.created_by == "anonymous" && echoed.control_revision > 0);
    let again = create(client, first.clone(), &format!("r-a-{kind}"))
        .await
        .unwrap();
    assert_eq!(
        again.object.as_ref(),
        Some(&echoed),
        "{kind}: the same request"
    );
    let orphan = create(client, first.clone(), &format!("r-b-{kind}"))
        .await
        .unwrap();
    assert!(
        orphan.adopted && orphan.object == Some(echoed),
        "{kind}: adopted"
    );
    let other = create(client, object(kind, "c_a", "two", "tf"), "")
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{kind}: {other}");
    let reused = create(
        client,
        object(kind, "c_z", "one", "tf"),
        &format!("r-a-{kind}"),
    )
    .await
    .unwrap_err();
    assert_eq!(reused.code(), Code::InvalidArgument, "{kind}: {reused}");
}

/// Faults name their fields.
async fn faults(client: &Client, kind: Kind) {
    let mut wrong = object(kind, "Not a name", "one", "tf");
    let refused = create(client, wrong.clone(), "").await.unwrap_err();
    let fields = |status: &Status| -> Vec<String> {
        let details = status.get_details_bad_request().unwrap();
        details
            .field_violations
            .into_iter()
            .map(|v| v.field)
            .collect()
    };
    assert_eq!(fields(&refused), ["name"], "{kind}");
    let required = kind.fields().iter().filter(|field| field.required);
    for field in required {
        let mut without = spec(kind, "f_a", "one");
        without.remove(field.name);
        wrong.name = "f_a".into();
        wrong.spec = Some(wire::Spec::of(kind, &without));
        let refused = create(client, wrong.clone(), "").await.unwrap_err();
        assert_eq!(fields(&refused), [format!("spec.{}", field.name)], "{kind}");
    }
}

/// Updates: one of two, through two instances, wins, others' objects are safe, and what was overridden is kept.
async fn updates(client: &Client, other: &Client, kind: Kind) {
    create(client, object(kind, "u_a", "one", "tf"), "")
        .await
        .unwrap();
    let second = object(kind, "u_a", "two", "");
    let (left, right) = tokio::join!(
        updated(client, update(second.clone(), 1, "tf")),
        updated(other, update(second.clone(), 1, "tf")),
    );
    let (won, lost): (Vec<_>, Vec<_>) = [left, right].into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1), "{kind}: one wins");
    let conflict = lost.into_iter().next().unwrap().unwrap_err();
    assert_eq!(conflict.code(), Code::Aborted, "{kind}");
    let detail = conflict.get_details_error_info().unwrap().metadata;
    assert_eq!(
        (detail["expected"].as_str(), detail["current"].as_str()),
        ("1", "2")
    );
    let now = get(client, kind, "u_a").await.unwrap();
    assert_eq!((now.revision, &now.spec), (2, &second.spec));
    assert_eq!(
        (now.managed_by.as_str(), now.labels.len()),
        ("tf", 1),
        "{kind}: only the mask"
    );
    let unchanged = updated(client, update(second.clone(), 2, "tf"))
        .await
        .unwrap();
    assert_eq!(unchanged.revision, 2, "{kind}: the same again is no change");
    let first = object(kind, "u_a", "one", "");
    let refused = updated(client, update(first.clone(), 0, ""))
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "{kind}: by hand: {refused}"
    );
    let mut overriding = update(first, 0, "");
    overriding.r#override = true;
    assert_eq!(updated(client, overriding).await.unwrap().revision, 3);
    audited(client, kind).await;
}

/// What was changed, why, and by whose right.
async fn audited(client: &Client, kind: Kind) {
    let request = wire::ListChangesRequest {
        kind: number(kind),
        name: "u_a".into(),
        ..Default::default()
    };
    let changes = client
        .clone()
        .list_changes(request)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let seen: Vec<(bool, &str, u64, u64)> = changes
        .iter()
        .map(|entry| {
            let change = entry.change.as_ref().unwrap();
            (
                change.overridden,
                entry.reason.as_str(),
                change.old_revision,
                change.new_revision,
            )
        })
        .collect();
    let expected = [
        (false, "", 0, 1),
        (false, "because", 1, 2),
        (true, "because", 2, 3),
    ];
    assert_eq!(seen, expected, "{kind}: the audit");
}

/// Lists: every page of one moment, whatever is changed in between.
async fn lists(client: &Client, kind: Kind) {
    for name in ["l_a", "l_b", "l_c"] {
        create(client, object(kind, name, "one", "tf"), "")
            .await
            .unwrap();
    }
    let whole = list(client, kind, 0, "").await;
    assert_eq!(whole.next_page_token, "");
    let first = list(client, kind, 1, "").await;
    create(client, object(kind, "l_ab", "one", "tf"), "")
        .await
        .unwrap();
    client
        .clone()
        .delete_object(with_owner(delete(kind, "l_c")))
        .await
        .unwrap();
    let mut all = names(&first)
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let mut token = first.next_page_token.clone();
    while !token.is_empty() {
        let page = list(client, kind, 2, &token).await;
        assert_eq!(page.control_revision, first.control_revision);
        all.extend(names(&page).into_iter().map(str::to_owned));
        token = page.next_page_token;
    }
    assert_eq!(all, names(&whole), "{kind}: one snapshot");
}

fn with_owner(request: wire::DeleteObjectRequest) -> wire::DeleteObjectRequest {
    wire::DeleteObjectRequest {
        managed_by: "tf".into(),
        ..request
    }
}

/// Deletion.
async fn deletion(client: &Client, kind: Kind) {
    create(client, object(kind, "d_a", "one", "tf"), "")
        .await
        .unwrap();
    let by_hand = client
        .clone()
        .delete_object(delete(kind, "d_a"))
        .await
        .unwrap_err();
    assert_eq!(by_hand.code(), Code::FailedPrecondition, "{kind}");
    let mut stale = with_owner(delete(kind, "d_a"));
    stale.expected_revision = 9;
    let conflict = client.clone().delete_object(stale).await.unwrap_err();
    assert_eq!(conflict.code(), Code::Aborted, "{kind}");
    client
        .clone()
        .delete_object(with_owner(delete(kind, "d_a")))
        .await
        .unwrap();
    assert_eq!(
        get(client, kind, "d_a").await.unwrap_err().code(),
        Code::NotFound
    );
    let missing = client
        .clone()
        .delete_object(delete(kind, "d_a"))
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{kind}");
    let allowed = wire::DeleteObjectRequest {
        allow_missing: true,
        ..delete(kind, "d_a")
    };
    client.clone().delete_object(allowed).await.unwrap();
    let again = create(client, object(kind, "d_a", "one", "tf"), "")
        .await
        .unwrap();
    assert_eq!(
        again.object.unwrap().revision,
        3,
        "{kind}: revisions never come again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_passes_the_conformance_suite() {
    let world = World::start().await;
    let engine = world.engine(false).await;
    engine.listed(0).await;
    let second = world.engine(false).await;
    second.listed(0).await;
    let client = ControlServiceClient::new(engine.channel.clone());
    let other = ControlServiceClient::new(second.channel.clone());
    for kind in Kind::ALL {
        creation(&client, kind).await;
        faults(&client, kind).await;
        updates(&client, &other, kind).await;
        lists(&client, kind).await;
        deletion(&client, kind).await;
    }
    engine.stop().await;
    second.stop().await;
    // Another instance reads the same from the log.
    let engine = world.engine(false).await;
    let again = ControlServiceClient::new(engine.channel.clone());
    for kind in Kind::ALL {
        let object =
            crate::world::until("the engine", async || get(&again, kind, "u_a").await.ok()).await;
        assert_eq!(object.revision, 3, "{kind}");
    }
    engine.stop().await;
}
