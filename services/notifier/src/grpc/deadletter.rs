//! `DeadLetterService`: what could not go on, of every stage.

use std::sync::Arc;
use std::time::Duration;

use balefire_bus::{Log, Topology};
use balefire_event::{EscalationId, Timestamp};
use balefire_kit::violation::invalid;
use balefire_kit::{Caller, Scope, clock};
use balefire_notifier_core::letters::Decision;
use balefire_notifier_core::{Notice, Standing};
use balefire_wire::deadletter::v1::dead_letter_service_server::DeadLetterService;
use balefire_wire::deadletter::v1::{
    DeadLetter, DeadLetterState, DiscardDeadLetterRequest, DiscardDeadLetterResponse, Edit,
    EditDeadLetterRequest, EditDeadLetterResponse, GetDeadLetterRequest, GetDeadLetterResponse,
    ListDeadLettersRequest, ListDeadLettersResponse, ReplayDeadLettersRequest,
    ReplayDeadLettersResponse, Resolution,
};
use balefire_wire::delivery::v1::Requeue;
use balefire_wire::{BatchWriter, RecordRef};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::known::{Known, entry, is_listed, sees};
use super::mend::{check_reason, unfit};
use super::{page_size, unavailable};
use crate::codec;
use crate::letter::{DELIVERY_PREFIX, frame};
use crate::letters::Letters;
use crate::view::View;

/// Most edits of one letter.
const EDITS_MAX: usize = 32;
/// Most ids of one request.
pub const IDS_MAX: usize = 5000;
/// A letter can be read moments before the attempt that it belongs to; that is awaited so long.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_STEP: Duration = Duration::from_millis(10);

/// Reads and mends the dead letters.
#[derive(Clone)]
pub struct DeadLetters {
    /// The fold of DEADLETTERS.
    pub letters: Arc<Letters>,
    /// The partitions of this process.
    pub views: Arc<[Arc<View>]>,
    /// Where requeues and replays go.
    pub log: Log,
    /// Its shape.
    pub topology: Topology,
    /// Random bytes of this process.
    pub writer_id: [u8; 16],
    /// One decision at a time: two calls must not both put a letter back.
    pub deciding: Arc<Mutex<()>>,
}

impl DeadLetters {
    fn find(&self, caller: &Caller, id: &str) -> Result<Known, Status> {
        let found = self.letters.folded().get(id).cloned();
        match found {
            Some(known) if sees(caller, &known.letter.letter().tenant) => Ok(known),
            Some(_) | None => Err(Status::not_found(format!("no dead letter {id}"))),
        }
    }

    async fn decide(
        &self,
        caller: &Caller,
        known: &Known,
        state: DeadLetterState,
        reason: &str,
        at: Timestamp,
    ) -> Result<(), Status> {
        let letter = &known.letter.letter();
        let resolution = Resolution {
            id: letter.id.clone(),
            state: state.into(),
            actor: caller.subject.to_string(),
            reason: reason.to_owned(),
            at_ns: at.0,
        };
        tracing::info!(id = letter.id, actor = resolution.actor, state = ?state, "dead letter decided");
        self.letters
            .resolve(&resolution, &letter.tenant)
            .await
            .map_err(|error| unavailable(&error))
    }

    /// The way back first, the decision second: a crash between them leaves the letter open, and
    /// going back twice has the effect of once.
    async fn replay(&self, caller: &Caller, known: &Known, reason: &str) -> Result<(), Status> {
        let at = clock::now();
        let letter = &known.letter.letter();
        if letter.id.starts_with(DELIVERY_PREFIX) {
            self.requeue(caller, letter, at).await?;
        } else {
            self.republish(known, at).await?;
        }
        self.decide(caller, known, DeadLetterState::Replayed, reason, at)
            .await
    }

