//! The notifier against a real nats-server and real HTTP receivers.

#[cfg(test)]
mod control;
mod deadletters;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod digest;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod receiver;
#[cfg(test)]
mod restart;
mod targets;
#[cfg(test)]
mod world;
