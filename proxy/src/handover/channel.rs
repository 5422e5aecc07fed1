//! The channel between a proxy and the one that takes its place: messages with file descriptors beside
//! them, over a pair of sockets that nobody else has.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;

use super::{STDIN, Sockets, VARIABLE};

/// Sockets that go with one message; the system allows 253.
const SOCKETS_PER_MESSAGE: usize = 16;
/// Most bytes of a message: so many names, each as long as the path of a socket can be, and some more.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Most messages with sockets: more than a process can have open.
const MESSAGES_MAX: usize = 65_536;
/// Limit of the wait for the other side to take or send one message: both only have to do that.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// One end of a channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What one side tells the other.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Note {
    /// Sockets of these names come with it, in the same order.
    Sockets(Vec<String>),
    /// Those were all.
    End,
    /// The new process serves.
    Ready,
    /// The process with this number has taken the place of the one that says it.
    Successor(i32),
}

/// Sockets cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The system refuses.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The other side closed the channel.
    #[error("the other process is gone")]
    Gone,
    /// The other side says what makes no sense.
    #[error("not understood: {0}")]
    Garbled(String),
}

// === impl Channel ===

impl Channel {
    /// Two ends.
    ///
    /// # Errors
    ///
    /// When there are no more file descriptors.
    pub fn pair() -> Result<(Self, Self), HandoverError> {
        let pair = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let (one, other) = pair.map_err(failed("make a channel"))?;
        Ok((Self(one), Self(other)))
    }

