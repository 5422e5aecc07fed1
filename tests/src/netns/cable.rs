//! A cable that is long and bad: it delays packets, loses them, and can be cut.
//!
//! The kernel's own (`netem`) is not in every kernel, so that a program carries the packets, one way of
//! all machines. What it is told it does from the next packet on.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::netns::host::Host;
use crate::netns::system::{ip, path, run};

/// A cable; without faults at first.
#[derive(Debug)]
pub struct Cable {
    child: Child,
    orders: Mutex<ChildStdin>,
    inner: String,
}

/// What a cable does with packets, each way.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// How many of a hundred packets are lost.
    pub loss_percent: f64,
    /// How long a packet is under way, in milliseconds.
    pub delay_ms: u32,
    /// How much longer or shorter, at most; packets overtake each other then.
    pub jitter_ms: u32,
}

// === impl Cable ===

impl Cable {
    /// A cable from `port` of a switch, at the other end of which is `host`.
    pub(super) fn between(switch: &str, port: &str, host: &Host) -> Self {
        let (outer, inner) = (format!("{port}o"), format!("{port}i"));
        ip(
            switch,
            &format!("link add {outer} type veth peer name {inner}"),
        );
        for port in [&outer, &inner] {
            ip(switch, &format!("link set {port} up"));
        }
        // Packets as they are on a wire: in frames of the right size, with their checksums.
        let plain = |namespace: &str, interface: &str| {
            let off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
            let to = ["netns", "exec", namespace, "ethtool", "-K", interface];
            run("ip", &[&to[..], &off].concat());
        };
        plain(switch, &inner);
        plain(host.namespace(), "eth0");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/cable.py");
        let mut child = Command::new("ip")
            .args(["netns", "exec", switch, "python3", program, port, &outer])
            .env("PATH", path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("python3 can be started");
        let orders = child.stdin.take().expect("piped");
        Self {
            child,
            orders: Mutex::new(orders),
            inner,
        }
    }

    /// The end that belongs to the switch.
    pub(super) fn inner_port(&self) -> &str {
        &self.inner
    }

    /// From now on it has these faults.
    ///
    /// # Panics
    ///
    /// If its program has ended.
    pub fn has(&self, faults: Faults) {
        let Faults {
            loss_percent,
            delay_ms,
            jitter_ms,
        } = faults;
        self.order(&format!("{loss_percent} {delay_ms} {jitter_ms}"));
    }

    /// From now on nothing passes.
    ///
    /// # Panics
    ///
    /// If its program has ended.
    pub fn is_cut(&self) {
        self.order("100 0 0");
    }

    /// From now on everything passes at once.
    ///
    /// # Panics
    ///
    /// If its program has ended.
    pub fn is_mended(&self) {
        self.order("0 0 0");
    }

    fn order(&self, order: &str) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // In one piece: half an order is none.
        let order = format!("{order}\n");
        orders
            .write_all(order.as_bytes())
            .expect("the cable's program runs");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // It may have ended with its namespace.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
