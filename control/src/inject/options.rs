//! What one pod wants of its proxy: settings, and annotations that say otherwise.

use std::path::Path;

use config::documents;
use config::value::Duration;
use serde_json::Value;

use super::annotation::{All, Annotations, Mistake, wrong};
use super::label::{
    CPU, CPU_LIMIT, EXCLUDE_INBOUND_PORTS, EXCLUDE_INTERFACES, EXCLUDE_OUTBOUND_IP_RANGES,
    EXCLUDE_OUTBOUND_PORTS, INCLUDE_INBOUND_PORTS, INCLUDE_OUTBOUND_IP_RANGES,
    INCLUDE_OUTBOUND_PORTS, INTERCEPTION_MODE, KUBE_VIRT_INTERFACES, LOG_LEVEL, MEMORY,
    MEMORY_LIMIT, MERGE_METRICS, NATIVE, PROXY_CONFIG, PROXY_IMAGE, READINESS_FAILURES,
    READINESS_INITIAL_DELAY, READINESS_PERIOD, REWRITE_PROBES, STATUS_PORT,
};
use super::merge::Place;
use super::settings::{Amounts, Resources, Settings};

/// Port of the proxy's health server, which probes are led to.
const STATUS_PORT_DEFAULT: u16 = 15_021;
/// How often readiness is asked, in seconds, and after how many failures a proxy is not ready.
const READINESS_PERIOD_DEFAULT: u32 = 15;
const READINESS_FAILURES_DEFAULT: u32 = 4;

/// What one pod wants of its proxy.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) image: String,
    pub(super) resources: Resources,
    pub(super) log: String,
    pub(super) native: bool,
    pub(super) hold: bool,
    pub(super) rewrite_probes: bool,
    pub(super) prometheus: bool,
    pub(super) dns: bool,
    pub(super) status_port: u16,
    pub(super) readiness: Readiness,
    pub(super) traffic: Traffic,
    pub(super) drain_timeout: Option<Duration>,
    pub(super) minimum_drain: Option<Duration>,
    /// Worker threads, if they are not for the proxy to choose.
    pub(super) concurrency: Option<u64>,
    /// Further variables of the proxy.
    pub(super) variables: Vec<(String, String)>,
    pub(super) revision: String,
}

/// How readiness of the proxy is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) initial_delay: u32,
    pub(super) period: u32,
    pub(super) failures: u32,
}

/// What is captured, as the flags of `meshproxy iptables` take it; none leaves it to their defaults.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    pub(super) include_inbound_ports: Option<String>,
    pub(super) exclude_inbound_ports: Option<String>,
    pub(super) include_outbound_ports: Option<String>,
    pub(super) exclude_outbound_ports: Option<String>,
    pub(super) include_outbound_networks: Option<String>,
    pub(super) exclude_outbound_networks: Option<String>,
    pub(super) exclude_interfaces: Option<String>,
    pub(super) kube_virt_interfaces: Option<String>,
}

// === impl Options ===

impl Options {
    /// What a pod wants.
    pub(super) fn of(pod: &Value, settings: &Settings) -> Result<Self, Mistake> {
        let annotations = Annotations(pod);
        if let Some(mode) = annotations.text(INTERCEPTION_MODE)
            && mode != "REDIRECT"
        {
            return Err(wrong(INTERCEPTION_MODE, "must be REDIRECT", mode));
        }
        let status_port = annotations.number(STATUS_PORT)?;
        let status_port = status_port.unwrap_or(STATUS_PORT_DEFAULT);
        let merge_metrics = annotations.truth(MERGE_METRICS)?.unwrap_or(true);
        let mut options = Self {
            image: annotations
                .text(PROXY_IMAGE)
                .map_or_else(|| settings.image.clone(), str::to_owned),
            resources: resources(annotations, &settings.resources),
            log: annotations
                .text(LOG_LEVEL)
                .map_or_else(|| settings.log.clone(), log_level),
            native: annotations
                .truth(NATIVE)?
                .unwrap_or_else(|| settings.are_native()),
            hold: settings.hold_application_until_proxy_starts,
            rewrite_probes: annotations
                .truth(REWRITE_PROBES)?
                .unwrap_or(settings.rewrite_probes),
            prometheus: settings.prometheus && merge_metrics,
            dns: settings.dns,
            status_port,
            readiness: Readiness {
                initial_delay: annotations.number(READINESS_INITIAL_DELAY)?.unwrap_or(0),
                period: annotations
                    .number(READINESS_PERIOD)?
                    .unwrap_or(READINESS_PERIOD_DEFAULT),
                failures: annotations
                    .number(READINESS_FAILURES)?
                    .unwrap_or(READINESS_FAILURES_DEFAULT),
            },
            traffic: traffic(annotations, status_port)?,
            drain_timeout: None,
            minimum_drain: None,
            concurrency: None,
            variables: Vec::new(),
            revision: settings.revision.clone(),
        };
        if let Some(text) = annotations.text(PROXY_CONFIG) {
            options.read_proxy_config(text)?;
        }
        Ok(options)
    }

