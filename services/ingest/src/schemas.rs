//! SchemaService: which records are accepted, and in which version.

use std::sync::Arc;

use balefire_ingest_core::{adapt, schema};
use balefire_kit::{Caller, Scope};
use balefire_wire::schema::v1 as wire;
use balefire_wire::schema::v1::schema_service_server::SchemaService;
use tonic::{Request, Response, Status};

use crate::control::Applied;

/// What is read of a vendor's shape has one version: the vendor gives it none.
const ADAPTER_VERSION: (u32, u32) = (1, 0);

/// Answers from what this version reads, and from the source objects.
pub struct Schemas {
    control: Arc<Applied>,
}

impl Schemas {
    /// Over the control log.
    pub const fn new(control: Arc<Applied>) -> Self {
        Self { control }
    }

    /// Every schema of a tenant, by name.
    fn all(&self, tenant: &str) -> Vec<wire::Schema> {
        let vendors = adapt::ALL
            .iter()
            .filter(|adapter| adapter.name != adapt::native::NAME);
        let mut all: Vec<wire::Schema> = vendors.map(of_adapter).collect();
        all.push(native());
        let declared = self.control.declared();
        all.extend(
            declared
                .maps(tenant)
                .map(|(name, revision, fields)| wire::Schema {
                    name: name.to_owned(),
                    about: "a field map of the source object of this name".into(),
                    reading: wire::Reading::FieldMap.into(),
                    major: 1,
                    minor: u32::try_from(revision).unwrap_or(u32::MAX),
                    fields: fields.map(mapped).collect(),
                }),
        );
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

fn of_adapter(adapter: &adapt::Adapter) -> wire::Schema {
    wire::Schema {
        name: adapter.name.into(),
        about: adapter.about.into(),
        reading: wire::Reading::Adapter.into(),
        major: ADAPTER_VERSION.0,
        minor: ADAPTER_VERSION.1,
        fields: Vec::new(),
    }
}

fn native() -> wire::Schema {
    let (major, minor) = schema::VERSION;
    wire::Schema {
        name: adapt::native::NAME.into(),
        about: "the JSON event of Balefire".into(),
        reading: wire::Reading::Native.into(),
        major,
        minor,
        fields: schema::FIELDS.iter().map(field).collect(),
    }
}

fn field(field: &schema::Field) -> wire::Field {
    wire::Field {
        name: field.name.into(),
        form: field.form.as_str().into(),
        required: field.required,
        since_minor: field.since_minor,
        words: words(field.name),
    }
}

fn words(name: &str) -> Vec<String> {
    schema::words(name).into_iter().map(str::to_owned).collect()
}

/// A field that a map fills.
fn mapped(name: &str) -> wire::Field {
    let known = schema::FIELDS.iter().find(|field| field.name == name);
    let form = known.map_or(schema::Form::Text, |field| field.form);
    wire::Field {
        name: name.into(),
        form: form.as_str().into(),
        required: known.is_some_and(|field| field.required),
        since_minor: 0,
        words: words(name),
    }
}

#[tonic::async_trait]
impl SchemaService for Schemas {
    async fn list_schemas(
        &self,
        call: Request<wire::ListSchemasRequest>,
    ) -> Result<Response<wire::ListSchemasResponse>, Status> {
        let caller = Caller::of(&call, Scope::Read)?;
        let schemas = self.all(&caller.tenant);
        Ok(Response::new(wire::ListSchemasResponse { schemas }))
    }

    async fn get_schema(
        &self,
        call: Request<wire::GetSchemaRequest>,
    ) -> Result<Response<wire::GetSchemaResponse>, Status> {
        let caller = Caller::of(&call, Scope::Read)?;
        let name = call.into_inner().name;
        let mut all = self.all(&caller.tenant).into_iter();
        let schema = all.find(|schema| schema.name == name);
        let schema = schema.ok_or_else(|| {
            Status::not_found(format!(
                "there is no schema {name:?}; ListSchemas names them"
            ))
        })?;
        Ok(Response::new(wire::GetSchemaResponse {
            schema: Some(schema),
        }))
    }
}
