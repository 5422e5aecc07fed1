//! A place before a server at which a test cuts connections, as a network does.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Lets connections pass while it is open.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    way: watch::Sender<Way>,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

/// Where connections go.
#[derive(Debug, Clone, Copy)]
struct Way {
    server: SocketAddr,
    is_open: bool,
}

// === impl Gate ===

impl Gate {
    /// An open one before `server`.
    ///
    /// # Panics
    ///
    /// If there is no port for it.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        Self::at(listener.expect("a port is free"), server)
    }

    /// The same where somebody else listens for it.
    ///
    /// # Panics
    ///
    /// If the listener has no address.
    pub fn at(listener: TcpListener, server: SocketAddr) -> Self {
        let addr = listener.local_addr().expect("a listener has an address");
        let way = Way {
            server,
            is_open: true,
        };
        let (way, ways) = watch::channel(way);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, ways.clone()));
            }
        });
        Self {
            addr,
            way,
            _tasks: tasks,
        }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts all connections and takes no others.
    pub fn shut(&self) {
        self.way.send_modify(|way| way.is_open = false);
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.way.send_modify(|way| way.is_open = true);
    }

    /// Cuts all connections; new ones pass as before.
    pub fn cut(&self) {
        self.way.send_modify(|_| {});
    }

    /// Cuts all connections; new ones go to `server` and pass.
    pub fn lead_to(&self, server: SocketAddr) {
        let is_open = true;
        self.way.send_replace(Way { server, is_open });
    }
}

async fn pass(mut client: TcpStream, mut ways: watch::Receiver<Way>) {
    let way = *ways.borrow_and_update();
    if !way.is_open {
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(way.server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut upstream) => {}
        // A gate that is gone lets nobody pass.
        _ = ways.changed() => {}
    }
}
