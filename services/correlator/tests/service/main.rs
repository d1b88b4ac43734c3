//! The correlator against a real nats-server.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod join;
