//! The certificate by which proxies and the API server know the control plane: it signs it itself, and
//! replaces it long before it is over, without a restart.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use authority::validity::CLOCK_SKEW;
use authority::{Key, ServerName, Validity};
use rustls::server::{NoServerSessionStorage, WantsServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::identity::certificate::ClientVerifier;
use crate::signer::trust::{Trust, provider};

/// How often the clock is looked at: a clock that is set forward counts, too.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How connections are secured at both ports.
#[derive(Debug, Clone)]
pub(crate) struct Configs {
    /// Where proxies come, with or without a certificate of theirs.
    pub(crate) proxies: Arc<ServerConfig>,
    /// Where the API server comes.
    pub(crate) webhooks: Arc<ServerConfig>,
}

/// Makes them.
pub(crate) struct Server {
    names: Vec<ServerName>,
    trust_domain: Arc<str>,
    lifetime: Duration,
}

/// Both, kept up to date.
pub(crate) struct Current {
    /// For proxies.
    pub(crate) proxies: watch::Sender<Arc<ServerConfig>>,
    /// For the API server.
    pub(crate) webhooks: watch::Sender<Arc<ServerConfig>>,
    validity: Validity,
}

// === impl Server ===

impl Server {
    pub(crate) fn new(names: Vec<ServerName>, trust_domain: &Arc<str>, lifetime: Duration) -> Self {
        Self {
            names,
            trust_domain: Arc::clone(trust_domain),
            lifetime,
        }
    }

    /// The first ones.
    pub(crate) fn start(&self, trust: &Trust, now: SystemTime) -> anyhow::Result<Current> {
        let (configs, validity) = self.make(trust, now)?;
        Ok(Current {
            proxies: watch::Sender::new(configs.proxies),
            webhooks: watch::Sender::new(configs.webhooks),
            validity,
        })
    }

    /// Replaces them when the certificate is half over, and when what is believed or signs is another,
    /// for ever.
    pub(crate) async fn renew(
        self,
        mut secured: Current,
        mut trust: watch::Receiver<Option<Arc<Trust>>>,
    ) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changed = tokio::select! {
                changed = trust.changed() => match changed {
                    Ok(()) => true,
                    // Who keeps the authority is gone, and with it everything else.
                    Err(_) => return,
                },
                _ = ticks.tick() => false,
            };
            let current = trust.borrow().clone();
            if let Some(current) = current {
                secured.look(&self, &current, changed, SystemTime::now());
            }
        }
    }

    fn make(&self, trust: &Trust, now: SystemTime) -> anyhow::Result<(Configs, Validity)> {
        let key = Key::generate().context("make a key")?;
        let issued = trust
            .authority
            .sign_server(&self.names, &key, now, self.lifetime)
            .context("sign our certificate")?;
        let provider = provider();
        let clients = ClientVerifier::new(&self.trust_domain, trust.root_store(), &provider)?;
        let builder = || {
            ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&TLS13, &TLS12])
        };
        let finish = |builder: ConfigBuilder<ServerConfig, WantsServerCert>,
                      protocols: &[&[u8]]| {
            let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes());
            let chain = issued.chain().to_vec();
            let mut config = builder.with_single_cert(chain, key.context("read our key")?)?;
            config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
            // Each connection proves anew who it is of, by a certificate that is valid then.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            anyhow::Ok(Arc::new(config))
        };
        let configs = Configs {
            proxies: finish(
                builder()?.with_client_cert_verifier(Arc::new(clients)),
                &[b"h2"],
            )?,
            webhooks: finish(builder()?.with_no_client_auth(), &[b"h2", b"http/1.1"])?,
        };
        Ok((configs, issued.validity()))
    }
}

// === impl Current ===

impl Current {
    /// Replaces both if something `changed` or the certificate is half over. If that fails, what there
    /// is stays.
    fn look(&mut self, server: &Server, trust: &Trust, changed: bool, now: SystemTime) {
        if !changed && !is_due(self.validity, now) {
            return;
        }
        match server.make(trust, now) {
            Ok((configs, validity)) => {
                self.proxies.send_replace(configs.proxies);
                self.webhooks.send_replace(configs.webhooks);
                self.validity = validity;
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "cannot renew our certificate");
            }
        }
    }
}

