//! `/jwks`: issuers whose keys are fetched, and how that went.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::jwks::{Standing, of_table};
use crate::table::Table;

/// All issuers of the table.
pub(super) fn issuers(table: &Table) -> Vec<Value> {
    let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let issuers = of_table(table);
    let described = issuers.iter().map(|issuer| {
        let origin = issuer.origin();
        let Standing {
            fetched,
            keys,
            key_ids,
            unusable,
            uri,
            failures,
            error,
        } = issuer.standing();
        json!({
            "issuer": &*origin.issuer,
            "uri": origin.uri.as_deref().or(uri.as_deref()),
            "timeout": format!("{:?}", origin.timeout),
            "fetchedAt": fetched.map(seconds),
            "keys": keys,
            "keyIds": key_ids,
            "unusableKeys": unusable,
            "failures": failures,
            "lastError": error,
        })
    });
    described.collect()
}
