//! `balefire schemas`: which records are accepted, and in which version.

use balefire_wire::schema::v1::schema_service_client::SchemaServiceClient;
use balefire_wire::schema::v1::{GetSchemaRequest, ListSchemasRequest, Reading, Schema};
use serde_json::{Value, json};

use crate::Failure;
use crate::connect::Target;
use crate::print::{Listing, Out, table};

/// Shows which records ingest accepts.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists every schema with its version
    List {
        #[command(flatten)]
        target: Target,
        /// How they are printed
        #[arg(long, value_enum, default_value_t)]
        output: Listing,
    },
    /// Shows the fields of one
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        target: Target,
        /// How they are printed
        #[arg(long, value_enum, default_value_t)]
        output: Listing,
    },
}

/// Runs the command.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::List { target, output } => {
            let mut client = SchemaServiceClient::new(target.connect().await?);
            let answer = client.list_schemas(ListSchemasRequest {}).await?;
            list(&answer.into_inner().schemas, output);
        }
        Command::Show {
            name,
            target,
            output,
        } => {
            let mut client = SchemaServiceClient::new(target.connect().await?);
            let answer = client.get_schema(GetSchemaRequest { name }).await?;
            show(&answer.into_inner().schema.unwrap_or_default(), output);
        }
    }
    Ok(())
}

const fn read(reading: Reading) -> &'static str {
    match reading {
        Reading::Unspecified => "",
        Reading::Native => "native",
        Reading::Adapter => "adapter",
        Reading::FieldMap => "field_map",
    }
}

fn line(schema: &Schema) -> Value {
    let fields = schema.fields.iter().map(|field| {
        json!({"name": field.name, "form": field.form, "required": field.required, "since_minor": field.since_minor, "words": field.words})
    });
    json!({
        "name": schema.name, "about": schema.about, "reading": read(schema.reading()),
        "version": format!("{}.{}", schema.major, schema.minor), "fields": fields.collect::<Vec<_>>(),
    })
}

fn list(schemas: &[Schema], output: Listing) {
    let mut out = Out::new();
    if output == Listing::Ndjson {
        for schema in schemas {
            out.line(&line(schema).to_string());
        }
        out.flush();
        return;
    }
    let rows: Vec<Vec<String>> = schemas
        .iter()
        .map(|schema| {
            vec![
                schema.name.clone(),
                format!("{}.{}", schema.major, schema.minor),
                read(schema.reading()).to_owned(),
                schema.about.clone(),
            ]
        })
        .collect();
    out.line(&table(&["SCHEMA", "VERSION", "READ BY", "WHAT"], &rows));
    out.flush();
}

fn show(schema: &Schema, output: Listing) {
    let mut out = Out::new();
    if output == Listing::Ndjson {
        out.line(&line(schema).to_string());
        out.flush();
        return;
    }
    out.line(&format!(
        "{} {}.{}: {}",
        schema.name, schema.major, schema.minor, schema.about
    ));
    if schema.fields.is_empty() {
        out.line("its fields are the vendor's; docs/sources says which are read");
        out.flush();
        return;
    }
    let rows: Vec<Vec<String>> = schema
        .fields
        .iter()
        .map(|field| {
            vec![
                field.name.clone(),
                field.form.clone(),
                if field.required { "needed" } else { "" }.to_owned(),
                field.words.join(", "),
            ]
        })
        .collect();
    out.line(&table(&["FIELD", "HOLDS", "", "WORDS"], &rows));
    out.flush();
}
