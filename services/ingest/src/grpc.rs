//! `balefire.ingest.v1.IngestService`.

use std::pin::Pin;
use std::sync::Arc;

use balefire_kit::violation::overloaded;
use balefire_kit::{Caller, Scope};
use balefire_wire::ingest::v1::append_stream_request::Batch;
use balefire_wire::ingest::v1::ingest_service_server::IngestService;
use balefire_wire::ingest::v1::{
    AppendOptions, AppendRawRequest, AppendRawResponse, AppendRequest, AppendResponse,
    AppendResult, AppendStreamRequest, AppendStreamResponse, GetNamingCoverageRequest,
    GetNamingCoverageResponse, PlaceBarrierRequest, PlaceBarrierResponse,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use crate::append::{self, Door, Records};
use crate::convert;
use crate::outcome::{OVERLOAD_RETRY, Refusal};

/// Batches of one stream on their way into the log.
const STREAM_BATCHES_MAX: usize = 16;
/// Streams at once.
const STREAMS_MAX: usize = 256;

/// The service.
pub struct Grpc {
    door: Arc<Door>,
    streams: Arc<Semaphore>,
}

impl Grpc {
    /// Before a door.
    pub fn new(door: Arc<Door>) -> Self {
        Self {
            door,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

/// History raises the lateness bound of whole partitions, up to years: what is late is then kept
/// in memory for as long, for every tenant.
fn may(caller: &Caller, options: Option<&AppendOptions>) -> Result<(), Refusal> {
    let backfill = options.is_some_and(|options| options.backfill);
    if backfill && caller.require(Scope::Operate).is_err() {
        return Err(Refusal::forbidden(
            "options.backfill needs the scope operate",
        ));
    }
    Ok(())
}

fn request<'r>(
    tenant: &'r str,
    options: Option<&'r AppendOptions>,
    records: Records<'r>,
) -> append::Request<'r> {
    let backfill = options.filter(|options| options.backfill);
    append::Request {
        tenant,
        source: options.map_or("", |options| options.source.as_str()),
        backfill: backfill.map(|options| options.backfill_span_ns),
        idempotency_key: "",
        records,
    }
}

async fn append_typed(
    door: &Door,
    caller: &Caller,
    message: &AppendRequest,
) -> Result<Vec<AppendResult>, Refusal> {
    may(caller, message.options.as_ref())?;
    let records = Records::Typed(&message.events);
    let request = request(&caller.tenant, message.options.as_ref(), records);
    door.append(request).await.map(convert::results)
}

async fn append_raw(
    door: &Door,
    caller: &Caller,
    message: &AppendRawRequest,
) -> Result<Vec<AppendResult>, Refusal> {
    may(caller, message.options.as_ref())?;
    let records = Records::Raw(&message.records, &message.occurrences);
    let request = request(&caller.tenant, message.options.as_ref(), records);
    door.append(request).await.map(convert::results)
}

async fn append_batch(
    door: Arc<Door>,
    caller: Arc<Caller>,
    message: AppendStreamRequest,
) -> AppendStreamResponse {
    let appended = match &message.batch {
        Some(Batch::Events(events)) => append_typed(&door, &caller, events).await,
        Some(Batch::Raw(raw)) => append_raw(&door, &caller, raw).await,
        None => Err(Refusal::invalid("batch", "give events or raw")),
    };
    let (results, error) = match appended {
        Ok(results) => (results, None),
        Err(refusal) => (Vec::new(), Some(convert::batch_error(&refusal))),
    };
    AppendStreamResponse {
        batch_id: message.batch_id,
        results,
        error,
    }
}

/// Answers in the order in which batches became durable.
fn answers(
    door: Arc<Door>,
    caller: Arc<Caller>,
    messages: Streaming<AppendStreamRequest>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<AppendStreamResponse, Status>> + Send {
    // A shutdown ends the reading; what was read is answered.
    let stop = door.stopped();
    messages
        .take_until(stop)
        .map(move |message| {
            let (door, caller) = (Arc::clone(&door), Arc::clone(&caller));
            // The permit lives as long as the stream.
            let _open = &permit;
            async move { Ok(append_batch(door, caller, message?).await) }
        })
        .buffer_unordered(STREAM_BATCHES_MAX)
}

#[tonic::async_trait]
impl IngestService for Grpc {
    type AppendStreamStream =
        Pin<Box<dyn Stream<Item = Result<AppendStreamResponse, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        let caller = Caller::of(&request, Scope::Ingest)?;
        let results = append_typed(&self.door, &caller, request.get_ref())
            .await
            .map_err(|refusal| convert::status(&refusal))?;
        Ok(Response::new(AppendResponse { results }))
    }

    async fn append_raw(
        &self,
        request: Request<AppendRawRequest>,
    ) -> Result<Response<AppendRawResponse>, Status> {
        let caller = Caller::of(&request, Scope::Ingest)?;
        let results = append_raw(&self.door, &caller, request.get_ref())
            .await
            .map_err(|refusal| convert::status(&refusal))?;
        Ok(Response::new(AppendRawResponse { results }))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let caller = Caller::of(&request, Scope::Ingest)?;
        let permit = Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| overloaded("too many streams at once", OVERLOAD_RETRY))?;
        let door = Arc::clone(&self.door);
        let answers = answers(door, Arc::new(caller), request.into_inner(), permit);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_naming_coverage(
        &self,
        request: Request<GetNamingCoverageRequest>,
    ) -> Result<Response<GetNamingCoverageResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let naming = self.door.naming();
        let groups = naming.of(&caller.tenant).map(Into::into).collect();
        drop(naming);
        Ok(Response::new(GetNamingCoverageResponse { groups }))
    }

    async fn place_barrier(
        &self,
        request: Request<PlaceBarrierRequest>,
    ) -> Result<Response<PlaceBarrierResponse>, Status> {
        Caller::of(&request, Scope::Ingest)?;
        let id = balefire_event::BarrierId(rand::random());
        let placed = self.door.place_barrier(id).await;
        let partitions = placed.map_err(|refusal| convert::status(&refusal))?;
        Ok(Response::new(PlaceBarrierResponse {
            barrier_id: Bytes::copy_from_slice(&id.0),
            partitions,
        }))
    }
}
