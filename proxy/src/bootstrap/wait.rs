//! Arguments of `meshproxy wait`.

use std::time::Duration;

use clap::Args;
use http::Uri;

use super::value::span;

/// Arguments of `meshproxy wait`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct WaitArgs {
    /// What answers 200 once the proxy is ready.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:15021/healthz/ready",
        value_parser = url
    )]
    pub url: Uri,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = span)]
    pub timeout: Duration,
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    let is_http = |url: &Uri| url.scheme_str() == Some("http") && url.host().is_some();
    url.filter(is_http)
        .ok_or_else(|| "must be such as http://127.0.0.1:15021/healthz/ready".to_owned())
}
