//! Measurements of the data plane and the control plane; nothing here is shipped.
//!
//! | where | what it measures |
//! |---|---|
//! | `compare/main.rs` | the command that runs meshproxy beside its peers: flags, order of the rounds |
//! | `compare/work.rs` | what is measured: the kinds of work, their request and their routing rules |
//! | `compare/proxy.rs` | the proxies: which program, which arguments, when ready |
//! | `compare/written.rs` | the configuration that each program gets for the same work |
//! | `compare/process.rs` | child processes: pinned to a core, killed with their whole tree |
//! | `compare/usage.rs` | CPU time and resident memory of such a tree, from `/proc` |
//! | `compare/grpc.rs` | the gRPC service behind the proxies, and a look at one of its answers |
//! | `compare/load.rs` | the load generators and the reading of what they print |
//! | `compare/report.rs` | medians, ratios, the table and the JSON |
//! | `compare/preflight.rs` | which programs are missing and how to install them |
//! | `control/main.rs` | what a control plane costs that feeds a thousand proxies, and how long a change takes |
//! | `control/mesh.rs` | the mesh of it; `server.rs` the control plane, `client.rs` a proxy |
//! | `benches/*.rs` | micro-benchmarks: matching, a whole request in memory, reloads |
//!
//! How to run it and how to read its table: `README.md` beside this file's folder.