    async fn requeue(
        &self,
        caller: &Caller,
        letter: &DeadLetter,
        at: Timestamp,
    ) -> Result<(), Status> {
        let id = EscalationId::from_slice(&letter.escalation_id)
            .map_err(|_| Status::failed_precondition("the letter names no escalation"))?;
        let partition = (0..self.topology.partitions)
            .find(|p| self.topology.escalations_stream(*p) == letter.stream)
            .ok_or_else(|| {
                Status::failed_precondition(format!("{} is no stream of this log", letter.stream))
            })?;
        let notice = codec::notice(letter.kind, letter.revision);
        self.settle(partition, &id, &letter.receiver, notice).await;
        let requeue = Requeue {
            escalation_id: letter.escalation_id.clone(),
            receiver: letter.receiver.clone(),
            actor: caller.subject.to_string(),
            at_ns: at.0,
            kind: letter.kind,
            revision: letter.revision,
        };
        let mut batch = BatchWriter::default();
        batch.push(RecordRef::Requeue(&requeue));
        let payload = frame(&mut batch, self.writer_id, &letter.tenant, at);
        let subject = self.topology.deliveries_requeue(partition);
        let msg_id = format!("rq:{}:{}", letter.id, at.0);
        self.log
            .append(&subject, payload, Some(&msg_id))
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// The attempt that ended a delivery is written just behind its letter: a requeue between the
    /// two would have no effect.
    async fn settle(&self, partition: u32, id: &EscalationId, receiver: &str, notice: Notice) {
        let Some(view) = self.views.iter().find(|view| view.partition == partition) else {
            return;
        };
        let pending = || {
            let state = view.state();
            let entry = state.entry(id);
            let delivery = entry.and_then(|entry| entry.delivery(receiver, notice));
            delivery.is_some_and(|one| matches!(one.standing, Standing::Pending { .. }))
        };
        let give_up = tokio::time::Instant::now() + SETTLE_MAX;
        while pending() && tokio::time::Instant::now() < give_up {
            tokio::time::sleep(SETTLE_STEP).await;
        }
    }

    async fn republish(&self, known: &Known, at: Timestamp) -> Result<(), Status> {
        let whole = self.letters.whole(&known.letter).await;
        let whole = whole
            .map_err(|error| unavailable(&error))?
            .ok_or_else(|| Status::data_loss("the letter is no longer in the log"))?;
        if whole.replay_subject.is_empty() {
            let message = format!("{} has no way back; discard it", whole.id);
            return Err(Status::failed_precondition(message));
        }
        // The same until the letter fails again, so that a repeated call is dropped by the log.
        let msg_id = match whole.edits.last() {
            None => format!("rp:{}:{}", whole.id, whole.last_failed_at_ns),
            Some(edit) => format!("rp:{}:{}:{}", whole.id, whole.last_failed_at_ns, edit.at_ns),
        };
        tracing::info!(id = whole.id, subject = whole.replay_subject, at = %at, "payload put back");
        self.log
            .append(&whole.replay_subject, whole.payload, Some(&msg_id))
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(())
    }

    /// Ids of a request, or all that are open.
    fn wanted(&self, caller: &Caller, request: &ReplayDeadLettersRequest) -> Vec<String> {
        if !request.all {
            return request.ids.clone();
        }
        let folded = self.letters.folded();
        folded
            .iter(0)
            .filter(|(_, known)| known.standing().is_none())
            .filter(|(_, known)| is_listed(caller, known, "", request.filter.as_ref()))
            .map(|(id, _)| id.to_owned())
            .collect()
    }
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let request = request.into_inner();
        let size = page_size(request.page_size)?;
        let after = match request.page_token.as_str() {
            "" => 0,
            token => token
                .parse()
                .map_err(|_| invalid("page_token", "not one that was answered"))?,
        };
        let folded = self.letters.folded();
        let mut found = folded
            .iter(after)
            .map(|(_, known)| known)
            .filter(|known| request.include_resolved || known.standing().is_none())
            .filter(|known| is_listed(&caller, known, &request.stage, request.filter.as_ref()));
        let page: Vec<&Known> = found.by_ref().take(size).collect();
        let more = found.next().is_some();
        let next_page_token = match page.last() {
            Some(last) if more => last.place.to_string(),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(ListDeadLettersResponse {
            dead_letters: page.into_iter().map(|known| entry(known, None)).collect(),
            next_page_token,
        }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let caller = Caller::of(&request, Scope::Read)?;
        let known = self.find(&caller, &request.into_inner().id)?;
        let whole = self.letters.whole(&known.letter).await;
        let whole = whole.map_err(|error| unavailable(&error))?;
        Ok(Response::new(GetDeadLetterResponse {
            dead_letter: Some(entry(&known, whole)),
        }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<ReplayDeadLettersRequest>,
    ) -> Result<Response<ReplayDeadLettersResponse>, Status> {
        let caller = Caller::of(&request, Scope::Operate)?;
        let request = request.into_inner();
        check_reason(&request.reason)?;
        if request.ids.len() > IDS_MAX {
            return Err(invalid("ids", "at most 5,000"));
        }
        if request.ids.is_empty() && !request.all {
            return Err(invalid("ids", "name some, or say all"));
        }
        if request.filter.is_some() && !request.all {
            return Err(invalid("filter", "goes with all, not with ids"));
        }
        let _one_at_a_time = self.deciding.lock().await;
        let wanted = self.wanted(&caller, &request);
        // All are looked up first: an unknown id leaves everything as it is.
        for id in &wanted {
            if self.find(&caller, id)?.standing() == Some(Decision::Discarded) {
                let message = format!("{id} was discarded");
                return Err(Status::failed_precondition(message));
            }
        }
        let mut response = ReplayDeadLettersResponse::default();
        for id in wanted {
            // Looked up again: an id may stand twice.
            let known = self.find(&caller, &id)?;
            if known.standing().is_some() {
                response.unchanged.push(id);
                continue;
            }
            match self.replay(&caller, &known, &request.reason).await {
                Ok(()) => response.replayed.push(id),
                // Of all, those without a way back stay as they are.
                Err(status) if request.all && status.code() == tonic::Code::FailedPrecondition => {
                    response.unchanged.push(id);
                }
                Err(status) => return Err(status),
            }
        }
        Ok(Response::new(response))
    }

    async fn edit_dead_letter(
        &self,
        request: Request<EditDeadLetterRequest>,
    ) -> Result<Response<EditDeadLetterResponse>, Status> {
        let caller = Caller::of(&request, Scope::Operate)?;
        let EditDeadLetterRequest {
            id,
            payload,
            reason,
        } = request.into_inner();
        check_reason(&reason)?;
        if reason.trim().is_empty() {
            return Err(invalid("reason", "say why"));
        }
        let _one_at_a_time = self.deciding.lock().await;
        let known = self.find(&caller, &id)?;
        if known.standing().is_some() {
            let message = format!("{id} does not wait any more");
            return Err(Status::failed_precondition(message));
        }
        let letter = &known.letter.letter();
        if letter.replay_subject.is_empty() {
            let message = format!("{id} has no way back: a delivery's body is made of its record");
            return Err(Status::failed_precondition(message));
        }
        if letter.edits.len() >= EDITS_MAX {
            let message = format!("{id} was edited {EDITS_MAX} times");
            return Err(Status::failed_precondition(message));
        }
        if let Some(fault) = unfit(letter, &payload) {
            return Err(invalid("payload", &fault));
        }
        let mut next = letter.clone();
        next.payload = payload;
        next.edits.push(Edit {
            actor: caller.subject.to_string(),
            reason,
            at_ns: clock::now().0,
            sequence_before: known.letter.sequence,
        });
        self.letters
            .amend(&next)
            .await
            .map_err(|error| unavailable(&error))?;
        let known = self.find(&caller, &id)?;
        Ok(Response::new(EditDeadLetterResponse {
            dead_letter: Some(entry(&known, None)),
        }))
    }

    async fn discard_dead_letter(
        &self,
        request: Request<DiscardDeadLetterRequest>,
    ) -> Result<Response<DiscardDeadLetterResponse>, Status> {
        let caller = Caller::of(&request, Scope::Operate)?;
        let request = request.into_inner();
        check_reason(&request.reason)?;
        if request.reason.trim().is_empty() {
            return Err(invalid("reason", "say why"));
        }
        let _one_at_a_time = self.deciding.lock().await;
        let known = self.find(&caller, &request.id)?;
        match known.standing() {
            Some(Decision::Discarded) => {}
            Some(Decision::Replayed) => {
                let message = format!("{} was replayed and has not failed since", request.id);
                return Err(Status::failed_precondition(message));
            }
            None => {
                let state = DeadLetterState::Discarded;
                self.decide(&caller, &known, state, &request.reason, clock::now())
                    .await?;
            }
        }
        let known = self.find(&caller, &request.id)?;
        Ok(Response::new(DiscardDeadLetterResponse {
            dead_letter: Some(entry(&known, None)),
        }))
    }
}
