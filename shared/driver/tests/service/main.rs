//! The driver against a real nats-server, with a small stage whose every output depends on the
//! whole order of its inputs.

#[cfg(test)]
mod check;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod stage;
