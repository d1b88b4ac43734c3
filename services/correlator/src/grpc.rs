//! JoinService.

use balefire_kit::{Caller, Scope};
use balefire_wire::join::v1::join_service_server::JoinService;
use balefire_wire::join::v1::{
    GetChainRequest, GetChainResponse, GetJoinCoverageRequest, GetJoinCoverageResponse,
    SourceCoverage,
};
use tonic::{Request, Response, Status};

use crate::board::Board;
use crate::chain::Chains;

/// Reads the board and the log.
pub(crate) struct Joins {
    pub(crate) board: Board,
    pub(crate) chains: Chains,
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl JoinService for Joins {
    async fn get_join_coverage(
        &self,
        request: Request<GetJoinCoverageRequest>,
    ) -> Result<Response<GetJoinCoverageResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let notice = self.board.sum();
        let sources = notice.coverage.sources(&caller.tenant);
        Ok(Response::new(GetJoinCoverageResponse {
            sources: sources
                .map(|(source, counts)| SourceCoverage {
                    source: source.to_owned(),
                    events: counts.events,
                    joined: counts.joined,
                    partial: counts.partial,
                    amended: counts.amended,
                    conflicting: counts.conflicting,
                })
                .collect(),
            held: len(notice.usage.held),
            identities: len(notice.usage.claims),
            groups: notice
                .coverage
                .groups
                .of(&caller.tenant)
                .map(Into::into)
                .collect(),
        }))
    }

    async fn get_chain(
        &self,
        request: Request<GetChainRequest>,
    ) -> Result<Response<GetChainResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let chain = self.chains.get(&caller.tenant, request.get_ref()).await?;
        Ok(Response::new(chain))
    }
}
