//! `Secret`: whether what it holds can be read. Whether it is a certificate is found out by who needs
//! one.

use crate::resource::secret::Secret;
use crate::validate::findings::Findings;

/// Checks a `Secret`. No message quotes its content.
pub(crate) fn check(secret: &Secret, f: &mut Findings) {
    for (field, contents) in [("data", &secret.data), ("stringData", &secret.string_data)] {
        for name in contents.names() {
            if let Err(problem) = secret.entry(name) {
                f.error_in(field, format!("{name} {problem}"));
            }
        }
    }
}