/// Whether half of a certificate's time is over. A clock that was set back behind its beginning is no
/// reason to keep it either.
fn is_due(validity: Validity, now: SystemTime) -> bool {
    let span = validity.not_after.duration_since(validity.not_before);
    // It begins before it was made, for those whose clocks are late.
    let lifetime = span.unwrap_or_default().saturating_sub(CLOCK_SKEW);
    now + lifetime / 2 >= validity.not_after || now < validity.not_before
}

/// The names of the control plane in a cluster, and without one also those of this host.
pub(crate) fn names(
    service: &str,
    namespace: &str,
    has_cluster: bool,
    more: &[ServerName],
) -> anyhow::Result<Vec<ServerName>> {
    let mut texts = Vec::new();
    // Proxies that Istio's injector made look for its name.
    for service in [service, "istiod"] {
        let svc = format!("{service}.{namespace}.svc");
        texts.extend([format!("{svc}.cluster.local"), svc]);
        texts.push(format!("{service}.{namespace}"));
    }
    if !has_cluster {
        texts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    }
    let mut names = Vec::new();
    for text in texts {
        let name: ServerName = text.parse().with_context(|| text.clone())?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in more {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_half_of_its_time_is_over() {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        for lifetime in [60, 3_600, 24 * 3_600].map(Duration::from_secs) {
            let validity = Validity {
                not_before: made - CLOCK_SKEW,
                not_after: made + lifetime,
            };

            assert!(!is_due(validity, made));
            assert!(!is_due(
                validity,
                made + lifetime / 2 - Duration::from_secs(1)
            ));
            assert!(is_due(validity, made + lifetime / 2));
            assert!(
                is_due(validity, made + lifetime * 1_000),
                "the clock was moved"
            );
            let before = made - CLOCK_SKEW * 2;
            assert!(is_due(validity, before), "the clock was set back");
        }
    }

    #[test]
    fn when_the_clock_was_moved_connections_have_another_certificate_that_is_valid_then() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let day = Duration::from_secs(24 * 3_600);
        let authority = authority::Authority::root("test", now, day * 90).expect("a root");
        let mut roots = authority::Bundle::default();
        roots.add(authority.certificate()).expect("a root");
        let trust = Trust::new(authority, roots, now).expect("it signs");
        let names = vec!["localhost".parse().expect("a name")];
        let server = Server::new(names, &"td".into(), day);
        let mut secured = server.start(&trust, now).expect("a certificate");
        let mut proxies = secured.proxies.subscribe();

        secured.look(&server, &trust, false, now + day / 3);
        assert!(!proxies.has_changed().expect("the sender lives"));
        secured.look(&server, &trust, false, now + day * 30);
        assert!(proxies.has_changed().expect("the sender lives"));
        assert_eq!(secured.validity.not_after, now + day * 31);
        proxies.mark_unchanged();
        secured.look(&server, &trust, true, now + day * 30);
        assert!(
            proxies
                .has_changed()
                .expect("other roots are another reason")
        );

        // When the authority is over, what there is stays.
        let last = secured.validity;
        secured.look(&server, &trust, false, now + day * 100);
        assert_eq!(secured.validity, last);
    }

    #[test]
    fn it_has_the_names_by_which_proxies_and_the_api_server_call_it() {
        let more = ["mesh.example".parse().expect("a name")];

        let names = names("meshcontrol", "istio-system", false, &more).expect("names");

        let names: Vec<String> = names.iter().map(ServerName::to_string).collect();
        for name in [
            "meshcontrol.istio-system.svc",
            "istiod.istio-system.svc",
            "127.0.0.1",
            "localhost",
            "mesh.example",
        ] {
            assert!(names.iter().any(|it| it == name), "{name}");
        }
    }
}
