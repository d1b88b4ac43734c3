//! Terraform's calls.

use balefire_control::Kind;
use balefire_wire::control::v1 as wire;
use rmpv::Value;
use tokio::sync::RwLock;
use tonic::{Request, Response, Status};

use crate::answer::{platform_state, refused, told};
use crate::dynamic::{Fields, number, read, read_json, text, write};
use crate::plan::{check, error, labels, planned, spec, spec_fields, state};
use crate::platform::Platform;
use crate::preview::{self, PREVIEW};
use crate::schema;
use crate::tfplugin6 as tf;

const ENDPOINT: &str = "http://127.0.0.1:7400";
const PLATFORM: &str = "balefire_platform";
const NAMES: &str = "balefire_names";

type Answer<T> = Result<Response<T>, Status>;

/// The provider of one Terraform run.
#[derive(Debug, Default)]
pub struct Provider {
    platform: RwLock<Option<Platform>>,
}

const CAPABILITIES: tf::ServerCapabilities = tf::ServerCapabilities {
    plan_destroy: false,
    get_provider_schema_optional: true,
    move_resource_state: false,
};

#[expect(
    clippy::disallowed_methods,
    reason = "Terraform's custom: what the provider block leaves out comes from variables"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn kind_of(type_name: &str) -> Result<Kind, Status> {
    schema::kind_of(type_name)
        .ok_or_else(|| Status::invalid_argument(format!("no such resource: {type_name}")))
}

fn name_of(fields: &Fields) -> String {
    text(fields.get("name"))
        .or_else(|| text(fields.get("id")))
        .unwrap_or_default()
}

fn revision_of(fields: &Fields) -> u64 {
    let revision = fields.get("revision").and_then(number);
    revision
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or_default()
}

impl Provider {
    async fn platform(&self) -> Result<Platform, Vec<tf::Diagnostic>> {
        let platform = self.platform.read().await.clone();
        platform.ok_or_else(|| {
            vec![error(
                "Not configured",
                "the provider has no endpoint yet",
                None,
            )]
        })
    }

    async fn read(
        &self,
        kind: Kind,
        before: &Fields,
    ) -> Result<Option<Fields>, Vec<tf::Diagnostic>> {
        let name = name_of(before);
        let platform = self.platform().await?;
        let found = platform.get(kind, &name).await;
        let object = found.map_err(|status| refused(&format!("read {kind} {name}"), &status))?;
        Ok(object.map(|object| state(kind, &object, before)))
    }

    async fn apply(
        &self,
        kind: Kind,
        request: &tf::apply_resource_change::Request,
    ) -> Result<Option<Fields>, Vec<tf::Diagnostic>> {
        let platform = self.platform().await?;
        let prior = read(request.prior_state.as_ref());
        let config = read(request.config.as_ref());
        let Some(plan) = read(request.planned_state.as_ref()) else {
            let prior = prior.unwrap_or_default();
            let name = name_of(&prior);
            let done = platform.delete(kind, &name, revision_of(&prior)).await;
            return done
                .map(|()| None)
                .map_err(|status| refused(&format!("delete {kind} {name}"), &status));
        };
        let name = name_of(&plan);
        let object = wire::Object {
            name: name.clone(),
            labels: labels(&plan).into_iter().collect(),
            spec: Some(wire::Spec::of(kind, &spec(kind, &plan, config.as_ref()))),
            ..wire::Object::default()
        };
        let done = match &prior {
            None => platform.create(object).await,
            Some(prior) => {
                let mut mask: Vec<String> = spec_fields(kind)
                    .map(|field| format!("spec.{}", field.name))
                    .collect();
                mask.extend(["labels".to_owned(), "managed_by".to_owned()]);
                platform.update(object, mask, revision_of(prior)).await
            }
        };
        let doing = if prior.is_none() { "create" } else { "change" };
        let object = done.map_err(|status| refused(&format!("{doing} {kind} {name}"), &status))?;
        Ok(Some(state(kind, &object, &plan)))
    }

