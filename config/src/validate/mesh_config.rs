//! `MeshConfig`: trust domains, and authorizers that can be asked.

use crate::resource::mesh_config::{Authorizer, ExtensionProvider, MeshConfig};
use crate::spiffe::is_trust_domain;
use crate::validate::field;
use crate::validate::findings::Findings;

/// Most trust domains that count as those of the mesh.
const ALIASES_MAX: usize = 64;
/// Most providers.
const PROVIDERS_MAX: usize = 256;
/// Most bytes of a body that an authorizer gets: they wait in memory, for each request that does.
pub(crate) const BODY_BYTES_MAX: u32 = 1024 * 1024;

/// Checks a `MeshConfig`.
pub(crate) fn check(config: &MeshConfig, f: &mut Findings) {
    if let Some(domain) = field::written(config.trust_domain.as_ref()) {
        f.require_in("trustDomain", trust_domain(domain));
    }
    if config.trust_domain_aliases.len() > ALIASES_MAX {
        let message = format!("must have at most {ALIASES_MAX} items");
        f.error_in("trustDomainAliases", message);
    }
    f.each(
        "trustDomainAliases",
        &config.trust_domain_aliases,
        |f, alias| {
            f.require(trust_domain(alias));
        },
    );
    if let Some(namespace) = field::written(config.root_namespace.as_ref()) {
        f.require_in("rootNamespace", field::dns_label(namespace));
    }
    f.field("defaultConfig", |f| {
        let defaults = &config.default_config;
        field::duration("drainDuration", defaults.drain_duration, f);
        let exit = defaults.termination_drain_duration;
        field::duration_or_zero("terminationDrainDuration", exit, f);
    });
    if config.extension_providers.len() > PROVIDERS_MAX {
        let message = format!("must have at most {PROVIDERS_MAX} items");
        f.error_in("extensionProviders", message);
    }
    let mut names = Vec::new();
    f.each(
        "extensionProviders",
        &config.extension_providers,
        |f, provider| {
            if provider.name.is_empty() {
                f.error_in("name", "is required");
            } else if names.contains(&provider.name.as_str()) {
                f.error_in(
                    "name",
                    format!("must not be used twice, got \"{}\"", provider.name),
                );
            }
            names.push(&provider.name);
            check_provider(provider, f);
        },
    );
}

fn trust_domain(text: &str) -> Result<(), String> {
    match is_trust_domain(text) {
        true => Ok(()),
        false => Err(format!(
            "must be a trust domain of lower-case letters, digits and .-_, got \"{text}\""
        )),
    }
}

fn check_provider(provider: &ExtensionProvider, f: &mut Findings) {
    if provider.envoy_ext_authz_http.is_some() && provider.envoy_ext_authz_grpc.is_some() {
        f.error("must be only one of envoyExtAuthzHttp and envoyExtAuthzGrpc");
    }
    let Some(authorizer) = provider.authorizer() else {
        return;
    };
    let field = match authorizer {
        Authorizer::Http(_) => "envoyExtAuthzHttp",
        Authorizer::Grpc(_) => "envoyExtAuthzGrpc",
    };
    f.field(field, |f| {
        check_authorizer(authorizer, f);
        if let Authorizer::Http(http) = authorizer {
            if let Some(prefix) = field::written(http.path_prefix.as_ref())
                && !(prefix.starts_with('/') && prefix.bytes().all(|it| it.is_ascii_graphic()))
            {
                let message = format!("must be a path that begins with /, got \"{prefix}\"");
                f.error_in("pathPrefix", message);
            }
            for (name, patterns) in [
                ("includeHeadersInCheck", &http.include_headers_in_check),
                (
                    "includeRequestHeadersInCheck",
                    &http.include_request_headers_in_check,
                ),
                (
                    "headersToUpstreamOnAllow",
                    &http.headers_to_upstream_on_allow,
                ),
                (
                    "headersToDownstreamOnAllow",
                    &http.headers_to_downstream_on_allow,
                ),
                (
                    "headersToDownstreamOnDeny",
                    &http.headers_to_downstream_on_deny,
                ),
            ] {
                f.each(name, patterns, |f, pattern| {
                    if !is_header_name(pattern.trim_matches('*')) && pattern != "*" {
                        f.error(format!(
                            "must be the name of a header, PREFIX* or *SUFFIX, got \"{pattern}\""
                        ));
                    }
                });
            }
            f.field("includeAdditionalHeadersInCheck", |f| {
                for (name, value) in &http.include_additional_headers_in_check {
                    let visible = value.bytes().all(|it| it.is_ascii_graphic() || it == b' ');
                    if !is_header_name(name) || !visible {
                        f.key(name, |f| {
                            f.error("must be a header and its value in visible ASCII")
                        });
                    }
                }
            });
        }
    });
}

fn check_authorizer(authorizer: Authorizer<'_>, f: &mut Findings) {
    let (_, port) = authorizer.service();
    if authorizer.host().is_empty() || authorizer.namespace() == Some("") {
        f.error_in("service", "must be a host, or NAMESPACE/HOST");
    }
    f.require_in("port", field::port(port));
    field::duration("timeout", authorizer.timeout(), f);
    if let Some(status) = authorizer.status_on_error()
        && !status
            .parse()
            .is_ok_and(|it: u16| (400..=599).contains(&it))
    {
        let message = format!("must be the status of an error, 400 to 599, got \"{status}\"");
        f.error_in("statusOnError", message);
    }
    if let Some(body) = authorizer.body() {
        f.field("includeRequestBodyInCheck", |f| {
            let range = 1..=BODY_BYTES_MAX;
            f.require_in(
                "maxRequestBytes",
                field::in_range(body.max_request_bytes, &range),
            );
        });
    }
}

/// RFC 9110 §5.1.
fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}
