//! `From` event types to generated types, which never fails, and `TryFrom` back, which fails where
//! a message lacks what the event type always has.

mod control;
mod escalation;
mod event;
mod intake;
mod naming;
mod word;
