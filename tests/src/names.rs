//! DNS: a name server that answers as a test says, and a client.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::wait::soon;

/// Largest message by UDP that the client takes, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// What a name server knows.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    addresses: Vec<(String, IpAddr)>,
    is_silent: bool,
}

/// A running name server, by UDP and TCP; ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name, as it was spelled, without the dot at its end.
    pub name: String,
    /// The id of the message.
    pub id: u16,
    /// Where it came from.
    pub from: SocketAddr,
}

/// What the client got.
#[derive(Debug, Clone)]
pub struct Answer(pub Message);

// === impl Zone ===

impl Zone {
    /// One more name and its address.
    #[must_use]
    pub fn with(mut self, name: &str, address: &str) -> Self {
        let address = address.parse().expect("an address");
        self.addresses.push((name.to_owned(), address));
        self
    }

    /// Takes questions and never answers.
    pub fn silent() -> Self {
        Self {
            is_silent: true,
            ..Self::default()
        }
    }

    fn answer(&self, asked: &Message) -> Message {
        let query = asked.queries.first().expect("a question").clone();
        let name = query.name().to_ascii().to_ascii_lowercase();
        let name = name.trim_end_matches('.');
        let own = self.addresses.iter().filter(|(own, _)| own == name);
        let own: Vec<IpAddr> = own.map(|(_, address)| *address).collect();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = asked.metadata.recursion_desired;
        if own.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        for data in own.into_iter().map(RData::from) {
            if data.record_type() == query.query_type() {
                // A lifetime that is nobody's default shows that nothing was changed.
                answer.add_answer(Record::from_rdata(query.name().clone(), 77, data));
            }
        }
        answer.add_query(query);
        answer
    }
}

// === impl NameServer ===

impl NameServer {
    /// Serves a zone at a port that was free.
    ///
    /// # Panics
    ///
    /// If none is.
    pub async fn start(zone: Zone) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            let addr = udp.local_addr().expect("a bound socket has an address");
            if let Ok(tcp) = TcpListener::bind(addr).await {
                break (udp, tcp);
            }
        };
        let addr = udp.local_addr().expect("a bound socket has an address");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(by_udp(udp, zone.clone(), Arc::clone(&asked)));
        tasks.spawn(by_tcp(tcp, zone, Arc::clone(&asked)));
        Self {
            addr,
            asked,
            _tasks: tasks,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it was asked up to now, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn by_udp(socket: UdpSocket, zone: Zone, asked: Arc<Mutex<Vec<Asked>>>) {
    let mut packet = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, client) = socket.recv_from(&mut packet).await.expect("a datagram");
        if let Some(answer) = answer(&packet[..length], client, &zone, &asked) {
            // Whether the client still waits is its own affair.
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

async fn by_tcp(listener: TcpListener, zone: Zone, asked: Arc<Mutex<Vec<Asked>>>) {
    loop {
        let (mut tcp, client) = listener.accept().await.expect("a connection");
        while let Ok(packet) = read(&mut tcp).await {
            if let Some(answer) = answer(&packet, client, &zone, &asked) {
                let _ = write(&mut tcp, &answer).await;
            }
        }
    }
}

fn answer(
    packet: &[u8],
    client: SocketAddr,
    zone: &Zone,
    asked: &Mutex<Vec<Asked>>,
) -> Option<Vec<u8>> {
    let question = Message::from_vec(packet).expect("a question that can be read");
    let query = question.queries.first().expect("a question");
    let noted = Asked {
        name: query.name().to_ascii().trim_end_matches('.').to_owned(),
        id: question.metadata.id,
        from: client,
    };
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(noted);
    let answer = zone.answer(&question).to_vec();
    (!zone.is_silent).then(|| answer.expect("an answer can be written"))
}

async fn read(tcp: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = tcp.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    tcp.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn write(tcp: &mut TcpStream, packet: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(packet.len()).expect("a message");
    tcp.write_all(&[&length.to_be_bytes()[..], packet].concat())
        .await
}

/// A question about the addresses of `name` of one family.
///
/// # Panics
///
/// If `name` is none.
pub fn question(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(0x4d50, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).expect("a name");
    message.add_query(Query::query(name, wanted));
    message
}

/// The same from a client that takes answers of so many bytes.
pub fn with_room(mut question: Message, bytes: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes);
    question.set_edns(edns);
    question
}

/// Asks by UDP.
///
/// # Panics
///
/// If there is no answer.
pub async fn ask(server: SocketAddr, question: &Message) -> Answer {
    let packet = question.to_vec().expect("a question can be written");
    let reply = soon("an answer by UDP", exchange(server, &packet)).await;
    Answer(Message::from_vec(&reply).expect("an answer that can be read"))
}

/// The datagram that answers a datagram.
///
/// # Panics
///
/// If it cannot be sent.
pub async fn exchange(server: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    socket.connect(server).await.expect("loopback");
    socket.send(packet).await.expect("sent");
    let mut reply = vec![0; DATAGRAM_BYTES_MAX];
    let length = socket.recv(&mut reply).await.expect("received");
    reply.truncate(length);
    reply
}

/// Asks by TCP.
///
/// # Panics
///
/// If there is no answer.
pub async fn ask_by_tcp(server: SocketAddr, question: &Message) -> Answer {
    let packet = question.to_vec().expect("a question can be written");
    let asking = async {
        let mut tcp = TcpStream::connect(server).await?;
        write(&mut tcp, &packet).await?;
        read(&mut tcp).await
    };
    let reply = soon("an answer by TCP", asking).await.expect("an answer");
    Answer(Message::from_vec(&reply).expect("an answer that can be read"))
}

// === impl Answer ===

impl Answer {
    /// Its code.
    pub fn code(&self) -> ResponseCode {
        self.0.metadata.response_code
    }

    /// Its addresses in their order.
    pub fn addresses(&self) -> Vec<String> {
        let addresses = self.0.answers.iter().filter_map(|it| it.data.ip_addr());
        addresses.map(|address| address.to_string()).collect()
    }

    /// Its code and addresses.
    pub fn brief(&self) -> (ResponseCode, Vec<String>) {
        (self.code(), self.addresses())
    }
}
