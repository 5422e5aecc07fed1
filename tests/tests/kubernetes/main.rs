//! Scenarios against a real Kubernetes API server: what the control plane sees of it, and what proxies
//! see of that.

mod admission;
mod chart;
mod conditions;
mod definitions;
mod definitions_of_chart;
mod installed;
mod lease;
mod locality;
mod mirror;
mod proxies;
mod replicas;
mod source;
mod trust;
mod workload;
