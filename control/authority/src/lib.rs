//! A signing authority for workload identities.
//!
//! - `authority`: a root or an intermediate, made or loaded; it signs.
//! - `request`: signing requests (PKCS #10, RFC 2986) of workloads, and what they are checked for.
//! - `ask`: such a request of our own.
//! - `leaf`: certificates of workloads and servers.
//! - `bundle`: the roots that a mesh believes, several while they rotate.
//! - `key`: private keys.
//! - `certificate`: what is read of certificates of authorities.
//! - `pem`, `validity`: their text and their span of time.
//!
//! Certificates follow RFC 5280 and the SPIFFE X.509-SVID standard. The time is always an argument.
//! Nothing here knows a file, a socket or a runtime; who is entitled to which identity is decided by
//! the caller.

mod ask;
pub mod authority;
pub mod bundle;
mod certificate;
pub mod key;
pub mod leaf;
mod pem;
pub mod request;
pub mod validity;

pub use ask::{AskError, ask};
pub use authority::{Authority, AuthorityError};
pub use bundle::{Bundle, BundleError};
pub use key::{Key, KeyError};
pub use leaf::{Issued, ServerName};
pub use request::{Request, RequestError};
pub use validity::Validity;
