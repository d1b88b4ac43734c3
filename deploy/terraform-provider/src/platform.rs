//! The way to Balefire: one connection, a token, and patience where it asks for patience.

use std::sync::Arc;
use std::time::Duration;

use balefire_control::{Kind, Object};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_client::ControlServiceClient;
use balefire_wire::status::v1::status_service_client::StatusServiceClient;
use balefire_wire::status::v1::{GetStatusRequest, ServiceStatus};
use balefire_wire::whatif::v1::evaluate_response::Answer;
use balefire_wire::whatif::v1::what_if_service_client::WhatIfServiceClient;
use balefire_wire::whatif::v1::{CandidateFile, Difference, EvaluateRequest, Summary};
use tokio::sync::Mutex;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::patience::Patience;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Largest answer, bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Adds the token to each call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

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

/// A Balefire that was configured.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Its address.
    pub endpoint: String,
    /// Owner of what is made.
    pub managed_by: String,
    /// Take over what others own.
    pub overriding: bool,
    /// Why, for the audit.
    pub reason: String,
    /// How far back a changed rule is tried out while planning, nanoseconds; 0: it is not.
    pub preview: i64,
    connection: Connection,
    trying: Arc<Mutex<()>>,
}

/// Calls again where the server asks for it.
macro_rules! patiently {
    ($call:expr) => {{
        let mut patience = Patience::default();
        loop {
            let done = $call.await;
            let wait = match &done {
                Err(status) => patience.next(status),
                Ok(_) => None,
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => break done.map(tonic::Response::into_inner),
            }
        }
    }};
}

impl Platform {
    /// Prepares the connection; it is made with the first call.
    ///
    /// # Errors
    /// Where the address or the token cannot be one, in words.
    pub fn new(endpoint: &str, token: Option<&str>, managed_by: &str) -> Result<Self, String> {
        let with_scheme = if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("http://{endpoint}")
        };
        let channel = Endpoint::from_shared(with_scheme)
            .map_err(|_| {
                format!("{endpoint:?} is no address; write it like http://127.0.0.1:7400")
            })?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .connect_lazy();
        let token = token.map(|token| format!("Bearer {token}").parse());
        let token = token
            .transpose()
            .map_err(|_| "the token holds a character that cannot be sent".to_owned())?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            managed_by: managed_by.to_owned(),
            overriding: false,
            reason: String::new(),
            preview: 0,
            trying: Arc::default(),
            connection: InterceptedService::new(channel, Bearer(token)),
        })
    }

    fn client(&self) -> ControlServiceClient<Connection> {
        ControlServiceClient::new(self.connection.clone())
    }

    fn cause(&self) -> Option<wire::Cause> {
        Some(wire::Cause {
            reason: self.reason.clone(),
            purpose: "terraform".into(),
        })
    }

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// Every other answer.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Option<Object>, Status> {
        let request = wire::GetObjectRequest {
            kind: wire::Kind::from(kind).into(),
            name: name.to_owned(),
        };
        match patiently!(self.client().get_object(request.clone())) {
            Ok(answer) => of_wire(answer.object).map(Some),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Makes an object.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn create(&self, object: wire::Object) -> Result<Object, Status> {
        let request = wire::CreateObjectRequest {
            object: Some(wire::Object {
                managed_by: self.managed_by.clone(),
                ..object
            }),
            request_id: uuid::Uuid::now_v7().to_string(),
            cause: self.cause(),
            validate_only: false,
        };
        let answer = patiently!(self.client().create_object(request.clone()))?;
        of_wire(answer.object)
    }

    /// Changes an object that is at a revision.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn update(
        &self,
        object: wire::Object,
        update_mask: Vec<String>,
        expected_revision: u64,
    ) -> Result<Object, Status> {
        let request = wire::UpdateObjectRequest {
            object: Some(wire::Object {
                managed_by: self.managed_by.clone(),
                ..object
            }),
            update_mask,
            expected_revision,
            request_id: uuid::Uuid::now_v7().to_string(),
            cause: self.cause(),
            validate_only: false,
            managed_by: self.managed_by.clone(),
            r#override: self.overriding,
        };
        let answer = patiently!(self.client().update_object(request.clone()))?;
        of_wire(answer.object)
    }

    /// Deletes an object that is at a revision, if it is there.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn delete(&self, kind: Kind, name: &str, expected: u64) -> Result<(), Status> {
        let request = wire::DeleteObjectRequest {
            kind: wire::Kind::from(kind).into(),
            name: name.to_owned(),
            expected_revision: expected,
            allow_missing: true,
            request_id: uuid::Uuid::now_v7().to_string(),
            cause: self.cause(),
            validate_only: false,
            managed_by: self.managed_by.clone(),
            r#override: self.overriding,
        };
        patiently!(self.client().delete_object(request.clone())).map(|_| ())
    }

    /// Names of every object of a kind.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn names(&self, kind: Kind) -> Result<Vec<String>, Status> {
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = wire::ListObjectsRequest {
                kind: wire::Kind::from(kind).into(),
                page_size: 1000,
                page_token,
                managed_by: String::new(),
            };
            let page = patiently!(self.client().list_objects(request.clone()))?;
            names.extend(page.objects.into_iter().map(|object| object.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(names);
            }
        }
    }

    /// What a rule object would have escalated since a time, against what was: one at a time, as
    /// the server takes no more.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn what_if(
        &self,
        name: &str,
        yaml: &str,
        since_ns: i64,
    ) -> Result<(Vec<Difference>, Summary), Status> {
        let request = EvaluateRequest {
            files: vec![CandidateFile {
                name: format!("{name}.yml"),
                yaml: yaml.to_owned(),
            }],
            overlay: true,
            since_ns,
            unchanged: false,
        };
        let _one = self.trying.lock().await;
        let client = || {
            WhatIfServiceClient::new(self.connection.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX)
        };
        let mut answers = patiently!(client().evaluate(request.clone()))?;
        let mut differences = Vec::new();
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Difference(difference)) => differences.push(difference),
                Some(Answer::Summary(summary)) => return Ok((differences, summary)),
                Some(Answer::Progress(_)) | None => {}
            }
        }
        Err(Status::internal("the server ended without a summary"))
    }

    /// How the services are.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn status(&self) -> Result<Vec<ServiceStatus>, Status> {
        let mut client = StatusServiceClient::new(self.connection.clone());
        let answer = patiently!(client.get_status(GetStatusRequest {}))?;
        Ok(answer.services)
    }
}

