//! Sidecars that capture traffic: pods as network namespaces, rules by `meshproxy iptables`, and programs
//! that know nothing of a proxy. Needs root, and fails without it.
//!
//! `tests/run` installs the servers and clients of others; one that is missing is a failure which names
//! it.

mod cables;
mod conditions;
mod exclusions;
mod itself;
mod pods;
mod policies;
mod protocols;
mod rules;
mod servers;
