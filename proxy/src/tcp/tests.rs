//! What a connection costs that rests.

use tokio::io::duplex;

use super::*;
use crate::io::Io;
use crate::snapshot::Publisher;
use crate::table::Bind;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::upstream::connect::Connector;

/// Most bytes of what carries a connection, which is the task that it has for as long as it is open. With
/// two sockets of the runtime and their places it is most of what a connection costs.
const TASK_BYTES_MAX: usize = 3 * 1024;

#[tokio::test(flavor = "local")]
async fn the_task_of_a_connection_is_small() {
    let metrics = Metrics::new(Identity::default(), 16);
    let publisher = Publisher::default();
    let worker = Worker::new(&publisher, &metrics, None, Connector::Network);
    let worker = Rc::new(worker);
    let bind = Bind::Tcp(([127, 0, 0, 1], 1).into());
    let downstream = Downstream::new(bind.clone(), None, None);
    let (near, _far) = duplex(1);
    let arrival = OpaqueArrival {
        io: Io::Memory(near),
        read: BytesMut::new(),
        security: None,
        route: None,
        resumed: None,
        early: None,
    };
    let (snapshot, ticket) = (worker.snapshot(), worker.drain.enter(&bind));

    let task = serve(worker, snapshot, downstream, arrival, ticket);

    let bytes = size_of_val(&task);
    assert!(bytes <= TASK_BYTES_MAX, "{bytes} bytes");
}