fn of_wire(object: Option<wire::Object>) -> Result<Object, Status> {
    let object = object.ok_or_else(|| Status::internal("an answer without an object"))?;
    Object::try_from(object).map_err(|e| Status::internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use tokio::time::Instant;
    use tonic::Response;
    use tonic::transport::Server;
    use tonic_types::{ErrorDetails, StatusExt as _};
    use wire::control_service_server::{ControlService, ControlServiceServer};

    const WAIT: Duration = Duration::from_millis(30);

    /// A door that is too full for the first calls, and says when to come again.
    struct Full {
        refusals: usize,
        calls: Arc<Mutex<Vec<Instant>>>,
    }

    fn other<T>() -> Result<Response<T>, Status> {
        Err(Status::unimplemented("nobody asks for it here"))
    }

    #[tonic::async_trait]
    impl ControlService for Full {
        async fn get_object(
            &self,
            _: Request<wire::GetObjectRequest>,
        ) -> Result<Response<wire::GetObjectResponse>, Status> {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Instant::now());
            if calls.len() <= self.refusals {
                let details = ErrorDetails::with_retry_info(Some(WAIT));
                let code = Code::ResourceExhausted;
                return Err(Status::with_error_details(code, "too many", details));
            }
            Err(Status::not_found("none"))
        }
        async fn create_object(
            &self,
            _: Request<wire::CreateObjectRequest>,
        ) -> Result<Response<wire::CreateObjectResponse>, Status> {
            other()
        }
        async fn list_objects(
            &self,
            _: Request<wire::ListObjectsRequest>,
        ) -> Result<Response<wire::ListObjectsResponse>, Status> {
            other()
        }
        async fn update_object(
            &self,
            _: Request<wire::UpdateObjectRequest>,
        ) -> Result<Response<wire::UpdateObjectResponse>, Status> {
            other()
        }
        async fn delete_object(
            &self,
            _: Request<wire::DeleteObjectRequest>,
        ) -> Result<Response<wire::DeleteObjectResponse>, Status> {
            other()
        }
        async fn list_changes(
            &self,
            _: Request<wire::ListChangesRequest>,
        ) -> Result<Response<wire::ListChangesResponse>, Status> {
            other()
        }
    }

    #[tokio::test]
    async fn a_full_door_is_asked_again_no_sooner_than_it_says() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let door = Full {
            refusals: 9,
            calls: Arc::clone(&calls),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = Server::builder().add_service(ControlServiceServer::new(door));
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        let platform = Platform::new(&format!("http://{addr}"), None, "terraform").unwrap();
        assert_eq!(platform.get(Kind::Rule, "burst").await.unwrap(), None);
        let calls = calls.lock().unwrap().clone();
        assert_eq!(calls.len(), 10, "more than an unreachable door is asked");
        let sooner = calls.windows(2).find(|two| two[1] - two[0] < WAIT);
        assert_eq!(sooner, None);
        serving.abort();
    }
}
