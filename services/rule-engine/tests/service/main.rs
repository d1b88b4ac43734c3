//! The rule engine against a real nats-server, over real gRPC.

#[cfg(test)]
mod engine;
mod live;
mod objects;
#[cfg(test)]
mod world;
