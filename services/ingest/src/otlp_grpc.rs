//! OTLP over gRPC: `TraceService/Export` and `LogsService/Export` of OpenTelemetry's collector.
//!
//! The request's bytes are read by the same reader as those of OTLP over HTTP, so no generated
//! code of OpenTelemetry's protocol is needed here.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use balefire_kit::{Caller, Scope};
use bytes::{Buf, BufMut, Bytes};
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tower::Service;

use crate::config::REQUEST_BYTES_MAX;
use crate::convert;
use crate::http_body::{self as body, UNPACKED_BYTES_MAX};
use crate::otlp::{self, Signal};
use crate::outcome::OVERLOAD_RETRY;
use crate::sources::Sources;

/// What tells one of OpenTelemetry's services from another.
pub trait Exported: Clone + Send + Sync + 'static {
    /// Its name.
    const SERVICE: &'static str;
    /// Path of its only method.
    const PATH: &'static str;
    /// What it takes.
    const SIGNAL: Signal;
}

/// Spans.
#[derive(Debug, Clone, Copy)]
pub struct Traces;

impl Exported for Traces {
    const SERVICE: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
    const PATH: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const SIGNAL: Signal = Signal::Traces;
}

/// Log records.
#[derive(Debug, Clone, Copy)]
pub struct Logs;

impl Exported for Logs {
    const SERVICE: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
    const PATH: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    const SIGNAL: Signal = Signal::Logs;
}

/// One of OpenTelemetry's services.
#[derive(Clone)]
pub struct Export<E> {
    sources: Sources,
    exported: PhantomData<E>,
}

impl<E: Exported> Export<E> {
    /// Into what every way in for vendors shares.
    pub fn new(sources: &Sources, _: E) -> Self {
        Self {
            sources: sources.clone(),
            exported: PhantomData,
        }
    }
}

impl<E: Exported> NamedService for Export<E> {
    const NAME: &'static str = E::SERVICE;
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<E: Exported> Service<http::Request<Body>> for Export<E> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != E::PATH {
            let status = Status::new(Code::Unimplemented, "there is Export only");
            return Box::pin(async move { Ok(status.into_http()) });
        }
        let method = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(REQUEST_BYTES_MAX);
            Ok(grpc.unary(method, request).await)
        })
    }
}

impl<E: Exported> UnaryService<Bytes> for Export<E> {
    type Response = Bytes;
    type Future = Answer<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let sources = self.sources.clone();
        Box::pin(async move {
            export(&sources, E::SIGNAL, request)
                .await
                .map(Response::new)
        })
    }
}

async fn export(
    sources: &Sources,
    signal: Signal,
    request: Request<Bytes>,
) -> Result<Bytes, Status> {
    let caller = Caller::of(&request, Scope::Ingest)?;
    let busy = |what| balefire_kit::violation::overloaded(what, OVERLOAD_RETRY);
    let _permit = sources
        .http
        .permit()
        .map_err(|_| busy("too many requests at once"))?;
    let _room = body::take(&sources.http.bodies, UNPACKED_BYTES_MAX)
        .map_err(|_| busy("too many bytes at once"))?;
    let bytes = request.into_inner();
    let reading = tokio::task::spawn_blocking(move || otlp::read_protobuf(&bytes, signal));
    let read = reading.await.ok().flatten();
    let read = read.ok_or_else(|| Status::invalid_argument(otlp::NO_REQUEST))?;
    let appended = sources.append(&caller.tenant, otlp::SOURCE, read).await;
    let summary = appended.map_err(|refusal| convert::status(&refusal))?;
    Ok(otlp::partial_success(summary.dead_letters).into())
}

/// Messages as their bytes.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let len = from.remaining();
        Ok(Some(from.copy_to_bytes(len)))
    }
}