    /// The end that the process before left to this one; none if there was none. Standard input is
    /// nothing afterwards.
    ///
    /// # Errors
    ///
    /// If the environment promises one and it is not there.
    pub fn inherited() -> Result<Option<Self>, HandoverError> {
        match std::env::var(VARIABLE) {
            Ok(value) if value == STDIN => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        let doing = "take the channel";
        let stdin = io::stdin();
        let channel = stdin.as_fd().try_clone_to_owned();
        let channel = channel.map_err(|source| HandoverError::Io { doing, source })?;
        let nothing = File::open("/dev/null");
        let nothing = nothing.map_err(|source| HandoverError::Io { doing, source })?;
        rustix::stdio::dup2_stdin(&nothing).map_err(failed(doing))?;
        Ok(Some(Self(channel)))
    }

    /// A channel by one of its ends.
    pub fn from_socket(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The end itself.
    pub fn into_socket(self) -> OwnedFd {
        self.0
    }

    /// Sends all of `sockets`. Waits, so that it must not be called where others wait for that thread.
    ///
    /// # Errors
    ///
    /// When the other side is gone, or takes nothing for too long.
    pub fn send_sockets(&self, sockets: &Sockets) -> Result<(), HandoverError> {
        self.limit_waits()?;
        let all: Vec<_> = sockets.iter().collect();
        for part in all.chunks(SOCKETS_PER_MESSAGE) {
            let names = part.iter().map(|(name, _)| (*name).to_owned()).collect();
            let sockets: Vec<BorrowedFd<'_>> = part.iter().map(|(_, it)| it.as_fd()).collect();
            self.send(&Note::Sockets(names), &sockets)?;
        }
        self.send(&Note::End, &[])
    }

    /// Receives what the other side sends in [`Self::send_sockets`]. Waits, too.
    ///
    /// # Errors
    ///
    /// When the other side is gone, sends nothing for too long, or something else.
    pub fn receive_sockets(&self) -> Result<Sockets, HandoverError> {
        self.limit_waits()?;
        let mut sockets = Sockets::default();
        for _ in 0..MESSAGES_MAX {
            match self.receive()? {
                (Note::Sockets(names), received) if names.len() == received.len() => {
                    for (name, socket) in names.into_iter().zip(received) {
                        sockets.add(name, socket);
                    }
                }
                (Note::End, _) => return Ok(sockets),
                (other @ (Note::Sockets(_) | Note::Ready | Note::Successor(_)), _) => {
                    return Err(HandoverError::Garbled(format!("{other:?}")));
                }
            }
        }
        Err(HandoverError::Garbled("too many sockets".to_owned()))
    }

    /// Tells the other side something.
    ///
    /// # Errors
    ///
    /// When the other side is gone.
    pub fn tell(&self, note: &Note) -> Result<(), HandoverError> {
        self.send(note, &[])
    }

    /// Waits until the other side tells something.
    ///
    /// # Errors
    ///
    /// When the other side is gone, or what it tells makes no sense.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was told is lost when the future is dropped.
    pub async fn told(&self) -> Result<Note, HandoverError> {
        let doing = "wait for the other process";
        let io = |source| HandoverError::Io { doing, source };
        // For the reactor it is a socket of messages like others.
        let socket = UnixDatagram::from(self.0.try_clone().map_err(io)?);
        socket.set_nonblocking(true).map_err(io)?;
        let socket = tokio::net::UnixDatagram::from_std(socket).map_err(io)?;
        loop {
            socket.readable().await.map_err(io)?;
            let heard = socket.try_io(Interest::READABLE, || match self.receive_now() {
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                heard => Ok(heard),
            });
            match heard {
                Ok(Ok(Some(note))) => return Ok(note),
                Ok(Err(error)) => return Err(error),
                // Nothing was there after all.
                Ok(Ok(None)) | Err(_) => {}
            }
        }
    }

    /// What the other side has told already, if anything.
    ///
    /// # Errors
    ///
    /// As [`Self::told`].
    pub fn receive_now(&self) -> Result<Option<Note>, HandoverError> {
        match self.receive_with(RecvFlags::DONTWAIT) {
            Ok((note, _)) => Ok(Some(note)),
            Err(HandoverError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn limit_waits(&self) -> Result<(), HandoverError> {
        for timeout in [Timeout::Send, Timeout::Recv] {
            let set = set_socket_timeout(&self.0, timeout, Some(MESSAGE_TIMEOUT));
            set.map_err(failed("limit the wait for the other process"))?;
        }
        Ok(())
    }

    fn send(&self, note: &Note, sockets: &[BorrowedFd<'_>]) -> Result<(), HandoverError> {
        let text =
            serde_json::to_vec(note).map_err(|error| HandoverError::Garbled(error.to_string()))?;
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(HandoverError::Garbled("too many at once".to_owned()));
        }
        let slices = [IoSlice::new(&text)];
        let sent = sendmsg(&self.0, &slices, &mut beside, SendFlags::NOSIGNAL);
        match sent {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Err(HandoverError::Gone),
            Err(error) => Err(failed("tell the other process")(error)),
        }
    }

    fn receive(&self) -> Result<(Note, Vec<OwnedFd>), HandoverError> {
        self.receive_with(RecvFlags::empty())
    }

    fn receive_with(&self, flags: RecvFlags) -> Result<(Note, Vec<OwnedFd>), HandoverError> {
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut text)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut slices, &mut beside, flags);
        let received = match received {
            Err(rustix::io::Errno::CONNRESET) => return Err(HandoverError::Gone),
            received => received.map_err(failed("hear the other process"))?,
        };
        // Closed when dropped, whatever comes of the message.
        let mut sockets = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                sockets.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(HandoverError::Gone);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(HandoverError::Garbled("a message was cut off".to_owned()));
        }
        let note = serde_json::from_slice(&text[..received.bytes]);
        let note = note.map_err(|error| HandoverError::Garbled(error.to_string()))?;
        Ok((note, sockets))
    }
}

fn failed(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> HandoverError {
    move |error| HandoverError::Io {
        doing,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn sockets_arrive_by_name_and_listen_on() {
        let (old, new) = Channel::pair().expect("a channel");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = tcp.local_addr().expect("bound");
        let mut sockets = Sockets::default();
        for _ in 0..40 {
            sockets.add("tcp", tcp.try_clone().expect("a duplicate"));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        sockets.add("unix", unix);
        drop(tcp);
        let _waiting = std::net::TcpStream::connect(addr).expect("a listener");

        let sending = thread::spawn(move || {
            let sent = old.send_sockets(&sockets);
            drop(sockets);
            sent
        });
        let mut received = new.receive_sockets().expect("sockets");
        sending.join().expect("no panic").expect("sent");

        let mut tcp = received.take("tcp");
        assert_eq!(tcp.len(), 40);
        let tcp = TcpListener::from(tcp.pop().expect("a socket"));
        tcp.accept()
            .expect("the connection waited for whoever would take it");
        assert_eq!(received.take("unix").len(), 1);
        assert!(received.is_empty() && received.take("other").is_empty());
    }

    #[tokio::test]
    async fn notes_are_heard_and_so_is_the_end() {
        let (old, new) = Channel::pair().expect("a channel");
        assert_eq!(old.receive_now().expect("no error"), None);

        new.tell(&Note::Successor(7)).expect("told");
        new.tell(&Note::Ready).expect("told");

        assert_eq!(old.told().await.expect("a note"), Note::Successor(7));
        assert_eq!(old.receive_now().expect("no error"), Some(Note::Ready));
        drop(new);
        assert!(matches!(old.told().await, Err(HandoverError::Gone)));
        assert!(matches!(old.tell(&Note::Ready), Err(HandoverError::Gone)));
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let (old, new) = Channel::pair().expect("a channel");

        rustix::net::send(&old.0, b"{\"sockets\":[\"a\"]}", SendFlags::empty()).expect("sent");
        let missing = new.receive_sockets();
        rustix::net::send(&old.0, b"\xff", SendFlags::empty()).expect("sent");
        let noise = new.receive_sockets();

        assert!(matches!(missing, Err(HandoverError::Garbled(_))));
        assert!(matches!(noise, Err(HandoverError::Garbled(_))));
    }
}
