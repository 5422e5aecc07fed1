//! A place before a server at which a test cuts connections, as a network does.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Lets connections pass while it is open.
#[derive(Debug)]
pub(crate) struct Gate {
    addr: SocketAddr,
    is_open: watch::Sender<bool>,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

// === impl Gate ===

impl Gate {
    /// An open one before `server`.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port is free");
        let addr = listener.local_addr().expect("a listener has an address");
        let (is_open, passes) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server, passes.clone()));
            }
        });
        Self {
            addr,
            is_open,
            _tasks: tasks,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts all connections and takes no others.
    pub(crate) fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut passes: watch::Receiver<bool>) {
    if !*passes.borrow_and_update() {
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(server).await else {
        return;
    };
    // A gate that is gone lets nobody pass.
    let shut = passes.wait_for(|is_open| !is_open);
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut upstream) => {}
        _ = shut => {}
    }
}