    async fn data(&self, type_name: &str, config: &Fields) -> Result<Fields, Vec<tf::Diagnostic>> {
        let platform = self.platform().await?;
        match type_name {
            PLATFORM => platform_state(&platform).await,
            PREVIEW => preview::state(&platform, config).await,
            NAMES => {
                let kind = text(config.get("kind")).unwrap_or_default();
                let kind = Kind::parse(&kind).ok_or_else(|| {
                    let kinds = Kind::ALL.map(Kind::as_str).join(", ");
                    vec![error(
                        "Invalid value",
                        &format!("take one of {kinds}"),
                        Some("kind"),
                    )]
                })?;
                let names = platform.names(kind).await;
                let names = names.map_err(|status| refused(&format!("list {kind}"), &status))?;
                let names = names.into_iter().map(Value::from).collect();
                Ok([
                    ("kind".to_owned(), Value::from(kind.as_str())),
                    ("id".to_owned(), Value::from(kind.as_str())),
                    ("names".to_owned(), Value::Array(names)),
                ]
                .into())
            }
            _ => {
                let missing = |text: String| vec![error("Not found", &text, Some("name"))];
                let kind = schema::kind_of(type_name)
                    .ok_or_else(|| missing(format!("no such data source: {type_name}")))?;
                let name = name_of(config);
                let found = platform.get(kind, &name).await;
                let found =
                    found.map_err(|status| refused(&format!("read {kind} {name}"), &status))?;
                let object =
                    found.ok_or_else(|| missing(format!("there is no {kind} {name:?}")))?;
                Ok(told(kind, &object))
            }
        }
    }
}

fn diagnostics<T>(result: Result<T, Vec<tf::Diagnostic>>) -> (Option<T>, Vec<tf::Diagnostic>) {
    match result {
        Ok(done) => (Some(done), Vec::new()),
        Err(diagnostics) => (None, diagnostics),
    }
}

#[tonic::async_trait]
impl tf::provider_server::Provider for Provider {
    async fn get_metadata(
        &self,
        _call: Request<tf::get_metadata::Request>,
    ) -> Answer<tf::get_metadata::Response> {
        let names = || Kind::ALL.into_iter().map(schema::type_name);
        let data = names().chain([PLATFORM, NAMES, PREVIEW].map(str::to_owned));
        Ok(Response::new(tf::get_metadata::Response {
            server_capabilities: Some(CAPABILITIES),
            diagnostics: Vec::new(),
            data_sources: data
                .map(|type_name| tf::get_metadata::DataSourceMetadata { type_name })
                .collect(),
            resources: names()
                .map(|type_name| tf::get_metadata::ResourceMetadata { type_name })
                .collect(),
        }))
    }

    async fn get_provider_schema(
        &self,
        _call: Request<tf::get_provider_schema::Request>,
    ) -> Answer<tf::get_provider_schema::Response> {
        let kinds = || Kind::ALL.into_iter();
        let more = [
            (PLATFORM.to_owned(), schema::platform()),
            (NAMES.to_owned(), schema::names()),
            (PREVIEW.to_owned(), schema::rule_preview()),
        ];
        let data = kinds().map(|kind| (schema::type_name(kind), schema::data(kind)));
        Ok(Response::new(tf::get_provider_schema::Response {
            provider: Some(schema::provider()),
            resource_schemas: kinds()
                .map(|kind| (schema::type_name(kind), schema::resource(kind)))
                .collect(),
            data_source_schemas: data.chain(more).collect(),
            server_capabilities: Some(CAPABILITIES),
            ..Default::default()
        }))
    }

    async fn validate_provider_config(
        &self,
        call: Request<tf::validate_provider_config::Request>,
    ) -> Answer<tf::validate_provider_config::Response> {
        let config = read(call.into_inner().config.as_ref()).unwrap_or_default();
        Ok(Response::new(tf::validate_provider_config::Response {
            diagnostics: preview::check(&config, "preview"),
        }))
    }

    async fn validate_resource_config(
        &self,
        call: Request<tf::validate_resource_config::Request>,
    ) -> Answer<tf::validate_resource_config::Response> {
        let request = call.into_inner();
        let kind = kind_of(&request.type_name)?;
        let config = read(request.config.as_ref()).unwrap_or_default();
        Ok(Response::new(tf::validate_resource_config::Response {
            diagnostics: check(kind, &config),
        }))
    }

    async fn validate_data_resource_config(
        &self,
        call: Request<tf::validate_data_resource_config::Request>,
    ) -> Answer<tf::validate_data_resource_config::Response> {
        let request = call.into_inner();
        let config = read(request.config.as_ref()).unwrap_or_default();
        let diagnostics = match request.type_name.as_str() {
            PREVIEW => preview::check(&config, "since"),
            _ => Vec::new(),
        };
        Ok(Response::new(tf::validate_data_resource_config::Response {
            diagnostics,
        }))
    }

    async fn upgrade_resource_state(
        &self,
        call: Request<tf::upgrade_resource_state::Request>,
    ) -> Answer<tf::upgrade_resource_state::Response> {
        let raw = call.into_inner().raw_state.unwrap_or_default();
        let upgraded_state = write(read_json(&raw.json));
        Ok(Response::new(tf::upgrade_resource_state::Response {
            upgraded_state,
            diagnostics: Vec::new(),
        }))
    }

