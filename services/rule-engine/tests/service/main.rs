//! The rule engine against a real nats-server, over real gRPC.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod world;
