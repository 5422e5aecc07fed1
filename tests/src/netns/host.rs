//! A host: what runs there, what it knows, and sockets in it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::lines::Lines;
use crate::netns::system::{etc, path};
use crate::wait::PATIENCE;

/// A host of a network.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    namespace: String,
    addrs: Vec<IpAddr>,
}

/// A program that runs in a host until this value is dropped.
#[derive(Debug)]
pub struct Running {
    /// What it prints.
    pub stdout: Lines,
    /// What it complains of.
    pub stderr: Lines,
    pub(super) child: Child,
}

// === impl Host ===

impl Host {
    pub(super) fn new(name: &str, namespace: &str, addrs: Vec<IpAddr>) -> Self {
        let host = Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            addrs,
        };
        let etc = etc(namespace);
        fs::create_dir_all(&etc).expect("root may write to /etc");
        // Nobody answers there: names that are not among the hosts are unknown at once.
        fs::write(etc.join("resolv.conf"), "options timeout:1 attempts:1\n").expect("the same");
        host.resolves(&[]);
        host
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace that it is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its addresses, that of IPv4 first.
    pub fn addrs(&self) -> &[IpAddr] {
        &self.addrs
    }

    /// Its address, that of IPv4 if it has both.
    pub fn addr(&self) -> IpAddr {
        self.addrs[0]
    }

    /// Sets which names it knows, beside its own.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn resolves(&self, names: &[(&str, &[IpAddr])]) {
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (name, addrs) in names {
            for addr in *addrs {
                text += &format!("{addr} {name}\n");
            }
        }
        // Written over, and not replaced: the file may be in use.
        fs::write(etc(&self.namespace).join("hosts"), text).expect("root may write to /etc");
    }

    /// Sets whom it asks for names.
    ///
    /// # Panics
    ///
    /// If the system refuses.
    pub fn asks(&self, servers: &[IpAddr]) {
        let lines = servers.iter().map(|addr| format!("nameserver {addr}\n"));
        let text: String = lines.collect();
        fs::write(etc(&self.namespace).join("resolv.conf"), text).expect("root may write to /etc");
    }

    /// A program of `user` in this host, which ends with the value that it becomes.
    pub fn command(&self, user: u32, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        if user != 0 {
            let id = user.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command
            .arg(program)
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a program of root to its end.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Output {
        let mut command = self.command(0, program);
        command.args(arguments);
        self.ended(command).await
    }

    /// The output of a command of this host.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn ended(&self, mut command: Command) -> Output {
        let what = format!("{:?} on {}", command.as_std(), self.name);
        match timeout(PATIENCE, command.output()).await {
            Ok(output) => output.unwrap_or_else(|error| panic!("{what}: {error}")),
            Err(_) => panic!("{what}: no end within {PATIENCE:?}"),
        }
    }

    /// What a program of root prints.
    ///
    /// # Panics
    ///
    /// If it does not end or fails.
    pub async fn says<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> String {
        let output = self.run(program, arguments).await;
        self.said(program, &output)
    }

    /// What a program printed that has ended.
    ///
    /// # Panics
    ///
    /// If it failed.
    pub fn said(&self, program: &str, output: &Output) -> String {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} on {}: {}\n{complaint}{printed}",
            self.name,
            output.status
        );
        printed
    }

    /// Starts a command of this host.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(&self, mut command: Command) -> Running {
        let what = format!("{:?} on {}", command.as_std(), self.name);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        Running {
            stdout: Lines::of(child.stdout.take().expect("piped")),
            stderr: Lines::of(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// A socket that listens in this host, for a program of the test.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub fn listen(&self, addr: SocketAddr) -> tokio::net::TcpListener {
        let listener = self.inside(|| TcpListener::bind(addr));
        let listener = listener.unwrap_or_else(|error| panic!("listen at {addr}: {error}"));
        listener.set_nonblocking(true).expect("a socket option");
        tokio::net::TcpListener::from_std(listener).expect("the test has a runtime")
    }

    /// A connection of a program of root in this host; it may take as long as `limit`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        limit: Duration,
    ) -> io::Result<tokio::net::TcpStream> {
        let namespace = self.namespace.clone();
        let connecting = tokio::task::spawn_blocking(move || {
            within(&namespace, || TcpStream::connect_timeout(&addr, limit))
        });
        let tcp = connecting.await.expect("it does not panic")?;
        tcp.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(tcp)
    }

    /// Waits until somebody listens at a port of this host.
    ///
    /// # Panics
    ///
    /// If nobody does.
    pub async fn is_served(&self, addr: IpAddr, port: u16) {
        let addr = SocketAddr::new(addr, port);
        let what = format!("a server at {addr} of {}", self.name);
        let connects = async || self.connect(addr, Duration::from_secs(1)).await.is_ok();
        crate::wait::eventually(&what, connects, |connects| *connects).await;
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.namespace, work)
    }
}

// === impl Running ===

impl Running {
    /// Waits until it ends by itself.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = crate::wait::soon("the end of a program", self.child.wait()).await;
        ended.expect("our child can be waited for")
    }
}

/// Does `work` in a namespace, by a thread of its own: sockets belong to the namespace that they were
/// made in, whoever uses them later.
fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = fs::File::open(format!("/run/netns/{namespace}"));
    let file = file.unwrap_or_else(|error| panic!("namespace {namespace}: {error}"));
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
                .expect("root may move into namespaces");
            work()
        });
        thread.join().expect("it does not panic")
    })
}
