//! A connection to one server, and the calls that are one request each.

use std::sync::Arc;
use std::time::Duration;

use balefire_event::BarrierId;
use balefire_event::limits::REQUEST_BYTES_MAX;
use balefire_wire::escalation::v1::AwaitBarrierRequest;
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::ingest::v1::ingest_service_client::IngestServiceClient;
use balefire_wire::ingest::v1::{
    AppendOptions, AppendRawRequest, AppendRequest, AppendResult, NativeEvent, PlaceBarrierRequest,
};
use bytes::Bytes;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::occurrence::Occurrences;
use crate::retry::persist;
use crate::sender::{Outcomes, Sender};
use crate::{Error, Options};

/// Largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a quiet connection is probed while a call is open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Longest wait of one AwaitBarrier call; the server's own limit.
const AWAIT_MAX: Duration = Duration::from_secs(600);

/// Adds the token to each call.
#[derive(Debug, Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Connection = InterceptedService<Channel, Bearer>;

/// A connection to one server. Clones share it; it connects again by itself.
#[derive(Debug, Clone)]
pub struct Client {
    ingest: IngestServiceClient<Connection>,
    escalations: EscalationServiceClient<Connection>,
    options: Arc<Options>,
}

fn bearer(options: &Options) -> Result<Bearer, Error> {
    let token = options.token.as_ref();
    let value = token.map(|token| format!("Bearer {token}").parse());
    value.transpose().map(Bearer).map_err(|_| Error::Token)
}

fn endpoint(addr: &str, options: &Options) -> Result<Endpoint, Error> {
    let with_scheme = if addr.contains("://") {
        addr.to_owned()
    } else {
        format!("http://{addr}")
    };
    let endpoint = Endpoint::from_shared(with_scheme).map_err(|_| Error::Address {
        addr: addr.to_owned(),
    })?;
    Ok(endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE))
}

/// With the deadline that the server is told.
fn request<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

impl Client {
    /// Connects to `http://host:port` (or `host:port`).
    ///
    /// # Errors
    /// No address, no token, or nobody there.
    pub async fn connect(addr: &str, options: Options) -> Result<Self, Error> {
        let endpoint = endpoint(addr, &options)?;
        let bearer = bearer(&options)?;
        let channel = endpoint.connect().await.map_err(|source| Error::Connect {
            addr: addr.to_owned(),
            source,
        })?;
        Ok(Self::over(channel, bearer, options))
    }

    /// As [`Client::connect`], but connects with the first call, which tries again while nobody is
    /// there.
    ///
    /// # Errors
    /// No address or no token. Needs a tokio runtime around it.
    pub fn connect_lazy(addr: &str, options: Options) -> Result<Self, Error> {
        let channel = endpoint(addr, &options)?.connect_lazy();
        let bearer = bearer(&options)?;
        Ok(Self::over(channel, bearer, options))
    }

    fn over(channel: Channel, bearer: Bearer, options: Options) -> Self {
        let connection = InterceptedService::new(channel, bearer);
        Self {
            ingest: IngestServiceClient::new(connection.clone())
                .max_encoding_message_size(REQUEST_BYTES_MAX)
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            escalations: EscalationServiceClient::new(connection)
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            options: Arc::new(options.within_limits()),
        }
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// For many events: the half that takes them, and the half that tells what became of them.
    /// Must be called in a tokio runtime.
    #[must_use]
    pub fn sender(&self, options: AppendOptions) -> (Sender, Outcomes) {
        crate::sender::start(self.clone(), options)
    }

    /// Appends one request of JSON records, at most 512, and tries again as the options say.
    /// Identical records without an id are numbered within this call.
    ///
    /// # Errors
    /// The request as a whole was refused.
    pub async fn append_raw(
        &self,
        records: Vec<Bytes>,
        options: AppendOptions,
    ) -> Result<Vec<AppendResult>, Error> {
        let mut counter = Occurrences::new(self.options.without_id_max);
        let occurrences = records.iter().map(|record| counter.count(record));
        let occurrences = occurrences.collect::<Result<_, _>>()?;
        self.call_append_raw(AppendRawRequest {
            records,
            options: Some(options),
            occurrences,
        })
        .await
    }

    /// Appends one request of typed events, at most 512, and tries again as the options say. An
    /// event without an id gets a UUIDv7.
    ///
    /// # Errors
    /// The request as a whole was refused.
    pub async fn append(
        &self,
        mut events: Vec<NativeEvent>,
        options: AppendOptions,
    ) -> Result<Vec<AppendResult>, Error> {
        events.iter_mut().for_each(stamp_id);
        self.call_append(AppendRequest {
            events,
            options: Some(options),
        })
        .await
    }

    pub(crate) async fn call_append(
        &self,
        message: AppendRequest,
    ) -> Result<Vec<AppendResult>, Error> {
        let sent = message.events.len();
        let answer = persist(&self.options, || {
            let mut ingest = self.ingest.clone();
            let request = request(message.clone(), self.options.deadline);
            async move { ingest.append(request).await }
        });
        checked(answer.await?.results, sent)
    }

    pub(crate) async fn call_append_raw(
        &self,
        message: AppendRawRequest,
    ) -> Result<Vec<AppendResult>, Error> {
        let sent = message.records.len();
        let answer = persist(&self.options, || {
            let mut ingest = self.ingest.clone();
            let request = request(message.clone(), self.options.deadline);
            async move { ingest.append_raw(request).await }
        });
        checked(answer.await?.results, sent)
    }

    /// Places a barrier behind everything accepted so far.
    ///
    /// # Errors
    /// The server refused.
    pub async fn place_barrier(&self) -> Result<BarrierId, Error> {
        let answer = persist(&self.options, || {
            let mut ingest = self.ingest.clone();
            let request = request(PlaceBarrierRequest {}, self.options.deadline);
            async move { ingest.place_barrier(request).await }
        });
        let id = answer.await?.barrier_id;
        BarrierId::from_slice(&id).map_err(|_| Error::Refused {
            attempts: 1,
            status: Box::new(Status::data_loss("barrier_id has not 16 bytes")),
        })
    }

    /// Waits until everything before a barrier is evaluated. Returns how many partitions it came
    /// out of.
    ///
    /// # Errors
    /// The server refused, or it took longer than `most`.
    pub async fn await_barrier(&self, id: BarrierId, most: Duration) -> Result<u32, Error> {
        let until = Instant::now() + most;
        let mut options = Options::clone(&self.options);
        options.deadline = most.min(AWAIT_MAX);
        options.retry.give_up_after = Some(most);
        let answer = persist(&options, || {
            let mut escalations = self.escalations.clone();
            let left = until.saturating_duration_since(Instant::now());
            let message = AwaitBarrierRequest {
                barrier_id: Bytes::copy_from_slice(&id.0),
            };
            let request = request(message, left.min(AWAIT_MAX));
            async move { escalations.await_barrier(request).await }
        });
        Ok(answer.await?.partitions)
    }
}

fn checked(results: Vec<AppendResult>, sent: usize) -> Result<Vec<AppendResult>, Error> {
    let received = results.len();
    if received == sent {
        return Ok(results);
    }
    Err(Error::ResultCount { sent, received })
}

/// Gives an event without an id one, before its first attempt.
pub(crate) fn stamp_id(event: &mut NativeEvent) {
    if event.event_id.is_empty() {
        event.event_id = uuid::Uuid::now_v7().to_string();
    }
}