    async fn configure_provider(
        &self,
        call: Request<tf::configure_provider::Request>,
    ) -> Answer<tf::configure_provider::Response> {
        let config = read(call.into_inner().config.as_ref()).unwrap_or_default();
        let given = |name: &str| text(config.get(name));
        let endpoint = given("endpoint").or_else(|| variable("BALEFIRE_ADDR"));
        let token = given("token").or_else(|| variable("BALEFIRE_TOKEN"));
        let managed_by = given("managed_by").unwrap_or_else(|| "terraform".to_owned());
        let endpoint = endpoint.as_deref().unwrap_or(ENDPOINT);
        let diagnostics = match Platform::new(endpoint, token.as_deref(), &managed_by) {
            Ok(mut platform) => {
                platform.overriding = config
                    .get("override")
                    .and_then(Value::as_bool)
                    .unwrap_or_default();
                platform.reason = given("reason").unwrap_or_default();
                platform.preview = preview::span_of(&config, "preview").unwrap_or_default();
                *self.platform.write().await = Some(platform);
                Vec::new()
            }
            Err(reason) => vec![error("Invalid provider", &reason, Some("endpoint"))],
        };
        Ok(Response::new(tf::configure_provider::Response {
            diagnostics,
        }))
    }

    async fn read_resource(
        &self,
        call: Request<tf::read_resource::Request>,
    ) -> Answer<tf::read_resource::Response> {
        let request = call.into_inner();
        let kind = kind_of(&request.type_name)?;
        let before = read(request.current_state.as_ref()).unwrap_or_default();
        let (found, diagnostics) = diagnostics(self.read(kind, &before).await);
        Ok(Response::new(tf::read_resource::Response {
            new_state: match found {
                Some(found) => write(found),
                None => request.current_state,
            },
            diagnostics,
            private: request.private,
        }))
    }

    async fn plan_resource_change(
        &self,
        call: Request<tf::plan_resource_change::Request>,
    ) -> Answer<tf::plan_resource_change::Response> {
        let request = call.into_inner();
        let kind = kind_of(&request.type_name)?;
        let (plan, requires_replace) = planned(
            kind,
            request.prior_state.as_ref(),
            request.proposed_new_state.as_ref(),
            request.config.as_ref(),
        );
        let diagnostics = match &plan {
            Some(plan) if kind == Kind::Rule => {
                let prior = read(request.prior_state.as_ref());
                let platform = self.platform.read().await.clone();
                preview::warn(platform.as_ref(), prior.as_ref(), plan).await
            }
            _ => Vec::new(),
        };
        Ok(Response::new(tf::plan_resource_change::Response {
            planned_state: write(plan),
            requires_replace,
            diagnostics,
            ..Default::default()
        }))
    }

    async fn apply_resource_change(
        &self,
        call: Request<tf::apply_resource_change::Request>,
    ) -> Answer<tf::apply_resource_change::Response> {
        let request = call.into_inner();
        let kind = kind_of(&request.type_name)?;
        let (applied, diagnostics) = diagnostics(self.apply(kind, &request).await);
        Ok(Response::new(tf::apply_resource_change::Response {
            new_state: match applied {
                Some(state) => write(state),
                None => request.prior_state,
            },
            diagnostics,
            private: Vec::new(),
        }))
    }

    async fn import_resource_state(
        &self,
        call: Request<tf::import_resource_state::Request>,
    ) -> Answer<tf::import_resource_state::Response> {
        let request = call.into_inner();
        let kind = kind_of(&request.type_name)?;
        let attributes = schema::resource(kind).block.unwrap_or_default().attributes;
        let mut state: Fields = attributes
            .into_iter()
            .map(|attribute| (attribute.name, Value::Nil))
            .collect();
        state.insert("id".into(), Value::from(request.id.as_str()));
        state.insert("name".into(), Value::from(request.id.as_str()));
        Ok(Response::new(tf::import_resource_state::Response {
            imported_resources: vec![tf::import_resource_state::ImportedResource {
                type_name: request.type_name,
                state: write(Some(state)),
                private: Vec::new(),
            }],
            diagnostics: Vec::new(),
        }))
    }

    async fn read_data_source(
        &self,
        call: Request<tf::read_data_source::Request>,
    ) -> Answer<tf::read_data_source::Response> {
        let request = call.into_inner();
        let config = read(request.config.as_ref()).unwrap_or_default();
        let (state, diagnostics) = diagnostics(self.data(&request.type_name, &config).await);
        Ok(Response::new(tf::read_data_source::Response {
            state: write(state),
            diagnostics,
        }))
    }

    async fn stop_provider(
        &self,
        _call: Request<tf::stop_provider::Request>,
    ) -> Answer<tf::stop_provider::Response> {
        Ok(Response::new(Default::default()))
    }
}