    /// Where the proxy stands among the containers.
    pub(super) fn place(&self) -> Place {
        match (self.native, self.hold) {
            (true, _) => Place::Native,
            (false, true) => Place::First,
            (false, false) => Place::Last,
        }
    }

    /// Istio's `ProxyConfig`, as far as it has a meaning here; all else of it is about another proxy.
    fn read_proxy_config(&mut self, text: &str) -> Result<(), Mistake> {
        let wrong = |wanted: &str, got: &Value| wrong(PROXY_CONFIG, wanted, &got.to_string());
        let read = documents::read(Path::new(PROXY_CONFIG), text);
        let config = match read.as_deref() {
            Ok([document]) if document.value.is_object() => &document.value,
            Ok(_) | Err(_) => return Err(wrong("must be a mapping in YAML", &text.into())),
        };
        let span = |name: &str, value: &Value| match value {
            Value::Null => Ok(None),
            written => match written.as_str().map(str::parse) {
                Some(Ok(span)) => Ok(Some(span)),
                Some(Err(_)) | None => {
                    Err(wrong(&format!("{name}: must be such as \"45s\""), written))
                }
            },
        };
        let longest = span(
            "terminationDrainDuration",
            &config["terminationDrainDuration"],
        )?;
        self.drain_timeout = longest.or(span("drainDuration", &config["drainDuration"])?);
        match &config["holdApplicationUntilProxyStarts"] {
            Value::Null => {}
            Value::Bool(hold) => self.hold = *hold,
            other => {
                let wanted = "holdApplicationUntilProxyStarts: must be true or false";
                return Err(wrong(wanted, other));
            }
        }
        match &config["concurrency"] {
            Value::Null => {}
            written => match written.as_u64() {
                // Istio's 0 is one for each core, which is for the proxy to know.
                Some(0) => {}
                Some(workers) => self.concurrency = Some(workers),
                None => return Err(wrong("concurrency: must be a whole number", written)),
            },
        }
        for (name, value) in config["proxyMetadata"].as_object().into_iter().flatten() {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match name.as_str() {
                "ISTIO_META_DNS_CAPTURE" => self.dns = text == "true",
                "MINIMUM_DRAIN_DURATION" => self.minimum_drain = span(name, &text.into())?,
                "EXIT_ON_ZERO_ACTIVE_CONNECTIONS" => {
                    let name = format!("MESHPROXY_{name}");
                    self.variables.push((name, text));
                }
                _ => self.variables.push((name.clone(), text)),
            }
        }
        Ok(())
    }
}

/// Resources of the proxy. As in Istio, a pod that says something of requests or limits says all of it.
fn resources(annotations: Annotations<'_>, settings: &Resources) -> Resources {
    let own = |name| annotations.text(name).map(str::to_owned);
    let requests = Amounts {
        cpu: own(CPU),
        memory: own(MEMORY),
    };
    let limits = Amounts {
        cpu: own(CPU_LIMIT),
        memory: own(MEMORY_LIMIT),
    };
    let says_something = requests != Amounts::default() || limits != Amounts::default();
    match says_something {
        true => Resources { requests, limits },
        false => settings.clone(),
    }
}

fn traffic(annotations: Annotations<'_>, status_port: u16) -> Result<Traffic, Mistake> {
    let mut exclude_inbound_ports = annotations.ports(EXCLUDE_INBOUND_PORTS, All::Illegal)?;
    if status_port != STATUS_PORT_DEFAULT {
        // The usual one is never captured.
        let others = exclude_inbound_ports.filter(|others| !others.is_empty());
        exclude_inbound_ports = Some(match others {
            Some(others) => format!("{others},{status_port}"),
            None => status_port.to_string(),
        });
    }
    Ok(Traffic {
        include_inbound_ports: annotations.ports(INCLUDE_INBOUND_PORTS, All::Legal)?,
        exclude_inbound_ports,
        include_outbound_ports: annotations.ports(INCLUDE_OUTBOUND_PORTS, All::Illegal)?,
        exclude_outbound_ports: annotations.ports(EXCLUDE_OUTBOUND_PORTS, All::Illegal)?,
        include_outbound_networks: annotations.networks(INCLUDE_OUTBOUND_IP_RANGES, All::Legal)?,
        exclude_outbound_networks: annotations
            .networks(EXCLUDE_OUTBOUND_IP_RANGES, All::Illegal)?,
        exclude_interfaces: annotations.interfaces(EXCLUDE_INTERFACES)?,
        kube_virt_interfaces: annotations.interfaces(KUBE_VIRT_INTERFACES)?,
    })
}

/// A level as Istio writes it, `LEVEL` or `SCOPE:LEVEL,...`, as a filter of ours. Scopes are those of
/// another proxy: the level that says most counts for all.
fn log_level(text: &str) -> String {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = |part: &str| {
        let level = part.rsplit(':').next().unwrap_or(part).trim();
        let level = match level {
            "warning" => "warn",
            "critical" => "error",
            level => level,
        };
        LEVELS.iter().position(|it| *it == level)
    };
    let most = text.split(',').filter_map(level).max();
    most.map_or_else(|| text.to_owned(), |most| LEVELS[most].to_owned())
}
