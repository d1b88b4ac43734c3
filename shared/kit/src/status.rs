//! Status of the services that a process runs, for `balefire status` and `/status`.

use std::sync::{Arc, Mutex};

use balefire_wire::status::v1::status_service_server::StatusService;
use balefire_wire::status::v1::{GetStatusRequest, GetStatusResponse, ServiceStatus};
use tonic::{Request, Response, Status};

use crate::caller::{Caller, Scope};

/// A service that can say how it is.
pub trait StatusSource: Send + Sync + 'static {
    /// How it is now. Must not wait.
    fn status(&self) -> ServiceStatus;
}

/// The services of this process.
#[derive(Clone, Default)]
pub struct Statuses(Arc<Mutex<Vec<Arc<dyn StatusSource>>>>);

impl Statuses {
    /// Adds one.
    pub fn add(&self, source: Arc<dyn StatusSource>) {
        if let Ok(mut sources) = self.0.lock() {
            sources.push(source);
        }
    }

    /// How each is now.
    #[must_use]
    pub fn all(&self) -> Vec<ServiceStatus> {
        let sources = self
            .0
            .lock()
            .map(|sources| sources.clone())
            .unwrap_or_default();
        sources.iter().map(|source| source.status()).collect()
    }

    /// Whether each is ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.all().iter().all(|service| service.ready)
    }
}

#[tonic::async_trait]
impl StatusService for Statuses {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        Caller::of(&request, Scope::Read)?;
        Ok(Response::new(GetStatusResponse {
            services: self.all(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn how_the_platform_is_needs_leave_to_read() {
        let mut request = Request::new(GetStatusRequest {});
        request.extensions_mut().insert(Caller {
            tenant: "acme".into(),
            subject: "gateway".into(),
            method: String::new(),
            client: String::new(),
            scopes: [Scope::Ingest].into(),
        });
        let refused = Statuses::default().get_status(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    }
}
