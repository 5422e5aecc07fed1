//! Who signs certificates, and who knows tokens.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use tokio::sync::watch;

use super::{Ground, TrustReceiver};
use crate::identity::{Reviewer, TokenKey, Tokens};
use crate::signer::{folder, secret};
use crate::state_dir::StateDir;

/// Both.
pub(super) struct Trusted {
    pub(super) trust: TrustReceiver,
    pub(super) tokens: Tokens,
}

/// Has an authority kept from now on. In Kubernetes it takes a moment until there is one.
pub(super) fn start(ground: &mut Ground<'_>) -> anyhow::Result<Trusted> {
    let arguments = ground.arguments;
    let longest = arguments.trust.certificate_lifetime_max;
    if let Some(client) = &ground.client {
        let reviewer = Reviewer::new(client.clone(), &arguments.trust.audience);
        let keeper = secret::Keeper::new(
            client.clone(),
            &arguments.namespace,
            longest,
            &ground.registry,
        )?;
        let (sender, trust) = watch::channel(None);
        ground.work.spawn(keeper.run(sender));
        return Ok(Trusted {
            trust,
            tokens: Tokens::Reviewed(Box::new(reviewer)),
        });
    }
    let path = arguments.state_dir.as_ref();
    let dir = StateDir::open(path.context("there is no --state-dir")?)?;
    let tokens = Tokens::Own(TokenKey::open(&dir)?);
    let mut keeper = folder::Keeper::new(dir, longest);
    let first = keeper.start(SystemTime::now());
    let first: Arc<_> = first.context("start the authority")?;
    let (sender, trust) = watch::channel(Some(first));
    ground.work.spawn(keeper.run(sender));
    Ok(Trusted { trust, tokens })
}
