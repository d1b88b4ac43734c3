//! The rule engine against a real nats-server, over real gRPC.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod live;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod rate;
#[cfg(test)]
mod rekey;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod warm;
#[cfg(test)]
mod whatif;
#[cfg(test)]
mod world;
