//! Ingest as its clients meet it, in front of a real nats-server.

#[cfg(test)]
mod declared;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod sources;
