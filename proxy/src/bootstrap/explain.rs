//! Arguments of `meshproxy explain`: what was typed, and the request that it means.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::error::ErrorKind;
use config::mesh::Viewer;
use config::spiffe::SpiffeId;
use http::header::HeaderName;
use http::{HeaderValue, Method};

use super::value::{labels, name, namespace};
use super::{Locality, Output, usage};
use crate::explain::asked::{Asked, header, method, principal};
use crate::explain::listener::Wanted;
use crate::explain::{Subject, connection};
use crate::offline::Workload;
use crate::request::path::Normalization;

/// A request to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainArgs {
    /// Files and folders with the configuration; at least one.
    pub paths: Vec<PathBuf>,
    /// The request, or the connection.
    pub asked: Subject,
    /// The caller; documents that name no namespace are in its.
    pub caller: Workload,
    /// Where the request comes in, if that is said.
    pub listener: Option<Wanted>,
    /// How the decision is printed.
    pub output: Output,
}

/// What was typed. Flags may stand between the files and the URL, for which clap has no words if they
/// are two arguments.
#[derive(Debug, Args)]
#[command(override_usage = "meshproxy explain [OPTIONS] <PATH>... <URL>")]
pub(super) struct Typed {
    /// Files or folders of YAML or JSON, and at last where the request goes, such as
    /// http://reviews:9080/path; or where a captured connection goes, such as tcp://mysql:3306 or
    /// tls://api.example:443.
    #[arg(value_name = "PATH... URL", required = true)]
    operands: Vec<String>,
    /// Method of the request.
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET", value_parser = method)]
    method: Method,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Labels of the caller, whose proxy is explained; without any that of a proxy on its own.
    #[arg(long, value_name = "a=b,c=d", value_parser = labels)]
    from: Option<BTreeMap<String, String>>,
    /// Service account of the caller.
    #[arg(long, value_name = "NAME", env = "MESHPROXY_SERVICE_ACCOUNT", default_value = "default", value_parser = name)]
    service_account: String,
    /// Where the caller is.
    #[arg(long, value_name = "REGION/ZONE/SUBZONE", env = "MESHPROXY_LOCALITY")]
    locality: Option<Locality>,
    /// Address of the caller.
    #[arg(long, value_name = "IP")]
    source_ip: Option<IpAddr>,
    /// Whom the peer of the listener proves to be, such as cluster.local/ns/default/sa/productpage.
    #[arg(long, value_name = "IDENTITY", value_parser = principal)]
    principal: Option<SpiffeId>,
    /// Where the request comes in: mesh, gateway/NAMESPACE/NAME or an address such as 0.0.0.0:8080
    /// [default: a gateway at the URL's port that serves the host, else mesh].
    #[arg(long, value_name = "LISTENER")]
    listener: Option<Wanted>,
    /// How far the proxy brings paths to normal form.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        env = "MESHPROXY_PATH_NORMALIZATION",
        default_value = "base"
    )]
    path_normalization: Normalization,
    /// Namespace of the caller, and of documents that name none.
    #[arg(long, env = "MESHPROXY_NAMESPACE", default_value = "default", value_parser = namespace)]
    namespace: String,
    /// How the decision is printed.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

// === impl Typed ===

impl Typed {
    pub(super) fn arguments(self) -> Result<ExplainArgs, clap::Error> {
        let (url, paths) = match &*self.operands {
            [paths @ .., url] if !paths.is_empty() => (url, paths),
            _ => {
                let message = "files and behind them a URL are required";
                return Err(usage(ErrorKind::MissingRequiredArgument, message));
            }
        };
        let wrong = |error| usage(ErrorKind::ValueValidation, format!("the URL {error}"));
        let asked = match connection::Asked::is_meant(url) {
            true if self.listener.is_some() => {
                let message = "--listener is for requests: a connection comes in captured";
                return Err(usage(ErrorKind::ArgumentConflict, message));
            }
            true => Subject::Connection(url.parse().map_err(wrong)?),
            false => Subject::Request(Box::new(Asked {
                method: self.method,
                url: url.parse().map_err(wrong)?,
                headers: self.headers.into_iter().collect(),
                source: self.source_ip,
                principal: self.principal,
                normalization: self.path_normalization,
            })),
        };
        Ok(ExplainArgs {
            asked,
            paths: paths.iter().map(PathBuf::from).collect(),
            caller: Workload {
                viewer: Viewer {
                    namespace: self.namespace,
                    labels: self.from.unwrap_or_default(),
                },
                locality: self.locality.filter(|it| !it.region.is_empty()),
                service_account: self.service_account,
            },
            listener: self.listener,
            output: self.output,
        })
    }
}
