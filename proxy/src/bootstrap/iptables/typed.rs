//! What was typed, and what it means.

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Args};
use config::ip_block::IpBlock;

use super::list::{Id, PortNumber, list};
use super::{Action, Backend, Capture, Dns, IptablesArgs, Selection};
use crate::bootstrap::usage;

/// The flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Lists are separated by commas. TPROXY is not offered: the proxy knows where a \
                  redirected connection was going, and who called it is told by mutual TLS.\n\
                  Exit codes: 0 done, 1 something could not be done, 2 usage."
)]
pub(in crate::bootstrap) struct Typed {
    /// Print exactly what would be run, as a shell takes it, and change nothing.
    #[arg(short = 'n', long, env = "DRY_RUN", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    dry_run: bool,
    /// Remove what was installed, by whichever backend. Other flags make no difference then.
    #[arg(long)]
    clean: bool,
    /// By which programs.
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        env = "MESHPROXY_IPTABLES_BACKEND",
        default_value = "auto"
    )]
    backend: Backend,
    /// Port at which the proxy takes what the workload sends.
    #[arg(
        short = 'p',
        long,
        value_name = "PORT",
        env = "ENVOY_PORT",
        default_value = "15001"
    )]
    envoy_port: PortNumber,
    /// Port at which it takes what is sent to the workload.
    #[arg(
        short = 'z',
        long,
        value_name = "PORT",
        env = "INBOUND_CAPTURE_PORT",
        default_value = "15006"
    )]
    inbound_capture_port: PortNumber,
    /// Users that the proxy runs as: what they send is not captured.
    #[arg(
        short = 'u',
        long,
        value_name = "UID,...",
        env = "PROXY_UID",
        default_value = "1337"
    )]
    proxy_uid: String,
    /// Groups that the proxy runs as [default: those of --proxy-uid].
    #[arg(short = 'g', long, value_name = "GID,...", env = "PROXY_GID")]
    proxy_gid: Option<String>,
    /// How inbound connections are captured; REDIRECT is all there is.
    #[arg(
        short = 'm',
        long,
        value_name = "MODE",
        env = "ISTIO_INBOUND_INTERCEPTION_MODE",
        default_value = "REDIRECT"
    )]
    istio_inbound_interception_mode: String,
    /// Networks to which traffic is captured; * for all, nothing for none.
    #[arg(
        short = 'i',
        long,
        value_name = "CIDR,...",
        env = "ISTIO_SERVICE_CIDR",
        default_value = "*"
    )]
    istio_service_cidr: String,
    /// Networks to which it is not.
    #[arg(
        short = 'x',
        long,
        value_name = "CIDR,...",
        env = "ISTIO_SERVICE_EXCLUDE_CIDR",
        default_value = "",
        hide_default_value = true
    )]
    istio_service_exclude_cidr: String,
    /// Ports of the workload that are captured; * for all, nothing for none.
    #[arg(
        short = 'b',
        long,
        value_name = "PORT,...",
        env = "ISTIO_INBOUND_PORTS",
        default_value = "*"
    )]
    istio_inbound_ports: String,
    /// Ports of the workload that are not, beside the sidecar's own 15020, 15021 and 15090.
    #[arg(
        short = 'd',
        long,
        value_name = "PORT,...",
        env = "ISTIO_LOCAL_EXCLUDE_PORTS",
        default_value = "",
        hide_default_value = true
    )]
    istio_local_exclude_ports: String,
    /// Ports of others that are captured wherever they are, also outside of --istio-service-cidr.
    #[arg(
        short = 'q',
        long,
        value_name = "PORT,...",
        env = "ISTIO_OUTBOUND_PORTS",
        default_value = "",
        hide_default_value = true
    )]
    istio_outbound_ports: String,
    /// Ports of others that are not.
    #[arg(
        short = 'o',
        long,
        value_name = "PORT,...",
        env = "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
        default_value = "",
        hide_default_value = true
    )]
    istio_local_outbound_ports_exclude: String,
    /// Groups whose programs are captured; * for everybody's.
    #[arg(
        long,
        value_name = "GID,...",
        env = "OUTBOUND_OWNER_GROUPS",
        default_value = "*"
    )]
    outbound_owner_groups: String,
    /// Groups whose programs are not.
    #[arg(
        long,
        value_name = "GID,...",
        env = "OUTBOUND_OWNER_GROUPS_EXCLUDE",
        default_value = "",
        hide_default_value = true
    )]
    outbound_owner_groups_exclude: String,
    /// Interfaces that virtual machines are behind: what comes from there is outbound.
    #[arg(
        short = 'k',
        long,
        value_name = "NAME,...",
        env = "KUBE_VIRT_INTERFACES",
        default_value = "",
        hide_default_value = true
    )]
    kube_virt_interfaces: String,
    /// Interfaces where nothing is captured.
    #[arg(
        short = 'c',
        long,
        value_name = "NAME,...",
        env = "ISTIO_EXCLUDE_INTERFACES",
        default_value = "",
        hide_default_value = true
    )]
    istio_exclude_interfaces: String,
    /// Send questions for the servers of /etc/resolv.conf to the proxy, which answers at port 15053.
    #[arg(long, env = "ISTIO_META_DNS_CAPTURE", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    redirect_dns: bool,
    /// With --redirect-dns: send questions for any server at port 53.
    #[arg(long, env = "CAPTURE_ALL_DNS", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    capture_all_dns: bool,
    /// Drop packets that belong to no connection instead of answering with a reset.
    #[arg(long, env = "INVALID_DROP", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "false", hide_default_value = true,
        action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    drop_invalid: bool,
}

