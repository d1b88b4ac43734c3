//! `balefire apply|diff|export|delete DIR`: control objects as files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use balefire_control::{Kind, Object};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use tonic::Code;

use crate::Failure;
use crate::connect::{Connection, Target, patiently};
use crate::difference::{Step, Steps, counts, plan, show};
use crate::folder::{self, Wanted};
use crate::print::{Out, note};

type Client = ControlServiceClient<Connection>;

/// Makes the platform be as the files of a folder say.
///
/// Files are KIND/NAME.toml (kinds: tenant, api_key, source, severity_map, identity_alias,
/// receiver, route, silence), and rule/NAME.yml for rules. identity_alias/ANY.csv (a head, then a
/// row an alias) or .json (an array of objects) holds many. `balefire export DIR` writes such a
/// folder. Exit 1 where anything was refused; what came before it is done.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    way: Way,
    /// Change nothing: check everything and show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Delete what --managed-by owns and no file names
    #[arg(long)]
    prune: bool,
}

/// Shows what `apply` would do; exit 1 where that is anything.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    #[command(flatten)]
    way: Way,
    /// Show too what `apply --prune` would delete
    #[arg(long)]
    prune: bool,
}

/// Deletes the objects that the files of a folder name.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    way: Way,
}

/// Writes every control object as a file below a folder.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The folder; it must be empty or not there
    dir: PathBuf,
    /// Only this kind
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Way {
    /// The folder
    dir: PathBuf,
    /// Who owns what is made; others are refused to change it
    #[arg(long, default_value = "files", value_name = "NAME")]
    managed_by: String,
    /// Change what another tool owns; that is kept in the audit
    #[arg(long)]
    r#override: bool,
    /// Why, for the audit
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    target: Target,
}

/// Reads a kind.
///
/// # Errors
/// Names those there are.
pub fn kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text)
        .ok_or_else(|| format!("take one of {}", Kind::ALL.map(Kind::as_str).join(", ")))
}

