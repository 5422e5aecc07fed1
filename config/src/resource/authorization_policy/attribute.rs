//! What a condition of an authorization rule looks at.

/// An attribute of a request or a connection, as the `key` of a condition names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `request.headers[NAME]`.
    RequestHeader(String),
    /// `source.ip`: the address that the connection comes from.
    SourceIp,
    /// `remote.ip`: the address of the client behind trusted proxies.
    RemoteIp,
    /// `source.namespace`.
    SourceNamespace,
    /// `source.serviceAccount`.
    SourceServiceAccount,
    /// `source.trustDomain`.
    SourceTrustDomain,
    /// `source.principal`.
    SourcePrincipal,
    /// `request.auth.principal`: issuer and subject of the token.
    RequestPrincipal,
    /// `request.auth.audiences`: for whom the token is.
    RequestAudiences,
    /// `request.auth.presenter`: to whom the token was given.
    RequestPresenter,
    /// `request.auth.claims[NAME]`, or `[NAME][NAME]` for one within another.
    RequestClaim(Vec<String>),
    /// `destination.ip`: the address that the connection goes to.
    DestinationIp,
    /// `destination.port`.
    DestinationPort,
    /// `connection.sni`: the name that the client asked for in TLS.
    ConnectionSni,
    /// `experimental.envoy.filters.…`: what only another proxy has.
    Experimental,
}

/// What is wrong with the key of a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is called so.
    #[error("unknown attribute \"{0}\"")]
    Unknown(String),
    /// Its name in brackets is missing or incomplete.
    #[error("must be such as {0}[NAME], got \"{1}\"")]
    Brackets(&'static str, String),
    /// The name in brackets cannot be that of a header.
    #[error("must name a header in its brackets, got \"{0}\"")]
    HeaderName(String),
    /// Once an attribute, and replaced by something else since.
    #[error("{0}")]
    Retired(&'static str),
}

const HEADERS: &str = "request.headers";
const CLAIMS: &str = "request.auth.claims";
const EXPERIMENTAL: &str = "experimental.envoy.filters.";

// === impl Attribute ===

impl Attribute {
    /// Reads the key of a condition.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a key that names no attribute.
    pub fn parse(key: &str) -> Result<Self, KeyError> {
        if let Some(name) = key.strip_prefix(HEADERS) {
            let name = bracketed(name).ok_or_else(|| KeyError::Brackets(HEADERS, key.into()))?;
            return match is_header_name(name) {
                true => Ok(Self::RequestHeader(name.to_ascii_lowercase())),
                false => Err(KeyError::HeaderName(name.into())),
            };
        }
        if let Some(names) = key.strip_prefix(CLAIMS) {
            let names = bracketed(names).map(|names| names.split("][").map(str::to_owned));
            let names: Vec<String> = names.into_iter().flatten().collect();
            return match names.is_empty() || names.iter().any(String::is_empty) {
                true => Err(KeyError::Brackets(CLAIMS, key.into())),
                false => Ok(Self::RequestClaim(names)),
            };
        }
        if let Some(name) = key.strip_prefix(EXPERIMENTAL) {
            let closed =
                name.ends_with(']') && name.find('[').is_some_and(|at| at + 2 < name.len());
            return match closed {
                true => Ok(Self::Experimental),
                false => Err(KeyError::Brackets(EXPERIMENTAL, key.into())),
            };
        }
        Self::plain(key)
    }

    /// Reads a key that has no name in brackets.
    fn plain(key: &str) -> Result<Self, KeyError> {
        Ok(match key {
            "source.ip" => Self::SourceIp,
            "remote.ip" => Self::RemoteIp,
            "source.namespace" => Self::SourceNamespace,
            "source.serviceAccount" => Self::SourceServiceAccount,
            "source.trustDomain" => Self::SourceTrustDomain,
            "source.principal" => Self::SourcePrincipal,
            "request.auth.principal" => Self::RequestPrincipal,
            "request.auth.audiences" => Self::RequestAudiences,
            "request.auth.presenter" => Self::RequestPresenter,
            "destination.ip" => Self::DestinationIp,
            "destination.port" => Self::DestinationPort,
            "connection.sni" => Self::ConnectionSni,
            "destination.namespace" => {
                return Err(KeyError::Retired(
                    "is replaced by the policy's own namespace",
                ));
            }
            "destination.name" | "destination.user" => {
                return Err(KeyError::Retired(
                    "is no attribute any more; use a selector",
                ));
            }
            _ if key.starts_with("destination.labels") => {
                return Err(KeyError::Retired("is replaced by the policy's selector"));
            }
            _ => return Err(KeyError::Unknown(key.into())),
        })
    }

    /// Whether only HTTP requests have it.
    pub fn is_of_http(&self) -> bool {
        match self {
            Self::RequestHeader(_)
            | Self::RequestPrincipal
            | Self::RequestAudiences
            | Self::RequestPresenter
            | Self::RequestClaim(_) => true,
            Self::SourceIp
            | Self::RemoteIp
            | Self::SourceNamespace
            | Self::SourceServiceAccount
            | Self::SourceTrustDomain
            | Self::SourcePrincipal
            | Self::DestinationIp
            | Self::DestinationPort
            | Self::ConnectionSni
            | Self::Experimental => false,
        }
    }
}

/// What stands between the first and the last bracket of `[…]`, if it is anything.
fn bracketed(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    (!inner.is_empty()).then_some(inner)
}

/// A name of RFC 9110 §5.1, or of what stands for the request line in HTTP/2.
fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match name {
        ":authority" | ":method" | ":path" | ":scheme" => true,
        _ => name.bytes().all(is_token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_brackets_belong_to_the_attribute() {
        assert_eq!(
            Attribute::parse("request.headers[X-Version]"),
            Ok(Attribute::RequestHeader("x-version".into()))
        );
        assert_eq!(
            Attribute::parse("request.auth.claims[realm][roles]"),
            Ok(Attribute::RequestClaim(vec![
                "realm".into(),
                "roles".into()
            ]))
        );
        assert_eq!(
            Attribute::parse("experimental.envoy.filters.network.mysql_proxy[db.table]"),
            Ok(Attribute::Experimental)
        );
    }

    #[test]
    fn keys_that_name_nothing_are_refused() {
        for key in [
            "",
            "source",
            "source.ip ",
            "request.headers",
            "request.headers[]",
            "request.headers[a b]",
            "request.headers[:status]",
            "request.auth.claims[]",
            "request.auth.claims[a][]",
            "request.auth.claims[a",
            "experimental.envoy.filters.x",
            "destination.name",
            "destination.labels[app]",
            "destination.namespace",
        ] {
            assert!(Attribute::parse(key).is_err(), "{key}");
        }
    }
}
