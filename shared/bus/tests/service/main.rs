//! The bus against a real nats-server.

#[cfg(test)]
mod commit;
#[cfg(test)]
mod fence;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lanes;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod log;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod provision;
#[cfg(test)]
mod server;