/// Every object of a server, by kind and name.
///
/// # Errors
/// Where it cannot be reached, or sends what this version does not know.
pub async fn objects(
    client: &mut Client,
    kind: Option<Kind>,
) -> Result<BTreeMap<(Kind, String), Object>, Failure> {
    let mut found = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListObjectsRequest {
            kind: kind.map_or(0, |kind| wire::Kind::from(kind).into()),
            page_size: 1000,
            page_token,
            ..Default::default()
        };
        let page = patiently(async || client.clone().list_objects(request.clone()).await);
        let page = page.await?.into_inner();
        for object in page.objects {
            let object = Object::try_from(object).map_err(|e| Failure::chain(&e))?;
            found.insert((object.key.kind, object.key.name.clone()), object);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

impl Way {
    fn cause(&self) -> Option<wire::Cause> {
        Some(wire::Cause {
            reason: self.reason.clone(),
            purpose: String::new(),
        })
    }

    fn object(&self, kind: Kind, name: &str, want: &Wanted) -> Option<wire::Object> {
        Some(wire::Object {
            name: name.to_owned(),
            managed_by: self.managed_by.clone(),
            labels: want.labels.clone().into_iter().collect(),
            spec: Some(wire::Spec::of(kind, &want.spec)),
            ..Default::default()
        })
    }

    async fn step(
        &self,
        client: &mut Client,
        (kind, name): &(Kind, String),
        step: &Step,
        validate_only: bool,
    ) -> Result<(), tonic::Status> {
        match step {
            Step::Create(want) => {
                let request = wire::CreateObjectRequest {
                    object: self.object(*kind, name, want),
                    cause: self.cause(),
                    validate_only,
                    ..Default::default()
                };
                patiently(async || client.clone().create_object(request.clone()).await)
                    .await
                    .map(|_| ())
            }
            Step::Update(object, want) => {
                let request = wire::UpdateObjectRequest {
                    object: self.object(*kind, name, want),
                    expected_revision: object.revision,
                    cause: self.cause(),
                    validate_only,
                    managed_by: self.managed_by.clone(),
                    r#override: self.r#override,
                    ..Default::default()
                };
                patiently(async || client.clone().update_object(request.clone()).await)
                    .await
                    .map(|_| ())
            }
            Step::Delete(object) => {
                let request = wire::DeleteObjectRequest {
                    kind: wire::Kind::from(*kind).into(),
                    name: name.clone(),
                    expected_revision: object.revision,
                    cause: self.cause(),
                    validate_only,
                    managed_by: self.managed_by.clone(),
                    r#override: self.r#override,
                    ..Default::default()
                };
                patiently(async || client.clone().delete_object(request.clone()).await)
                    .await
                    .map(|_| ())
            }
        }
    }

    /// Carries out every step. Rules may name each other, so what is refused as a whole is tried
    /// again after the others, as long as that helps.
    async fn carry_out(
        &self,
        client: &mut Client,
        steps: &Steps,
        validate_only: bool,
    ) -> Result<(), Failure> {
        let mut open: Vec<&((Kind, String), Step)> = steps.iter().collect();
        loop {
            let mut refused = Vec::new();
            for one in &open {
                match self.step(client, &one.0, &one.1, validate_only).await {
                    Ok(()) => {}
                    Err(status) if status.code() == Code::Unavailable => return Err(status.into()),
                    Err(status) => refused.push((*one, status)),
                }
            }
            let helped = refused.len() < open.len() && !validate_only;
            if refused.is_empty() {
                return Ok(());
            }
            if !helped {
                for (((kind, name), _), status) in refused {
                    let told = crate::connect::Error::from(status);
                    note(&format!("{kind} {name}: {told}"));
                }
                return Err(Failure::Told);
            }
            open = refused.into_iter().map(|(one, _)| one).collect();
        }
    }
}

/// Runs `apply`.
///
/// # Errors
/// See [`Failure`].
pub async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let wanted = folder::read(&args.way.dir)?;
    let mut client = ControlServiceClient::new(args.way.target.connect().await?);
    let there = objects(&mut client, None).await?;
    let prune = args.prune.then_some(args.way.managed_by.as_str());
    let steps = plan(wanted, there, prune);
    show(&steps, &mut Out::new());
    args.way
        .carry_out(&mut client, &steps, args.dry_run)
        .await?;
    note(&counts(
        &steps,
        if args.dry_run { "would be" } else { "done" },
    ));
    Ok(())
}

/// Runs `diff`.
///
/// # Errors
/// See [`Failure`]; [`Failure::Told`] where anything differs.
pub async fn diff(args: DiffArgs) -> Result<(), Failure> {
    let wanted = folder::read(&args.way.dir)?;
    let mut client = ControlServiceClient::new(args.way.target.connect().await?);
    let there = objects(&mut client, None).await?;
    let prune = args.prune.then_some(args.way.managed_by.as_str());
    let steps = plan(wanted, there, prune);
    show(&steps, &mut Out::new());
    if steps.is_empty() {
        note("no difference");
        return Ok(());
    }
    note(&counts(&steps, "would be"));
    Err(Failure::Told)
}

/// Runs `delete`.
///
/// # Errors
/// See [`Failure`].
pub async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let wanted = folder::read(&args.way.dir)?;
    let mut client = ControlServiceClient::new(args.way.target.connect().await?);
    let there = objects(&mut client, None).await?;
    let named = there.into_iter().filter(|(id, _)| wanted.contains_key(id));
    let mut steps: Steps = named
        .map(|(id, object)| (id, Step::Delete(object)))
        .collect();
    steps.reverse();
    show(&steps, &mut Out::new());
    args.way.carry_out(&mut client, &steps, false).await?;
    note(&counts(&steps, "done"));
    Ok(())
}

fn write(dir: &Path, path: &Path, text: &str) -> Result<(), Failure> {
    let path = dir.join(path);
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(&path, text))
        .map_err(|e| Failure::Failed(format!("write {}: {e}", path.display())))
}

/// Runs `export`.
///
/// # Errors
/// See [`Failure`].
pub async fn export(args: ExportArgs) -> Result<(), Failure> {
    if std::fs::read_dir(&args.dir).is_ok_and(|mut entries| entries.next().is_some()) {
        let text = format!("{} is not empty; name another folder", args.dir.display());
        return Err(Failure::Usage(text));
    }
    let mut client = ControlServiceClient::new(args.target.connect().await?);
    let there = objects(&mut client, args.kind).await?;
    for ((kind, name), object) in &there {
        let operational = |field: &str| kind.field(field).is_some_and(|field| field.operational);
        let spec = object.spec.iter().filter(|(field, _)| !operational(field));
        let wanted = Wanted {
            spec: spec
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect(),
            labels: object.labels.clone(),
        };
        for (path, text) in folder::files(*kind, name, &wanted)? {
            write(&args.dir, &path, &text)?;
        }
    }
    note(&format!("{} object(s)", there.len()));
    Ok(())
}
