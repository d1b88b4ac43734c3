//! Who is told of an escalation, how and when again. Pure: time, randomness and answers of
//! receivers arrive inside the input; nothing here sends, reads a clock or waits.
//!
//! [`state`] is the fold of one partition's ESCALATIONS and DELIVERIES. [`queue`] orders what is
//! pending in one process, [`storm`] counts its pages. [`letters`] is the fold of DEADLETTERS. [`receiver`] holds an encoder
//! and a classifier a kind of receiver; what they see is a [`view`].

pub mod ack;
pub mod address;
pub mod advice;
mod answer;
pub mod backoff;
pub mod body;
pub mod breaker;
pub mod classify;
pub mod contained;
mod decide;
pub mod delivery;
pub mod digest;
pub mod effect;
pub mod feed;
pub mod group;
pub mod inhibit;
pub mod input;
mod json;
pub mod letters;
pub mod matcher;
pub mod objects;
pub mod order;
pub mod plan;
pub mod policy;
pub mod pulse;
pub mod queue;
pub mod reach;
mod reading;
pub mod receiver;
pub mod record;
pub mod route;
pub mod state;
pub mod storm;
pub mod story;
pub mod summary;
pub mod tenant_pulse;
pub mod trial;
pub mod view;
pub mod watch;

#[cfg(test)]
mod samples;

pub use ack::{Acknowledgement, Said};
pub use delivery::{Entry, Progress, Standing};
pub use effect::{DeadDelivery, Effect, SummaryPage, Ticket};
pub use input::{Answer, Input};
pub use record::{Attempt, FeedPosition, Intent, Notice, Outcome, Requeue, Withheld};
pub use state::State;
