//! Asking another authority for a certificate: the request of a workload that makes its own key.

use config::spiffe::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, SanType};

use crate::key::Key;

/// There is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a signing request")]
pub struct AskError;

/// A request for a certificate of `id` with `key`, as PEM: what [`crate::Request`] takes.
///
/// # Errors
///
/// If the key cannot sign.
pub fn ask(id: &SpiffeId, key: &Key) -> Result<String, AskError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = id.as_str().try_into().map_err(|_| AskError)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    let request = params.serialize_request(key.pair());
    request.and_then(|it| it.pem()).map_err(|_| AskError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn what_is_asked_for_is_what_an_authority_checks() {
        let id = SpiffeId::workload("cluster.local", "default", "reviews").expect("an identity");
        let other = SpiffeId::workload("cluster.local", "default", "ratings").expect("an identity");
        let key = Key::generate().expect("randomness");

        let request = ask(&id, &key).expect("a request");

        assert_eq!(Request::from_pem(&request, &id).expect("sound").id(), &id);
        assert!(Request::from_pem(&request, &other).is_err());
    }
}