// === impl Typed ===

impl Typed {
    /// What is to be done.
    pub(in crate::bootstrap) fn arguments(self) -> Result<IptablesArgs, clap::Error> {
        let (backend, dry_run) = (self.backend, self.dry_run);
        let action = match self.clean {
            true => Action::Clean,
            false => Action::Install(Box::new(self.capture().map_err(wrong)?)),
        };
        Ok(IptablesArgs {
            action,
            backend,
            dry_run,
        })
    }

    fn capture(&self) -> Result<Capture, String> {
        if self.istio_inbound_interception_mode != "REDIRECT" {
            let mode = &self.istio_inbound_interception_mode;
            return Err(format!(
                "--istio-inbound-interception-mode: must be REDIRECT, got \"{mode}\""
            ));
        }
        let users = ids("--proxy-uid", &self.proxy_uid)?;
        if users.is_empty() {
            return Err("--proxy-uid: must name a user: the proxy would capture itself".to_owned());
        }
        let groups = match &self.proxy_gid {
            Some(groups) => ids("--proxy-gid", groups)?,
            None => users.clone(),
        };
        let capture = Capture {
            outbound_port: self.envoy_port.0,
            inbound_port: self.inbound_capture_port.0,
            users,
            groups,
            networks: selection("--istio-service-cidr", &self.istio_service_cidr)?,
            networks_except: list(
                "--istio-service-exclude-cidr",
                &self.istio_service_exclude_cidr,
            )?,
            outbound_ports: ports("--istio-outbound-ports", &self.istio_outbound_ports)?,
            outbound_ports_except: ports(
                "--istio-local-outbound-ports-exclude",
                &self.istio_local_outbound_ports_exclude,
            )?,
            inbound_ports: match self.istio_inbound_ports.trim() {
                "*" => Selection::All,
                some => Selection::Only(ports("--istio-inbound-ports", some)?),
            },
            inbound_ports_except: ports(
                "--istio-local-exclude-ports",
                &self.istio_local_exclude_ports,
            )?,
            callers: match self.outbound_owner_groups.trim() {
                "*" => Vec::new(),
                some => ids("--outbound-owner-groups", some)?,
            },
            callers_except: ids(
                "--outbound-owner-groups-exclude",
                &self.outbound_owner_groups_exclude,
            )?,
            machines: list("--kube-virt-interfaces", &self.kube_virt_interfaces)?,
            interfaces_except: list("--istio-exclude-interfaces", &self.istio_exclude_interfaces)?,
            dns: match (self.redirect_dns, self.capture_all_dns) {
                (false, false) => Dns::Untouched,
                (true, false) => Dns::Servers,
                (true, true) => Dns::All,
                (false, true) => {
                    return Err("--capture-all-dns needs --redirect-dns".to_owned());
                }
            },
            drop_invalid: self.drop_invalid,
        };
        capture.contradiction().map_or(Ok(capture), Err)
    }
}

fn wrong(message: String) -> clap::Error {
    usage(ErrorKind::ValueValidation, message)
}

fn selection(flag: &str, text: &str) -> Result<Selection<IpBlock>, String> {
    match text.trim() {
        "*" => Ok(Selection::All),
        some => list(flag, some).map(Selection::Only),
    }
}

fn ports(flag: &str, text: &str) -> Result<Vec<u16>, String> {
    let ports: Vec<PortNumber> = list(flag, text)?;
    Ok(ports.into_iter().map(|port| port.0).collect())
}

fn ids(flag: &str, text: &str) -> Result<Vec<u32>, String> {
    let ids: Vec<Id> = list(flag, text)?;
    Ok(ids.into_iter().map(|id| id.0).collect())
}
