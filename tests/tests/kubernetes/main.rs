//! Scenarios against a real Kubernetes API server: what the control plane sees of it, and what proxies
//! see of that. Those in which pods really run need root, and fail without it.

mod admission;
mod bookinfo;
mod chart;
mod conditions;
mod definitions;
mod definitions_of_chart;
mod install;
mod installed;
mod lease;
mod locality;
mod mirror;
mod node;
mod pod;
mod proxies;
mod replicas;
mod slices;
mod source;
mod trust;
mod workload;
